//! Sim engine: lets tokio and kube talk to the pure simulator.
//! Owns: the tower service, watch streams, the transport into `sim::net`, the driver task.
//! Imports: base, sim, load, engine. Never: sockets, the wall clock, blocking tasks.
//! Time and errors: a paused current-thread runtime; the driver sleeps until the next due event.
//! Source: kube's mock tests, turmoil's runtime. Proof: tests/determinism.rs.

mod bridge;
mod driver;
mod engine;
mod run;
mod service;
#[cfg(test)]
mod tests;
mod transport;

pub use crate::sim::apps::GenericApp;
pub use crate::sim::profile::Profile;
pub use crate::sim::{ClusterSpec, NodeSpec, has_driver};
pub use engine::{SimEngine, description, has_model, is_common_tool};
pub use run::{SimRun, run};
