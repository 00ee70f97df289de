//! Suite: scenarios, selection, the trial's context and the runner.
//! Owns: `Suite`, `Scenario`, `Trial`, phases, capability matching, target discovery, the clients suites use.
//! Imports: base, k8s, wait, stack, addons, engine, load, observe. Never: sim, report, cli, printing, exiting.
//! Time and errors: a deadline per phase; cleanup runs last-in first-out after failure too; ignored has a reason.
//! Source: libtest-mimic, nextest harness rules. Proof: tests/runner.rs, tests/stages.rs.

mod actions;
mod artifacts;
mod autoscaler;
mod blame;
mod blocked;
mod classes;
mod discover;
mod exposure;
mod http;
mod install;
mod judge;
mod kills;
mod observing;
mod pace;
mod paths;
mod phase;
pub mod provision;
mod remedy;
mod rest;
mod routes;
mod run;
mod scenario;
mod select;
mod session;
mod setup;
mod shared;
mod sim;
mod stop;
mod target;
mod traffic;
mod trial;
mod wordpress;

pub use crate::engine::Capability;
pub use actions::{CordonedNode, FrozenPod, StoppedNode, fresh_marker, workers};
pub use artifacts::{Artifacts, When};
pub use autoscaler::Autoscaler;
pub use blame::Data;
pub use classes::OtherIngress;
pub use http::{Door, Reply, Unanswered};
pub use phase::Phase;
pub use run::{EngineChoice, RunRequest, run};
pub use scenario::{Aspect, Claim, Held, Scenario, Start, Suite};
pub use select::{full_names, select};
pub use session::{Close, Open, Opened, Session};
pub use shared::{Ownership, SharedCluster, SharedOptions};
pub use stop::Stop;
pub use target::{
    Front, IngressHost, Mount, NoDatabase, Program, StackTarget, WayIn, Workload, WorkloadKind,
};
pub use traffic::Lane;
pub use trial::Trial;
pub use wordpress::{Author, Media, WordPress};
