//! What a cluster with Rook and local-path holds before any stack: classes, secrets, the CephCluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec, StorageClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use crate::sim::api::{Api, Obj, Part, Resource, Status, Untyped};

use super::driver::{LOCAL_PATH, OPERATOR_NAMESPACE, ROOK_GROUP};

/// Kinds of Rook that stacks use: kind and plural (`rook deploy/examples/crds.yaml`).
const ROOK_KINDS: [(&str, &str); 5] = [
    ("CephCluster", "cephclusters"),
    ("CephFilesystem", "cephfilesystems"),
    ("CephFilesystemSubVolumeGroup", "cephfilesystemsubvolumegroups"),
    ("CephBlockPool", "cephblockpools"),
    ("CephObjectStore", "cephobjectstores"),
];
/// Secrets that Rook makes for its drivers (`pkg/operator/ceph/csi/secrets.go`).
const CSI_SECRETS: [&str; 4] = [
    "rook-csi-cephfs-provisioner",
    "rook-csi-cephfs-node",
    "rook-csi-rbd-provisioner",
    "rook-csi-rbd-node",
];

/// Installs kind's default class, and Rook with a healthy CephCluster in namespace `rook-ceph`.
///
/// # Errors
/// The refused write.
pub(crate) fn install(api: &mut Api) -> Result<(), Status> {
    api.create(standard_class())?;
    if api.get::<Namespace>("", OPERATOR_NAMESPACE).is_none() {
        api.create(Namespace { metadata: named("", OPERATOR_NAMESPACE), ..Namespace::default() })?;
    }
    for (kind, plural) in ROOK_KINDS {
        define(api, kind, plural)?;
    }
    for secret in CSI_SECRETS {
        let data = BTreeMap::from([("userID".to_owned(), secret.replacen("rook-", "", 1))]);
        api.create(Secret {
            metadata: named(OPERATOR_NAMESPACE, secret),
            string_data: Some(data),
            type_: Some("kubernetes.io/rook".to_owned()),
            ..Secret::default()
        })?;
    }
    for driver in ["cephfs", "rbd"] {
        api.create(CSIDriver {
            metadata: named("", &format!("{OPERATOR_NAMESPACE}.{driver}.csi.ceph.com")),
            spec: CSIDriverSpec { attach_required: Some(true), ..CSIDriverSpec::default() },
        })?;
    }
    create_cluster(api)
}

/// kind's class (`kind pkg/build/nodeimage/const_storage.go`).
fn standard_class() -> StorageClass {
    let mark = "storageclass.kubernetes.io/is-default-class".to_owned();
    StorageClass {
        metadata: ObjectMeta {
            annotations: Some(BTreeMap::from([(mark, "true".to_owned())])),
            ..named("", "standard")
        },
        provisioner: LOCAL_PATH.to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        volume_binding_mode: Some("WaitForFirstConsumer".to_owned()),
        ..StorageClass::default()
    }
}

/// A custom resource definition, and the resource it makes the API serve.
fn define(api: &mut Api, kind: &str, plural: &str) -> Result<(), Status> {
    let singular = kind.to_lowercase();
    let definition = json!({
        "metadata": {"name": format!("{plural}.{ROOK_GROUP}")},
        "spec": {
            "group": ROOK_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind, "plural": plural, "singular": singular,
                "listKind": format!("{kind}List"),
            },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
        "status": {
            "acceptedNames": {"kind": kind, "plural": plural, "singular": singular},
            "storedVersions": ["v1"],
            "conditions": [
                {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts"},
                {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"},
            ],
        },
    });
    api.registry.add(Resource {
        group: ROOK_GROUP.to_owned(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
        namespaced: true,
        short_names: Vec::new(),
        has_status: true,
        has_scale: false,
    });
    let Some(crd) = api.registry.by_kind("apiextensions.k8s.io", "CustomResourceDefinition") else {
        return Ok(());
    };
    let object =
        Obj::from_json(crd, definition).map_err(|error| Status::bad_request(error.to_string()))?;
    api.create_object(object, false)?;
    Ok(())
}

fn create_cluster(api: &mut Api) -> Result<(), Status> {
    let Some(kind) = api.registry.by_kind(ROOK_GROUP, "CephCluster") else { return Ok(()) };
    let mut body = Map::new();
    body.insert("spec".to_owned(), json!({"mon": {"count": 3}, "storage": {"useAllNodes": true}}));
    let metadata = named(OPERATOR_NAMESPACE, OPERATOR_NAMESPACE);
    let cluster = Obj::Other(Arc::new(Untyped { kind, metadata, body }));
    let Obj::Other(created) = api.create_object(cluster, false)? else { return Ok(()) };
    // A create drops the status of a kind that has the subresource.
    let mut cluster = Untyped::clone(&created);
    cluster.body.insert("status".to_owned(), healthy());
    api.update_object(Obj::Other(Arc::new(cluster)), Part::Status, false)?;
    Ok(())
}

fn healthy() -> Value {
    json!({
        "phase": "Ready", "state": "Created", "message": "Cluster created successfully",
        "ceph": {"health": "HEALTH_OK"},
    })
}

fn named(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        ..ObjectMeta::default()
    }
}
