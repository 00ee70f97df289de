//! Pods that wait, and what ends the wait.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use rstest::rstest;
use serde_json::json;

use super::rig::{NAMESPACE, Rig};
use crate::base::secs;
use crate::sim::api::Part;
use crate::sim::profile::Profile;

#[rstest]
#[case::oldest(Profile::OLDEST, "0/1 nodes are available: 1 Insufficient cpu.")]
#[case::newest(
    Profile::NEWEST,
    "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
     1 No preemption victims found for incoming pod."
)]
fn a_pod_waits_for_resources_until_a_pod_is_gone(#[case] profile: Profile, #[case] message: &str) {
    let mut rig = Rig::with_nodes(profile, 1, 1);
    rig.add_pod("web", "first", "1500m", json!({}));
    rig.add_pod("web", "second", "1", json!({}));
    rig.run(secs(5));
    assert_eq!(rig.node_of("first"), "node-1");
    assert_eq!(rig.node_of("second"), "");
    assert_eq!(rig.message_of("second"), message);
    rig.delete_pod("first");
    rig.run(secs(1));
    assert_eq!(rig.node_of("second"), "node-1", "its back-off of 1 s had long ended");
}

#[test]
fn a_node_that_cannot_help_does_not_end_the_wait_from_1_32() {
    let mut rig = Rig::with_nodes(Profile::NEWEST, 1, 1);
    rig.add_pod("web", "large", "3", json!({}));
    rig.run(secs(2));
    rig.add_node("node-2", "2", "4Gi", &json!([]));
    rig.run(secs(2));
    assert!(rig.message_of("large").starts_with("0/1 nodes"), "it was not tried again");
    rig.add_node("node-3", "4", "4Gi", &json!([]));
    rig.run(secs(2));
    assert_eq!(rig.node_of("large"), "node-3");
}

#[test]
fn without_nodes_the_message_says_so() {
    let mut rig = Rig::new(Profile::NEWEST, 1);
    rig.add_pod("web", "early", "100m", json!({}));
    rig.run(secs(1));
    assert_eq!(rig.message_of("early"), "no nodes available to schedule pods");
    rig.add_node("node-1", "2", "4Gi", &json!([]));
    rig.run(secs(2));
    assert_eq!(rig.node_of("early"), "node-1");
}

#[test]
fn gates_hold_a_pod_back() {
    let mut rig = Rig::with_nodes(Profile::NEWEST, 1, 1);
    rig.add_pod("web", "gated", "100m", json!({"schedulingGates": [{"name": "shop/hold"}]}));
    rig.run(secs(5));
    assert_eq!(rig.node_of("gated"), "");
    rig.api
        .patch::<Pod>(Part::Main, NAMESPACE, "gated", |pod| {
            pod.spec.get_or_insert_default().scheduling_gates = None;
        })
        .expect("gates may be removed");
    rig.run(secs(1));
    assert_eq!(rig.node_of("gated"), "node-1");
}

#[rstest]
#[case::oldest(Profile::OLDEST)]
#[case::newest(Profile::NEWEST)]
fn a_higher_priority_preempts_the_least(#[case] profile: Profile) {
    let mut rig = Rig::with_nodes(profile, 1, 2);
    for value in [1, 5, 100] {
        let class = json!({"metadata": {"name": format!("p{value}")}, "value": value});
        rig.create::<PriorityClass>(class);
    }
    let pinned = |node: &str, class: &str| {
        json!({"priorityClassName": class, "terminationGracePeriodSeconds": 0,
            "nodeSelector": {"kubernetes.io/hostname": node}})
    };
    rig.add_pod("low", "low-a", "1500m", pinned("node-1", "p5"));
    rig.add_pod("low", "low-b", "1500m", pinned("node-2", "p1"));
    rig.run(secs(1));
    rig.add_pod("high", "high", "1", json!({"priorityClassName": "p100"}));
    rig.run(secs(12));
    assert!(rig.api.get::<Pod>(NAMESPACE, "low-b").is_none(), "the lowest priority goes");
    assert!(rig.api.get::<Pod>(NAMESPACE, "low-a").is_some());
    assert_eq!(rig.node_of("high"), "node-2");
}
