//! References that lead nowhere, and those that do not.

use serde_json::json;

use super::*;
use crate::suite::discover::tests::{objects, service, workload};
use crate::suite::discover::{NoTarget, discover};

fn ingress(service: &str, port: &Value) -> Value {
    json!({
        "kind": "Ingress", "metadata": {"name": "shop"},
        "spec": {"rules": [{"host": "shop.example.com", "http": {"paths": [
            {"path": "/", "backend": {"service": {"name": service, "port": port}}}
        ]}}]},
    })
}

#[test]
fn an_ingress_that_names_no_service_of_the_stack_is_pointed_at() {
    let stack = |service_kind: &str| {
        [
            service("web", "web", service_kind),
            workload("Deployment", "web", "nginx", ""),
            ingress("webb", &json!({"number": 80})),
        ]
    };
    let values = stack("ClusterIP");
    let Err(NoTarget::Dangling(found)) = discover(&objects(&values)) else { panic!("dangling") };
    assert_eq!(found.object.kind, "Ingress");
    assert_eq!(found.field, "spec.rules[0].http.paths[0].backend.service.name");
    assert_eq!(found.advice, "name Service web here, or add Service webb");
    let mut made = stack("ClusterIP").to_vec();
    made.push(json!({"kind": "Shop", "apiVersion": "example.com/v1", "metadata": {"name": "a"}}));
    let other = discover(&objects(&made)).expect_err("an operator may make it");
    assert!(matches!(other, NoTarget::NoWayIn(..)), "{other:?}");
    discover(&objects(&stack("NodePort"))).expect("there is another way in");
}

#[test]
fn a_port_that_the_service_lacks_is_the_ingress_to_mend() {
    let missing = |port: Value| {
        let values = [
            service("web", "web", "ClusterIP"),
            workload("Deployment", "web", "nginx", ""),
            ingress("web", &port),
        ];
        let objects = objects(&values);
        let target = discover(&objects).expect("a front");
        missing_port(&objects, &target.front)
    };
    assert_eq!(missing(json!({"number": 80})), None);
    let found = missing(json!({"number": 8080})).expect("no such port");
    assert_eq!(found.field, "spec.rules[0].http.paths[0].backend.service.port.number");
    assert_eq!(found.advice, "name a port that the Service has: 80");
    let found = missing(json!({"name": "web"})).expect("no such name");
    assert_eq!(found.field, "spec.rules[0].http.paths[0].backend.service.port.name");
}

#[test]
fn a_target_port_that_nobody_knows_is_the_service_to_mend() {
    let with = |target: Value, container: Value| {
        let mut front = service("web", "web", "NodePort");
        front["spec"]["ports"][0]["targetPort"] = target;
        let mut workload = workload("Deployment", "web", "nginx", "");
        for (key, value) in container.as_object().expect("fields") {
            workload["spec"]["template"]["spec"]["containers"][0][key] = value.clone();
        }
        let values = [front, workload];
        let objects = objects(&values);
        let target = discover(&objects).expect("a front");
        let told = |found: Option<Dangling>| found.map(|it| (it.field, it.advice));
        (told(missing_port(&objects, &target.front)), told(unheard_port(&objects, &target.front)))
    };
    let wrong = |known: &str| {
        let advice = format!("let targetPort be {known}, which the pods know");
        Some(("spec.ports[0].targetPort".to_owned(), advice))
    };
    let named = json!({"ports": [{"name": "http", "containerPort": 80}]});
    assert_eq!(with(json!("http"), named.clone()).0, None);
    assert_eq!(with(json!("web"), named).0, wrong("80"));
    let probed = json!({"readinessProbe": {"httpGet": {"port": 80}}});
    assert_eq!(with(json!(8080), probed.clone()), (None, wrong("80")));
    assert_eq!(with(json!(80), probed), (None, None), "its probe is answered there");
    let both = json!({
        "ports": [{"name": "http", "containerPort": 80}],
        "readinessProbe": {"tcpSocket": {"port": "http"}},
    });
    assert_eq!(with(json!(80), both), (None, None), "the probe's port has a name");
    let (_, advice) = with(json!(80), json!({"ports": [{"containerPort": 80}]})).1.expect("nobody");
    assert!(advice.contains("the port that the program listens on"), "{advice}");
}

#[test]
fn an_autoscaler_of_nothing_is_pointed_at() {
    let stray = |reference: Value| {
        let scaler = json!({
            "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {"scaleTargetRef": reference, "maxReplicas": 6},
        });
        let values = [
            service("web", "web", "NodePort"),
            workload("Deployment", "web", "nginx", ""),
            workload("Deployment", "other", "nginx", ""),
            scaler,
        ];
        let objects = objects(&values);
        let target = discover(&objects).expect("a front");
        stray_autoscaler(&objects, &target.front.workload).map(|found| found.field)
    };
    let field = |name: &str| Some(format!("spec.scaleTargetRef.{name}"));
    assert_eq!(stray(json!({"kind": "Deployment", "name": "webb"})), field("name"));
    assert_eq!(stray(json!({"kind": "StatefulSet", "name": "web"})), field("kind"));
    assert_eq!(stray(json!({"kind": "Deployment", "name": "other"})), None);
    let custom = json!({"kind": "Rollout", "name": "web", "apiVersion": "argoproj.io/v1alpha1"});
    assert_eq!(stray(custom), None);
}
