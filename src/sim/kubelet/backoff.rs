//! Back-off of restarts and image pulls (`client-go/util/flowcontrol/backoff.go`).

use std::time::Duration;

use crate::base::{SimTime, secs};

/// First delay (`kubelet.go:backOffPeriod`).
const FIRST: Duration = secs(10);
/// Longest delay (`kubelet.go:MaxContainerBackOff`).
const LONGEST: Duration = secs(300);

/// The back-off entry of one container or image; absent until the first failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff(Option<Entry>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    delay: Duration,
    updated: SimTime,
}

impl Backoff {
    /// Until when nothing may be tried, for a failure at `failed` (`IsInBackOffSince`).
    pub(super) fn until(&self, failed: SimTime) -> Option<SimTime> {
        let entry = self.0.filter(|entry| !entry.has_expired(failed))?;
        Some(failed + entry.delay)
    }

    /// The same, counted from the last failure recorded here (`IsInBackOffSinceUpdate`).
    pub(super) fn until_since_update(&self, now: SimTime) -> Option<SimTime> {
        let entry = self.0.filter(|entry| !entry.has_expired(now))?;
        Some(entry.updated + entry.delay)
    }

    /// Notes another try after a failure at `failed` (`Next`).
    pub(super) fn next(&mut self, failed: SimTime, now: SimTime) {
        let delay = match self.0 {
            Some(entry) if !entry.has_expired(failed) => (entry.delay * 2).min(LONGEST),
            _ => FIRST,
        };
        self.0 = Some(Entry { delay, updated: now });
    }

    /// The delay now in force.
    pub(super) fn delay(&self) -> Duration {
        self.0.map_or(FIRST, |entry| entry.delay)
    }
}

impl Entry {
    /// Forgotten after twice the longest delay (`hasExpired`).
    fn has_expired(&self, at: SimTime) -> bool {
        at.since(self.updated) > LONGEST * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_are_forgotten() {
        let at = |s: u64| SimTime::ZERO + secs(s);
        let mut backoff = Backoff::default();
        assert_eq!(backoff.until(at(1)), None);
        backoff.next(at(1), at(1));
        assert_eq!(backoff.until(at(2)), Some(at(12)));
        for _ in 0..6 {
            backoff.next(at(12), at(12));
        }
        assert_eq!(backoff.delay(), secs(300));
        assert_eq!(backoff.until(at(700)), None);
    }
}
