//! The last two points of a container and their rate (`metrics-server pkg/storage/types.go`).

use std::time::Duration;

use crate::base::{SimTime, secs};
use crate::sim::machines::Usage;

/// The least age at which the start of a container serves as its first point
/// (`pkg/storage/pod.go:freshContainerMinMetricsResolution`).
const FRESH_CONTAINER_AGE_MIN: Duration = secs(10);

/// One measurement of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: SimTime,
    pub(super) started_at: SimTime,
    pub(super) cpu: Duration,
    pub(super) memory_bytes: u64,
}

impl Point {
    pub(super) fn new(at: SimTime, usage: &Usage) -> Self {
        Point { at, started_at: usage.started_at, cpu: usage.cpu, memory_bytes: usage.memory_bytes }
    }
}

/// The two points that metrics-server keeps of a container.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Points {
    previous: Option<Point>,
    last: Option<Point>,
}

impl Points {
    pub(super) fn last(&self) -> Option<&Point> {
        self.last.as_ref()
    }

    /// Takes the outcome of a scrape over (`pkg/storage/pod.go:Store`).
    pub(super) fn store(&mut self, scraped: Option<Point>, resolution: Duration) {
        let Some(new) = scraped else {
            *self = Points::default();
            return;
        };
        let age = new.at - new.started_at;
        let previous = if age >= FRESH_CONTAINER_AGE_MIN && age < resolution {
            Some(Point { at: new.started_at, cpu: Duration::ZERO, ..new })
        } else {
            match self.last {
                Some(last) if new.started_at < last.at && new.at > last.at => Some(last),
                // The kubelet repeats its sample: the older point stays.
                Some(last) if new.started_at < last.at => {
                    self.previous.filter(|previous| previous.at < new.at)
                }
                _ => None,
            }
        };
        *self = Points { previous, last: Some(new) };
    }

    /// CPU in billionths of a core between the two points, and the time between them.
    pub(super) fn rate(&self) -> Option<(u64, Duration)> {
        let (previous, last) = (self.previous?, self.last?);
        let window = last.at - previous.at;
        if window.is_zero() {
            return None;
        }
        let used = last.cpu.checked_sub(previous.cpu)?;
        let nano = used.as_nanos() * 1_000_000_000 / window.as_nanos();
        Some((u64::try_from(nano).unwrap_or(u64::MAX), window))
    }
}
