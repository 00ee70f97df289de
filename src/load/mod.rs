//! Load: sends requests at planned times and records what happened.
//! Owns: `Transport`, the arrival plan, the open-loop generator, request records and their statistics.
//! Imports: base. Never: kube, k8s, observe, report; it knows addresses, not pods.
//! Time and errors: planned and actual start both kept, on `tokio::time`; a failed request is a record, not an `Err`.
//! Source: coordinated omission as in wrk2 and oha. Proof: load/generator.rs tests under a paused clock.

mod generator;
mod plan;
mod record;
mod stats;
mod tcp;
mod transport;

pub use generator::{Load, Source};
pub use plan::ArrivalPlan;
pub use record::{Outcome, Record, Served};
pub use stats::{LatencyMs, Stats};
pub use tcp::TcpTransport;
pub use transport::{
    Answer, Backend, BackendState, Call, Connection, Failed, Failure, Target, TlsSeen, Transport,
};
