//! Kubelet: pod lifecycle on a node: start order, probes, hooks, restarts, termination, node status.
//! Owns: pod status, probe results, grace periods, node leases; it starts and stops processes through `Machines`.
//! Imports: base, k8s, sim::api, sim::machines, sim::volumes. Never: sim::controllers, sim::scheduler, sim::net.
//! Time and errors: spec seconds become `Duration` at the edge; a failing program is data.
//! Source: pkg/kubelet at v1.20.2, differences by profile. Proof: tests/conformance pod_*.

mod agent;
mod backoff;
mod env;
mod hook;
mod image;
mod kubelets;
mod node;
mod phase;
mod probe;
mod prober;
mod start;
mod status;
mod sync;
mod terminate;
#[cfg(test)]
mod tests;
mod volumes;
mod worker;

use super::machines::ContainerId;

pub use kubelets::Kubelets;

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
    /// The node's lease is to be renewed, if the kubelet still runs since that boot.
    Heartbeat(u32),
    /// The kubelet comes up after that boot of its node.
    Boot(u32),
    /// Something is due for one pod.
    Pod(u64, PodEvent),
}

/// What is due for one pod.
#[derive(Clone, Copy, Debug)]
pub enum PodEvent {
    /// A sync.
    Sync,
    /// The step of the start sequence with this number is over.
    Task(u32),
    /// The status is to be written.
    Status,
    /// A probe is to run.
    Probe(ProbeRef),
    /// A probe has ended.
    ProbeEnd(ProbeRef, bool),
    /// A hook of the container with this index and run number has ended, well or not.
    Hook(usize, u32, bool),
    /// The time given to a kill's present stage is over, for the container and run.
    Grace(usize, u32),
    /// The pod is to be stopped.
    Terminate,
    /// The sandbox of a stopped pod is torn down.
    Teardown,
    /// Everything of a stopped pod is released.
    Reclaim,
}

/// One run of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeRef {
    /// Index of the container.
    pub container: usize,
    /// Which of its probes.
    pub kind: ProbeKind,
    /// Number of the run.
    pub run: u32,
}

/// The three probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Until it succeeds the others wait; its failure restarts.
    Startup,
    /// Its failure restarts.
    Liveness,
    /// Its result is the container's readiness.
    Readiness,
}
