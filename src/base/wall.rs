//! The wall clock: how long a run really took, and names for report folders. Nothing else may read it.
#![expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]

/// Measures real time.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Stopwatch(std::time::Instant::now())
    }

    /// Milliseconds since the start.
    pub fn elapsed_ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The calendar time in UTC as a sortable file name, as in `20260102-030405`.
pub fn calendar_stamp() -> String {
    jiff::Timestamp::now()
        .to_string()
        .chars()
        .take(19)
        .filter(|c| c.is_ascii_digit() || *c == 'T')
        .map(|c| if c == 'T' { '-' } else { c })
        .collect()
}

/// Seconds since 1970, for leases and heartbeats.
pub fn unix_seconds() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
