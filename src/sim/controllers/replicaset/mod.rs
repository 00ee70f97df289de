//! ReplicaSet: keeps the wished number of pods (`pkg/controller/replicaset/replica_set.go`).
//! Owns: counters of owned pods, expectations, slow-start creation, victims of a scale-down, adoption.
//! Imports: base, k8s, sim::api. Never: other controllers.
//! Time and errors: a burst of creations takes a write's time per batch; a failed one ends it and is retried.
//! Source: semantics 3.7. Proof: unit tests here, tests/conformance.

mod controller;
mod counters;
mod expectations;
mod manage;
mod status;
#[cfg(test)]
mod tests;
mod victims;

pub use controller::ReplicaSetController;
pub(super) use manage::pod_from_template;
