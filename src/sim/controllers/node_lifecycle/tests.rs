//! Node lifecycle: detection, taints, eviction, return.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::json;

use super::evictions::{Allowance, allowance};
use super::health::{Readiness, condition, readiness};
use crate::base::{SimTime, secs};
use crate::k8s::{is_pod_ready, is_terminating};
use crate::sim::api::Part;
use crate::sim::profile::Profile;
use crate::sim::{ClusterSpec, World};

const NODES: [&str; 3] = ["steady-1", "steady-2", "lost"];

/// A world with three more nodes, whose leases the test renews itself, and a pod on the last one.
fn world(profile: Profile, seed: u64) -> World {
    let mut world = World::new(&ClusterSpec::new(profile, 1), seed);
    let now = world.now().timestamp().to_string();
    for name in NODES {
        let node = json!({
            "metadata": {"name": name},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": now},
            ]},
        });
        let node: Node = serde_json::from_value(node).expect("a node");
        world.api().create(node.clone()).expect("created");
        world.api().update_status(node).expect("has a status");
        let lease = json!({"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {}});
        world
            .api()
            .create::<Lease>(serde_json::from_value(lease).expect("a lease"))
            .expect("created");
    }
    let pod = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "nodeName": "lost", "containers": [{"name": "web", "image": "web"}],
            "tolerations": [{
                "key": "node.kubernetes.io/unreachable", "operator": "Exists",
                "effect": "NoExecute", "tolerationSeconds": 300,
            }],
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    world.api().create(pod.clone()).expect("created");
    world.api().update_status(pod).expect("has a status");
    world
}

fn renew(world: &mut World, nodes: &[&str]) {
    let now = world.now().micro_timestamp();
    for name in nodes {
        world
            .api()
            .patch::<Lease>(Part::Main, "kube-node-lease", name, |lease| {
                lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
            })
            .expect("a lease");
    }
}

/// Runs until `until`, or until `is_met`, with `nodes` renewing every 10 s; the instant it ended.
fn run(
    world: &mut World,
    nodes: &[&str],
    until: SimTime,
    is_met: impl Fn(&mut World) -> bool,
) -> SimTime {
    let mut next = world.now();
    while world.now() < until && !is_met(world) {
        if world.now() >= next {
            renew(world, nodes);
            next = world.now() + secs(10);
        }
        let step = world.now() + Duration::from_millis(500);
        world.run_until(step);
    }
    world.now()
}

fn is_lost(world: &mut World) -> bool {
    world.api().get::<Node>("", "lost").is_some_and(|node| readiness(node) == Readiness::Unknown)
}

fn is_deleted(world: &mut World) -> bool {
    world.api().get::<Pod>("default", "web").is_none_or(|pod| is_terminating(pod))
}

fn never(_: &mut World) -> bool {
    false
}

/// Seconds from the last renewal to the node's being Unknown, with a crash up to 10 s later.
fn detection(profile: Profile, seed: u64) -> (World, Duration) {
    let mut world = world(profile, seed);
    let crash = run(&mut world, &NODES, SimTime::ZERO + secs(60), never);
    let end = run(&mut world, &NODES[..2], crash + secs(100), is_lost);
    (world, end.since(crash))
}

#[test]
fn a_lost_node_is_found_by_the_grace_of_its_minor() {
    let old: Profile = "1.31".parse().expect("a minor");
    for seed in 1..=6 {
        let (_, found) = detection(old, seed);
        assert!((secs(30)..=secs(46)).contains(&found), "1.31, seed {seed}: {found:?}");
        let (_, found) = detection(Profile::NEWEST, seed);
        assert!((secs(40)..=secs(56)).contains(&found), "newest, seed {seed}: {found:?}");
    }
}

#[test]
fn its_pods_are_unready_at_once_and_evicted_after_300_seconds() {
    let (mut world, _) = detection(Profile::NEWEST, 1);
    let found_at = world.now();
    run(&mut world, &NODES[..2], found_at + secs(1), never);
    let node = world.api().get::<Node>("", "lost").cloned().expect("a node");
    let ready = condition(&node, "Ready").expect("a condition");
    assert_eq!(ready.reason.as_deref(), Some("NodeStatusUnknown"));
    let taints = node.spec.clone().and_then(|spec| spec.taints).unwrap_or_default();
    let effects = |key: &str| {
        let mut found: Vec<_> =
            taints.iter().filter(|t| t.key == key).map(|t| t.effect.clone()).collect();
        found.sort();
        found
    };
    assert_eq!(effects("node.kubernetes.io/unreachable"), ["NoExecute", "NoSchedule"]);
    let pod = world.api().get::<Pod>("default", "web").cloned().expect("a pod");
    assert!(!is_pod_ready(&pod) && !is_terminating(&pod));
    let gone_at = run(&mut world, &NODES[..2], found_at + secs(320), is_deleted);
    let waited = gone_at.since(found_at);
    assert!((secs(299)..=secs(303)).contains(&waited), "{waited:?}");
    let told = world
        .api()
        .list::<Event>()
        .any(|event| event.message.as_deref() == Some("Marking for deletion Pod default/web"));
    assert!(told, "TaintManagerEviction");
}

#[test]
fn a_node_that_returns_in_time_keeps_its_pods() {
    let (mut world, _) = detection(Profile::NEWEST, 2);
    let found_at = world.now();
    run(&mut world, &NODES[..2], found_at + secs(120), never);
    let now = world.now().timestamp();
    world
        .api()
        .patch::<Node>(Part::Status, "", "lost", |node| {
            let conditions = node.status.get_or_insert_default().conditions.iter_mut().flatten();
            for condition in conditions.filter(|c| c.type_ == "Ready") {
                condition.status = "True".into();
                condition.last_heartbeat_time =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
            }
        })
        .expect("a node");
    run(&mut world, &NODES, found_at + secs(400), never);
    let node = world.api().get::<Node>("", "lost").cloned().expect("a node");
    let taints = node.spec.clone().and_then(|spec| spec.taints).unwrap_or_default();
    assert!(taints.is_empty(), "{taints:?}");
    assert!(!is_deleted(&mut world));
}

#[test]
fn the_shortest_toleration_counts() {
    let taint =
        |key: &str| Taint { key: key.into(), effect: "NoExecute".into(), ..Taint::default() };
    let tolerate = |key: &str, seconds: Option<i64>| Toleration {
        key: Some(key.into()),
        operator: Some("Exists".into()),
        toleration_seconds: seconds,
        ..Toleration::default()
    };
    let taints = [taint("a"), taint("b")];
    let both = [tolerate("a", Some(300)), tolerate("b", Some(20))];
    assert_eq!(allowance(&taints, &both), Allowance::For(secs(20)));
    assert_eq!(allowance(&taints, &both[..1]), Allowance::For(Duration::ZERO));
    let forever = [tolerate("a", None), tolerate("b", None)];
    assert_eq!(allowance(&taints, &forever), Allowance::Forever);
}
