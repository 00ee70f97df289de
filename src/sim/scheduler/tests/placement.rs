//! Where pods go.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Service;
use rstest::rstest;
use serde_json::{Value, json};

use super::rig::{NAMESPACE, Rig};
use crate::base::secs;
use crate::sim::profile::Profile;

fn anti_affinity(weight: Option<u32>) -> Value {
    let term = json!({
        "labelSelector": {"matchLabels": {"app": "web"}},
        "topologyKey": "kubernetes.io/hostname",
    });
    let terms = match weight {
        Some(weight) => json!({"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": weight, "podAffinityTerm": term}]}),
        None => json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]}),
    };
    json!({"affinity": {"podAntiAffinity": terms}})
}

fn select_web(rig: &mut Rig) {
    rig.create::<Service>(json!({
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }));
}

fn used_nodes(rig: &Rig, n_pods: usize) -> BTreeSet<String> {
    (1..=n_pods).map(|n| rig.node_of(&format!("web-{n}"))).collect()
}

#[rstest]
#[case::oldest(Profile::OLDEST)]
#[case::newest(Profile::NEWEST)]
fn three_replicas_spread_over_three_equal_nodes(#[case] profile: Profile) {
    let mut first_nodes = BTreeSet::new();
    for seed in 0..50 {
        let mut rig = Rig::with_nodes(profile, seed, 3);
        select_web(&mut rig);
        for n in 1..=3 {
            rig.add_pod("web", &format!("web-{n}"), "100m", json!({}));
        }
        rig.run(secs(2));
        let nodes = used_nodes(&rig, 3);
        assert_eq!(nodes.len(), 3, "seed {seed}: {nodes:?}");
        first_nodes.insert(rig.node_of("web-1"));
    }
    assert_eq!(first_nodes.len(), 3, "ties are drawn from the seed");
}

#[test]
fn an_emptier_node_attracts_replicas_that_nothing_selects() {
    let mut rig = Rig::with_nodes(Profile::NEWEST, 1, 3);
    for n in 1..=2 {
        let name = format!("busy-{n}");
        let node = format!("node-{n}");
        rig.add_pod(
            "busy",
            &name,
            "1800m",
            json!({"nodeSelector": {"kubernetes.io/hostname": node}}),
        );
    }
    rig.run(secs(1));
    for n in 1..=3 {
        rig.add_pod("web", &format!("web-{n}"), "50m", json!({}));
    }
    rig.run(secs(1));
    assert_eq!(used_nodes(&rig, 3), BTreeSet::from(["node-3".to_owned()]));
}

#[test]
fn the_owner_of_a_pod_selects_what_is_spread() {
    let mut rig = Rig::with_nodes(Profile::NEWEST, 1, 2);
    rig.add_node("large", "4", "8Gi", &json!([]));
    let template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "nginx:1"}]}});
    let set = rig.create::<ReplicaSet>(json!({
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    }));
    rig.run(secs(1));
    for n in 1..=3 {
        let mut pod = json!({
            "metadata": {"name": format!("web-{n}"), "namespace": NAMESPACE,
                "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
                    "controller": true}]},
            "spec": {"containers": [{"name": "main", "image": "nginx:1"}]},
        });
        pod["metadata"]["ownerReferences"][0]["uid"] = json!(set.metadata.uid);
        rig.create::<k8s_openapi::api::core::v1::Pod>(pod);
    }
    rig.run(secs(1));
    assert_eq!(used_nodes(&rig, 3).len(), 3);
}

#[rstest]
#[case::oldest(
    Profile::OLDEST,
    "0/3 nodes are available: 1 node(s) had taint {role: db}, that the pod didn't tolerate, \
     2 node(s) didn't match pod affinity/anti-affinity, \
     2 node(s) didn't match pod anti-affinity rules."
)]
#[case::v1_24(
    "1.24".parse().expect("a profile"),
    "0/3 nodes are available: 1 node(s) had untolerated taint {role: db}, \
     2 node(s) didn't match pod anti-affinity rules. preemption: 0/3 nodes are available: \
     1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
)]
#[case::newest(
    Profile::NEWEST,
    "0/3 nodes are available: 1 node(s) had untolerated taint(s), \
     2 node(s) didn't match pod anti-affinity rules. preemption: 0/3 nodes are available: \
     1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
)]
fn required_anti_affinity_leaves_the_surplus_pending(
    #[case] profile: Profile,
    #[case] message: &str,
) {
    let mut rig = Rig::with_nodes(profile, 1, 2);
    let taints = json!([{"key": "role", "value": "db", "effect": "NoSchedule"}]);
    rig.add_node("node-3", "2", "4Gi", &taints);
    for n in 1..=3 {
        rig.add_pod("web", &format!("web-{n}"), "100m", anti_affinity(None));
    }
    rig.run(secs(1));
    let nodes = used_nodes(&rig, 2);
    assert_eq!(nodes.len(), 2);
    assert_eq!(rig.node_of("web-3"), "");
    assert_eq!(rig.message_of("web-3"), message);
}

#[test]
fn a_preference_of_weight_1_outweighs_a_far_emptier_node() {
    // Two workers are almost full, one is empty: with weight 1 of 100 the preference still wins,
    // because inter-pod affinity is normalised to its full range and counts twice.
    let mut rig = Rig::with_nodes(Profile::NEWEST, 1, 3);
    for n in 1..=2 {
        let node = format!("node-{n}");
        let spec = json!({"nodeSelector": {"kubernetes.io/hostname": node}});
        rig.add_pod("busy", &format!("busy-{n}"), "1500m", spec);
    }
    rig.run(secs(1));
    for n in 1..=3 {
        rig.add_pod("web", &format!("web-{n}"), "50m", anti_affinity(Some(1)));
    }
    rig.run(secs(1));
    assert_eq!(used_nodes(&rig, 3).len(), 3);
}

#[rstest]
#[case::oldest(Profile::OLDEST)]
#[case::newest(Profile::NEWEST)]
fn soft_taints_repel_and_tolerations_lift_them(#[case] profile: Profile) {
    let mut rig = Rig::new(profile, 1);
    let soft = json!([{"key": "spot", "effect": "PreferNoSchedule"}]);
    rig.add_node("spot", "2", "4Gi", &soft);
    rig.add_node("steady", "2", "4Gi", &json!([]));
    rig.add_pod("web", "web-1", "100m", json!({}));
    rig.run(secs(1));
    assert_eq!(rig.node_of("web-1"), "steady");
    let tolerant = json!({"tolerations": [{"key": "spot", "operator": "Exists"}]});
    rig.add_pod("web", "web-2", "100m", tolerant);
    rig.run(secs(1));
    assert_eq!(rig.node_of("web-2"), "spot", "the emptier node, once its taint does not count");
}

#[test]
fn hard_spread_constraints_hold() {
    let mut rig = Rig::with_nodes(Profile::NEWEST, 1, 2);
    let constraint = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]});
    rig.add_node("large", "16", "64Gi", &json!([]));
    for n in 1..=6 {
        rig.add_pod("web", &format!("web-{n}"), "100m", constraint.clone());
    }
    rig.run(secs(2));
    for node in ["node-1", "node-2", "large"] {
        let n_here = (1..=6).filter(|n| rig.node_of(&format!("web-{n}")) == node).count();
        assert_eq!(n_here, 2, "{node}");
    }
}
