//! Discovery: from the manifests to what scenarios act on (Ingress -> Service -> workload -> HPA).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::base::ObjectRef;
use crate::k8s::{Rounding, scaled_value};

use super::autoscaler::Autoscaler;
use super::target::{Front, IngressHost, Mount, Program, StackTarget, Workload, WorkloadKind};

/// The parts of the stack made of `objects` (reference and manifest).
///
/// # Errors
/// What is missing, in a sentence.
pub fn discover(objects: &[(ObjectRef, &Value)]) -> Result<StackTarget, String> {
    let hosts = ingress_hosts(objects);
    let service = front_service(objects)?;
    let (service_ref, service_value) = service;
    let mut workload = workload_behind(objects, service_ref, service_value).ok_or_else(|| {
        format!("{service_ref} selects no Deployment or StatefulSet of the stack")
    })?;
    let image = |name: &str| {
        let last = name.rsplit('/').next().unwrap_or(name);
        last.split([':', '@']).next().unwrap_or(last).to_owned()
    };
    let is_wordpress = workload.containers.iter().any(|(_, name)| image(name) == "wordpress");
    let database = database_of(objects, &workload);
    let port = service_value.pointer("/spec/ports/0/port").and_then(Value::as_i64).unwrap_or(80);
    let target_port = service_value
        .pointer("/spec/ports/0/targetPort")
        .and_then(|port| serde_json::from_value(port.clone()).ok())
        .unwrap_or(IntOrString::Int(i32::try_from(port).unwrap_or(80)));
    let autoscaler = autoscaler_of(objects, &workload);
    if let Some(autoscaler) = &autoscaler
        && let Some((_, value)) = objects.iter().find(|(o, _)| *o == workload.reference())
    {
        // Shares are of the replicas there are, not of those in the manifest.
        workload.surge = surge_of(value, workload.kind, autoscaler.min);
    }
    let front = Front {
        autoscaler,
        service: service_ref.name.clone(),
        port,
        target_port,
        program: if is_wordpress { Program::WordPress } else { Program::Other },
        workload,
    };
    Ok(StackTarget { front, database, hosts })
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

/// The Service users reach: behind the first Ingress, else the first with a node port.
fn front_service<'a>(objects: &'a [(ObjectRef, &'a Value)]) -> Result<Found<'a>, String> {
    for (ingress, value) in of_kind(objects, "Ingress") {
        let rules = items(value, "/spec/rules").flat_map(|rule| items(rule, "/http/paths"));
        let backends = rules.filter_map(|path| path.get("backend"));
        let default = value.pointer("/spec/defaultBackend");
        let names = backends.chain(default).filter_map(|backend| {
            text(backend, "/service/name").or_else(|| text(backend, "/serviceName"))
        });
        for name in names {
            let found = of_kind(objects, "Service")
                .find(|(object, _)| object.name == name && object.namespace == ingress.namespace);
            if let Some(found) = found {
                return Ok(found);
            }
        }
    }
    of_kind(objects, "Service")
        .find(|(_, value)| {
            matches!(
                value.pointer("/spec/type").and_then(Value::as_str),
                Some("NodePort" | "LoadBalancer")
            )
        })
        .ok_or_else(|| {
            "the stack has no front door: no Ingress that names one of its Services, and no \
             Service of type NodePort"
                .to_owned()
        })
}

fn workload_behind(
    objects: &[(ObjectRef, &Value)],
    service: &ObjectRef,
    value: &Value,
) -> Option<Workload> {
    let wanted = value.pointer("/spec/selector")?.as_object()?;
    ["Deployment", "StatefulSet"].iter().flat_map(|kind| of_kind(objects, kind)).find_map(
        |(object, workload)| {
            let labels = workload.pointer("/spec/template/metadata/labels")?.as_object()?;
            let fits = wanted.iter().all(|(key, value)| labels.get(key) == Some(value));
            (fits && object.namespace == service.namespace).then(|| parse(object, workload))
        },
    )
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

/// The workload behind a Service whose name is the host part of an environment value of the
/// front; the front itself when the host is its own pod.
fn database_of(objects: &[(ObjectRef, &Value)], front: &Workload) -> Option<Workload> {
    let (_, value) = objects.iter().find(|(object, _)| *object == front.reference())?;
    let values = items(value, "/spec/template/spec/containers")
        .flat_map(|container| items(container, "/env"))
        .filter_map(|env| text(env, "/value"));
    for host in values.map(|value| host_of(&value)) {
        if matches!(host.as_str(), "localhost" | "127.0.0.1") && front.containers.len() > 1 {
            return Some(front.clone());
        }
        let name = host.split('.').next().unwrap_or(&host).to_owned();
        let service = of_kind(objects, "Service")
            .find(|(object, _)| object.name == name && object.namespace == front.namespace);
        if let Some((object, value)) = service
            && let Some(workload) = workload_behind(objects, object, value)
            && !workload.is(front)
        {
            return Some(workload);
        }
    }
    None
}

/// The host in `host`, `host:port` or `scheme://user@host:port/path`.
fn host_of(value: &str) -> String {
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.split(':').next().unwrap_or(host).to_owned()
}

/// Hosts of all Ingresses, in order, without repeats.
fn ingress_hosts(objects: &[(ObjectRef, &Value)]) -> Vec<IngressHost> {
    let mut hosts: Vec<IngressHost> = Vec::new();
    for (ingress, value) in of_kind(objects, "Ingress") {
        for host in items(value, "/spec/rules").filter_map(|rule| text(rule, "/host")) {
            let secret = items(value, "/spec/tls")
                .find(|tls| items(tls, "/hosts").any(|name| covers(name.as_str(), &host)))
                .map(|tls| text(tls, "/secretName").unwrap_or_default());
            if !hosts.iter().any(|known| known.host == host) {
                hosts.push(IngressHost { ingress: ingress.clone(), host, secret });
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

    use super::*;

    fn objects(values: &[Value]) -> Vec<(ObjectRef, &Value)> {
        let reference = |value: &Value| {
            let field = |pointer| text(value, pointer).unwrap_or_default();
            ObjectRef::new(field("/kind"), "shop", field("/metadata/name"))
        };
        values.iter().map(|value| (reference(value), value)).collect()
    }

    fn workload(kind: &str, name: &str, image: &str, env: &str) -> Value {
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

    fn service(name: &str, app: &str, kind: &str) -> Value {
        json!({
            "kind": "Service", "metadata": {"name": name},
            "spec": {"type": kind, "selector": {"app": app}, "ports": [{"port": 80}]},
        })
    }

    #[test]
    fn the_container_that_serves_is_the_one_with_the_target_port() {
        let serving = |target_port: Value| {
            let mut front = service("web", "web", "NodePort");
            front["spec"]["ports"][0]["targetPort"] = target_port;
            let values = [front, workload("Deployment", "web", "shop:1", "")];
            let target = discover(&objects(&values)).expect("a front");
            let pod = serde_json::from_value(json!({"spec": {"containers": [
                {"name": "agent", "image": "agent:1", "ports": [{"containerPort": 9100}]},
                {"name": "main", "image": "shop:1", "ports": [{"name": "web", "containerPort": 8080}]},
            ]}}));
            let pod = pod.expect("a pod");
            target.front.container_in(&pod).map(|container| container.name.clone())
        };
        assert_eq!(serving("web".into()).as_deref(), Some("main"));
        assert_eq!(serving(8080.into()).as_deref(), Some("main"));
        assert_eq!(serving(7.into()).as_deref(), Some("agent"), "no port says so: the first");
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
        assert!(missing.contains("no front door"), "{missing}");
    }

    #[test]
    fn hosts_are_found_in_addresses_and_urls() {
        assert_eq!(host_of("mysql://user:pw@db.shop.svc:3306/name"), "db.shop.svc");
        assert_eq!(host_of("db:3306"), "db");
        assert_eq!(host_of("plain"), "plain");
    }
}
