//! The work queue: one entry a key, duplicates collapse, failures back off
//! (`client-go/util/workqueue`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::{SimTime, millis, secs};
use crate::sim::context::Cx;

/// From a watch event to the controller's own write: 5 to 50 ms (semantics 0.2).
const REACTION_MS: (u64, u64) = (5, 50);
/// Failed sync: 5 ms doubling (`DefaultControllerRateLimiter`).
const BACKOFF_BASE: Duration = millis(5);
/// ... up to 1000 s.
const BACKOFF_MAX: Duration = secs(1000);

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
}

/// Keys waiting to be reconciled, for all controllers.
#[derive(Debug, Default)]
pub struct Work {
    selected: usize,
    waiting: BTreeMap<(usize, Key), SimTime>,
    failures: BTreeMap<(usize, Key), u32>,
}

impl Work {
    /// Sets the controller that later calls speak for.
    pub(super) fn select(&mut self, controller_idx: usize) {
        self.selected = controller_idx;
    }

    /// Queues `key` for the reaction time of a controller.
    pub fn add(&mut self, key: Key, cx: &mut Cx<'_>) {
        let (low, high) = REACTION_MS;
        let delay = cx.rng.between("controller-reaction", millis(low), millis(high));
        self.add_after(key, delay, cx);
    }

    /// Queues `key` to be looked at after `delay`; an earlier appointment stands.
    pub fn add_after(&mut self, key: Key, delay: Duration, cx: &mut Cx<'_>) {
        let due = cx.now + delay;
        let slot = (self.selected, key.clone());
        if self.waiting.get(&slot).is_some_and(|&earlier| earlier <= due) {
            return;
        }
        self.waiting.insert(slot, due);
        cx.queue.at(due, ControllersEvent { controller_idx: self.selected, key, due });
    }

    /// The key of a due event, unless an earlier appointment has already served it.
    pub(super) fn take(&mut self, event: &ControllersEvent, _now: SimTime) -> Option<(usize, Key)> {
        let slot = (event.controller_idx, event.key.clone());
        if self.waiting.get(&slot) != Some(&event.due) {
            return None;
        }
        self.waiting.remove(&slot);
        Some(slot)
    }

    /// Resets the back-off of a key.
    pub(super) fn forget(&mut self, key: &Key) {
        self.failures.remove(&(self.selected, key.clone()));
    }

    /// Queues a key again after its back-off.
    pub(super) fn retry(&mut self, key: &Key, cx: &mut Cx<'_>) {
        let n_failures = self.failures.entry((self.selected, key.clone())).or_insert(0);
        let delay = BACKOFF_BASE.saturating_mul(1 << (*n_failures).min(20)).min(BACKOFF_MAX);
        *n_failures += 1;
        self.add_after(key.clone(), delay, cx);
    }
}
