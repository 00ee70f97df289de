//! Doors that scenarios cannot take: custom resources that lead users to a Service, as the Gateway
//! API's HTTPRoute, Traefik's IngressRoute or Istio's VirtualService.

use serde_json::Value;

use crate::base::ObjectRef;
use crate::k8s::coverage::{self, Coverage, TRAFFIC};
use crate::k8s::served::is_built_in_group;

use super::{Found, NoTarget, of_kind, text};

/// The first custom resource that may lead users to a Service of the stack.
pub(super) fn other_door(objects: &[(ObjectRef, &Value)]) -> Option<NoTarget> {
    let doors = objects.iter().filter(|(object, value)| is_door(object, value));
    doors.into_iter().find_map(|(door, value)| {
        let spec = value.get("spec")?;
        let mut services = of_kind(objects, "Service").map(|(service, _): Found<'_>| service);
        let service = services.find(|service| names(spec, service, &door.namespace))?;
        Some(NoTarget::OtherDoor(door.clone(), format!("names {service}")))
    })
}

/// Whether it is of a custom kind that may change which requests are served.
fn is_door(object: &ObjectRef, value: &Value) -> bool {
    let version = text(value, "/apiVersion").unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let coverage = coverage::of_kind(group, &object.kind);
    !is_built_in_group(group)
        && matches!(coverage, Some(Coverage::Unmodelled(aspects)) if aspects.contains(&TRAFFIC))
}

/// Whether `value`, written in `namespace`, refers to `service` somewhere. What selects by labels or
/// says what to scale leads nobody to it.
fn names(value: &Value, service: &ObjectRef, namespace: &str) -> bool {
    let is_named = |host: &str, namespace: &str| {
        let host = host.split_once("://").map_or(host, |(_, rest)| rest);
        let host = host.split([':', '/']).next().unwrap_or(host);
        let mut labels = host.split('.');
        labels.next() == Some(&service.name)
            && labels.next().unwrap_or(namespace) == service.namespace
            && labels.next().is_none_or(|label| label == "svc")
    };
    match value {
        Value::String(host) => is_named(host, namespace),
        Value::Array(items) => items.iter().any(|item| names(item, service, namespace)),
        Value::Object(map) => {
            let field = |name: &str| map.get(name).and_then(Value::as_str);
            let is_other = field("kind").is_some_and(|kind| kind != "Service");
            let namespace = field("namespace").unwrap_or(namespace);
            map.iter().any(|(key, each)| {
                let leads = !key.to_ascii_lowercase().ends_with("selector")
                    && !key.to_ascii_lowercase().ends_with("labels")
                    && key != "scaleTargetRef";
                leads && !(is_other && each.is_string()) && names(each, service, namespace)
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::gateway(json!({"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}), true)]
    #[case::elsewhere(json!({"rules": [{"backendRefs": [{"name": "web", "namespace": "x"}]}]}), false)]
    #[case::traefik(json!({"routes": [{"kind": "Rule", "services": [{"name": "web"}]}]}), true)]
    #[case::istio(json!({"http": [{"route": [{"destination": {"host": "web.shop.svc"}}]}]}), true)]
    #[case::emissary(json!({"service": "http://web:80"}), true)]
    #[case::host_of_users(json!({"hostnames": ["web.example.com"]}), false)]
    #[case::policy(json!({"endpointSelector": {"matchLabels": {"app": "web"}}}), false)]
    #[case::keda(json!({"scaleTargetRef": {"name": "web"}}), false)]
    #[case::other_kind(json!({"targetRef": {"kind": "Deployment", "name": "web"}}), false)]
    fn a_reference_to_a_service_is_known(#[case] spec: Value, #[case] expected: bool) {
        let service = ObjectRef::new("Service", "shop", "web");
        assert_eq!(names(&spec, &service, "shop"), expected);
    }
}
