//! Volumes that an administrator made: what a pod gets of them on each node.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::{MountState, Volumes};
use crate::sim::profile::Profile;
use crate::sim::{ClusterSpec, World};

/// What a pod that uses a volume of `source` mounts on `node`.
fn mounted(source: &Value, node: &str) -> MountState {
    let spec = ClusterSpec::new(Profile::NEWEST, 3);
    let mut world = World::new(&spec, 1);
    let mut volume = json!({
        "metadata": {"name": "v"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"]},
    });
    for (key, value) in source.as_object().into_iter().flatten() {
        volume["spec"][key] = value.clone();
    }
    let volume: PersistentVolume = serde_json::from_value(volume).expect("a volume");
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteMany"], "volumeName": "v", "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }))
    .expect("a claim");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "c"}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
        },
    }))
    .expect("a pod");
    world.api().create(volume).expect("created");
    world.api().create(claim).expect("created");
    world.run_until(world.now() + crate::base::secs(60));
    world.on_machines(|_, cx| Volumes::new(&spec).mounts(&pod, node, cx))
}

#[test]
fn folders_of_nodes_are_not_shared_by_nodes() {
    for kind in ["hostPath", "local"] {
        let on_workers = json!([{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "Exists"},
        ]}]);
        let source = json!({
            kind: {"path": "/srv/uploads"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": on_workers}},
        });
        for node in ["node-a", "node-b"] {
            let identity = format!("hostPath/{node}/srv/uploads");
            let expected = MountState::Ready(vec![("d".to_owned(), identity)]);
            assert_eq!(mounted(&source, node), expected, "{kind}");
        }
    }
}

#[test]
fn a_volume_of_a_driver_that_is_not_installed_is_never_mounted() {
    let source = json!({"csi": {"driver": "disks.example.com", "volumeHandle": "disk-1"}});
    let MountState::Waiting(text) = mounted(&source, "node-a") else { panic!("mounted") };
    assert!(text.contains("disks.example.com not found in the list of registered"), "{text}");
}
