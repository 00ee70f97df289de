//! Pods that wait for a node: active, backing off, unschedulable, gated
//! (`internal/queue/scheduling_queue.go`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::{SimTime, secs};
use crate::sim::profile::Profile;

use super::node_info::PodId;
use super::reason::PluginSet;

/// First back-off (`DefaultPodInitialBackoffDuration`).
const BACKOFF_FIRST: Duration = secs(1);
/// Longest back-off (`DefaultPodMaxBackoffDuration`).
const BACKOFF_MAX: Duration = secs(10);
/// How often pods that have backed off are looked for (`scheduling_queue.go:Run`).
pub const BACKOFF_TICK: Duration = secs(1);
/// How often pods that have been unschedulable for long are looked for (`scheduling_queue.go:Run`).
pub const SWEEP_TICK: Duration = secs(30);

/// Where in the queue a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Active,
    /// Until when, and whether an error put it here.
    Backoff(SimTime, bool),
    Unschedulable,
    Gated,
    /// Popped: being decided or bound.
    InFlight,
}

/// A pod in the queue.
#[derive(Clone, Debug)]
struct Queued {
    priority: i32,
    since: SimTime,
    sequence: u64,
    attempts: u32,
    plugins: PluginSet,
    stand: Stand,
}

type Rank = (Reverse<i32>, SimTime, u64, PodId);

/// The scheduling queue.
#[derive(Debug)]
pub struct PodQueue {
    profile: Profile,
    pods: BTreeMap<PodId, Queued>,
    active: BTreeSet<Rank>,
    backoff: BTreeSet<(SimTime, PodId)>,
    unschedulable: BTreeSet<PodId>,
    sequence: u64,
}

impl PodQueue {
    /// An empty queue.
    pub fn new(profile: Profile) -> Self {
        PodQueue {
            profile,
            pods: BTreeMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            unschedulable: BTreeSet::new(),
            sequence: 0,
        }
    }

    /// Adds a new pod.
    pub fn add(&mut self, id: PodId, priority: i32, gated: bool, now: SimTime) {
        self.sequence += 1;
        let queued = Queued {
            priority,
            since: now,
            sequence: self.sequence,
            attempts: 0,
            plugins: PluginSet::default(),
            stand: Stand::InFlight,
        };
        self.pods.insert(id, queued);
        self.place(id, if gated { Stand::Gated } else { Stand::Active });
    }

    /// Forgets a pod.
    pub fn remove(&mut self, id: PodId) {
        self.place(id, Stand::InFlight);
        self.pods.remove(&id);
    }

    /// The next pod to decide: highest priority first, then the one that waits longest. From 1.33
    /// a pod that backs off is taken when none is active (`SchedulerPopFromBackoffQ`).
    pub fn pop(&mut self) -> Option<PodId> {
        let id = match self.active.first() {
            Some(&(.., id)) => id,
            None if self.profile.at_least(33) => {
                let after_error =
                    |id: &PodId| matches!(self.stand(*id), Some(Stand::Backoff(_, true)));
                self.backoff.iter().map(|(_, id)| *id).find(|id| !after_error(id))?
            }
            None => return None,
        };
        self.place(id, Stand::InFlight);
        if let Some(queued) = self.pods.get_mut(&id) {
            queued.attempts += 1;
            queued.plugins = PluginSet::default();
        }
        Some(id)
    }

    /// Puts a pod back that fits nowhere: it waits for an event that may help.
    pub fn wait(&mut self, id: PodId, plugins: PluginSet, now: SimTime) {
        if let Some(queued) = self.pods.get_mut(&id) {
            queued.since = now;
            queued.plugins = plugins;
            self.place(id, Stand::Unschedulable);
        }
    }

    /// Puts a pod back whose attempt failed for an error: it backs off.
    pub fn retry(&mut self, id: PodId, now: SimTime) {
        if let Some(queued) = self.pods.get_mut(&id) {
            queued.since = now;
            let due = now + backoff(queued.attempts);
            self.place(id, Stand::Backoff(due, true));
        }
    }

    /// The pod itself has changed: its gates may be gone, or it may ask for something else.
    pub fn update(&mut self, id: PodId, gated: bool, differs: bool, now: SimTime) {
        match self.stand(id) {
            Some(Stand::Gated) if !gated => self.place(id, Stand::Active),
            Some(Stand::Unschedulable) if differs => self.release(id, now),
            _ => {}
        }
    }

    /// Moves the unschedulable pods that `helped` picks.
    pub fn move_if(&mut self, now: SimTime, helped: impl Fn(PodId, PluginSet) -> bool) {
        let picked: Vec<PodId> = self
            .unschedulable
            .iter()
            .copied()
            .filter(|id| self.pods.get(id).is_some_and(|queued| helped(*id, queued.plugins)))
            .collect();
        for id in picked {
            self.release(id, now);
        }
    }

    /// Takes up pods whose back-off has ended.
    pub fn flush_backoff(&mut self, now: SimTime) {
        while let Some(&(due, id)) = self.backoff.first()
            && due <= now
        {
            self.place(id, Stand::Active);
        }
    }

    /// Takes up pods that have been unschedulable for long: 60 s up to 1.22, then 5 minutes
    /// (`DefaultPodMaxInUnschedulablePodsDuration`).
    pub fn sweep(&mut self, now: SimTime) {
        let longest = if self.profile.at_least(23) { secs(300) } else { secs(60) };
        let overdue: Vec<PodId> = self
            .unschedulable
            .iter()
            .copied()
            .filter(|id| self.pods.get(id).is_some_and(|queued| now - queued.since > longest))
            .collect();
        for id in overdue {
            self.release(id, now);
        }
    }

    /// Whether no pod is unschedulable, so that events need not be looked at.
    pub fn none_unschedulable(&self) -> bool {
        self.unschedulable.is_empty()
    }

    /// Whether a pod backs off.
    pub fn has_backoff(&self) -> bool {
        !self.backoff.is_empty()
    }

    fn release(&mut self, id: PodId, now: SimTime) {
        let Some(queued) = self.pods.get(&id) else { return };
        let due = queued.since + backoff(queued.attempts);
        self.place(id, if due > now { Stand::Backoff(due, false) } else { Stand::Active });
    }

    fn stand(&self, id: PodId) -> Option<Stand> {
        self.pods.get(&id).map(|queued| queued.stand)
    }

    fn place(&mut self, id: PodId, stand: Stand) {
        let Some(queued) = self.pods.get_mut(&id) else { return };
        let rank = (Reverse(queued.priority), queued.since, queued.sequence, id);
        match queued.stand {
            Stand::Active => drop(self.active.remove(&rank)),
            Stand::Backoff(due, _) => drop(self.backoff.remove(&(due, id))),
            Stand::Unschedulable => drop(self.unschedulable.remove(&id)),
            Stand::Gated | Stand::InFlight => {}
        }
        queued.stand = stand;
        match stand {
            Stand::Active => drop(self.active.insert(rank)),
            Stand::Backoff(due, _) => drop(self.backoff.insert((due, id))),
            Stand::Unschedulable => drop(self.unschedulable.insert(id)),
            Stand::Gated | Stand::InFlight => {}
        }
    }
}

/// 1, 2, 4, 8, 10, 10 ... s by attempts made (`calculateBackoffDuration`).
fn backoff(attempts: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::millis;
    use crate::sim::scheduler::reason::Plugin;

    fn at(seconds: u64) -> SimTime {
        SimTime::ZERO + secs(seconds)
    }

    #[test]
    fn back_off_doubles_to_ten_seconds() {
        let seconds: Vec<u64> = (1..=6).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn priority_comes_before_age() {
        let mut queue = PodQueue::new(Profile::NEWEST);
        queue.add(0, 0, false, at(0));
        queue.add(1, 100, false, at(1));
        queue.add(2, 0, true, at(0));
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.pop(), Some(0));
        assert_eq!(queue.pop(), None, "a gated pod is not popped");
        queue.update(2, false, false, at(2));
        assert_eq!(queue.pop(), Some(2));
    }

    #[test]
    fn an_event_moves_a_pod_through_its_back_off() {
        let mut queue = PodQueue::new(Profile::OLDEST);
        queue.add(0, 0, false, at(0));
        assert_eq!(queue.pop(), Some(0));
        queue.wait(0, PluginSet::of(&[Plugin::NodeResourcesFit]), at(0));
        queue.move_if(at(0) + millis(500), |_, _| true);
        assert_eq!(queue.pop(), None, "it backs off until 1 s");
        queue.flush_backoff(at(1));
        assert_eq!(queue.pop(), Some(0));
        queue.wait(0, PluginSet::of(&[Plugin::NodeResourcesFit]), at(1));
        queue.sweep(at(50));
        assert_eq!(queue.pop(), None);
        queue.sweep(at(62));
        assert_eq!(queue.pop(), Some(0), "unschedulable for more than a minute");
    }

    #[test]
    fn newer_minors_cut_the_back_off_short_when_idle() {
        let mut queue = PodQueue::new(Profile::NEWEST);
        queue.add(0, 0, false, at(0));
        assert_eq!(queue.pop(), Some(0));
        queue.wait(0, PluginSet::default(), at(0));
        queue.move_if(at(0), |_, _| true);
        assert_eq!(queue.pop(), Some(0));
        queue.retry(0, at(0));
        assert_eq!(queue.pop(), None, "but not after an error");
    }
}
