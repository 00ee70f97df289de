//! Fields that name what is not there: where the way of a request, or an autoscaler, leads to nothing.

use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::base::ObjectRef;
use crate::k8s::is_backend_port;
use crate::suite::target::{Front, WayIn, Workload};

use super::{Found, has_selector, is_custom, items, of_kind, selects, target_port, text};

/// A field that leads to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dangling {
    /// Whose field it is.
    pub object: ObjectRef,
    /// The field.
    pub field: String,
    /// What is so.
    pub seen: String,
    /// What would mend it.
    pub advice: String,
}

/// A backend of an Ingress, and its field path.
struct Backend<'a> {
    path: String,
    value: &'a Value,
}

impl Backend<'_> {
    fn service(&self) -> Option<(String, String)> {
        let old = || Some((text(self.value, "/serviceName")?, "serviceName"));
        let (name, field) = match text(self.value, "/service/name") {
            Some(name) => (name, "service.name"),
            None => old()?,
        };
        Some((name, format!("{}.{field}", self.path)))
    }

    fn port(&self) -> Option<(IntOrString, String)> {
        let fields = ["service.port.name", "service.port.number", "servicePort"];
        fields.iter().find_map(|field| {
            let value = self.value.pointer(&format!("/{}", field.replace('.', "/")))?;
            let port = serde_json::from_value(value.clone()).ok()?;
            Some((port, format!("{}.{field}", self.path)))
        })
    }
}

fn backends(ingress: &Value) -> Vec<Backend<'_>> {
    let mut found = Vec::new();
    for field in ["defaultBackend", "backend"] {
        if let Some(value) = ingress.pointer(&format!("/spec/{field}")) {
            found.push(Backend { path: format!("spec.{field}"), value });
        }
    }
    for (n, rule) in items(ingress, "/spec/rules").enumerate() {
        for (m, path) in items(rule, "/http/paths").enumerate() {
            if let Some(value) = path.get("backend") {
                let path = format!("spec.rules[{n}].http.paths[{m}].backend");
                found.push(Backend { path, value });
            }
        }
    }
    found
}

/// The first backend of an Ingress whose Service is not in the stack, where nothing else may make it.
pub(super) fn backend_without_service(objects: &[(ObjectRef, &Value)]) -> Option<Dangling> {
    of_kind(objects, "Ingress").find_map(|(ingress, value)| {
        let here = || of_kind(objects, "Service").filter(|(it, _)| it.namespace == ingress.namespace);
        let others = objects.iter().filter(|(object, _)| object.namespace == ingress.namespace);
        if others.clone().any(|(_, other)| is_custom(other)) {
            return None;
        }
        backends(value).iter().find_map(|backend| {
            let (name, field) = backend.service()?;
            if here().any(|(service, _)| service.name == name) {
                return None;
            }
            let known: Vec<&str> = here().map(|(service, _)| service.name.as_str()).collect();
            Some(Dangling {
                object: ingress.clone(),
                field,
                seen: format!(
                    "{ingress} leads to Service {name}, which the stack does not have in namespace {}",
                    ingress.namespace
                ),
                advice: instead(&known, "Service", &name),
            })
        })
    })
}

/// `name Service web here`, or what to choose from, or to add.
fn instead(known: &[&str], kind: &str, missing: &str) -> String {
    match known {
        [] => format!("add {kind} {missing}, or name another"),
        [only] => format!("name {kind} {only} here, or add {kind} {missing}"),
        several => format!("name one of the stack's here ({})", several.join(", ")),
    }
}

/// The port on the way to the front that is certainly not there.
pub(in crate::suite) fn missing_port(
    objects: &[(ObjectRef, &Value)],
    front: &Front,
) -> Option<Dangling> {
    let service = service_of(objects, front)?;
    backend_without_port(objects, front, service).or_else(|| {
        let (n, port) = port_of(front, service)?;
        let IntOrString::String(name) = target_port(Some(port)) else { return None };
        let workload = workload_of(objects, &front.workload)?;
        let declared = declared(workload);
        if declared.iter().any(|(known, _)| known.as_ref() == Some(&name)) {
            return None;
        }
        let seen = format!(
            "{} leads to the port named {name}, which no container of {} declares",
            service.0,
            front.workload.reference()
        );
        Some(wrong_target(service.0, n, seen, &declared))
    })
}

/// Where the front's Service leads to, for the case that nobody listens there.
pub(in crate::suite) fn unheard_port(
    objects: &[(ObjectRef, &Value)],
    front: &Front,
) -> Option<Dangling> {
    let service = service_of(objects, front)?;
    let (n, port) = port_of(front, service)?;
    let target = target_port(Some(port));
    let workload = workload_of(objects, &front.workload)?;
    let pointer = format!("/spec/template/spec/containers/{}", front.workload.container);
    let probed = ["readinessProbe", "startupProbe", "livenessProbe"].iter().find_map(|probe| {
        let probe = workload.pointer(&format!("{pointer}/{probe}"))?;
        let ports = ["/httpGet/port", "/tcpSocket/port", "/grpc/port"];
        let port = ports.iter().find_map(|port| probe.pointer(port))?;
        serde_json::from_value::<IntOrString>(port.clone()).ok()
    });
    let mut known = declared(workload);
    let number_of = |port: &IntOrString| match port {
        IntOrString::Int(number) => Some(i64::from(*number)),
        IntOrString::String(name) => {
            let mut known = known.iter();
            known.find(|(it, _)| it.as_ref() == Some(name)).map(|(_, number)| *number)
        }
    };
    let (leads_to, probed) = (number_of(&target), probed.as_ref().and_then(number_of));
    // A probe that succeeds there proves that somebody listens.
    if probed.is_some() && probed == leads_to {
        return None;
    }
    let shown = shown(&target);
    let seen = format!(
        "{} leads to port {shown} of ready pods, where no container of {} listens",
        service.0,
        front.workload.reference()
    );
    match probed {
        Some(number) => known = vec![(None, number)],
        None => known.retain(|(_, number)| Some(*number) != leads_to),
    }
    Some(wrong_target(service.0, n, seen, &known))
}

fn wrong_target(
    service: &ObjectRef,
    n: usize,
    seen: String,
    known: &[(Option<String>, i64)],
) -> Dangling {
    let known: Vec<String> = known.iter().map(|(_, number)| number.to_string()).collect();
    let advice = match &known[..] {
        [] => "let targetPort be the port that the program listens on, and let that not be on \
               127.0.0.1 alone"
            .to_owned(),
        [only] => format!("let targetPort be {only}, which the pods know"),
        several => format!("let targetPort be one that the pods know: {}", several.join(", ")),
    };
    Dangling { object: service.clone(), field: format!("spec.ports[{n}].targetPort"), seen, advice }
}

fn shown(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

fn backend_without_port(
    objects: &[(ObjectRef, &Value)],
    front: &Front,
    service: Found<'_>,
) -> Option<Dangling> {
    if front.way_in == WayIn::NodePort {
        return None;
    }
    let ports: Vec<ServicePort> = items(service.1, "/spec/ports")
        .filter_map(|port| serde_json::from_value(port.clone()).ok())
        .collect();
    let own = of_kind(objects, "Ingress").filter(|(it, _)| it.namespace == service.0.namespace);
    own.into_iter().find_map(|(ingress, value)| {
        backends(value).iter().find_map(|backend| {
            let (name, _) = backend.service()?;
            let (port, field) = backend.port()?;
            if name != front.service || ports.iter().any(|it| is_backend_port(it, &port)) {
                return None;
            }
            let shown = shown(&port);
            let known: Vec<String> = ports.iter().map(|port| port.port.to_string()).collect();
            Some(Dangling {
                object: ingress.clone(),
                field,
                seen: format!(
                    "{ingress} leads to port {shown} of {}, which has none such",
                    service.0
                ),
                advice: format!("name a port that the Service has: {}", known.join(", ")),
            })
        })
    })
}

/// An autoscaler beside `workload` whose target is nothing of the stack.
pub(in crate::suite) fn stray_autoscaler(
    objects: &[(ObjectRef, &Value)],
    workload: &Workload,
) -> Option<Dangling> {
    let autoscalers = of_kind(objects, "HorizontalPodAutoscaler");
    let mut here = autoscalers.filter(|(it, _)| it.namespace == workload.namespace);
    here.find_map(|(autoscaler, value)| {
        let target = value.pointer("/spec/scaleTargetRef")?;
        // Whatever serves a custom kind may make its object.
        if is_custom(target) {
            return None;
        }
        let (kind, name) = (text(target, "/kind")?, text(target, "/name")?);
        let named = ObjectRef::new(&kind, &workload.namespace, &name);
        if objects.iter().any(|(object, _)| *object == named) {
            return None;
        }
        let own = workload.reference();
        let (field, wanted) = match name == own.name {
            true => ("spec.scaleTargetRef.kind", &own.kind),
            false => ("spec.scaleTargetRef.name", &own.name),
        };
        Some(Dangling {
            object: autoscaler.clone(),
            field: field.to_owned(),
            seen: format!("{autoscaler} scales {kind} {name}, which the stack does not have"),
            advice: format!("write {wanted} here, so that it scales {own}"),
        })
    })
}

/// The selector of `service`, which fits no pods of the stack.
pub(in crate::suite) fn idle_selector(
    objects: &[(ObjectRef, &Value)],
    service: &ObjectRef,
    seen: String,
) -> Dangling {
    let workloads = ["Deployment", "StatefulSet"].iter().flat_map(|kind| of_kind(objects, kind));
    let here = workloads.filter(|(object, _)| object.namespace == service.namespace);
    let labels = here.filter_map(|(object, value)| {
        let labels = value.pointer("/spec/template/metadata/labels")?.as_object()?;
        let labels = labels.iter().map(|(key, it)| format!("{key}={}", it.as_str().unwrap_or("")));
        Some(format!("{} of {object}", labels.collect::<Vec<_>>().join(",")))
    });
    let labels: Vec<String> = labels.collect();
    let mut advice = "let the selector match the labels of a pod template".to_owned();
    if !labels.is_empty() {
        advice.push_str(&format!(": {}", labels.join("; ")));
    }
    Dangling { object: service.clone(), field: "spec.selector".to_owned(), seen, advice }
}

/// A Service of the stack with a selector, to which the front is led, and which selects no pods of the stack.
pub(in crate::suite) fn idle_service(
    objects: &[(ObjectRef, &Value)],
    services: &[ObjectRef],
) -> Option<Dangling> {
    services.iter().find_map(|service| {
        let (_, value) = objects.iter().find(|(object, _)| object == service)?;
        let here = || objects.iter().filter(|(object, _)| object.namespace == service.namespace);
        let may_be_made = here().any(|(_, other)| is_custom(other));
        if !has_selector(value) || may_be_made || here().any(|(_, other)| selects(value, other)) {
            return None;
        }
        let seen = format!("{service} selects no pods of the stack");
        Some(idle_selector(objects, service, seen))
    })
}

fn service_of<'a>(objects: &'a [(ObjectRef, &'a Value)], front: &Front) -> Option<Found<'a>> {
    of_kind(objects, "Service").find(|(service, _)| {
        service.name == front.service && service.namespace == front.workload.namespace
    })
}

fn port_of<'a>(front: &Front, service: Found<'a>) -> Option<(usize, &'a Value)> {
    let mut ports = items(service.1, "/spec/ports").enumerate();
    ports.find(|(_, port)| port.get("port").and_then(Value::as_i64) == Some(front.port))
}

fn workload_of<'a>(
    objects: &'a [(ObjectRef, &'a Value)],
    workload: &Workload,
) -> Option<&'a Value> {
    let found = objects.iter().find(|(object, _)| *object == workload.reference());
    found.map(|(_, value)| *value)
}

/// The ports that the containers of a workload declare; a sidecar may be an init container.
fn declared(workload: &Value) -> Vec<(Option<String>, i64)> {
    let lists = ["containers", "initContainers"];
    let containers = lists.iter().flat_map(|list| {
        items(workload, &format!("/spec/template/spec/{list}")).collect::<Vec<_>>()
    });
    containers
        .flat_map(|container| items(container, "/ports"))
        .filter_map(|port| Some((text(port, "/name"), port.get("containerPort")?.as_i64()?)))
        .collect()
}

#[cfg(test)]
mod tests;
