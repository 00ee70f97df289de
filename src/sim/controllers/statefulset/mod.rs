//! StatefulSet: pods with an ordinal, one after the other (`pkg/controller/statefulset`).
//! Owns: identity, claims per pod, ordered and parallel scaling, updates from the highest ordinal, revisions.
//! Imports: base, k8s, sim::api. Never: other controllers.
//! Time and errors: one step a sync in OrderedReady; a pod must be gone as an object before the next step.
//! Source: semantics 3.8. Proof: unit tests here, tests/conformance.

mod control;
mod controller;
mod pods;
mod revision;
mod status;
#[cfg(test)]
mod tests;

pub use controller::StatefulSetController;
