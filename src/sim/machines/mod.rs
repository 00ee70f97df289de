//! Machines: the processes on the nodes: sockets, CPU with CFS quota, memory with OOM kills, files, logs.
//! Owns: running containers and their network namespaces; what a process does is asked from `apps`.
//! Imports: base, sim::apps, sim::api (no writes). Never: sim::controllers, sim::scheduler.
//! Time and errors: a finished or cut request is told to `Net` as an event; exits are told to the kubelet.
//! Source: kubelet/cm/helpers_linux.go (shares, quota), Linux process rules. Proof: machines/tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::apps::Dialer;
use super::bootstrap::{ClusterSpec, NodeSpec};
use super::context::Cx;

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
    /// (`pv/<volume handle>`, `emptyDir/<pod uid>/<name>`, `hostPath/<node>/<path>`).
    pub volume: String,
    /// Path below the volume's root.
    pub sub_path: String,
    /// Whether writes are refused.
    pub read_only: bool,
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
        at: crate::base::SimTime,
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

/// What is due at the machines.
#[derive(Clone, Debug)]
pub enum MachinesEvent {}

/// All processes of the cluster.
#[derive(Debug)]
pub struct Machines {}

impl Machines {
    /// Machines with the program models of `spec`.
    pub fn new(_spec: &ClusterSpec) -> Self {
        Machines {}
    }

    /// Adds a node.
    pub fn add_node(&mut self, _node: &NodeSpec) {}

    /// Gives a pod its network namespace and address.
    pub fn create_sandbox(&mut self, _node: &str, _pod_uid: &str, _cx: &mut Cx<'_>) -> String {
        String::new()
    }

    /// Tears a pod's network namespace down; connections to it get no answer from then on.
    pub fn remove_sandbox(&mut self, _pod_uid: &str, _cx: &mut Cx<'_>) {}

    /// Starts a container.
    ///
    /// # Errors
    /// The text of a `RunContainerError`.
    pub fn start(
        &mut self,
        _start: ContainerStart,
        _cx: &mut Cx<'_>,
    ) -> Result<ContainerId, String> {
        Ok(ContainerId(0))
    }

    /// How `command` will go inside the container.
    pub fn exec(&self, _id: ContainerId, _command: &[String]) -> ExecPlan {
        ExecPlan { duration: Duration::ZERO, exit_code: 127 }
    }

    /// Sends the image's stop signal to the main process.
    pub fn stop(&mut self, _id: ContainerId, _cx: &mut Cx<'_>) {}

    /// Kills all processes of the container.
    pub fn kill(&mut self, _id: ContainerId, _cx: &mut Cx<'_>) {}

    /// State of the main process; `None` for an unknown container.
    pub fn state(&self, _id: ContainerId) -> Option<&ProcessState> {
        None
    }

    /// What the container has written to its output, oldest line first.
    pub fn logs(&self, _pod_uid: &str, _container: &str, _previous: bool) -> Option<Vec<String>> {
        None
    }

    /// CPU time used since the start, and the working set in bytes, at this instant.
    pub fn usage(
        &self,
        _pod_uid: &str,
        _container: &str,
        _now: crate::base::SimTime,
    ) -> Option<Usage> {
        None
    }

    /// Connects to `ip:port` inside the pod network.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect(&self, _ip: &str, _port: u16) -> Result<ContainerId, ConnectError> {
        Err(ConnectError::NoAnswer)
    }

    /// Hands a request to the process that accepted its connection. The response arrives as
    /// `NetEvent::Response`, the end of the process before that as `NetEvent::Cut`.
    pub fn submit(
        &mut self,
        _to: ContainerId,
        _exchange: ExchangeId,
        _request: http::Request<Bytes>,
        _dialer: &mut dyn Dialer,
        _cx: &mut Cx<'_>,
    ) {
    }

    /// Whether a kept-alive connection to the container is still open at the process's end.
    pub fn keeps_alive(&self, _id: ContainerId) -> bool {
        false
    }

    /// Something is due.
    pub fn on_event(&mut self, event: MachinesEvent, _dialer: &mut dyn Dialer, _cx: &mut Cx<'_>) {
        match event {}
    }

    /// The node's processes vanish without a word.
    pub fn power_off(&mut self, _node: &str, _cx: &mut Cx<'_>) {}

    /// The node is back, with no processes; volumes of the node keep their data.
    pub fn power_on(&mut self, _node: &str, _cx: &mut Cx<'_>) {}
}

/// Resource use of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since the container started.
    pub cpu: Duration,
    /// Working set in bytes.
    pub memory_bytes: u64,
    /// When the container started.
    pub started_at: crate::base::SimTime,
}
