//! Pods with claims.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use rstest::rstest;
use serde_json::{Value, json};

use super::rig::{NAMESPACE, Rig};
use crate::base::secs;
use crate::sim::api::Part;
use crate::sim::profile::Profile;

fn using(claim: &str) -> Value {
    json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]})
}

fn add_claim(rig: &mut Rig, mode: &str, access: &str) {
    rig.create::<StorageClass>(json!({
        "metadata": {"name": "local"},
        "provisioner": "rancher.io/local-path",
        "volumeBindingMode": mode,
    }));
    rig.create::<PersistentVolumeClaim>(json!({
        "metadata": {"name": "data", "namespace": NAMESPACE},
        "spec": {"storageClassName": "local", "accessModes": [access],
            "resources": {"requests": {"storage": "1Gi"}}},
    }));
}

fn bind_claim(rig: &mut Rig, node: &str) {
    rig.create::<PersistentVolume>(json!({
        "metadata": {"name": "pv-1"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local", "hostPath": {"path": "/data"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}},
        },
    }));
    rig.api
        .patch::<PersistentVolumeClaim>(Part::Main, NAMESPACE, "data", |claim| {
            claim.spec.get_or_insert_default().volume_name = Some("pv-1".into());
            let annotations = claim.metadata.annotations.get_or_insert_default();
            annotations.insert("pv.kubernetes.io/bind-completed".into(), "yes".into());
        })
        .expect("the claim is bound");
}

#[test]
fn a_claim_that_waits_for_its_consumer_gets_the_node_first() {
    let mut rig = Rig::with_nodes(Profile::NEWEST, 1, 3);
    add_claim(&mut rig, "WaitForFirstConsumer", "ReadWriteOnce");
    rig.add_pod("db", "db", "100m", using("data"));
    rig.run(secs(5));
    assert_eq!(rig.node_of("db"), "", "the pod waits for its claim");
    let claim = rig.api.get::<PersistentVolumeClaim>(NAMESPACE, "data").expect("the claim");
    let annotations = claim.metadata.annotations.clone().unwrap_or_default();
    let node = annotations.get("volume.kubernetes.io/selected-node").expect("a node").clone();
    bind_claim(&mut rig, &node);
    rig.run(secs(2));
    assert_eq!(rig.node_of("db"), node);
}

#[test]
fn a_bound_volume_pins_its_pods() {
    let mut rig = Rig::with_nodes(Profile::NEWEST, 1, 3);
    add_claim(&mut rig, "Immediate", "ReadWriteOnce");
    bind_claim(&mut rig, "node-2");
    for n in 1..=3 {
        rig.add_pod("db", &format!("db-{n}"), "100m", using("data"));
    }
    rig.run(secs(2));
    for n in 1..=3 {
        assert_eq!(rig.node_of(&format!("db-{n}")), "node-2");
    }
}

#[rstest]
#[case::oldest(
    Profile::OLDEST,
    "0/2 nodes are available: 2 pod has unbound immediate PersistentVolumeClaims."
)]
#[case::v1_30(
    "1.30".parse().expect("a profile"),
    "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: \
     0/2 nodes are available: 2 Preemption is not helpful for scheduling."
)]
fn an_unbound_claim_keeps_its_pod_pending(#[case] profile: Profile, #[case] message: &str) {
    let mut rig = Rig::with_nodes(profile, 1, 2);
    add_claim(&mut rig, "Immediate", "ReadWriteOnce");
    rig.add_pod("db", "db", "100m", using("data"));
    rig.run(secs(2));
    assert_eq!(rig.message_of("db"), message);
    bind_claim(&mut rig, "node-1");
    rig.run(secs(3));
    assert_eq!(rig.node_of("db"), "node-1");
}

#[test]
fn a_claim_for_one_pod_is_not_shared() {
    let mut rig = Rig::with_nodes(Profile::NEWEST, 1, 2);
    add_claim(&mut rig, "Immediate", "ReadWriteOncePod");
    bind_claim(&mut rig, "node-1");
    rig.add_pod("db", "first", "100m", using("data"));
    rig.run(secs(1));
    rig.add_pod("db", "second", "100m", using("data"));
    rig.run(secs(1));
    assert_eq!(rig.node_of("first"), "node-1");
    assert!(rig.message_of("second").contains(
        "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod"
    ));
    rig.delete_pod("first");
    rig.run(secs(3));
    assert_eq!(rig.node_of("second"), "node-1");
}

#[test]
fn a_missing_claim_is_named() {
    let mut rig = Rig::with_nodes(Profile::NEWEST, 1, 1);
    rig.add_pod("db", "db", "100m", using("absent"));
    rig.run(secs(1));
    assert!(rig.message_of("db").contains("persistentvolumeclaim \"absent\" not found"));
}
