//! Deployment: rolls a template out through ReplicaSets (`pkg/controller/deployment`).
//! Owns: which ReplicaSet is new, rolling and proportional arithmetic, Recreate, conditions, history.
//! Imports: base, k8s, sim::api. Never: other controllers, pods (it only asks whether old ones exist).
//! Time and errors: acts on the counts ReplicaSets report; a refused write ends the sync and is retried.
//! Source: semantics 3.1 to 3.6. Proof: unit tests here, tests/conformance.

mod arithmetic;
mod conditions;
mod controller;
mod recreate;
mod revision;
mod rolling;
mod scale;
mod status;
mod template;
#[cfg(test)]
mod tests;

pub use controller::DeploymentController;
pub(super) use template::hash_bytes;
