//! Real engine: a cluster behind an API server and a network, whoever made it.
//! Owns: `RealCluster`, how its API server is reached, what it serves, where its ingress controller answers.
//! Imports: base, k8s, load, engine. Never: programs of the host, sim.
//! Time and errors: every request ends; an error names the context, the server and what to check.
//! Source: kubeconfig v1 and the discovery API. Proof: tests.rs against local servers, tests/conformance.

mod access;
mod cluster;
mod entrance;
mod patience;
pub mod served;
#[cfg(test)]
mod tests;

pub use access::Access;
pub use cluster::{Given, RealCluster};
pub use entrance::find_front_door;
