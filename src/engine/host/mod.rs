//! Host: what engines do to this machine: run programs, hold leases, clean up.
//! Owns: `Programs`, the only place that starts a process; `Lease`, written before anything is made.
//! Imports: base. Never: kube, sim, stack, suite.
//! Time and errors: each call has a time limit; an error quotes the command, how it ended and its last lines.
//! Source: kind and docker as documented by their `--help`. Proof: tests beside the files.

mod lease;
mod process;
mod program;
#[cfg(test)]
pub(crate) mod testing;

pub use lease::{ContainerEngine, Lease, LeaseFile, Thing};
pub use process::ProcessId;
pub use program::{Call, ProgramError, Programs, Ran, Trouble};
