//! The scheduler's state and what is due for it.

use std::time::Duration;

use crate::base::{SimTime, millis};
use crate::sim::api::{Change, Objects};
use crate::sim::bootstrap::ClusterSpec;
use crate::sim::context::Cx;
use crate::sim::profile::Profile;

use super::bind::Bindings;
use super::claims::ClaimUsers;
use super::class::Classes;
use super::default_spread::DefaultSpreads;
use super::node_info::PodId;
use super::nodes::{NodeIdx, Nodes};
use super::pods::Pods;
use super::queue::{BACKOFF_TICK, PodQueue, SWEEP_TICK};

/// One attempt, from taking the pod to the decision: 1 to 5 ms on an idle cluster (semantics 0.2).
const ATTEMPT_MS: (u64, u64) = (1, 5);

/// What is due at the scheduler.
#[derive(Clone, Debug)]
pub enum SchedulerEvent {
    /// The attempt for the pod that was taken comes to its decision.
    Decide,
    /// The write of a binding arrives at the API.
    Bind(PodId),
    /// The writes for a pod's waiting claims arrive at the API.
    WriteClaims(PodId),
    /// A look whether a pod's claims are bound.
    PollClaims(PodId),
    /// A look for pods whose back-off has ended.
    BackoffTick,
    /// A look for pods that have been unschedulable for long.
    SweepTick,
}

/// kube-scheduler.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) profile: Profile,
    pub(super) pods: Pods,
    pub(super) nodes: Nodes,
    pub(super) classes: Classes,
    pub(super) queue: PodQueue,
    /// Services, workloads, claims, volumes, classes and budgets as seen.
    pub(super) cache: Objects,
    pub(super) claim_users: ClaimUsers,
    pub(super) default_spreads: DefaultSpreads,
    pub(super) bindings: Bindings,
    /// Nodes that preemption has made room on.
    pub(super) nominations: Vec<(PodId, NodeIdx)>,
    pub(super) next_start: usize,
    deciding: Option<PodId>,
    backoff_ticking: bool,
    sweep_ticking: bool,
}

impl Scheduler {
    /// A scheduler with the default profile of the minor.
    pub fn new(spec: &ClusterSpec) -> Self {
        Scheduler {
            profile: spec.profile,
            pods: Pods::default(),
            nodes: Nodes::default(),
            classes: Classes::new(spec.profile),
            queue: PodQueue::new(spec.profile),
            cache: Objects::default(),
            claim_users: ClaimUsers::new(),
            default_spreads: DefaultSpreads::default(),
            bindings: Bindings::default(),
            nominations: Vec::new(),
            next_start: 0,
            deciding: None,
            backoff_ticking: false,
            sweep_ticking: false,
        }
    }

    /// Starts periodic work. The queue's looks run only while there is something to find.
    pub fn start(&mut self, cx: &mut Cx<'_>) {
        self.wake(cx);
    }

    /// A change arrives at the scheduler's informers.
    pub fn on_change(&mut self, change: &Change, cx: &mut Cx<'_>) {
        self.take_over(change, cx);
        self.wake(cx);
    }

    /// Something is due.
    pub fn on_event(&mut self, event: SchedulerEvent, cx: &mut Cx<'_>) {
        match event {
            SchedulerEvent::Decide => {
                if let Some(id) = self.deciding.take() {
                    self.decide(id, cx);
                }
            }
            SchedulerEvent::Bind(id) => self.write_binding(id, cx),
            SchedulerEvent::WriteClaims(id) => self.write_claims(id, cx),
            SchedulerEvent::PollClaims(id) => self.poll_claims(id, cx),
            SchedulerEvent::BackoffTick => {
                self.backoff_ticking = false;
                self.queue.flush_backoff(cx.now);
            }
            SchedulerEvent::SweepTick => {
                self.sweep_ticking = false;
                self.queue.sweep(cx.now);
            }
        }
        self.wake(cx);
    }

    /// Takes the next pod if none is being decided, and keeps the looks at the queue going.
    fn wake(&mut self, cx: &mut Cx<'_>) {
        if self.deciding.is_none()
            && let Some(id) = self.queue.pop()
        {
            self.deciding = Some(id);
            let (low, high) = ATTEMPT_MS;
            let delay = cx.rng.between("scheduler-attempt", millis(low), millis(high));
            cx.queue.after(delay, SchedulerEvent::Decide);
        }
        if self.queue.has_backoff() && !self.backoff_ticking {
            self.backoff_ticking = true;
            cx.queue.at(next_tick(cx.now, BACKOFF_TICK), SchedulerEvent::BackoffTick);
        }
        if !self.queue.none_unschedulable() && !self.sweep_ticking {
            self.sweep_ticking = true;
            cx.queue.at(next_tick(cx.now, SWEEP_TICK), SchedulerEvent::SweepTick);
        }
    }
}

/// The first multiple of `period` after `now`.
fn next_tick(now: SimTime, period: Duration) -> SimTime {
    let period = u64::try_from(period.as_micros()).unwrap_or(u64::MAX).max(1);
    SimTime::from_micros((now.as_micros() / period + 1).saturating_mul(period))
}
