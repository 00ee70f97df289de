//! Api: the API server: store, verbs, watches, patches, defaulting, admission, validation.
//! Owns: `Api`, the only way to read or change objects; `Obj`, `Kind`, `Change`, `Status`.
//! Imports: base, k8s, sim::profile. Never: other rooms of the simulator.
//! Time and errors: `Api::now` is set by the world; a refused request is a `Status`, never a panic.
//! Source: apiserver and apimachinery at v1.20.2, differences by profile. Proof: tests/conformance api_*.

pub mod admission;
mod binding;
pub mod defaults;
mod deletion;
pub mod events;
mod object;
mod objects;
mod registry;
pub mod rest;
mod status;
mod store;
pub mod validation;

pub use object::{Kind, Obj, Typed, Untyped};
pub use objects::Objects;
pub use registry::{Registry, Resource};
pub use status::{Cause, Status};
pub use store::{Api, Change, ChangeType, DeleteOptions, Deletion, Part, Propagation};
