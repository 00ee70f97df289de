//! Observe: one ordered timeline of requests, changes and faults, and the cause of each failure.
//! Owns: outcomes and verdicts, the timeline, attribution; unattributed is a result, not a gap.
//! Imports: base, k8s, load. Never: report, suite, engine.
//! Time and errors: one clock a trial; order is (time, source, sequence).
//! Source: the rule table in attribution. Proof: observe/tests, timeline in, verdict out.

mod attribution;
mod class;
mod outcome;
mod timeline;

pub use attribution::{Attributed, Kill, all_were_deleted, attribute};
pub use class::{CauseClass, container_field};
pub use outcome::{Cause, Fix, Requests, RunOutcome, ScenarioOutcome, Verdict};
pub use timeline::{Moment, Timeline, What};
