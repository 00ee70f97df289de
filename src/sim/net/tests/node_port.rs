//! Node ports: kube-proxy's lag, rejects, kept connections, lost nodes.

use std::collections::BTreeMap;

use serde_json::json;

use super::rig::{NODE_PORT, Rig, met, status};
use crate::base::{millis, secs};
use crate::sim::net::{CallFailure, CallResult, HopState};

fn three_pods(profile: &str, service: serde_json::Value) -> Rig {
    let mut rig = Rig::new(profile);
    rig.service(service);
    for (idx, name) in ["a", "b", "c"].iter().enumerate() {
        rig.pod(name, "nginx", idx % 2);
    }
    rig.run(secs(5));
    rig
}

#[test]
fn each_new_connection_goes_to_a_drawn_endpoint() {
    let mut rig = three_pods("1.37", json!({}));
    let mut met_by: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..90 {
        let result = rig.get(n % 3, NODE_PORT);
        assert_eq!(status(&result), Ok(200));
        let (pod, _) = met(&result).expect("a pod");
        *met_by.entry(pod.to_owned()).or_default() += 1;
    }
    assert_eq!(met_by.len(), 3);
    assert!(met_by.values().all(|n| *n > 15), "{met_by:?}");
}

#[test]
fn a_port_of_another_protocol_refuses() {
    let udp = json!({"name": "http", "port": 80, "nodePort": NODE_PORT, "protocol": "UDP"});
    let mut rig = three_pods("1.37", json!({"ports": [udp]}));
    assert_eq!(status(&rig.get(1, NODE_PORT)), Err(CallFailure::Refused));
}

#[test]
fn a_closed_port_and_a_service_without_endpoints_refuse() {
    let mut rig = Rig::new("1.37");
    assert_eq!(status(&rig.get(1, NODE_PORT)), Err(CallFailure::Refused));
    rig.service(json!({}));
    rig.run(secs(3));
    assert_eq!(status(&rig.get(1, NODE_PORT)), Err(CallFailure::Refused));
}

#[test]
fn a_stopped_pod_is_met_until_the_proxy_has_synced() {
    let mut rig = three_pods("1.37", json!({}));
    rig.get(1, NODE_PORT);
    let pods: Vec<_> = ["d"].iter().map(|name| rig.pod(name, "nginx", 0)).collect();
    rig.run(secs(5));
    for name in ["a", "b", "c"] {
        rig.mark(name, false, false);
    }
    rig.run(secs(5));
    rig.terminate(&pods[0]);
    rig.mark("d", true, true);
    rig.run(millis(1));
    let result = rig.get(1, NODE_PORT);
    assert_eq!(status(&result), Err(CallFailure::Refused));
    assert_eq!(met(&result), Some(("d", HopState::Terminating)));
}

#[test]
fn terminating_endpoints_serve_when_none_is_ready_from_1_26_on() {
    for (profile, expected) in [("1.25", Err(CallFailure::Refused)), ("1.26", Ok(200))] {
        let mut rig = three_pods(profile, json!({}));
        for name in ["a", "b", "c"] {
            rig.mark(name, true, true);
        }
        rig.run(secs(5));
        assert_eq!(status(&rig.get(1, NODE_PORT)), expected, "{profile}");
    }
}

#[test]
fn a_kept_connection_stays_with_its_pod_and_survives_the_endpoints_change() {
    let mut rig = three_pods("1.37", json!({}));
    let mut call = rig.call_to(1, NODE_PORT, "/");
    call.connection = Some(7);
    let first = rig.send(call.clone());
    let (pod, _) = met(&first).expect("a pod");
    let pod = pod.to_owned();
    rig.mark(&pod, false, false);
    rig.run(secs(5));
    let second = rig.send(call.clone());
    assert!(matches!(second, CallResult::Response { reused: true, .. }));
    assert_eq!(met(&second).map(|m| m.0), Some(pod.as_str()));
    rig.run(secs(80));
    let third = rig.send(call);
    assert!(matches!(third, CallResult::Response { reused: false, .. }), "idle for too long");
    assert_ne!(met(&third).map(|m| m.0), Some(pod.as_str()));
}

#[test]
fn a_pod_that_does_not_listen_yet_refuses() {
    let mut rig = Rig::new("1.37");
    rig.service(json!({}));
    rig.run(secs(5));
    rig.pod("slow", "wordpress", 0);
    rig.run(millis(200));
    let result = rig.get(1, NODE_PORT);
    assert_eq!(status(&result), Err(CallFailure::Refused));
    assert_eq!(met(&result), Some(("slow", HopState::NotListening)));
}

#[test]
fn a_lost_node_answers_nothing() {
    let mut rig = Rig::new("1.37");
    rig.service(json!({}));
    let pod = rig.pod("a", "nginx", 0);
    rig.run(secs(5));
    rig.with(|net, machines, cx| {
        machines.power_off(&pod.node, cx);
        net.node_lost(&pod.node, cx);
    });
    assert_eq!(status(&rig.get(1, NODE_PORT)), Err(CallFailure::ConnectTimeout));
    let through_other = rig.get(2, NODE_PORT);
    assert_eq!(status(&through_other), Err(CallFailure::ConnectTimeout));
    assert_eq!(met(&through_other), Some(("a", HopState::NodeLost)));
}

#[test]
fn a_request_that_a_lost_node_had_is_lost_with_it() {
    let mut rig = Rig::new("1.37");
    rig.service(json!({}));
    let pod = rig.pod("a", "nginx", 0);
    rig.run(secs(5));
    let call = rig.call_to(2, NODE_PORT, "/");
    rig.with(|net, machines, cx| {
        machines.freeze(pod.container, cx);
        net.call(call, machines, cx);
    });
    rig.run(millis(100));
    rig.with(|net, machines, cx| {
        machines.power_off(&pod.node, cx);
        net.node_lost(&pod.node, cx);
    });
    rig.run(secs(60));
    let results = rig.with(|net, _, _| net.take_results());
    let [(_, result)] = &results[..] else { panic!("{results:?}") };
    assert_eq!(status(result), Err(CallFailure::ResponseTimeout));
    assert_eq!(met(result), Some(("a", HopState::NodeLost)));
}

#[test]
fn policy_local_drops_where_no_endpoint_is_local_and_affinity_sticks() {
    let mut rig = Rig::new("1.37");
    rig.service(json!({"externalTrafficPolicy": "Local"}));
    rig.pod("a", "nginx", 0);
    rig.run(secs(5));
    assert_eq!(status(&rig.get(1, NODE_PORT)), Ok(200));
    assert_eq!(status(&rig.get(2, NODE_PORT)), Err(CallFailure::ConnectTimeout));
    let mut rig = three_pods("1.37", json!({"sessionAffinity": "ClientIP"}));
    let first = rig.get(1, NODE_PORT);
    for _ in 0..10 {
        assert_eq!(met(&rig.get(1, NODE_PORT)), met(&first));
    }
}
