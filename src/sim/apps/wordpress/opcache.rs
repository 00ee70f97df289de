//! PHP's opcode cache: empty when Apache starts, so the first pages compile what they include.

use std::time::Duration;

use crate::base::{SimTime, millis};

/// CPU time to compile what a page includes (measured runs: the first page after a start took 270 ms,
/// the next one 30 ms).
const COMPILE_CPU: Duration = millis(240);

/// The cache that the processes of one Apache share.
#[derive(Debug, Default)]
pub(super) struct Opcache {
    begun: Option<SimTime>,
}

impl Opcache {
    /// CPU time that a page which begins `now` spends on compiling, in a container with
    /// `cpu_limit_milli`: what those before it have not put into the cache yet.
    pub(super) fn cpu(&mut self, now: SimTime, cpu_limit_milli: Option<u64>) -> Duration {
        let begun = *self.begun.get_or_insert(now);
        // One process uses one CPU at most.
        let milli = cpu_limit_milli.unwrap_or(1_000).clamp(1, 1_000);
        let takes = COMPILE_CPU.mul_f64(1_000.0 / milli as f64);
        let left = takes.saturating_sub(now - begun);
        COMPILE_CPU.mul_f64(left.as_secs_f64() / takes.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_compile_until_the_first_has_compiled_everything() {
        let mut cache = Opcache::default();
        let start = SimTime::ZERO + millis(5_000);
        assert_eq!(cache.cpu(start, Some(200)), COMPILE_CPU);
        assert_eq!(cache.cpu(start + millis(600), Some(200)), COMPILE_CPU / 2);
        assert_eq!(cache.cpu(start + millis(1_200), Some(200)), Duration::ZERO);
        let mut cache = Opcache::default();
        assert_eq!(cache.cpu(start, None), COMPILE_CPU);
        assert_eq!(cache.cpu(start + millis(240), None), Duration::ZERO);
    }
}
