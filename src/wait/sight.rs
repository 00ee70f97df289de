//! Sight: when a watch saw nothing, so that nobody takes what it did not see for what did not happen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::base::secs;

/// Without a watch for no longer than this, hardly anything that pods do is missed.
const GAP_MAX: Duration = secs(3);

/// The gaps of one watch; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight(Arc<Mutex<Gaps>>);

#[derive(Debug, Default)]
struct Gaps {
    /// Since when there is no watch.
    since: Option<Instant>,
    /// When the last gap that counts began and ended.
    last: Option<(Instant, Instant)>,
}

impl Sight {
    /// There is no watch from now on.
    pub(super) fn lose(&self) {
        self.gaps().since.get_or_insert_with(Instant::now);
    }

    /// There is a watch, or a list, again.
    pub(super) fn regain(&self) {
        let mut gaps = self.gaps();
        if let Some(since) = gaps.since.take()
            && since.elapsed() > GAP_MAX
        {
            gaps.last = Some((since, Instant::now()));
        }
    }

    /// The watch was there, and told nothing of something that happened after `from`.
    pub(super) fn missed(&self, from: Instant) {
        self.gaps().last = Some((from, Instant::now()));
    }

    /// The last gap that reached beyond `from`: its length, if there is one. One that goes on counts.
    pub(super) fn gap_after(&self, from: Instant) -> Option<Duration> {
        let last = || self.gaps().last.filter(|(_, until)| *until > from);
        self.gap().or_else(|| last().map(|(since, until)| until - since))
    }

    /// Whether there is no watch now.
    pub(super) fn is_lost(&self) -> bool {
        self.gaps().since.is_some()
    }

    /// The gap that goes on, if it counts already.
    pub(super) fn gap(&self) -> Option<Duration> {
        self.gaps().since.map(|since| since.elapsed()).filter(|gap| *gap > GAP_MAX)
    }

    fn gaps(&self) -> MutexGuard<'_, Gaps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
