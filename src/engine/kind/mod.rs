//! Kind: clusters made of containers by the `kind` program: created, filled, faulted, deleted.
//! Owns: topology, node image pins, image loading, readiness, node faults, reuse; every command goes through `Programs`.
//! Imports: base, k8s, wait, engine::host, engine's contract. Never: stack, suite; no process is started here.
//! Time and errors: kind's exit code proves nothing, so every step is checked; on failure what was made is removed first.
//! Source: kind v0.32.0 (`create cluster` cleans up unreliably, `--wait` exits 0 on time-out). Proof: kind/tests.rs.

mod archive;
mod cluster;
mod container;
mod create;
mod defects;
mod error;
mod image;
mod images;
mod load;
mod nodes;
mod pins;
mod ports;
mod prepare;
mod ready;
mod refresh;
mod registry;
mod reuse;
mod spec;
mod teardown;
#[cfg(test)]
mod tests;
mod topology;

pub use cluster::{KindCluster, KindNode};
pub use container::{Containers, EngineFacts, EngineHints, ImageStore};
pub use create::{create, fresh_name};
pub use error::KindError;
pub use image::ImageName;
pub use images::{ImagePlan, plan};
pub use load::load;
pub use nodes::KindNodes;
pub use pins::{NodePin, node_pin, node_pins};
pub use prepare::make_sys_writable;
pub use refresh::refresh;
pub use registry::attach as attach_registries;
pub use reuse::{Kept, find, lease_id, lock, reuse_key, runs};
pub use spec::{ExtraMount, KindSpec};
pub use teardown::delete;
pub use topology::Topology;
