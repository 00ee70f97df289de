//! Scheduler: kube-scheduler: queue, filters, scores, binding, preemption.
//! Owns: which node a pod gets, and the message when none fits.
//! Imports: base, k8s, sim::api. Never: sim::kubelet, sim::net, sim::controllers.
//! Time and errors: a pod that fits nowhere waits with back-off; ties are drawn from the seed.
//! Source: pkg/scheduler at v1.20.2, differences by profile. Proof: tests/conformance scheduling_*.

use super::api::Change;
use super::bootstrap::ClusterSpec;
use super::context::Cx;

/// What is due at the scheduler.
#[derive(Clone, Debug)]
pub enum SchedulerEvent {}

/// kube-scheduler.
#[derive(Debug)]
pub struct Scheduler {}

impl Scheduler {
    /// A scheduler with the default profile of the minor.
    pub fn new(_spec: &ClusterSpec) -> Self {
        Scheduler {}
    }

    /// Starts periodic work (queue flushes).
    pub fn start(&mut self, _cx: &mut Cx<'_>) {}

    /// A change arrives at the scheduler's informers.
    pub fn on_change(&mut self, _change: &Change, _cx: &mut Cx<'_>) {}

    /// Something is due.
    pub fn on_event(&mut self, event: SchedulerEvent, _cx: &mut Cx<'_>) {
        match event {}
    }
}
