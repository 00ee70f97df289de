//! The ingress controller: sync lag, redirect, certificates, retries, its own error pages.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};

use super::rig::{Rig, TestPod, met, status};
use crate::base::{millis, secs};
use crate::sim::net::{CallFailure, CallResult, ClientCall, HopState};

/// A certificate for named.test, and its key.
const PAIR: &str = include_str!("../ingress/fixtures/rsa.pem");

fn ingress(annotations: Value, tls: Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "web", "annotations": annotations},
        "spec": {
            "tls": tls,
            "rules": [{"host": "shop.test", "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}},
            }]}}],
        },
    })
}

/// A cluster with an Ingress in front of `n` nginx pods.
fn rig(n: usize, ingress: Value) -> (Rig, Vec<TestPod>) {
    rig_of(n, "nginx", ingress)
}

/// The same with pods of `image`.
fn rig_of(n: usize, image: &str, ingress: Value) -> (Rig, Vec<TestPod>) {
    let mut rig = Rig::new("1.37");
    rig.service(json!({}));
    let names = ["a", "b", "c"];
    let pods = (0..n).map(|idx| rig.pod(names[idx], image, idx % 2)).collect();
    rig.run(secs(5));
    rig.create::<Ingress>(ingress);
    rig.run(secs(10));
    (rig, pods)
}

fn https(rig: &Rig, host: &str) -> ClientCall {
    let mut call = rig.call_to(0, 443, "/");
    call.tls = Some(host.to_owned());
    call
}

fn header(result: &CallResult, name: &str) -> Option<String> {
    let CallResult::Response { response, .. } = result else {
        return None;
    };
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

#[test]
fn a_new_ingress_is_404_then_503_then_serves() {
    let mut rig = Rig::new("1.37");
    rig.service(json!({}));
    rig.pod("a", "nginx", 0);
    rig.run(secs(5));
    assert_eq!(status(&rig.get(0, 80)), Ok(404));
    rig.create::<Ingress>(ingress(json!({}), json!([])));
    let mut seen: Vec<u16> = Vec::new();
    for _ in 0..80 {
        let status = status(&rig.get(0, 80)).expect("a response");
        if seen.last() != Some(&status) {
            seen.push(status);
        }
        rig.run(millis(100));
    }
    assert_eq!(seen, [404, 503, 200]);
    assert!(rig.facts.iter().any(|f| f.kind == crate::sim::fact::FactKind::IngressSynced));
}

/// What an Ingress answers that calls the port of its Service `named`: port 8080, `http`, to `target`.
fn served_by_port(annotations: Value, target: &Value, named: &Value) -> Result<u16, CallFailure> {
    let mut value = ingress(annotations, json!([]));
    let port = "/spec/rules/0/http/paths/0/backend/service/port";
    *value.pointer_mut(port).expect("its port") = named.clone();
    let mut rig = Rig::new("1.37");
    rig.service(json!({"ports": [{"name": "http", "port": 8080, "targetPort": target}]}));
    rig.pod("a", "nginx", 0);
    rig.create::<Ingress>(value);
    rig.run(secs(10));
    status(&rig.get(0, 80))
}

#[test]
fn a_backend_is_named_by_the_port_its_target_or_its_name() {
    for (target, named, expected) in [
        (json!(80), json!({"number": 8080}), 200),
        (json!(80), json!({"number": 80}), 200),
        (json!("entry"), json!({"name": "entry"}), 200),
        (json!("entry"), json!({"name": "http"}), 200),
        (json!("entry"), json!({"number": 80}), 503),
    ] {
        let seen = served_by_port(json!({}), &target, &named);
        assert_eq!(seen, Ok(expected), "{named} to {target}");
    }
}

/// `endpointslices.go:getEndpointsFromSlices`.
#[test]
fn a_backend_port_of_another_protocol_has_no_endpoints() {
    let udp = |name| json!({"name": name, "port": 80, "targetPort": 80, "protocol": "UDP"});
    let tcp = json!({"name": "http", "port": 81, "targetPort": 80, "protocol": "TCP"});
    for (ports, expected) in [(json!([udp("http")]), 503), (json!([udp("quic"), tcp]), 200)] {
        let mut rig = Rig::new("1.37");
        rig.service(json!({ "ports": ports }));
        rig.pod("a", "nginx", 0);
        rig.create::<Ingress>(ingress(json!({}), json!([])));
        rig.run(secs(10));
        assert_eq!(status(&rig.get(0, 80)), Ok(expected));
    }
}

/// `controller.go:getServiceClusterEndpoint`: a number is dialled at the cluster address as it is.
#[test]
fn with_service_upstream_the_number_is_the_services_own() {
    let annotations = json!({"nginx.ingress.kubernetes.io/service-upstream": "true"});
    for (target, named, is_served) in [
        (json!(80), json!({"number": 8080}), true),
        (json!(80), json!({"name": "http"}), true),
        (json!(80), json!({"number": 80}), false),
        (json!("entry"), json!({"name": "entry"}), true),
    ] {
        let seen = served_by_port(annotations.clone(), &target, &named);
        assert_eq!(seen == Ok(200), is_served, "{named} to {target}");
    }
}

#[test]
fn peers_take_turns_and_the_program_sees_who_asked() {
    let (mut rig, _) = rig(3, ingress(json!({}), json!([])));
    let mut met_by: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..9 {
        let result = rig.get(0, 80);
        assert_eq!(status(&result), Ok(200));
        *met_by.entry(met(&result).expect("a pod").0.to_owned()).or_default() += 1;
    }
    assert!(met_by.values().all(|n| *n == 3), "{met_by:?}");
    let log = rig.machines.logs("a", "c", false).expect("output");
    assert!(log[0].starts_with("172.18.0.1 "), "{log:?}");
}

#[test]
fn plain_requests_are_redirected_once_the_host_has_tls_even_without_its_secret() {
    let tls = json!([{"hosts": ["shop.test"], "secretName": "missing"}]);
    let (mut rig, _) = rig(1, ingress(json!({}), tls));
    let call = rig.call_to(0, 80, "/a/b?c=d");
    let plain = rig.send(call);
    assert_eq!(status(&plain), Ok(308));
    assert_eq!(header(&plain, "location").as_deref(), Some("https://shop.test/a/b?c=d"));
    let call = https(&rig, "shop.test");
    let secure = rig.send(call);
    assert_eq!(status(&secure), Ok(200));
    assert!(header(&secure, "strict-transport-security").is_some());
    let CallResult::Response { tls: Some(tls), .. } = secure else { panic!("no TLS facts") };
    assert!(tls.fallback && tls.chain.len() == 1);
}

#[test]
fn the_secrets_certificate_is_presented_for_the_host_it_covers() {
    let tls = json!([{"hosts": ["named.test", "shop.test"], "secretName": "cert"}]);
    let mut value = ingress(json!({}), tls);
    let mut rule = value["spec"]["rules"][0].clone();
    rule["host"] = "named.test".into();
    value["spec"]["rules"].as_array_mut().expect("rules").push(rule);
    let (mut rig, _) = rig(1, value);
    rig.create::<Secret>(json!({
        "metadata": {"name": "cert", "namespace": "web"}, "type": "kubernetes.io/tls",
        "data": {"tls.crt": STANDARD.encode(PAIR), "tls.key": STANDARD.encode(PAIR)},
    }));
    rig.run(secs(5));
    for (host, fallback) in [("named.test", false), ("shop.test", true), ("other.test", true)] {
        let call = https(&rig, host);
        let CallResult::Response { tls: Some(tls), .. } = rig.send(call) else {
            panic!("no TLS facts")
        };
        assert_eq!(tls.fallback, fallback, "{host}");
    }
}

#[test]
fn a_host_that_no_section_names_gets_the_certificate_that_names_it() {
    let absent = json!({"secretName": "absent"});
    for tls in [
        json!([absent, {"secretName": "cert"}]),
        json!([{"hosts": ["*.test"], "secretName": "cert"}]),
    ] {
        let mut value = ingress(json!({}), tls);
        let mut rule = value["spec"]["rules"][0].clone();
        rule["host"] = "named.test".into();
        value["spec"]["rules"].as_array_mut().expect("rules").push(rule);
        let (mut rig, _) = rig(1, value);
        rig.create::<Secret>(json!({
            "metadata": {"name": "cert", "namespace": "web"}, "type": "kubernetes.io/tls",
            "data": {"tls.crt": STANDARD.encode(PAIR), "tls.key": STANDARD.encode(PAIR)},
        }));
        rig.run(secs(5));
        for (host, fallback) in [("named.test", false), ("shop.test", true)] {
            let call = https(&rig, host);
            let CallResult::Response { tls: Some(tls), .. } = rig.send(call) else {
                panic!("no TLS facts")
            };
            assert_eq!(tls.fallback, fallback, "{host}");
        }
        let call = rig.call_to(0, 80, "/");
        assert_eq!(status(&rig.send(call)), Ok(308), "a section switches the redirect on");
    }
}

#[test]
fn a_refused_connection_is_tried_elsewhere_whatever_the_method() {
    let (mut rig, pods) = rig(2, ingress(json!({}), json!([])));
    rig.terminate(&pods[0]);
    rig.run(millis(100));
    for _ in 0..4 {
        let mut call = rig.call_to(0, 80, "/");
        *call.request.method_mut() = http::Method::POST;
        let result = rig.send(call);
        assert_eq!((status(&result), met(&result)), (Ok(200), Some(("b", HopState::Serving))));
    }
}

#[test]
fn the_only_peer_gone_is_502_and_no_peer_is_503() {
    let (mut rig, pods) = rig(1, ingress(json!({}), json!([])));
    rig.terminate(&pods[0]);
    rig.run(millis(100));
    let result = rig.get(0, 80);
    assert_eq!(status(&result), Ok(502));
    assert_eq!(met(&result), Some(("a", HopState::Terminating)));
    rig.mark("a", true, true);
    rig.run(secs(5));
    assert_eq!(status(&rig.get(0, 80)), Ok(503));
}

#[test]
fn a_lost_peer_costs_a_connect_timeout_and_then_the_next_serves() {
    let (mut rig, pods) = rig(2, ingress(json!({}), json!([])));
    let node = pods[0].node.clone();
    rig.with(|net, machines, cx| {
        machines.power_off(&node, cx);
        net.node_lost(&node, cx);
    });
    let mut waited = 0;
    for _ in 0..2 {
        let before = rig.now;
        let result = rig.get(0, 80);
        assert_eq!(met(&result), Some(("b", HopState::Serving)));
        waited += usize::from(rig.now.since(before) >= secs(5));
    }
    // A retry takes a turn too: the next request may meet the lost peer first again.
    assert!(waited >= 1);
}

#[test]
fn a_program_that_does_not_answer_is_504_after_the_read_timeout_of_each_try() {
    let annotations = json!({"nginx.ingress.kubernetes.io/proxy-read-timeout": "2"});
    let (mut rig, _) = rig_of(2, "test/server:1", ingress(annotations, json!([])));
    // A GET is tried three times (proxy-next-upstream-tries), a POST that was sent is not repeated.
    for (method, waits) in [(http::Method::GET, 6), (http::Method::POST, 2)] {
        let mut call = rig.call_to(0, 80, "/hangs");
        *call.request.method_mut() = method.clone();
        let before = rig.now;
        assert_eq!(status(&rig.send(call)), Ok(504), "{method}");
        let waited = rig.now.since(before);
        assert!((secs(waits)..secs(waits) + millis(500)).contains(&waited), "{method} {waited:?}");
    }
    assert_eq!(status(&rig.get(0, 80)), Ok(200), "the pods still serve what they can");
}

#[test]
fn a_client_that_gives_up_first_sees_no_504() {
    let (mut rig, _) = rig_of(1, "test/server:1", ingress(json!({}), json!([])));
    let call = rig.call_to(0, 80, "/hangs");
    let before = rig.now;
    assert_eq!(status(&rig.send(call)), Err(CallFailure::ResponseTimeout));
    assert!(rig.now.since(before) < secs(60), "the controller's own limit");
}

#[test]
fn a_listed_status_is_tried_elsewhere_and_the_last_one_goes_to_the_client() {
    let listed = json!({"nginx.ingress.kubernetes.io/proxy-next-upstream": "error http_500"});
    for (annotations, method, n_tries) in [
        (listed.clone(), http::Method::GET, 3),
        (listed, http::Method::POST, 1),
        (json!({}), http::Method::GET, 1),
    ] {
        let (mut rig, pods) = rig_of(2, "test/server:1", ingress(annotations, json!([])));
        let mut call = rig.call_to(0, 80, "/fails");
        *call.request.method_mut() = method.clone();
        assert_eq!(status(&rig.send(call)), Ok(500));
        let n_lines = |pod: &TestPod| {
            let log = rig.machines.logs(&pod.name, "c", false).unwrap_or_default();
            log.iter().filter(|line| line.contains("/fails")).count()
        };
        assert_eq!(pods.iter().map(n_lines).sum::<usize>(), n_tries, "{method}");
    }
}

#[test]
fn a_large_body_is_413_unless_the_annotation_allows_it() {
    let limit = "nginx.ingress.kubernetes.io/proxy-body-size";
    for (annotations, expected) in [(json!({}), 413), (json!({limit: "8m"}), 200)] {
        let (mut rig, _) = rig(1, ingress(annotations, json!([])));
        let mut call = rig.call_to(0, 80, "/");
        *call.request.body_mut() = Bytes::from(vec![0; 2 << 20]);
        assert_eq!(status(&rig.send(call)), Ok(expected));
    }
}

#[test]
fn another_controllers_ingress_is_left_alone() {
    let mut value = ingress(json!({}), json!([]));
    value["spec"]["ingressClassName"] = "traefik".into();
    let (mut rig, _) = rig(1, value);
    assert_eq!(status(&rig.get(0, 80)), Ok(404));
}
