//! Apps: models of the programs in the pods: start, listening, CPU and memory per request, shutdown, storage.
//! Owns: `App`, the catalogue by image, the WordPress, MySQL and generic HTTP models.
//! Imports: base. Never: sim::api, sim::net, sim::kubelet.
//! Time and errors: a latency is a distribution with unit and stream; an image without a model is reported, not guessed.
//! Source: measured runs and the images' entrypoints, named in each file. Proof: apps/tests.

mod access_log;
mod catalogue;
mod generic;
mod model;
mod mysql;
mod script;
#[cfg(test)]
pub(in crate::sim) mod testing;
mod wire;
mod wordpress;

pub use catalogue::{catalogue, configured_for};
pub use generic::is_common_tool;
pub use model::{App, AppCx, DialError, Dialer, Files, GenericApp, Launch, Peers, Shutdown, Work};
pub(in crate::sim) use script::{is_command_flag, sleep_time, split_words, without_output};
