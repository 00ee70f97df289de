//! Engine: the contract behind which a cluster is simulated, created or borrowed.
//! Owns: `Engine`, `Capability`, `FrontDoor`, and the engines.
//! Imports: base, k8s, wait, sim, load. Never: stack, suite, report, cli.
//! Time and errors: an engine that cannot start is an environment error; stopping runs on every exit path.
//! Source: e2e-framework's provider contract. Proof: tests/conformance.

mod contract;
pub mod doctor;
pub mod host;
pub mod kind;
pub mod real;
pub mod sim;

pub use contract::{
    Capability, ContainerPause, Engine, Fact, FrontDoor, MemoryKills, NodeLifecycle, NodeLogs,
};
