//! What a component may touch while it handles an event.

use crate::base::{ObjectRef, SimTime, Streams};

use super::api::Api;
use super::fact::{Fact, FactKind};
use super::metrics::MetricsServer;
use super::queue::Queue;
use super::trace::Trace;

/// The shared state of the world, lent for the handling of one event.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The current instant.
    pub now: SimTime,
    /// The API server.
    pub api: &'a mut Api,
    /// What is due later.
    pub queue: &'a mut Queue,
    /// Randomness by stream name.
    pub rng: &'a mut Streams,
    /// The trace.
    pub trace: &'a mut Trace,
    /// What metrics-server serves.
    pub metrics: &'a mut MetricsServer,
    /// Lifecycle facts for the timeline.
    pub facts: &'a mut Vec<Fact>,
}

impl Cx<'_> {
    /// Records a lifecycle fact about `object`, in the trace and for the timeline.
    pub fn fact(&mut self, kind: FactKind, object: ObjectRef) {
        self.trace.line(self.now, "fact", format_args!("{kind:?} {object}"));
        self.facts.push(Fact { at: self.now, kind, object });
    }
}
