//! Volumes: the storage side of the cluster: CephFS-like and RBD-like provisioners, attach and detach.
//! Owns: which claim gets a volume when, and where a volume is attached; data lives in `machines`.
//! Imports: base, k8s, sim::api. Never: sim::kubelet, sim::controllers, sim::net.
//! Time and errors: a provisioner that lacks its filesystem or pool leaves the claim pending with an event.
//! Source: Rook v1.20 and ceph-csi, pkg/controller/volume/attachdetach. Proof: tests/conformance volume_*.

use super::api::Change;
use super::bootstrap::ClusterSpec;
use super::context::Cx;

/// What is due at the storage side.
#[derive(Clone, Debug)]
pub enum VolumesEvent {}

/// Whether a pod's volumes can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountState {
    /// All are there: the volume identity by pod volume name (see `machines::Mount::volume`).
    Ready(Vec<(String, String)>),
    /// Some are not yet attached or bound; the kubelet asks again.
    Waiting(String),
}

/// Provisioners, attach/detach, Rook's operator.
#[derive(Debug)]
pub struct Volumes {}

impl Volumes {
    /// The storage side of a cluster.
    pub fn new(_spec: &ClusterSpec) -> Self {
        Volumes {}
    }

    /// Starts periodic work.
    pub fn start(&mut self, _cx: &mut Cx<'_>) {}

    /// A claim, volume, class, pod or custom resource has changed.
    pub fn on_change(&mut self, _change: &Change, _cx: &mut Cx<'_>) {}

    /// Something is due.
    pub fn on_event(&mut self, event: VolumesEvent, _cx: &mut Cx<'_>) {
        match event {}
    }

    /// Whether the claims of `pod` on `node` can be mounted now (claims only; the kubelet handles
    /// emptyDir, ConfigMap, Secret and the like itself).
    pub fn mounts(
        &self,
        _pod: &k8s_openapi::api::core::v1::Pod,
        _node: &str,
        _cx: &Cx<'_>,
    ) -> MountState {
        MountState::Ready(Vec::new())
    }
}
