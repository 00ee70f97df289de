//! The storage drivers: which classes they serve, and what they need to make a volume
//! (Rook v1.20, ceph-csi v3.14, local-path-provisioner v0.0.31).

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::Value;

use crate::base::{millis, secs};
use crate::sim::api::{Api, Obj};

/// Where the Rook operator runs; its drivers carry this as prefix (addons D9).
pub(super) const OPERATOR_NAMESPACE: &str = "rook-ceph";
/// The group of Rook's custom resources.
pub(super) const ROOK_GROUP: &str = "ceph.rook.io";
/// kind's built-in provisioner.
pub(super) const LOCAL_PATH: &str = "rancher.io/local-path";

/// Whether a driver of the simulated cluster makes volumes for `provisioner`.
pub fn has_driver(provisioner: &str) -> bool {
    Driver::of(provisioner).is_some()
}

/// A driver that makes volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// CephFS subvolumes: shared by nodes.
    CephFs,
    /// RBD images: one node at a time.
    Rbd,
    /// Folders of one node, made by a helper pod.
    LocalPath,
}

impl Driver {
    /// The driver that answers to `provisioner`, if it is installed.
    pub(super) fn of(provisioner: &str) -> Option<Driver> {
        if provisioner == LOCAL_PATH {
            return Some(Driver::LocalPath);
        }
        match provisioner.strip_prefix(OPERATOR_NAMESPACE)? {
            ".cephfs.csi.ceph.com" => Some(Driver::CephFs),
            ".rbd.csi.ceph.com" => Some(Driver::Rbd),
            _ => None,
        }
    }

    /// Source of its events. The real one also names the pod.
    pub(super) fn source(self) -> &'static str {
        match self {
            Driver::CephFs => "rook-ceph.cephfs.csi.ceph.com",
            Driver::Rbd => "rook-ceph.rbd.csi.ceph.com",
            Driver::LocalPath => "rancher.io/local-path",
        }
    }

    /// How long it takes to make a volume (semantics 8.1: 1 to 10 s; local-path 3 to 10 s).
    pub(super) fn create_time(self) -> (Duration, Duration) {
        match self {
            Driver::CephFs => (secs(1), secs(4)),
            Driver::Rbd => (millis(500), secs(3)),
            Driver::LocalPath => (secs(3), secs(10)),
        }
    }

    /// How long attaching takes: nothing is done for CephFS but the object still goes round
    /// (semantics 5.9: 1 to 30 s for drivers that attach; the low end on a small cluster).
    pub(super) fn attach_time(self) -> (Duration, Duration) {
        match self {
            Driver::CephFs => (millis(100), secs(1)),
            Driver::Rbd => (millis(500), secs(3)),
            Driver::LocalPath => (Duration::ZERO, Duration::ZERO),
        }
    }

    /// How long staging on a node takes: kernel mount, and mkfs or fsck for an image.
    pub(super) fn mount_time(self) -> (Duration, Duration) {
        match self {
            Driver::CephFs => (millis(200), secs(1)),
            Driver::Rbd => (millis(500), secs(3)),
            Driver::LocalPath => (Duration::ZERO, Duration::ZERO),
        }
    }

    /// Why the driver cannot make a volume for `claim` now, as its event words it.
    pub(super) fn refusal(
        self,
        class: &StorageClass,
        claim: &PersistentVolumeClaim,
        api: &Api,
    ) -> Option<String> {
        let spec = claim.spec.as_ref();
        let modes = spec.and_then(|spec| spec.access_modes.as_deref()).unwrap_or(&[]);
        let is_shared = modes.iter().any(|m| m == "ReadWriteMany" || m == "ReadOnlyMany");
        let is_block = spec.and_then(|s| s.volume_mode.as_deref()) == Some("Block");
        if self == Driver::LocalPath {
            let text =
                "NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes";
            return is_shared.then(|| text.to_owned());
        }
        let empty = BTreeMap::new();
        let parameters = class.parameters.as_ref().unwrap_or(&empty);
        if let Some(refusal) = secret_refusal(parameters, api) {
            return Some(refusal);
        }
        let invalid = |text: &str| Some(format!("rpc error: code = InvalidArgument desc = {text}"));
        let Some(cluster) = parameters.get("clusterID") else {
            return invalid("failed to fetch clusterID: missing required parameter clusterID");
        };
        if custom(api, "CephCluster").all(|(namespace, ..)| namespace != *cluster) {
            let text = format!(
                "failed to fetch monitor list using clusterID ({cluster}): missing configuration \
                 for cluster ID \"{cluster}\""
            );
            return invalid(&text);
        }
        match self {
            Driver::CephFs => cephfs_refusal(parameters, cluster, api),
            _ if is_shared && !is_block => {
                invalid("multi node access modes are only supported on rbd `block` type volumes")
            }
            _ => rbd_refusal(parameters, cluster, api),
        }
    }
}

/// `external-provisioner pkg/controller/controller.go:getCredentials`.
fn secret_refusal(parameters: &BTreeMap<String, String>, api: &Api) -> Option<String> {
    let name = parameters.get("csi.storage.k8s.io/provisioner-secret-name");
    let space = parameters.get("csi.storage.k8s.io/provisioner-secret-namespace");
    let (Some(name), Some(space)) = (name, space) else {
        return Some(
            "rpc error: code = InvalidArgument desc = provided secret is empty".to_owned(),
        );
    };
    api.get::<Secret>(space, name).is_none().then(|| {
        format!("error getting secret {name} in namespace {space}: secrets \"{name}\" not found")
    })
}

fn cephfs_refusal(
    parameters: &BTreeMap<String, String>,
    cluster: &str,
    api: &Api,
) -> Option<String> {
    let Some(filesystem) = parameters.get("fsName") else {
        let text = "missing required field fsName";
        return Some(format!("rpc error: code = InvalidArgument desc = {text}"));
    };
    let found = custom(api, "CephFilesystem")
        .find(|(namespace, name, _)| *namespace == cluster && *name == filesystem.as_str());
    let Some((_, _, body)) = found.filter(|(.., body)| is_ready(body)) else {
        // What users see (ceph-csi issues 3602, 3607): the filesystem does not exist in Ceph.
        return Some("rpc error: code = InvalidArgument desc = volume not found".to_owned());
    };
    let pool = parameters.get("pool")?;
    if data_pools(filesystem, body).contains(pool) {
        return None;
    }
    Some(format!(
        "rpc error: code = Internal desc = rados: ret=-22, Invalid argument: \"invalid pool layout \
         '{pool}'--need a valid data pool\""
    ))
}

fn rbd_refusal(parameters: &BTreeMap<String, String>, cluster: &str, api: &Api) -> Option<String> {
    let Some(pool) = parameters.get("pool") else {
        let text = "missing required parameter pool";
        return Some(format!("rpc error: code = InvalidArgument desc = {text}"));
    };
    let exists = custom(api, "CephBlockPool").any(|(namespace, name, body)| {
        namespace == cluster && name == pool.as_str() && is_ready(body)
    });
    let text = format!("pool not found: pool ({pool}) not found in Ceph cluster");
    (!exists).then(|| format!("rpc error: code = Internal desc = {text}"))
}

/// Data pools of a filesystem by Rook's naming rule
/// (`rook pkg/operator/ceph/file/filesystem.go`, addons D9).
pub(super) fn data_pools(filesystem: &str, body: &serde_json::Map<String, Value>) -> Vec<String> {
    let spec = body.get("spec").unwrap_or(&Value::Null);
    let keeps_names = spec["preservePoolNames"].as_bool().unwrap_or(false);
    let pools = spec["dataPools"].as_array().map_or(&[][..], Vec::as_slice);
    let name_of = |(idx, pool): (usize, &Value)| match pool["name"].as_str() {
        Some(name) if keeps_names => name.to_owned(),
        Some(name) => format!("{filesystem}-{name}"),
        None => format!("{filesystem}-data{idx}"),
    };
    pools.iter().enumerate().map(name_of).collect()
}

/// Rook's objects of a kind: namespace, name and body.
pub(super) fn custom<'a>(
    api: &'a Api,
    kind: &str,
) -> impl Iterator<Item = (&'a str, &'a str, &'a serde_json::Map<String, Value>)> + use<'a> {
    let kind = api.registry.by_kind(ROOK_GROUP, kind);
    let objects = kind.into_iter().flat_map(|kind| api.stored().objects(kind, None));
    objects.filter_map(|object| match object {
        Obj::Other(other) => Some((object.namespace(), object.name(), &other.body)),
        _ => None,
    })
}

fn is_ready(body: &serde_json::Map<String, Value>) -> bool {
    body.get("status").is_some_and(|status| status["phase"] == "Ready")
}
