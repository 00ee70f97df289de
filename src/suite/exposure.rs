//! Exposure: how many requests met the moments in which one can fail: a pod has just ended, or just begun
//! to serve, and not every proxy knows. A load that hardly met them says nothing by its success.

use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::load::Record;
use crate::observe::{Timeline, What};

use super::trial::Trial;

/// The proxies have dropped a pod this long after its deletion (kube-proxy 1.2 s, ingress-nginx 4.3 s).
const ENDED_MS: u64 = 5_000;
/// A program listens this long after its pod became ready, as attribution has it.
const STARTED_MS: u64 = 10_000;

/// Requests and the time in windows around the ends and starts of pods. What lies in several windows
/// counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Exposure {
    /// Windows that the load met.
    pub n_windows: usize,
    /// Requests due within them.
    pub n_requests: usize,
    /// How long they were, as far as there was load.
    pub window_ms: u64,
}

impl Exposure {
    /// The exposure of `records` to what `timeline` tells of pods. Times count from `start`.
    pub fn of(records: &[Record], start: Instant, timeline: &Timeline) -> Self {
        let due_ms = |record: &Record| {
            let due = record.planned.saturating_duration_since(start).as_millis();
            u64::try_from(due).unwrap_or(u64::MAX)
        };
        let mut due: Vec<u64> = records.iter().map(due_ms).collect();
        due.sort_unstable();
        let (Some(&first), Some(&last)) = (due.first(), due.last()) else {
            return Exposure::default();
        };
        let mut exposure = Exposure::default();
        let mut serving = BTreeSet::new();
        let mut counted_to = 0;
        for moment in timeline.moments() {
            let lasts_ms = match moment.what {
                What::Found => {
                    serving.insert(&moment.object);
                    continue;
                }
                What::Ready => {
                    serving.insert(&moment.object);
                    STARTED_MS
                }
                What::NotReady | What::Gone => {
                    serving.remove(&moment.object);
                    continue;
                }
                // A pod that was not ready was sent nothing.
                What::Deleted if serving.remove(&moment.object) => ENDED_MS,
                _ => continue,
            };
            // What was so before the load is first seen when the load starts.
            let (from, to) = (moment.at_ms, last.min(moment.at_ms + lasts_ms));
            if from <= first || from >= last {
                continue;
            }
            exposure.n_windows += 1;
            // Moments come in order, so what is counted ends before what is left of this window.
            let from = from.max(counted_to);
            if from < to {
                exposure.window_ms += to - from;
                exposure.n_requests += due.partition_point(|&at| at < to);
                exposure.n_requests -= due.partition_point(|&at| at < from);
                counted_to = to;
            }
        }
        exposure
    }

    /// Requests a second within the windows.
    pub fn per_second(&self) -> f64 {
        self.n_requests as f64 * 1e3 / self.window_ms.max(1) as f64
    }
}

impl Trial {
    /// How much of what went on around the front's pods `records` met.
    pub(super) fn exposure(&self, records: &[Record]) -> Exposure {
        Exposure::of(records, self.started(), &self.front_timeline())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::ObjectRef;
    use crate::load::Outcome;
    use crate::observe::Moment;

    fn pod(name: &str) -> ObjectRef {
        ObjectRef::new("Pod", "web", name)
    }

    fn moment(at_ms: u64, what: What, name: &str) -> Moment {
        Moment { at_ms, what, object: pod(name) }
    }

    /// Records from 1 s to 61 s.
    fn records(start: Instant, per_second: u64) -> Vec<Record> {
        let at = |n: u64| start + Duration::from_millis(1_000 + n * 1_000 / per_second);
        let record = |n| Record {
            source: "GET",
            planned: at(n),
            started: at(n),
            finished: at(n),
            outcome: Outcome::Answered(200),
            backend: None,
        };
        (0..=60 * per_second).map(record).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_count_in_the_windows_of_pods_that_serve() {
        let start = Instant::now();
        let timeline = Timeline::new(vec![
            moment(1_000, What::Found, "old"),
            moment(20_000, What::Ready, "new"),
            moment(20_000, What::Deleted, "old"),
            moment(21_000, What::NotReady, "old"),
            moment(25_000, What::Deleted, "never-ready"),
            // The load ends within its window.
            moment(58_000, What::Deleted, "new"),
        ]);
        let exposure = Exposure::of(&records(start, 10), start, &timeline);
        let wanted = Exposure { n_windows: 3, n_requests: 100 + 30, window_ms: 13_000 };
        assert_eq!(exposure, wanted);
        assert!((exposure.per_second() - 10.0).abs() < 0.5);
        assert_eq!(Exposure::of(&[], start, &timeline), Exposure::default());
    }
}
