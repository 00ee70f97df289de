//! Kubelet: pod lifecycle on a node: start order, probes, hooks, restarts, termination, node status.
//! Owns: pod status, probe results, grace periods, node leases; it starts and stops processes through `Machines`.
//! Imports: base, k8s, sim::api, sim::machines, sim::volumes. Never: sim::controllers, sim::scheduler, sim::net.
//! Time and errors: spec seconds become `Duration` at the edge; a failing program is data.
//! Source: pkg/kubelet at v1.20.2, differences by profile. Proof: tests/conformance pod_*.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::api::Change;
use super::bootstrap::NodeSpec;
use super::context::Cx;
use super::machines::{ContainerId, Machines};
use super::volumes::Volumes;

/// What is due at a kubelet.
#[derive(Clone, Debug)]
pub enum KubeletEvent {
    /// A container's main process has ended (noticed at the next relist).
    ContainerExited(ContainerId),
    /// A container has answered a request of this kubelet, or its process ended before it did.
    LocalAnswer {
        /// The kubelet's number for the request.
        token: u64,
        /// The HTTP status; none when the connection was cut.
        status: Option<u16>,
    },
}

/// The kubelets of all nodes.
#[derive(Debug, Default)]
pub struct Kubelets {
    nodes: BTreeMap<Arc<str>, ()>,
}

impl Kubelets {
    /// The kubelets of a cluster.
    pub fn new(_spec: &super::bootstrap::ClusterSpec) -> Self {
        Kubelets::default()
    }

    /// Registers a node: creates its Node object and Lease and starts heartbeats.
    pub fn add_node(&mut self, node: &NodeSpec, _cx: &mut Cx<'_>) {
        self.nodes.insert(Arc::from(node.name.as_str()), ());
    }

    /// A change of a pod bound to `node` arrives.
    pub fn on_change(
        &mut self,
        _node: &str,
        _change: &Change,
        _machines: &mut Machines,
        _cx: &mut Cx<'_>,
    ) {
    }

    /// Something is due at the kubelet of `node`.
    pub fn on_event(
        &mut self,
        _node: &str,
        _event: KubeletEvent,
        _machines: &mut Machines,
        _volumes: &mut Volumes,
        _cx: &mut Cx<'_>,
    ) {
    }

    /// The node loses power: its kubelet does nothing until it returns.
    pub fn power_off(&mut self, _node: &str, _cx: &mut Cx<'_>) {}

    /// The node boots: the kubelet re-lists its pods and starts them again.
    pub fn power_on(&mut self, _node: &str, _machines: &mut Machines, _cx: &mut Cx<'_>) {}
}
