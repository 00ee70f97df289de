//! Fronts of small stacks.

use serde_json::{Value, json};

use super::*;
use crate::suite::discover::tests::{objects, service, workload};

/// An Ingress with rules of (host, path, type, Service); hosts may be empty.
fn ingress(name: &str, rules: &[(&str, &str, &str, &str)]) -> Value {
    let rules = rules.iter().map(|(host, path, path_type, to)| {
        let backend = json!({"service": {"name": to, "port": {"number": 80}}});
        let path = json!({"path": path, "pathType": path_type, "backend": backend});
        let mut rule = json!({"http": {"paths": [path]}});
        if !host.is_empty() {
            rule["host"] = (*host).into();
        }
        rule
    });
    let rules: Vec<Value> = rules.collect();
    json!({"kind": "Ingress", "metadata": {"name": name}, "spec": {"rules": rules}})
}

/// The programs `api` and `web`, each behind a Service of its name, and `more`.
fn stack(more: &[Value]) -> Vec<Value> {
    let programs = ["api", "web"].iter().flat_map(|name| {
        [service(name, name, "ClusterIP"), workload("Deployment", name, "team/app:1", "")]
    });
    programs.chain(more.iter().cloned()).collect()
}

fn found(values: &[Value]) -> Front {
    front(&objects(values)).expect("a front")
}

fn host_of(front: &Front) -> Option<&str> {
    match &front.way_in {
        WayIn::Ingress(host) => host.as_ref().map(|host| host.host.as_str()),
        WayIn::NodePort => Some("a node port"),
        WayIn::OtherIngress => None,
    }
}

#[test]
fn the_front_is_what_serves_the_front_page() {
    let rules =
        [("shop.example.com", "/api", "Prefix", "api"), ("shop.example.com", "/", "Prefix", "web")];
    let front = found(&stack(&[ingress("shop", &rules)]));
    assert_eq!((front.service.as_str(), front.routes.base()), ("web", "/"));
    assert!(!front.routes.lead_to_front("/api/orders"));
    let exact = [rules[1], ("shop.example.com", "/", "Exact", "api")];
    assert_eq!(found(&stack(&[ingress("shop", &exact)])).service, "api");
}

#[test]
fn host_and_front_come_from_one_rule() {
    let rules = [("", "/", "Prefix", "web"), ("api.example.com", "/", "Prefix", "api")];
    let front = found(&stack(&[ingress("shop", &rules)]));
    assert_eq!((host_of(&front), front.service.as_str()), (Some("api.example.com"), "api"));
    let elsewhere = [("a.example.com", "/", "Prefix", "absent"), rules[1]];
    let front = found(&stack(&[ingress("shop", &elsewhere)]));
    assert_eq!((host_of(&front), front.service.as_str()), (Some("api.example.com"), "api"));
}

#[test]
fn a_rule_without_a_host_is_a_way_in() {
    let front = found(&stack(&[ingress("shop", &[("", "/", "Prefix", "web")])]));
    assert_eq!((host_of(&front), front.service.as_str()), (None, "web"));
    let backend = json!({"service": {"name": "web", "port": {"name": "http"}}});
    let only = json!({
        "kind": "Ingress", "metadata": {"name": "all"}, "spec": {"defaultBackend": backend},
    });
    assert_eq!(host_of(&found(&stack(&[only]))), None);
}

#[test]
fn a_wildcard_is_asked_for_by_a_name_it_covers() {
    let front = found(&stack(&[ingress("shop", &[("*.example.com", "/", "Prefix", "web")])]));
    let WayIn::Ingress(Some(host)) = front.way_in else { panic!("{:?}", front.way_in) };
    assert_eq!(host.name(), "seatrial.example.com");
}

#[test]
fn tls_counts_in_whichever_ingress_of_the_host_it_stands() {
    let plain = ingress("shop", &[("shop.example.com", "/", "Prefix", "web")]);
    let mut secure = ingress("shop-api", &[("shop.example.com", "/api", "Prefix", "api")]);
    secure["spec"]["tls"] = json!([{"hosts": ["shop.example.com"], "secretName": "tls"}]);
    let front = found(&stack(&[plain, secure]));
    let WayIn::Ingress(Some(host)) = front.way_in else { panic!("{:?}", front.way_in) };
    assert_eq!((host.secret.as_deref(), &*host.ingress.name), (Some("tls"), "shop-api"));
    assert_eq!((host.path.as_str(), host.is_prefix, &*front.service), ("/", true, "web"));
}

#[test]
fn an_app_below_a_path_is_asked_for_there() {
    let front =
        found(&stack(&[ingress("shop", &[("shop.example.com", "/shop", "Prefix", "web")])]));
    assert_eq!(front.routes.base(), "/shop");
    let mut wordpress = stack(&[ingress("blog", &[("b.example.com", "/blog", "Prefix", "blog")])]);
    wordpress.push(service("blog", "blog", "ClusterIP"));
    wordpress.push(workload("Deployment", "blog", "wordpress:6", ""));
    assert_eq!(found(&wordpress).program, Program::Other, "its paths are known only at the root");
}

#[test]
fn the_container_that_serves_listens_on_the_port_that_the_ingress_names() {
    let mut values = stack(&[ingress("shop", &[("shop.example.com", "/", "Prefix", "web")])]);
    let ports = json!([
        {"name": "metrics", "port": 9113, "targetPort": 9113},
        {"name": "http", "port": 80, "targetPort": "web"},
    ]);
    let (exporter, main) = (
        json!({"name": "exporter", "image": "exporter:1", "ports": [{"containerPort": 9113}]}),
        json!({
            "name": "main", "image": "team/app:1",
            "ports": [{"name": "web", "containerPort": 8080}],
        }),
    );
    for value in &mut values {
        match (value["kind"].as_str(), value["metadata"]["name"].as_str()) {
            (Some("Service"), Some("web")) => value["spec"]["ports"] = ports.clone(),
            (Some("Deployment"), Some("web")) => {
                let containers = json!([exporter, main]);
                value["spec"]["template"]["spec"]["containers"] = containers;
            }
            _ => {}
        }
    }
    let front = found(&values);
    assert_eq!((front.port, front.workload.container_name()), (80, Some("main")));
    let pod = json!({"spec": {"containers": [{"name": "mesh"}, exporter, main]}});
    let pod = serde_json::from_value(pod).expect("a pod");
    let serving = front.container_in(&pod).map(|container| container.name.as_str());
    assert_eq!(serving, Some("main"), "whatever else is injected into the pod");
    let ingress = values.last_mut().expect("the Ingress");
    let port = "/spec/rules/0/http/paths/0/backend/service/port";
    *ingress.pointer_mut(port).expect("its port") = json!({"name": "metrics"});
    assert_eq!(found(&values).workload.container_name(), Some("exporter"));
    for named in [json!({"name": "web"}), json!({"number": 80})] {
        let ingress = values.last_mut().expect("the Ingress");
        *ingress.pointer_mut(port).expect("its port") = named;
        let front = found(&values);
        assert_eq!((front.port, front.workload.container_name()), (80, Some("main")));
    }
}

#[test]
fn a_container_that_declares_no_port_serves_before_one_that_declares_another() {
    let containers = json!([
        {"name": "agent", "ports": [{"containerPort": 9100}]},
        {"name": "main"},
    ]);
    let workload = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    assert_eq!(listening(&workload, &IntOrString::Int(8080)), 1);
    assert_eq!(listening(&workload, &IntOrString::Int(9100)), 0);
}

#[test]
fn a_front_that_scenarios_cannot_act_on_is_not_judged() {
    let way_in = ingress("shop", &[("shop.example.com", "/", "Prefix", "agent")]);
    let missing = |values: &[Value]| front(&objects(values)).expect_err("no front");
    let service = service("agent", "agent", "ClusterIP");
    let daemons = workload("DaemonSet", "agent", "team/app:1", "");
    let stop = missing(&stack(&[way_in.clone(), service.clone(), daemons]));
    let NoTarget::NotJudged(reason) = stop else { panic!("{stop:?}") };
    assert!(reason.contains("DaemonSet shop/agent"), "{reason}");
    let custom = json!({
        "apiVersion": "example.com/v1", "kind": "App", "metadata": {"name": "agent"},
    });
    let stop = missing(&stack(&[way_in.clone(), service.clone(), custom]));
    assert!(matches!(stop, NoTarget::NotJudged(_)), "{stop:?}");
    let stop = missing(&stack(&[way_in, service]));
    assert!(matches!(stop, NoTarget::NoPods(..)), "{stop:?}");
}
