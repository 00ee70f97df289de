//! The work queue: one entry a key, duplicates collapse, failures back off
//! (`client-go/util/workqueue`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{SimTime, millis, secs};
use crate::sim::context::Cx;

/// From a watch event to the controller's own write: 5 to 50 ms (semantics 0.2).
const REACTION_MS: (u64, u64) = (5, 50);

/// How failed keys of a controller come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure; doubles with each further one.
    pub base: Duration,
    /// The longest delay.
    pub max: Duration,
    /// Failures after which the key is dropped until something changes.
    pub max_retries: Option<u32>,
}

impl Backoff {
    /// 5 ms doubling up to 1000 s, for ever (`DefaultControllerRateLimiter`).
    pub const DEFAULT: Backoff = Backoff { base: millis(5), max: secs(1000), max_retries: None };
}

/// What a controller is asked to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// The key `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Key { namespace: namespace.into(), name: name.into() }
    }
}

/// A due key: which controller, and the key itself.
#[derive(Clone, Debug)]
pub struct ControllersEvent {
    controller_idx: usize,
    key: Key,
    due: SimTime,
    delayed: bool,
}

/// Keys waiting to be reconciled, for all controllers.
#[derive(Debug, Default)]
pub struct Work {
    selected: usize,
    /// Keys a worker will take next.
    ready: BTreeMap<(usize, Key), SimTime>,
    /// Keys of `AddAfter`, which stay when the key is worked on before (`delaying_queue.go`).
    delayed: BTreeMap<(usize, Key), SimTime>,
    failures: BTreeMap<(usize, Key), u32>,
}

impl Work {
    /// Sets the controller that later calls speak for.
    pub(super) fn select(&mut self, controller_idx: usize) {
        self.selected = controller_idx;
    }

    /// Queues `key` for the reaction time of a controller.
    pub fn add(&mut self, key: Key, cx: &mut Cx<'_>) {
        let slot = (self.selected, key);
        if self.ready.contains_key(&slot) {
            return;
        }
        let (low, high) = REACTION_MS;
        let due = cx.now + cx.rng.between("controller-reaction", millis(low), millis(high));
        let key = slot.1.clone();
        self.ready.insert(slot, due);
        let controller_idx = self.selected;
        cx.queue.at(due, ControllersEvent { controller_idx, key, due, delayed: false });
    }

    /// Queues `key` to be looked at after `delay`; an earlier appointment stands.
    pub fn add_after(&mut self, key: Key, delay: Duration, cx: &mut Cx<'_>) {
        let due = cx.now + delay;
        let slot = (self.selected, key.clone());
        if self.delayed.get(&slot).is_some_and(|&earlier| earlier <= due) {
            return;
        }
        self.delayed.insert(slot, due);
        let controller_idx = self.selected;
        cx.queue.at(due, ControllersEvent { controller_idx, key, due, delayed: true });
    }

    /// The key of a due event, unless an earlier appointment has replaced it.
    pub(super) fn take(&mut self, event: &ControllersEvent, _now: SimTime) -> Option<(usize, Key)> {
        let slot = (event.controller_idx, event.key.clone());
        let waiting = if event.delayed { &mut self.delayed } else { &mut self.ready };
        if waiting.get(&slot) != Some(&event.due) {
            return None;
        }
        waiting.remove(&slot);
        Some(slot)
    }

    /// Resets the back-off of a key.
    pub(super) fn forget(&mut self, key: &Key) {
        if !self.failures.is_empty() {
            self.failures.remove(&(self.selected, key.clone()));
        }
    }

    /// Queues a key again after its back-off; false when it has failed too often.
    pub(super) fn retry(&mut self, key: &Key, backoff: Backoff, cx: &mut Cx<'_>) -> bool {
        let n_failures = self.failures.entry((self.selected, key.clone())).or_insert(0);
        if backoff.max_retries.is_some_and(|max| *n_failures >= max) {
            self.forget(key);
            return false;
        }
        let delay = backoff.base.saturating_mul(1 << (*n_failures).min(20)).min(backoff.max);
        *n_failures += 1;
        self.add_after(key.clone(), delay, cx);
        true
    }
}
