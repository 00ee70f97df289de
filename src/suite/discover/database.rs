//! The database: the workload that the front's environment names as such.

use serde_json::Value;

use crate::base::ObjectRef;
use crate::suite::target::{Front, NoDatabase, Program, Workload};

use super::env::{Variable, unknown_source, variables};
use super::{Found, image_name, items, listening, of_kind, parse, target_port, workload_behind};

/// Where images of WordPress look for their database, the official one first.
const WORDPRESS_HOSTS: [&str; 2] = ["WORDPRESS_DB_HOST", "WORDPRESS_DATABASE_HOST"];
/// The official image reads the value from this file where the variable is set.
const WORDPRESS_HOST_FILE: &str = "WORDPRESS_DB_HOST_FILE";
/// What the official image asks if it is told nothing (`wp-config-docker.php`).
const WORDPRESS_DEFAULT: &str = "mysql";
/// Words in the names of variables that tell of a database.
const TELLING: [&str; 9] =
    ["DB", "DATABASE", "MYSQL", "MARIADB", "POSTGRES", "POSTGRESQL", "PG", "PGHOST", "MONGODB"];
/// Parts of the names of images that keep data.
const ENGINES: [&str; 6] = ["mysql", "mariadb", "percona", "postgres", "mongo", "timescale"];
/// Parts of the names of images that only talk to them.
const TOOLS: [&str; 5] = ["exporter", "backup", "admin", "proxy", "router"];

/// The workload where the front's data lives; the front itself when both share a pod.
///
/// # Errors
/// Why none is known.
pub(super) fn database(
    objects: &[(ObjectRef, &Value)],
    front: &Front,
) -> Result<Workload, NoDatabase> {
    let reference = front.workload.reference();
    let manifest = objects.iter().find(|(object, _)| *object == reference);
    let Some((_, manifest)) = manifest else {
        return Err(NoDatabase::because(format!("{reference} is not there")));
    };
    let containers = || items(manifest, "/spec/template/spec/containers");
    let serving = containers().nth(front.workload.container).into_iter();
    // The container that serves knows best.
    let ordered = serving.chain(containers());
    let all: Vec<Variable> = ordered
        .flat_map(|container| variables(objects, &front.workload.namespace, container))
        .collect();
    let find = |name: &str| all.iter().find(|(known, _)| known == name);
    let place = Place { objects, front };
    if front.program == Program::WordPress {
        let unknown = |each| unknown_source(objects, &front.workload.namespace, each);
        if let Some((name, value)) = WORDPRESS_HOSTS.iter().find_map(|name| find(name)) {
            let found = match value {
                Ok(value) => place.at(value),
                Err(why) => Err(NoDatabase::because(why)),
            };
            return found.map_err(|none| NoDatabase {
                elsewhere: none.elsewhere.clone().map(|(_, host)| (name.clone(), host)),
                ..none.of(&format!("{name} of {reference}"))
            });
        }
        if let Some(source) = containers().find_map(unknown) {
            let why =
                format!("{reference} takes variables from {source}, which is not in the stack");
            return Err(NoDatabase::because(why));
        }
        if find(WORDPRESS_HOST_FILE).is_some() {
            let why = format!("{reference} reads the host of its database from a file");
            return Err(NoDatabase::because(why));
        }
    }
    let telling = |(name, _): &&Variable| {
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| TELLING.iter().any(|telling| word.eq_ignore_ascii_case(telling)))
    };
    let values = |is_wanted: &dyn Fn(&&Variable) -> bool| -> Vec<&String> {
        all.iter().filter(is_wanted).filter_map(|(_, value)| value.as_ref().ok()).collect()
    };
    if let Some(found) = values(&telling).into_iter().find_map(|value| place.at(value).ok()) {
        return Ok(found);
    }
    if front.program == Program::WordPress {
        return place.at(WORDPRESS_DEFAULT).map_err(|none| {
            none.of(&format!("{reference} is not told the host of its database; the default"))
        });
    }
    let elsewhere = values(&|_| true).into_iter().filter_map(|value| place.at(value).ok());
    let mut engines = elsewhere.filter(|found| {
        let image = found.containers.get(found.container).map(|(_, image)| image.as_str());
        !found.is(&front.workload) && image.is_some_and(is_engine)
    });
    engines.next().ok_or_else(|| {
        let why =
            format!("no variable of {reference} names a workload of the stack as its database");
        NoDatabase::because(why)
    })
}

/// From where hosts are looked up.
struct Place<'a> {
    objects: &'a [(ObjectRef, &'a Value)],
    front: &'a Front,
}

impl Place<'_> {
    /// The workload at the host in `value`.
    ///
    /// # Errors
    /// Why there is none, after the name of the variable.
    fn at(&self, value: &str) -> Result<Workload, NoDatabase> {
        let host = host_of(value);
        let front = &self.front.workload;
        // Without a host it is asked through a socket.
        if matches!(host.as_str(), "" | "localhost" | "127.0.0.1" | "::1") {
            return self.beside().ok_or_else(|| {
                let named = if host.is_empty() { "no host" } else { &host };
                let why = format!("names {named}, and no other container of the pod keeps data");
                NoDatabase::because(why)
            });
        }
        let Some((service, manifest)) = self.service(&host) else {
            let why = format!("names {host}, which is no Service of the stack");
            let elsewhere = Some((String::new(), host.clone()));
            return Err(NoDatabase { why, services: self.names(&host), elsewhere });
        };
        let mut found =
            workload_behind(self.objects, service, manifest).ok_or_else(|| NoDatabase {
                why: format!(
                    "names {service}, which selects no Deployment or StatefulSet of the stack"
                ),
                services: vec![service.clone()],
                elsewhere: None,
            })?;
        if found.is(front) {
            let why = format!("names {service}, the front itself");
            return self.beside().ok_or_else(|| NoDatabase::because(why));
        }
        let port = target_port(items(manifest, "/spec/ports").next());
        let workload = self.objects.iter().find(|(object, _)| *object == found.reference());
        let engine = found.containers.iter().position(|(_, image)| is_engine(image));
        found.container = engine
            .or_else(|| workload.map(|(_, workload)| listening(workload, &port)))
            .unwrap_or(0);
        let image = found.containers.get(found.container).map(|(_, image)| image.as_str());
        if engine.is_none() && image.is_some_and(is_tool) {
            return self.behind_tool().ok_or_else(|| {
                NoDatabase::because(format!(
                    "names {service}, which passes on to a database elsewhere"
                ))
            });
        }
        Ok(found)
    }

    /// The front's own pod, if another of its containers keeps the data.
    fn beside(&self) -> Option<Workload> {
        let front = &self.front.workload;
        let others = || (0..front.containers.len()).filter(|idx| *idx != front.container);
        let is_kept =
            |idx: &usize| front.containers.get(*idx).is_some_and(|(_, image)| is_engine(image));
        let container = others().find(is_kept).or_else(|| {
            // An image nobody knows may keep data, unless it only adds to the pod; WordPress keeps its
            // own in an engine that is known.
            let is_other = |(_, image): &(String, String)| !is_tool(image);
            let may_keep = |idx: &usize| front.containers.get(*idx).is_some_and(is_other);
            others().find(may_keep).filter(|_| self.front.program == Program::Other)
        })?;
        Some(Workload { container, ..front.clone() })
    }

    /// The one workload that keeps data where the front asks a proxy for it.
    fn behind_tool(&self) -> Option<Workload> {
        let kinds = ["Deployment", "StatefulSet"].into_iter();
        let namespace = &self.front.workload.namespace;
        let all = kinds.flat_map(|kind| of_kind(self.objects, kind));
        let here = all.filter(|(object, _)| object.namespace == *namespace);
        let mut engines = here.filter_map(|(object, value)| {
            let workload = parse(object, value);
            let container = workload.containers.iter().position(|(_, image)| is_engine(image))?;
            Some(Workload { container, ..workload })
        });
        engines.next().filter(|_| engines.next().is_none())
    }

    /// The Service of the stack that `host` is the name of, or whose single pod it names.
    fn service(&self, host: &str) -> Option<Found<'_>> {
        self.names(host)
            .into_iter()
            .find_map(|name| of_kind(self.objects, "Service").find(|(object, _)| **object == name))
    }

    /// The Services that `host` may name in one of the forms of the cluster's DNS: that of a Service,
    /// then that of a single pod.
    fn names(&self, host: &str) -> Vec<ObjectRef> {
        let labels: Vec<&str> = host.split('.').collect();
        let own = self.front.workload.namespace.as_str();
        let name = |at: usize| {
            let name = labels.get(at)?;
            let namespace = labels.get(at + 1).copied().unwrap_or(own);
            let is_service = labels.get(at + 2).is_none_or(|label| *label == "svc");
            let is_name = !name.is_empty() && !namespace.is_empty();
            (is_service && is_name).then(|| ObjectRef::new("Service", namespace, *name))
        };
        (0..labels.len().min(2)).filter_map(name).collect()
    }
}

pub(super) fn is_engine(image: &str) -> bool {
    let name = image_name(image).to_ascii_lowercase();
    ENGINES.iter().any(|engine| name.contains(engine)) && !is_tool(image)
}

fn is_tool(image: &str) -> bool {
    let name = image_name(image).to_ascii_lowercase();
    TOOLS.iter().any(|tool| name.contains(tool))
}

/// The host in `host`, `host:port`, `[host]:port` or `scheme://user@host:port/path`, as DNS has it: in
/// lower case.
fn host_of(value: &str) -> String {
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let bracketed = host.strip_prefix('[').and_then(|host| host.split(']').next());
    let host = bracketed.unwrap_or_else(|| match host.matches(':').count() {
        0 | 1 => host.split(':').next().unwrap_or(host),
        // An address of IPv6.
        _ => host,
    });
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
