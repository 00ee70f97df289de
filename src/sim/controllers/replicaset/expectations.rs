//! Expectations: what a controller has asked for and not yet seen
//! (`controller_utils.go:UIDTrackingControllerExpectations`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::{SimTime, secs};

/// After this time unseen writes no longer hold the controller up (`ExpectationsTimeout`).
const TIMEOUT: Duration = secs(300);

/// Creations and deletions of pods that were issued and not yet observed.
#[derive(Debug, Default)]
pub struct Expectations {
    n_creations: i32,
    deletions: BTreeSet<String>,
    since: SimTime,
}

impl Expectations {
    /// Expects `n` creations.
    pub fn expect_creations(&mut self, n: i32, now: SimTime) {
        *self = Expectations { n_creations: n, deletions: BTreeSet::new(), since: now };
    }

    /// Expects the deletion of the pods with these uids.
    pub fn expect_deletions(&mut self, uids: impl Iterator<Item = String>, now: SimTime) {
        *self = Expectations { n_creations: 0, deletions: uids.collect(), since: now };
    }

    /// `n` creations were seen, or will never come.
    pub fn created(&mut self, n: i32) {
        self.n_creations -= n;
    }

    /// The deletion of a pod was seen, or will never come.
    pub fn deleted(&mut self, uid: &str) {
        self.deletions.remove(uid);
    }

    /// Whether everything was seen, or has been waited for long enough.
    pub fn satisfied(&self, now: SimTime) -> bool {
        let fulfilled = self.n_creations <= 0 && self.deletions.is_empty();
        fulfilled || now.since(self.since) > TIMEOUT
    }
}
