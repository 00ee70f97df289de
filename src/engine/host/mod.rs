//! Host: what engines do to this machine: run programs, hold leases, clean up.
//! Owns: `Programs`, the only place that starts a process; `Lease`, written before anything is made; the sweep; signals.
//! Imports: base. Never: kube, sim, stack, suite.
//! Time and errors: each call has a time limit; an error quotes the command, how it ended and its last lines.
//! Source: kind and docker as documented by their `--help`. Proof: tests beside the files.

mod call;
mod container_engine;
mod file_lock;
mod lease;
mod lease_file;
mod lock;
pub mod loops;
mod paths;
mod process;
mod program;
mod remove;
pub mod signals;
mod sweep;
#[cfg(test)]
pub(crate) mod testing;

pub use call::Call;
pub use container_engine::ContainerEngine;
pub use file_lock::FileLock;
pub use lease::{Heartbeat, LEASE_LABEL, Lease};
pub use lease_file::{Found, LeaseFile, Thing, read_all};
pub use lock::adopt;
pub use paths::{HomeVariables, Paths, make_private_folder};
pub use process::{Life, Owner, ProcessId};
pub use program::{ProgramError, Programs, Ran, Trouble};
pub use remove::{CLUSTER_LABEL, InClusters};
pub use sweep::{Scope, Swept, SweptLease, give_back, sweep, sweep_with};
