//! Stack: reads, checks, orders and applies manifests, with file and line of every field kept.
//! Owns: `Stack`, `Manifest`, positions, apply order, our field manager.
//! Imports: wait, k8s, base. Never: engine, sim, suite, a template language.
//! Time and errors: apply is idempotent, only 409, 429 and 5xx are retried; a refusal names file, line, path and fix.
//! Source: kubectl apply --server-side. Proof: tests/bad_input.rs.

mod apply;
mod load;
mod manifest;
mod yaml;

pub use load::Stack;
pub use manifest::{Location, Manifest};
