//! Base: the shared words: virtual time, seed streams, object references, YAML with lines, errors.
//! Owns: `SimTime`, `Streams`, `ObjectRef`, the YAML reader, `Error` and the exit-code classes.
//! Imports: none. Never: kube, http, clap.
//! Time and errors: no bare integers for time; constructors return `Error` on bad input, they do not panic.
//! Source: Kubernetes API conventions (names, timestamps), sigs.k8s.io/yaml. Proof: tests/determinism.rs.

mod error;
mod object_ref;
mod seed;
mod time;
pub mod wall;
pub mod yaml;

pub use error::{Error, ErrorClass, in_full};
pub use object_ref::ObjectRef;
pub use seed::Streams;
pub use time::{SimTime, millis, secs};

/// Names of files that are being written begin so, as of leases and downloads; what dead writers have
/// left of them is swept.
pub const TEMPORARY_PREFIX: &str = ".writing-";
