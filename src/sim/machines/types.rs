//! What the machines take and give.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::{ObjectRef, SimTime};

/// A started container, unique for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(pub u64);

/// A data-plane exchange (one request, one response), unique for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// What the kubelet asks to be started.
#[derive(Clone, Debug)]
pub struct ContainerStart {
    /// The node it runs on.
    pub node: Arc<str>,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub pod_uid: String,
    /// Address of the pod.
    pub pod_ip: String,
    /// Name of the container.
    pub container: String,
    /// Its image.
    pub image: String,
    /// Command override, if any.
    pub command: Vec<String>,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment, resolved.
    pub env: Vec<(String, String)>,
    /// Mounted volumes.
    pub mounts: Vec<Mount>,
    /// CPU limit in thousandths of a core.
    pub cpu_limit_milli: Option<u64>,
    /// CPU request in thousandths of a core.
    pub cpu_request_milli: u64,
    /// Memory limit in bytes.
    pub memory_limit_bytes: Option<u64>,
}

/// A volume mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Mount path in the container.
    pub path: String,
    /// The volume's identity: the same string is the same data
    /// (`pv/<volume>`, `server/<volume>` on a file server, `emptyDir/<pod uid>/<name>`,
    /// `hostPath/<node>/<path>`).
    pub volume: String,
    /// Path below the volume's root.
    pub sub_path: String,
    /// Whether writes are refused.
    pub read_only: bool,
}

impl Mount {
    /// Whether its files are on a file server, not on a disk of the node.
    pub fn is_served(&self) -> bool {
        self.volume.starts_with("server/")
    }
}

/// Why a connection to a pod address was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The network namespace exists, nothing listens on the port: RST, at once.
    Refused,
    /// The address answers nothing (pod gone, node lost): SYNs are dropped.
    NoAnswer,
}

/// State of a container's main process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// Running.
    Running,
    /// Ended.
    Exited {
        /// Exit code; 128 + signal for a signal.
        code: i32,
        /// Whether the memory limit killed it.
        oom_killed: bool,
        /// When it ended.
        at: SimTime,
    },
}

/// How a command run inside a container (a hook or an exec probe) will go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecPlan {
    /// How long it runs.
    pub duration: Duration,
    /// Its exit code; 126 and 127 when it could not be run.
    pub exit_code: i32,
}

/// Resource use of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since the container started.
    pub cpu: Duration,
    /// Working set in bytes.
    pub memory_bytes: u64,
    /// When the container started.
    pub started_at: SimTime,
}

/// What the network can learn of the pod behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPeer {
    /// The pod.
    pub object: ObjectRef,
    /// Ports something listens on.
    pub listening: Vec<u16>,
    /// Whether a process of the pod has ever listened.
    pub has_listened: bool,
    /// Whether its stop has begun: a stop signal was sent, or its network is torn down.
    pub stopping: bool,
    /// Whether its node has power.
    pub node_up: bool,
}

/// A request from the kubelet on the node itself (a probe or a hook); the answer arrives as
/// `KubeletEvent::LocalAnswer`.
#[derive(Clone, Debug)]
pub struct LocalCall {
    /// The node whose kubelet asks.
    pub node: Arc<str>,
    /// The kubelet's own number for it.
    pub token: u64,
}

/// Who waits for a response.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Net(ExchangeId),
    Local(LocalCall),
}

/// What is due at the machines.
#[derive(Clone, Debug)]
pub enum MachinesEvent {
    /// A process begins to run.
    Launch(ContainerId),
    /// A program has come so far as to listen on a port.
    Listen(ContainerId, u16),
    /// CPU work of a container is done, if it is still due at this instant.
    CpuDone(ContainerId),
    /// A request has waited long enough for others.
    WaitDone(ContainerId, u64),
    /// The main process gets its stop signal.
    Stop(ContainerId),
    /// A stopping process closes its listeners.
    CloseListeners(ContainerId),
    /// The main process ends with a code.
    Exit(ContainerId, i32),
    /// Frozen processes go on: they take up what was accepted for them.
    Thawed(ContainerId),
    /// A request of the kubelet arrives at a container.
    Local(ContainerId, LocalCall, Arc<http::Request<Bytes>>),
}
