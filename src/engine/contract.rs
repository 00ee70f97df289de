//! What every engine offers.

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::base::{Error, ObjectRef};
use crate::load::{Target, Transport};

/// Something an engine can do and a scenario may require.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Nodes can be stopped and started.
    NodeLifecycle,
    /// Taints and other fields of nodes may be changed.
    NodeChanges,
    /// Containers of pods can be frozen and thawed.
    ContainerPause,
}

/// Where clients outside reach the ingress controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontDoor {
    /// For plain HTTP.
    pub http: Target,
    /// For HTTPS; the server name is set per request.
    pub https: Target,
}

/// A lifecycle fact that no API object shows exactly, where the engine can know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Milliseconds since the engine started.
    pub at_ms: u64,
    /// What happened, as in `StopSignal`, `ListenerClosed`, `IngressSynced`.
    pub what: String,
    /// To which object.
    pub object: ObjectRef,
}

/// Stops and starts nodes.
pub trait NodeLifecycle: Send + Sync {
    /// Cuts a node's power.
    fn stop<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<(), Error>>;
    /// Boots a node again.
    fn start<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<(), Error>>;
}

/// Freezes containers of pods: their sockets stay open and nothing answers.
pub trait ContainerPause: Send + Sync {
    /// Freezes `container` (its id, as a pod's status has it) on `node`.
    fn pause<'a>(&'a self, node: &'a str, container: &'a str) -> BoxFuture<'a, Result<(), Error>>;
    /// Lets it go on; one that has been killed meanwhile is no error.
    fn unpause<'a>(&'a self, node: &'a str, container: &'a str)
    -> BoxFuture<'a, Result<(), Error>>;
}

/// Knows which processes the nodes killed for memory. Before 1.28, and on cgroup v1, only one process
/// of a container is killed, and where that is not the main one no object of the API tells.
pub trait MemoryKills: Send + Sync {
    /// The uid of the pod of each process that was killed so far, as far back as the nodes remember.
    fn pods<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, Error>>;
}

/// Writes the journals of nodes.
pub trait NodeLogs: Send + Sync {
    /// A private folder that ends with the cluster, whatever becomes of this process: journals tell
    /// secrets.
    fn place(&self) -> &Path;
    /// Writes those of all nodes below `into`.
    fn export<'a>(&'a self, into: &'a Path) -> BoxFuture<'a, Result<(), Error>>;
}

/// A running cluster.
pub trait Engine: Send + Sync {
    /// `sim`, `kind` or `kubeconfig`.
    fn name(&self) -> &'static str;
    /// The Kubernetes version, as in `1.37`.
    fn kubernetes(&self) -> String;
    /// What it can do.
    fn capabilities(&self) -> &[Capability];
    /// The control-plane waist.
    fn client(&self) -> kube::Client;
    /// The data-plane waist.
    fn transport(&self) -> Arc<dyn Transport>;
    /// Where the ingress controller is reached.
    fn front_door(&self) -> FrontDoor;
    /// Node lifecycle, if the engine has it.
    fn nodes(&self) -> Option<&dyn NodeLifecycle>;
    /// Freezing of containers, if the engine has it.
    fn containers(&self) -> Option<&dyn ContainerPause> {
        None
    }
    /// Kills for memory that no object tells of, if the engine can see them.
    fn memory_kills(&self) -> Option<&dyn MemoryKills> {
        None
    }
    /// Whether its watches tell of every event. Those of a real API server come over a network, and may
    /// fall silent or lose some without a word.
    fn watches_tell_all(&self) -> bool {
        false
    }
    /// Lifecycle facts so far, oldest first; empty where the engine knows none.
    fn facts(&self) -> Vec<Fact>;
    /// The instant from which facts count; `None` where the engine knows none.
    fn epoch(&self) -> Option<Instant> {
        None
    }
    /// The journals of its nodes, if the engine has access to them.
    fn node_logs(&self) -> Option<&dyn NodeLogs> {
        None
    }
}
