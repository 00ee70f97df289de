//! Machines: the processes on the nodes: sockets, CPU with CFS quota, memory with OOM kills, files, logs.
//! Owns: running containers and their network namespaces; what a process does is asked from `apps`.
//! Imports: base, sim::apps, sim::api (no writes). Never: sim::controllers, sim::scheduler.
//! Time and errors: a finished or cut request is told to `Net` as an event; exits are told to the kubelet.
//! Source: kubelet/cm/helpers_linux.go (shares, quota), Linux process rules. Proof: machines/tests.

mod clients;
mod container;
mod cpu;
mod files;
mod freeze;
mod nodes;
mod peers;
mod process;
mod service;
mod shell;
mod table;
#[cfg(test)]
pub(in crate::sim) mod test_app;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::apps::GenericApp;
use super::profile::Profile;
use crate::base::{ObjectRef, Streams};

pub use service::Port;
pub use types::{
    ConnectError, ContainerId, ContainerStart, ExchangeId, ExecPlan, LocalCall, MachinesEvent,
    Mount, PodPeer, ProcessState, Usage,
};

/// All processes of the cluster.
#[derive(Debug)]
pub struct Machines {
    profile: Profile,
    configured: Vec<GenericApp>,
    nodes: BTreeMap<Arc<str>, nodes::Node>,
    /// By pod uid.
    sandboxes: BTreeMap<String, nodes::Sandbox>,
    /// Pod uids by address: one for a pod network address, any number for a node's.
    by_ip: BTreeMap<String, Vec<String>>,
    containers: BTreeMap<ContainerId, container::Container>,
    next_id: u64,
    volumes: files::VolumeTrees,
    /// Randomness of programs that are called by other programs.
    peer_rng: Option<Streams>,
    unmodelled_commands: BTreeSet<(ObjectRef, String)>,
}
