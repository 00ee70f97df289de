//! Lifecycle facts that no API object shows exactly: the timeline joins them with failed requests.

use crate::base::{ObjectRef, SimTime};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactKind {
    /// The preStop hook of a container began.
    PreStopStarted,
    /// The preStop hook failed, so SIGTERM follows at once.
    PreStopFailed,
    /// The main process got its stop signal.
    StopSignal,
    /// The process was killed at the end of its grace.
    Killed,
    /// The process was killed for exceeding its memory limit.
    OomKilled,
    /// The process began to accept connections.
    ListenerOpened,
    /// The process stopped accepting connections.
    ListenerClosed,
    /// The process ended.
    Exited,
    /// A node's kube-proxy took a change of a Service's endpoints over.
    ProxySynced,
    /// The ingress controller took a change over.
    IngressSynced,
    /// The node lost power or its network.
    NodeLost,
    /// The node came back.
    NodeReturned,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// When it happened.
    pub at: SimTime,
    /// What happened.
    pub kind: FactKind,
    /// To which object.
    pub object: ObjectRef,
}
