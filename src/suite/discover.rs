//! Discovery: from the manifests to what scenarios act on (Ingress -> Service -> workload -> HPA).

mod dangling;
mod database;
mod door;
mod env;
mod front;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::base::ObjectRef;
use crate::k8s::{Rounding, scaled_value};
use crate::stack::Stack;

use super::autoscaler::Autoscaler;
use super::classes::OtherIngress;
use super::target::{IngressHost, Mount, NoDatabase, StackTarget, WayIn, Workload, WorkloadKind};

pub use dangling::Dangling;
pub(super) use dangling::{
    idle_selector, idle_service, missing_port, stray_autoscaler, unheard_port,
};

/// Why there is nothing to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// Nobody outside the cluster can reach the stack. With the Service that users would want to.
    NoWayIn(Option<ObjectRef>, String),
    /// No way in that scenarios could take; the custom resource may be one, for it does as is said.
    OtherDoor(ObjectRef, String),
    /// What users reach is of a kind that scenarios cannot act on.
    NotJudged(String),
    /// The Service that users reach selects no pod of the stack.
    NoPods(ObjectRef, String),
    /// What users reach names what is not there.
    Dangling(Box<Dangling>),
}

/// The objects of `stack` and their manifests.
pub(super) fn objects_of(stack: &Stack) -> Vec<(ObjectRef, &Value)> {
    let objects = stack.objects().iter();
    objects.map(|manifest| (manifest.object_ref.clone(), &manifest.value)).collect()
}

/// The parts of the stack made of `objects` (reference and manifest).
///
/// # Errors
/// Why there is nothing to act on.
pub fn discover(objects: &[(ObjectRef, &Value)]) -> Result<StackTarget, NoTarget> {
    let front = front::front(objects)?;
    let (database, no_database) = match database::database(objects, &front) {
        Ok(database) => (Some(database), NoDatabase::default()),
        Err(reason) => (None, reason),
    };
    let hosts = ingress_hosts(objects);
    Ok(StackTarget { front, database, no_database, hosts, other_ingresses: Vec::new() })
}

/// As `discover`, where the Ingresses `others` are not served: users come in through them only if there
/// is no other Ingress that leads to a workload.
///
/// # Errors
/// As `discover`.
pub(super) fn discover_served(
    objects: &[(ObjectRef, &Value)],
    others: Vec<OtherIngress>,
) -> Result<StackTarget, NoTarget> {
    let is_other = |object: &ObjectRef| others.iter().any(|other| other.ingress == *object);
    let own: Vec<_> = objects.iter().filter(|(object, _)| !is_other(object)).cloned().collect();
    let by_ingress = |target: &StackTarget| matches!(target.front.way_in, WayIn::Ingress(_));
    let mut target = match discover(&own) {
        Ok(target) if by_ingress(&target) => target,
        found if others.is_empty() => return found,
        _ => {
            let mut target = discover(objects)?;
            if by_ingress(&target) {
                target.front.way_in = WayIn::OtherIngress;
            }
            target
        }
    };
    target.hosts = ingress_hosts(&own);
    target.other_ingresses = others;
    Ok(target)
}

type Found<'a> = (&'a ObjectRef, &'a Value);

fn of_kind<'a>(
    objects: &'a [(ObjectRef, &'a Value)],
    kind: &'a str,
) -> impl Iterator<Item = Found<'a>> {
    objects.iter().filter(move |(object, _)| object.kind == kind).map(|(o, v)| (o, *v))
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Whether a manifest, or a reference, is of a kind that Kubernetes itself does not have.
fn is_custom(object: &Value) -> bool {
    let version = text(object, "/apiVersion").unwrap_or_default();
    version
        .split_once('/')
        .is_some_and(|(group, _)| group.contains('.') && !group.ends_with(".k8s.io"))
}

/// The Deployment or StatefulSet whose pods `service` selects.
fn workload_behind(
    objects: &[(ObjectRef, &Value)],
    service: &ObjectRef,
    value: &Value,
) -> Option<Workload> {
    let found = ["Deployment", "StatefulSet"].iter().flat_map(|kind| of_kind(objects, kind));
    let mut found = found.filter(|(object, workload)| {
        object.namespace == service.namespace && selects(value, workload)
    });
    found.next().map(|(object, workload)| parse(object, workload))
}

/// Whether the Service `service` selects any pods: it has a selector, and is not of the type that
/// ignores it.
pub(super) fn has_selector(service: &Value) -> bool {
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    selector.is_some_and(|selector| !selector.is_empty())
        && text(service, "/spec/type").as_deref() != Some("ExternalName")
}

/// Whether the Service `service` selects the pods that `workload` makes, or that pod.
fn selects(service: &Value, workload: &Value) -> bool {
    let wanted = service.pointer("/spec/selector").and_then(Value::as_object);
    let labels = match workload.get("kind").and_then(Value::as_str) {
        Some("Pod") => "/metadata/labels",
        _ => "/spec/template/metadata/labels",
    };
    let labels = workload.pointer(labels).and_then(Value::as_object);
    let (Some(wanted), Some(labels)) = (wanted, labels) else { return false };
    has_selector(service) && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Name of an image without registry, tag and digest.
fn image_name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split([':', '@']).next().unwrap_or(last)
}

/// Where the port `port` of a Service (as in its manifest) ends in a pod.
pub(super) fn target_port(port: Option<&Value>) -> IntOrString {
    let field = |name: &str| port.and_then(|port| port.get(name)).filter(|value| !value.is_null());
    let target = field("targetPort").or_else(|| field("port"));
    target
        .and_then(|value| serde_json::from_value(value.clone()).ok())
        .unwrap_or(IntOrString::Int(80))
}

/// Number of the container of `workload` that listens on `port`: the one that declares it, else the
/// first that declares none, else the first.
fn listening(workload: &Value, port: &IntOrString) -> usize {
    let containers = || items(workload, "/spec/template/spec/containers");
    let declares = |container: &Value| {
        items(container, "/ports").any(|declared| match port {
            IntOrString::Int(number) => {
                declared.get("containerPort").and_then(Value::as_i64) == Some((*number).into())
            }
            IntOrString::String(name) => text(declared, "/name").as_ref() == Some(name),
        })
    };
    let undeclared = |container: &Value| items(container, "/ports").next().is_none();
    containers().position(declares).or_else(|| containers().position(undeclared)).unwrap_or(0)
}

fn parse(object: &ObjectRef, value: &Value) -> Workload {
    let kind = if object.kind == "StatefulSet" {
        WorkloadKind::StatefulSet
    } else {
        WorkloadKind::Deployment
    };
    let replicas = value.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let replicas = i32::try_from(replicas).unwrap_or(i32::MAX);
    let selector = value
        .pointer("/spec/selector")
        .and_then(|selector| serde_json::from_value(selector.clone()).ok())
        .map(|selector| crate::k8s::selector_string(&selector))
        .unwrap_or_default();
    let containers = items(value, "/spec/template/spec/containers")
        .filter_map(|container| Some((text(container, "/name")?, text(container, "/image")?)))
        .collect();
    Workload {
        kind,
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        replicas,
        selector,
        containers,
        container: 0,
        mounts: mounts_of(value),
        surge: surge_of(value, kind, replicas),
    }
}

/// Mounts of claims and claim templates.
fn mounts_of(value: &Value) -> Vec<Mount> {
    let claims = items(value, "/spec/template/spec/volumes").filter_map(|volume| {
        Some((text(volume, "/name")?, text(volume, "/persistentVolumeClaim/claimName")?))
    });
    let templates = items(value, "/spec/volumeClaimTemplates").filter_map(|template| {
        let name = text(template, "/metadata/name")?;
        Some((name.clone(), name))
    });
    let claims: Vec<_> = claims.chain(templates).collect();
    let mut mounts = Vec::new();
    for container in items(value, "/spec/template/spec/containers") {
        for mount in items(container, "/volumeMounts") {
            let volume = text(mount, "/name").unwrap_or_default();
            if let Some((_, claim)) = claims.iter().find(|(name, _)| *name == volume) {
                mounts.push(Mount {
                    container: text(container, "/name").unwrap_or_default(),
                    path: text(mount, "/mountPath").unwrap_or_default(),
                    claim: claim.clone(),
                });
            }
        }
    }
    mounts
}

/// Surge and unavailable in pods (25 % each by default, rounded up and down).
fn surge_of(value: &Value, kind: WorkloadKind, replicas: i32) -> Option<(i32, i32)> {
    if kind == WorkloadKind::StatefulSet
        || text(value, "/spec/strategy/type").as_deref() == Some("Recreate")
    {
        return None;
    }
    let share = |name: &str, rounding| {
        let field = value.pointer(&format!("/spec/strategy/rollingUpdate/{name}"));
        let field = field.cloned().unwrap_or_else(|| Value::from("25%"));
        serde_json::from_value(field)
            .ok()
            .and_then(|field| scaled_value(&field, replicas, rounding))
            .unwrap_or(0)
    };
    let (surge, unavailable) =
        (share("maxSurge", Rounding::Up), share("maxUnavailable", Rounding::Down));
    // Both zero would never move (`deploymentutil.ResolveFenceposts`).
    Some(if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) })
}

fn autoscaler_of(objects: &[(ObjectRef, &Value)], workload: &Workload) -> Option<Autoscaler> {
    of_kind(objects, "HorizontalPodAutoscaler").find_map(|(object, value)| {
        let same = object.namespace == workload.namespace
            && text(value, "/spec/scaleTargetRef/name").as_ref() == Some(&workload.name)
            && text(value, "/spec/scaleTargetRef/kind") == Some(workload.reference().kind);
        same.then(|| Autoscaler::of(&object.name, value))
    })
}

/// Hosts of all Ingresses, in order, without repeats. Of several Ingresses with one host the first
/// with TLS for it counts.
fn ingress_hosts(objects: &[(ObjectRef, &Value)]) -> Vec<IngressHost> {
    let mut hosts: Vec<IngressHost> = Vec::new();
    for (ingress, value) in of_kind(objects, "Ingress") {
        for rule in items(value, "/spec/rules") {
            let Some(host) = text(rule, "/host").filter(|host| !host.is_empty()) else { continue };
            let secret = items(value, "/spec/tls")
                .find(|tls| items(tls, "/hosts").any(|name| covers(name.as_str(), &host)))
                .map(|tls| text(tls, "/secretName").unwrap_or_default());
            match hosts.iter_mut().find(|known| known.host == host) {
                Some(known) if known.secret.is_none() && secret.is_some() => {
                    (known.ingress, known.secret) = (ingress.clone(), secret);
                }
                Some(_) => {}
                None => {
                    let (path, is_prefix) = front::main_path(objects, &host);
                    let ingress = ingress.clone();
                    hosts.push(IngressHost { ingress, host, secret, path, is_prefix });
                }
            }
        }
    }
    hosts
}

/// Whether a TLS host entry covers `host`; a wildcard covers one label.
pub(super) fn covers(entry: Option<&str>, host: &str) -> bool {
    let Some(entry) = entry else { return false };
    match entry.strip_prefix("*.") {
        Some(parent) => {
            host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => entry.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::target::Program;
    use super::*;

    pub(super) fn objects(values: &[Value]) -> Vec<(ObjectRef, &Value)> {
        let reference = |value: &Value| {
            let field = |pointer| text(value, pointer).unwrap_or_default();
            ObjectRef::new(field("/kind"), "shop", field("/metadata/name"))
        };
        values.iter().map(|value| (reference(value), value)).collect()
    }

    pub(super) fn workload(kind: &str, name: &str, image: &str, env: &str) -> Value {
        json!({
            "kind": kind, "metadata": {"name": name},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [
                        {"name": "main", "image": image, "env": [{"name": "DB", "value": env}]}
                    ]},
                },
            },
        })
    }

    pub(super) fn service(name: &str, app: &str, kind: &str) -> Value {
        json!({
            "kind": "Service", "metadata": {"name": name},
            "spec": {"type": kind, "selector": {"app": app}, "ports": [{"port": 80}]},
        })
    }

    #[test]
    fn the_front_is_behind_the_ingress_and_the_database_behind_its_service() {
        let ingress = json!({
            "kind": "Ingress", "metadata": {"name": "shop"},
            "spec": {
                "tls": [{"hosts": ["*.example.com"], "secretName": "tls"}],
                "rules": [{"host": "shop.example.com", "http": {"paths": [
                    {"path": "/", "backend": {"service": {"name": "front", "port": {"number": 80}}}}
                ]}}],
            },
        });
        let autoscaler = json!({
            "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                "minReplicas": 4, "maxReplicas": 9,
            },
        });
        let values = [
            service("metrics", "db", "NodePort"),
            service("front", "web", "ClusterIP"),
            service("store", "db", "ClusterIP"),
            workload("Deployment", "web", "docker.io/library/wordpress:6@sha256:0", "store:3306"),
            workload("StatefulSet", "db", "mysql:8", ""),
            autoscaler,
            ingress,
        ];
        let target = discover(&objects(&values)).expect("a front");
        assert_eq!(
            (target.front.service.as_str(), target.front.workload.name.as_str()),
            ("front", "web")
        );
        assert_eq!(target.front.program, Program::WordPress);
        // A quarter of four, not of the three in its own manifest.
        assert_eq!(target.front.workload.surge, Some((1, 1)));
        assert_eq!(target.database.as_ref().map(|db| db.name.as_str()), Some("db"));
        assert_eq!((target.front.workload.replicas, target.wish()), (3, 4));
        let [host] = &target.hosts[..] else { panic!("one host") };
        assert_eq!((host.host.as_str(), host.secret.as_deref()), ("shop.example.com", Some("tls")));
    }

    #[test]
    fn a_stack_nobody_can_reach_says_so() {
        let values = [service("front", "web", "ClusterIP"), workload("Deployment", "web", "x", "")];
        let missing = discover(&objects(&values)).expect_err("no way in");
        let NoTarget::NoWayIn(wanted, missing) = missing else { panic!("{missing:?}") };
        assert!(missing.contains("no front door"), "{missing}");
        assert_eq!(wanted.map(|service| service.name).as_deref(), Some("front"));
        // A database is no door, and of two that may be one none is chosen.
        let closed = |values: &[Value]| match discover(&objects(values)) {
            Err(NoTarget::NoWayIn(wanted, _)) => wanted.map(|service| service.name),
            other => panic!("{other:?}"),
        };
        let on = |name: &str, port: i32| {
            let mut service = service(name, name, "ClusterIP");
            service["spec"]["ports"][0]["port"] = json!(port);
            service
        };
        let db = [on("db", 5432), workload("Deployment", "db", "postgres:17", "")];
        let api = [on("api", 3000), workload("Deployment", "api", "x", "")];
        let more = [on("more", 3000), workload("Deployment", "more", "x", "")];
        assert_eq!(closed(&[db.clone(), api.clone()].concat()).as_deref(), Some("api"));
        assert_eq!(closed(&[db, api, more].concat()), None);
    }
}
