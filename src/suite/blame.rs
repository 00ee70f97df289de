//! From a cause class to the line of the manifests where it can be mended.

use std::path::Path;

use serde_json::Value;

use crate::base::ObjectRef;
use crate::observe::{Cause, CauseClass, Fix};
use crate::stack::Stack;

use super::discover::{Dangling, objects_of, stray_autoscaler};
use super::remedy::{autoscaler_field, recreates, remedy};
use super::scenario::Held;
use super::stop::Stop;
use super::target::{Mount, Workload};
use super::trial::Trial;

impl Trial {
    /// A cause that concerns the front workload.
    pub fn cause(&self, class: CauseClass) -> Cause {
        let front = &self.target().front.workload;
        let container = match class {
            CauseClass::AutoscalerBlind => without_cpu_request(self.containers_of(front)),
            _ => None,
        };
        let scaler = self.target().front.autoscaler.as_ref().zip(autoscaler_field(class));
        if let Some((autoscaler, field)) = scaler {
            let kind = "HorizontalPodAutoscaler";
            let scaler = ObjectRef::new(kind, &front.namespace, &autoscaler.name);
            return self.cause_at(class, &scaler, field);
        }
        if let Some(remedy) = remedy(class, front, self.stack()) {
            return advised(self.cause_at(class, &remedy.object, &remedy.field), remedy.advice);
        }
        match class.workload_field(container.unwrap_or(front.container)) {
            Some(field) => self.cause_at(class, &front.reference(), &field),
            None => {
                Cause { object: Some(front.reference()), ..cause_in(self.stack(), class, None) }
            }
        }
    }

    /// The cause of a time in which a rollout left nobody to serve.
    pub fn outage(&self) -> Cause {
        if !recreates(&self.target().front.workload) {
            return self.cause(CauseClass::NoEndpoint);
        }
        let class = CauseClass::NoEndpoint.to_string();
        Cause { class, ..self.cause(CauseClass::CapacityDip) }
    }

    /// A cause to be mended at `field` of `object`.
    pub fn cause_at(&self, class: CauseClass, object: &ObjectRef, field: &str) -> Cause {
        cause_in(self.stack(), class, Some((object, field)))
    }

    /// The containers of `workload` as they are written.
    fn containers_of(&self, workload: &Workload) -> &[Value] {
        let manifest = self.stack().manifest(&workload.reference());
        let containers = manifest
            .and_then(|manifest| manifest.value.pointer("/spec/template/spec/containers"))
            .and_then(Value::as_array);
        containers.map_or(&[], Vec::as_slice)
    }

    /// A broken claim with one cause about the front workload.
    pub fn failed(
        &self,
        class: CauseClass,
        expected: impl AsRef<str>,
        seen: impl AsRef<str>,
    ) -> Stop {
        Stop::failed(expected, seen).because(self.cause(class))
    }

    /// A broken claim with one cause at `field` of `object`.
    pub fn failed_at(
        &self,
        class: CauseClass,
        object: &ObjectRef,
        field: &str,
        expected: impl AsRef<str>,
        seen: impl AsRef<str>,
    ) -> Stop {
        Stop::failed(expected, seen).because(self.cause_at(class, object, field))
    }

    /// A claim about several replicas cannot hold for one.
    ///
    /// # Errors
    /// The stack wishes for a single replica.
    pub fn several_replicas(&self) -> Result<Held, Stop> {
        let wish = self.target().wish();
        if wish >= 2 {
            return Ok(format!("{wish} replicas"));
        }
        let front = &self.target().front;
        if let Some(autoscaler) = &front.autoscaler {
            let kind = "HorizontalPodAutoscaler";
            let scaler = ObjectRef::new(kind, &front.workload.namespace, &autoscaler.name);
            let seen = format!("{scaler} keeps {wish} without load");
            let expected = "at least two replicas";
            let class = CauseClass::SingleReplica;
            return Err(self.failed_at(class, &scaler, "spec.minReplicas", expected, seen));
        }
        Err(self.failed(
            CauseClass::SingleReplica,
            "at least two replicas",
            format!("{} asks for {wish}", self.target().front.workload.reference()),
        ))
    }

    /// Why nothing scales the front: there is no autoscaler, or it names something else.
    pub fn no_autoscaler(&self) -> Stop {
        let front = &self.target().front.workload;
        let expected = format!("a HorizontalPodAutoscaler for {}", front.reference());
        match stray_autoscaler(&objects_of(self.stack()), front) {
            Some(stray) => dangles(self.stack(), CauseClass::NoAutoscaler, &expected, &stray),
            None => self.failed(CauseClass::NoAutoscaler, expected, "the stack has none"),
        }
    }

    /// Data of `workload` that did not survive: blames its missing volume, or the volume.
    pub fn data_loss(&self, workload: &Workload, data: Data, expected: &str, seen: &str) -> Stop {
        let manifest = self.containers_of(workload).get(workload.container);
        let kept = kept_on(workload, manifest, data);
        let class = match kept {
            // Nobody knows whether it is there. Tables are read by the database, not by who answers.
            Some(_) if data == Data::Uploads && is_forbidden(seen) => CauseClass::DataForbidden,
            Some(_) => CauseClass::DataLost,
            None => CauseClass::DataInContainer,
        };
        let field = workload.container_field("volumeMounts");
        let stop = self.failed_at(class, &workload.reference(), &field, expected, seen);
        let container = workload.container_name().unwrap_or("the container");
        match (kept, data.folder_in(workload)) {
            (Some(mount), _) => stop.line(format!("volume: {} at {}", mount.claim, mount.path)),
            (None, Some(folder)) => stop.line(format!(
                "{container} of {} mounts no persistent volume at {folder}",
                workload.reference()
            )),
            (None, None) => stop.line(format!(
                "{container} of {} mounts no persistent volume",
                workload.reference()
            )),
        }
    }
}

/// A broken claim for which `found` is to blame.
pub(super) fn dangles(stack: &Stack, class: CauseClass, expected: &str, found: &Dangling) -> Stop {
    Stop::failed(expected, &found.seen).because(cause_of(stack, class, found))
}

/// `found` as a cause.
pub(super) fn cause_of(stack: &Stack, class: CauseClass, found: &Dangling) -> Cause {
    advised(cause_in(stack, class, Some((&found.object, &found.field))), &found.advice)
}

/// `cause` with `advice` of its own.
pub(super) fn advised(mut cause: Cause, advice: &str) -> Cause {
    if let Some(fix) = &mut cause.fix {
        advice.clone_into(&mut fix.advice);
    }
    cause
}

/// A cause to be mended at a field of an object, if one is known.
pub(super) fn cause_in(stack: &Stack, class: CauseClass, at: Option<(&ObjectRef, &str)>) -> Cause {
    let fix = at.and_then(|(object, field)| {
        let location = stack.locate(object, field)?;
        Some(Fix {
            file: location.file.display().to_string(),
            line: location.line,
            path: field.to_owned(),
            advice: class.advice().to_owned(),
        })
    });
    let object = at.map(|(object, _)| object.clone());
    Cause { class: class.to_string(), count: 1, object, at_ms: None, fix }
}

/// Whether a read that was told as `seen`, with its status last, was refused.
fn is_forbidden(seen: &str) -> bool {
    seen.ends_with(": 403")
}

/// Number of the first of `containers` that requests no CPU; a limit is a request as well.
fn without_cpu_request(containers: &[Value]) -> Option<usize> {
    let cpu = ["/resources/requests/cpu", "/resources/limits/cpu"];
    containers.iter().position(|each| cpu.iter().all(|field| each.pointer(field).is_none()))
}

/// What a program keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Files that WordPress was sent.
    Uploads,
    /// The tables of a database.
    Tables,
}

impl Data {
    /// Where the program in the container of `workload` keeps it; `None` for images nobody knows.
    fn folder_in(self, workload: &Workload) -> Option<&'static str> {
        let (_, image) = workload.containers.get(workload.container)?;
        let is_bitnami = image.contains("bitnami");
        let is = |name: &str| image.contains(name);
        Some(match self {
            Data::Uploads if is_bitnami => "/bitnami/wordpress/wp-content/uploads",
            Data::Uploads => "/var/www/html/wp-content/uploads",
            Data::Tables if is("mariadb") && is_bitnami => "/bitnami/mariadb/data",
            Data::Tables if is("mysql") && is_bitnami => "/bitnami/mysql/data",
            Data::Tables if is("postgres") && is_bitnami => "/bitnami/postgresql/data",
            Data::Tables if is("mariadb") || is("mysql") || is("percona") => "/var/lib/mysql",
            Data::Tables if is("postgres") => "/var/lib/postgresql",
            Data::Tables => return None,
        })
    }
}

/// The volume that keeps `data` of `workload`, whose container is written as `manifest`.
fn kept_on<'a>(workload: &'a Workload, manifest: Option<&Value>, data: Data) -> Option<&'a Mount> {
    let name = workload.container_name()?;
    let mut own = workload.mounts.iter().filter(|mount| mount.container == name);
    let Some(folder) = data.folder_in(workload) else { return own.next() };
    let all = manifest.and_then(|manifest| manifest.get("volumeMounts")?.as_array());
    let paths = all.into_iter().flatten().filter_map(|mount| mount.get("mountPath")?.as_str());
    let within = |outer: &str, inner: &str| Path::new(inner).starts_with(outer);
    // The deepest mount hides the others.
    let deepest = paths.filter(|path| within(path, folder)).max_by_key(|path| path.len());
    match deepest {
        Some(deepest) => own.find(|mount| mount.path == deepest),
        // A database keeps its files in a folder below, which a variable may name.
        None => own.find(|mount| data == Data::Tables && within(folder, &mount.path)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::suite::target::WorkloadKind;

    fn kept(image: &str, claims: &[&str], others: &[&str], data: Data) -> Option<String> {
        let mount = |path: &&str| Mount {
            container: "main".into(),
            path: (*path).to_owned(),
            claim: "claim".into(),
        };
        let mut mounts: Vec<Mount> = claims.iter().map(mount).collect();
        let elsewhere = Mount { container: "agent".into(), ..mount(&"/var/www/html") };
        mounts.insert(0, elsewhere);
        let workload = Workload {
            kind: WorkloadKind::Deployment,
            namespace: "shop".into(),
            name: "web".into(),
            replicas: 1,
            selector: String::new(),
            containers: vec![("agent".into(), "agent:1".into()), ("main".into(), image.into())],
            container: 1,
            mounts,
            surge: None,
        };
        let paths = claims.iter().chain(others).map(|path| json!({"mountPath": path}));
        let manifest = json!({"volumeMounts": paths.collect::<Vec<_>>()});
        kept_on(&workload, Some(&manifest), data).map(|mount| mount.path.clone())
    }

    #[test]
    fn a_volume_keeps_what_is_written_below_it_by_its_own_container() {
        let uploads =
            |claims: &[&str], others: &[&str]| kept("wordpress:6", claims, others, Data::Uploads);
        assert_eq!(uploads(&[], &[]), None, "the other container's volume does not count");
        assert_eq!(uploads(&["/var/www/html/wp-content/plugins"], &[]), None);
        assert_eq!(uploads(&["/var/www/html/"], &[]).as_deref(), Some("/var/www/html/"));
        let scratch = "/var/www/html/wp-content";
        assert_eq!(uploads(&["/var/www/html"], &[scratch]), None, "a scratch folder hides it");
        let tables = |claim: &str| kept("mysql:8.4", &[claim], &[], Data::Tables);
        assert_eq!(tables("/var/lib/mysql").as_deref(), Some("/var/lib/mysql"));
        assert_eq!(tables("/etc/mysql/conf.d"), None);
        assert!(
            kept("mysql:8.4", &["/var/lib/mysql"], &["/var/lib/mysql/tmp"], Data::Tables).is_some()
        );
        assert_eq!(tables("/var/lib/mysql/data").as_deref(), Some("/var/lib/mysql/data"));
        let unknown = kept("team/store:1", &["/data"], &[], Data::Tables);
        assert_eq!(unknown.as_deref(), Some("/data"), "any volume may be the one");
    }

    #[test]
    fn the_container_that_blinds_the_autoscaler_is_the_one_without_a_request() {
        let asks = |kind: &str| json!({"resources": {kind: {"cpu": "100m"}}});
        let (requests, limits) = (asks("requests"), asks("limits"));
        let silent = json!({"resources": {"requests": {"memory": "64Mi"}}});
        assert_eq!(without_cpu_request(&[requests.clone(), silent]), Some(1));
        assert_eq!(without_cpu_request(&[requests, limits]), None);
    }
}
