//! Counters of the pods a ReplicaSet owns, kept as pods change so that a sync costs no walk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::SimTime;

use super::super::owned::count;

/// What counts about one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodFact {
    /// Neither finished nor being deleted.
    pub active: bool,
    /// Being deleted and not finished.
    pub terminating: bool,
    /// Ready since.
    pub ready_since: Option<SimTime>,
    /// Carries all labels of the template.
    pub labelled: bool,
}

/// The numbers of a ReplicaSet's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Active pods.
    pub active: i32,
    /// Active pods with all labels of the template.
    pub labelled: i32,
    /// Active pods that are Ready.
    pub ready: i32,
    /// Active pods that have been Ready for minReadySeconds.
    pub available: i32,
    /// Pods being deleted.
    pub terminating: i32,
}

/// The pods of one ReplicaSet by name, and their counts.
#[derive(Debug, Default)]
pub struct Counters {
    pods: BTreeMap<String, PodFact>,
    active: i32,
    labelled: i32,
    ready: i32,
    terminating: i32,
    min_ready: Duration,
    /// Ready pods not yet available, by the time they became Ready; empty when minReadySeconds is 0.
    waiting: BTreeSet<(SimTime, String)>,
}

impl Counters {
    /// Takes the state of a pod over.
    pub fn set(&mut self, name: &str, fact: PodFact) {
        match self.pods.get_mut(name) {
            Some(old) if *old == fact => {}
            Some(old) => {
                let old = std::mem::replace(old, fact);
                self.count(name, old, -1);
                self.count(name, fact, 1);
            }
            None => {
                self.pods.insert(name.to_owned(), fact);
                self.count(name, fact, 1);
            }
        }
    }

    /// Forgets a pod.
    pub fn remove(&mut self, name: &str) {
        if let Some(old) = self.pods.remove(name) {
            self.count(name, old, -1);
        }
    }

    /// The names of the owned pods.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pods.keys().map(String::as_str)
    }

    /// The state of a pod.
    pub fn get(&self, name: &str) -> Option<PodFact> {
        self.pods.get(name).copied()
    }

    /// The counts at `now` (`podutil.IsPodAvailable`: Ready before `now` minus minReadySeconds).
    pub fn at(&mut self, now: SimTime, min_ready: Duration) -> Counts {
        if min_ready != self.min_ready {
            self.min_ready = min_ready;
            self.waiting.clear();
            let ready = self.pods.iter().filter(|(_, fact)| fact.active);
            let since = ready.filter_map(|(name, fact)| Some((fact.ready_since?, name.clone())));
            self.waiting = if min_ready.is_zero() { BTreeSet::new() } else { since.collect() };
        }
        while let Some((since, _)) = self.waiting.first() {
            if *since + min_ready >= now {
                break;
            }
            self.waiting.pop_first();
        }
        Counts {
            active: self.active,
            labelled: self.labelled,
            ready: self.ready,
            available: self.ready - count(self.waiting.len()),
            terminating: self.terminating,
        }
    }

    fn count(&mut self, name: &str, fact: PodFact, sign: i32) {
        if fact.terminating {
            self.terminating += sign;
        }
        if !fact.active {
            return;
        }
        self.active += sign;
        if fact.labelled {
            self.labelled += sign;
        }
        let Some(since) = fact.ready_since else { return };
        self.ready += sign;
        if !self.min_ready.is_zero() {
            let entry = (since, name.to_owned());
            if sign > 0 {
                self.waiting.insert(entry);
            } else {
                self.waiting.remove(&entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secs;

    fn ready(at: u64) -> PodFact {
        let ready_since = Some(SimTime::ZERO + secs(at));
        PodFact { active: true, terminating: false, ready_since, labelled: true }
    }

    #[test]
    fn ready_pods_become_available_after_min_ready_seconds() {
        let mut counters = Counters::default();
        counters.set("a", ready(10));
        counters.set("b", ready(14));
        let at = |counters: &mut Counters, s| counters.at(SimTime::ZERO + secs(s), secs(5));
        assert_eq!(at(&mut counters, 15).available, 0, "exactly 5 s is not yet enough");
        assert_eq!(at(&mut counters, 16).available, 1);
        counters.set("a", PodFact { ready_since: None, ..ready(0) });
        let counts = at(&mut counters, 20);
        assert_eq!((counts.ready, counts.available), (1, 1));
        counters.remove("b");
        assert_eq!(at(&mut counters, 21), Counts { active: 1, labelled: 1, ..Counts::default() });
    }
}
