//! PHP's opcode cache: empty when Apache starts, so the first pages compile what they include.

use std::time::Duration;

use crate::base::{SimTime, millis};

/// CPU time to compile what a page includes (measured runs: the first page after a start took 270 ms,
/// the next one 30 ms).
const COMPILE_CPU: Duration = millis(240);

/// The same for files on a file server, beyond that (measured runs on CephFS: 350 ms in all).
const SERVED_COMPILE_CPU: Duration = millis(110);
/// What each page takes to ask whether its files on a file server are still the same, of which the
/// kernel's part is the container's (measured runs on CephFS: 97 ms in all, 37 ms on a disk).
const SERVED_CPU: Duration = millis(60);

/// The cache that the processes of one Apache share.
#[derive(Debug, Default)]
pub(super) struct Opcache {
    begun: Option<SimTime>,
}

impl Opcache {
    /// CPU time that a page which begins `now` spends on the files it includes, in a container with
    /// `cpu_limit_milli`: it compiles what those before it have not put into the cache yet.
    pub(super) fn cpu(
        &mut self,
        now: SimTime,
        cpu_limit_milli: Option<u64>,
        is_served: bool,
    ) -> Duration {
        let compile = match is_served {
            true => COMPILE_CPU + SERVED_COMPILE_CPU,
            false => COMPILE_CPU,
        };
        let begun = *self.begun.get_or_insert(now);
        // One process uses one CPU at most.
        let milli = cpu_limit_milli.unwrap_or(1_000).clamp(1, 1_000);
        let takes = compile.mul_f64(1_000.0 / milli as f64);
        let left = takes.saturating_sub(now - begun);
        let always = if is_served { SERVED_CPU } else { Duration::ZERO };
        compile.mul_f64(left.as_secs_f64() / takes.as_secs_f64()) + always
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_compile_until_the_first_has_compiled_everything() {
        let mut cache = Opcache::default();
        let start = SimTime::ZERO + millis(5_000);
        assert_eq!(cache.cpu(start, Some(200), false), COMPILE_CPU);
        assert_eq!(cache.cpu(start + millis(600), Some(200), false), COMPILE_CPU / 2);
        assert_eq!(cache.cpu(start + millis(1_200), Some(200), false), Duration::ZERO);
        let mut cache = Opcache::default();
        assert_eq!(cache.cpu(start, None, false), COMPILE_CPU);
        assert_eq!(cache.cpu(start + millis(240), None, false), Duration::ZERO);
    }

    #[test]
    fn files_on_a_server_are_asked_for_by_every_page() {
        let mut cache = Opcache::default();
        let start = SimTime::ZERO + millis(5_000);
        let first = cache.cpu(start, None, true);
        assert_eq!(first, COMPILE_CPU + SERVED_COMPILE_CPU + SERVED_CPU);
        assert_eq!(cache.cpu(start + millis(1_000), None, true), SERVED_CPU);
    }
}
