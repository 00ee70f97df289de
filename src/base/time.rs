//! Virtual time: microseconds since a fixed epoch.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// 2026-01-01T00:00:00Z: where every simulation starts, in seconds since the Unix epoch.
const EPOCH_UNIX_SECONDS: i64 = 1_767_225_600;

/// An instant of virtual time, in microseconds since the simulation's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimTime(u64);

impl SimTime {
    /// The epoch: the instant at which a simulation starts.
    pub const ZERO: SimTime = SimTime(0);
    /// An instant no simulation reaches.
    pub const MAX: SimTime = SimTime(u64::MAX);

    /// The instant `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        SimTime(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: SimTime) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the epoch, truncated as Kubernetes truncates its timestamps.
    pub const fn whole_seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The calendar time of this instant, truncated to whole seconds as `metav1.Time` is.
    pub fn timestamp(self) -> jiff::Timestamp {
        let seconds = EPOCH_UNIX_SECONDS.saturating_add_unsigned(self.whole_seconds());
        jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX)
    }

    /// The calendar time of this instant with microseconds, as `metav1.MicroTime` keeps it.
    pub fn micro_timestamp(self) -> jiff::Timestamp {
        let epoch_micros = EPOCH_UNIX_SECONDS.saturating_mul(1_000_000);
        jiff::Timestamp::from_microsecond(epoch_micros.saturating_add_unsigned(self.0))
            .unwrap_or(jiff::Timestamp::MAX)
    }

    /// The instant a calendar time stands for; the epoch when it lies before it.
    pub fn from_timestamp(timestamp: jiff::Timestamp) -> Self {
        let micros = timestamp.as_microsecond() - EPOCH_UNIX_SECONDS * 1_000_000;
        SimTime(u64::try_from(micros).unwrap_or(0))
    }
}

impl Add<Duration> for SimTime {
    type Output = SimTime;
    fn add(self, rhs: Duration) -> SimTime {
        SimTime(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for SimTime {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<SimTime> for SimTime {
    type Output = Duration;
    fn sub(self, rhs: SimTime) -> Duration {
        self.since(rhs)
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// `n` milliseconds.
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `n` seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
