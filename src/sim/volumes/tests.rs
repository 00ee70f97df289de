//! Provisioners, attach and detach, Rook.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttachment};
use serde_json::{Value, json};

use crate::base::secs;
use crate::k8s::{claim_phase, claim_volume, is_pod_ready, volume_phase};
use crate::sim::api::{DeleteOptions, Kind, Obj, Typed};
use crate::sim::profile::Profile;
use crate::sim::{ClusterSpec, World};

/// A world with three workers, Rook and the default class.
fn world() -> World {
    World::new(&ClusterSpec::new(Profile::NEWEST, 3), 1)
}

fn create<T: Typed>(world: &mut World, object: Value) -> Arc<T> {
    world.api().create(serde_json::from_value(object).expect("of the kind")).expect("created")
}

fn create_custom(world: &mut World, kind: &str, name: &str, spec: Value) {
    let kind = world.api().registry.by_kind("ceph.rook.io", kind).expect("defined");
    let object = json!({"metadata": {"name": name, "namespace": "rook-ceph"}, "spec": spec});
    let object = Obj::from_json(kind, object).expect("an object");
    world.api().create_object(object, false).expect("created");
}

fn filesystem(world: &mut World, size: u64) {
    let pool = json!({"replicated": {"size": size}});
    create_custom(
        world,
        "CephFilesystem",
        "myfs",
        json!({"metadataPool": pool, "dataPools": [pool]}),
    );
}

fn class(world: &mut World, name: &str, driver: &str, parameters: Value) {
    let mut all = json!({
        "clusterID": "rook-ceph",
        "csi.storage.k8s.io/provisioner-secret-name": format!("rook-csi-{driver}-provisioner"),
        "csi.storage.k8s.io/provisioner-secret-namespace": "rook-ceph",
    });
    for (key, value) in parameters.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    create::<StorageClass>(
        world,
        json!({
            "metadata": {"name": name}, "provisioner": format!("rook-ceph.{driver}.csi.ceph.com"),
            "parameters": all, "volumeBindingMode": "Immediate", "reclaimPolicy": "Delete",
        }),
    );
}

fn cephfs_class(world: &mut World, pool: &str) {
    class(world, "csi-cephfs", "cephfs", json!({"fsName": "myfs", "pool": pool}));
}

fn rbd(world: &mut World) {
    class(world, "block", "rbd", json!({"pool": "replicapool"}));
    create_custom(world, "CephBlockPool", "replicapool", json!({"replicated": {"size": 3}}));
}

fn new_claim(world: &mut World, class: &str, mode: &str) {
    create::<PersistentVolumeClaim>(
        world,
        json!({
            "metadata": {"name": "data", "namespace": "default"},
            "spec": {
                "storageClassName": class, "accessModes": [mode],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }),
    );
}

fn claim(world: &mut World) -> Arc<PersistentVolumeClaim> {
    world.api().get("default", "data").cloned().expect("a claim")
}

fn volume(world: &mut World) -> Option<Arc<PersistentVolume>> {
    world.api().list::<PersistentVolume>().next().cloned()
}

fn pod(world: &mut World, name: &str, node: &str) {
    create::<Pod>(
        world,
        json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "nodeName": node, "containers": [{"name": "c", "image": "c"}],
                "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
            },
        }),
    );
}

fn delete(world: &mut World, kind: Kind, name: &str) {
    let space = if kind == Kind::PERSISTENT_VOLUME { "" } else { "default" };
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    world.api().delete(kind, space, name, &options).expect("deleted");
}

fn run_for(world: &mut World, seconds: u64) {
    let until = world.now() + secs(seconds);
    world.run_until(until);
}

fn messages(world: &mut World, reason: &str) -> Vec<String> {
    let events = world.api().list::<Event>().filter(|e| e.reason.as_deref() == Some(reason));
    events.filter_map(|event| event.message.clone()).collect()
}

/// Nodes to which the volume is attached.
fn attached(world: &mut World) -> Vec<String> {
    let all = world.api().list::<VolumeAttachment>();
    let done = all.filter(|a| a.status.as_ref().is_some_and(|status| status.attached));
    done.map(|attachment| attachment.spec.node_name.clone()).collect()
}

#[test]
fn a_cephfs_claim_is_bound_once_its_filesystem_is_ready() {
    let mut world = world();
    filesystem(&mut world, 3);
    cephfs_class(&mut world, "myfs-data0");
    new_claim(&mut world, "csi-cephfs", "ReadWriteMany");
    run_for(&mut world, 15);
    assert_eq!(claim_phase(&claim(&mut world)), "Pending", "Rook needs 20 s at least");
    run_for(&mut world, 150);
    let claim = claim(&mut world);
    assert_eq!(claim_phase(&claim), "Bound");
    let volume = volume(&mut world).expect("provisioned");
    assert_eq!(volume.metadata.name.as_deref(), Some(claim_volume(&claim)));
    assert_eq!(volume_phase(&volume), "Bound");
    let csi = volume.spec.as_ref().and_then(|spec| spec.csi.clone()).expect("a CSI volume");
    let attributes = csi.volume_attributes.unwrap_or_default();
    assert_eq!(attributes.get("fsName").map(String::as_str), Some("myfs"));
    assert!(!attributes.keys().any(|key| key.starts_with("csi.storage.k8s.io/provisioner")));
}

#[test]
fn a_missing_filesystem_keeps_the_claim_pending_with_its_reason() {
    let mut world = world();
    cephfs_class(&mut world, "myfs-data0");
    new_claim(&mut world, "csi-cephfs", "ReadWriteMany");
    run_for(&mut world, 120);
    assert_eq!(claim_phase(&claim(&mut world)), "Pending");
    assert_eq!(
        messages(&mut world, "ProvisioningFailed"),
        ["failed to provision volume with StorageClass \"csi-cephfs\": rpc error: code = \
          InvalidArgument desc = volume not found"]
    );
    let waiting = messages(&mut world, "ExternalProvisioning");
    assert!(waiting[0].contains("rook-ceph.cephfs.csi.ceph.com"), "{waiting:?}");
    filesystem(&mut world, 3);
    run_for(&mut world, 400);
    assert_eq!(claim_phase(&claim(&mut world)), "Bound", "retried");
}

#[test]
fn wrong_pool_names_and_too_many_replicas_never_provision() {
    let mut wrong = world();
    filesystem(&mut wrong, 3);
    cephfs_class(&mut wrong, "myfs-replicated");
    new_claim(&mut wrong, "csi-cephfs", "ReadWriteMany");
    run_for(&mut wrong, 200);
    let told = messages(&mut wrong, "ProvisioningFailed");
    assert!(
        told.iter().any(|m| m.contains("'myfs-replicated'--need a valid data pool")),
        "{told:?}"
    );
    let mut large = world();
    filesystem(&mut large, 4);
    run_for(&mut large, 300);
    let kind = large.api().registry.by_kind("ceph.rook.io", "CephFilesystem").expect("defined");
    let Some(Obj::Other(object)) = large.api().object(kind, "rook-ceph", "myfs").cloned() else {
        unreachable!("a custom resource")
    };
    assert_eq!(object.body["status"]["phase"], "Progressing", "4 replicas on 3 hosts");
}

#[test]
fn an_image_is_not_shared_by_nodes() {
    let mut world = world();
    rbd(&mut world);
    new_claim(&mut world, "block", "ReadWriteMany");
    run_for(&mut world, 90);
    let told = messages(&mut world, "ProvisioningFailed");
    assert!(told[0].contains("only supported on rbd `block` type volumes"), "{told:?}");
}

/// Two healthy nodes that no kubelet runs: their leases are those of the moment.
fn bound_image_with_nodes(ready_b: &str) -> World {
    let mut world = world();
    rbd(&mut world);
    new_claim(&mut world, "block", "ReadWriteOnce");
    run_for(&mut world, 200);
    assert_eq!(claim_phase(&claim(&mut world)), "Bound");
    for (name, status) in [("node-a", "True"), ("node-b", ready_b)] {
        let node = json!({
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": status}]},
        });
        let node: Node = serde_json::from_value(node).expect("a node");
        world.api().create(node.clone()).expect("created");
        world.api().update_status(node).expect("has a status");
    }
    world
}

#[test]
fn a_second_node_waits_until_the_first_lets_go() {
    let mut world = bound_image_with_nodes("True");
    pod(&mut world, "first", "node-a");
    run_for(&mut world, 8);
    assert_eq!(attached(&mut world), ["node-a"]);
    pod(&mut world, "second", "node-b");
    run_for(&mut world, 8);
    assert_eq!(attached(&mut world), ["node-a"]);
    let name = claim_volume(&claim(&mut world)).to_owned();
    assert_eq!(
        messages(&mut world, "FailedAttachVolume"),
        [format!(
            "Multi-Attach error for volume \"{name}\" Volume is already used by pod(s) first"
        )]
    );
    delete(&mut world, Kind::POD, "first");
    run_for(&mut world, 10);
    assert_eq!(attached(&mut world), ["node-b"]);
}

#[test]
fn a_lost_node_holds_its_volume_for_six_minutes() {
    let mut world = bound_image_with_nodes("Unknown");
    pod(&mut world, "first", "node-b");
    run_for(&mut world, 8);
    assert_eq!(attached(&mut world), ["node-b"]);
    delete(&mut world, Kind::POD, "first");
    let deleted_at = world.now();
    world.run_until(deleted_at + secs(355));
    assert_eq!(attached(&mut world), ["node-b"]);
    world.run_until(deleted_at + secs(370));
    assert!(attached(&mut world).is_empty());
}

#[test]
fn local_path_waits_for_a_node_and_stays_on_it() {
    let mut world = world();
    new_claim(&mut world, "standard", "ReadWriteOnce");
    run_for(&mut world, 20);
    assert!(volume(&mut world).is_none());
    assert_eq!(
        messages(&mut world, "WaitForFirstConsumer"),
        ["waiting for first consumer to be created before binding"]
    );
    world
        .api()
        .patch::<PersistentVolumeClaim>(crate::sim::api::Part::Main, "default", "data", |claim| {
            let all = claim.metadata.annotations.get_or_insert_default();
            all.insert("volume.kubernetes.io/selected-node".into(), "node-a".into());
        })
        .expect("annotated");
    run_for(&mut world, 15);
    assert_eq!(claim_phase(&claim(&mut world)), "Bound");
    let affinity = volume(&mut world).and_then(|v| v.spec.clone()?.node_affinity).expect("pinned");
    let text = serde_json::to_string(&affinity).expect("JSON");
    assert!(text.contains("kubernetes.io/hostname") && text.contains("node-a"), "{text}");
}

#[test]
fn a_deleted_claim_takes_its_volume_along_after_the_last_pod() {
    let mut world = bound_image_with_nodes("True");
    pod(&mut world, "first", "node-a");
    run_for(&mut world, 8);
    delete(&mut world, Kind::PERSISTENT_VOLUME_CLAIM, "data");
    run_for(&mut world, 5);
    assert!(claim(&mut world).metadata.deletion_timestamp.is_some(), "protected by its pod");
    delete(&mut world, Kind::POD, "first");
    run_for(&mut world, 20);
    assert!(world.api().get::<PersistentVolumeClaim>("default", "data").is_none());
    assert!(volume(&mut world).is_none(), "reclaim policy Delete");
}

#[test]
fn a_claim_grows_where_its_class_allows() {
    let mut world = world();
    filesystem(&mut world, 3);
    cephfs_class(&mut world, "myfs-data0");
    world
        .api()
        .patch::<StorageClass>(crate::sim::api::Part::Main, "", "csi-cephfs", |class| {
            class.allow_volume_expansion = Some(true);
        })
        .expect("patched");
    new_claim(&mut world, "csi-cephfs", "ReadWriteMany");
    run_for(&mut world, 200);
    world
        .api()
        .patch::<PersistentVolumeClaim>(crate::sim::api::Part::Main, "default", "data", |claim| {
            let spec = claim.spec.get_or_insert_default();
            let requests = spec.resources.get_or_insert_default().requests.get_or_insert_default();
            requests.insert(
                "storage".into(),
                k8s_openapi::apimachinery::pkg::api::resource::Quantity("2Gi".into()),
            );
        })
        .expect("patched");
    run_for(&mut world, 10);
    let status = claim(&mut world).status.clone().unwrap_or_default();
    let size = status.capacity.and_then(|all| all.get("storage").cloned());
    assert_eq!(size.map(|q| q.0).as_deref(), Some("2Gi"));
    assert_eq!(status.conditions, None);
}

#[test]
fn pods_on_several_nodes_mount_one_cephfs_claim() {
    let mut world = world();
    filesystem(&mut world, 3);
    cephfs_class(&mut world, "myfs-data0");
    new_claim(&mut world, "csi-cephfs", "ReadWriteMany");
    create::<Deployment>(
        &mut world,
        json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        "containers": [{
                            "name": "web", "image": "nginx:1.27",
                            "volumeMounts": [{"name": "d", "mountPath": "/data"}],
                        }],
                        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
                    },
                },
            },
        }),
    );
    run_for(&mut world, 240);
    let ready = world.api().list::<Pod>().filter(|pod| is_pod_ready(pod)).count();
    assert_eq!(ready, 3);
    assert_eq!(attached(&mut world).len(), 3, "one attachment a node");
    let in_use = world.api().list::<Node>().filter(|node| {
        node.status
            .as_ref()
            .is_some_and(|s| s.volumes_attached.as_ref().is_some_and(|v| !v.is_empty()))
    });
    assert_eq!(in_use.count(), 3);
}
