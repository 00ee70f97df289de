//! CPU of one container: jobs that share it, and the CFS quota that throttles them
//! (`pkg/kubelet/cm/helpers_linux.go:MilliCPUToQuota`, `kernel/sched/fair.c` bandwidth control).

use std::time::Duration;

use crate::base::SimTime;

/// CFS period (`helpers_linux.go:QuotaPeriod`).
const PERIOD_MICROS: u64 = 100_000;
/// Smallest quota (`helpers_linux.go:MinQuotaPeriod`), in nanoseconds.
const MIN_QUOTA_NANOS: u64 = 1_000_000;

/// One thread's work: CPU time left, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Job {
    id: u64,
    left: u64,
}

/// The CPU of one container. Time is in microseconds and rates in thousandths of a core, so that
/// their product is CPU time in nanoseconds and all sums are exact.
#[derive(Debug)]
pub(super) struct Cpu {
    quota: Option<u64>,
    anchor: SimTime,
    at: SimTime,
    used_in_period: u64,
    total: u64,
    rate: u64,
    jobs: Vec<Job>,
}

impl Cpu {
    /// An idle container started at `now`; its periods begin there.
    pub(super) fn new(limit_milli: Option<u64>, now: SimTime) -> Self {
        // A limit of m thousandths is m * 100 microseconds of CPU in each period.
        let quota = limit_milli
            .filter(|&milli| milli > 0)
            .map(|milli| milli.saturating_mul(PERIOD_MICROS).max(MIN_QUOTA_NANOS));
        Cpu { quota, anchor: now, at: now, used_in_period: 0, total: 0, rate: 0, jobs: Vec::new() }
    }

    /// Threads that want to run.
    pub(super) fn n_jobs(&self) -> u64 {
        self.jobs.len() as u64
    }

    /// What the container takes of its node at most, in thousandths of a core.
    pub(super) fn demand(&self) -> u64 {
        let wanted = self.n_jobs() * 1000;
        self.quota.map_or(wanted, |quota| wanted.min(quota / PERIOD_MICROS))
    }

    /// Adds work of one thread.
    pub(super) fn add(&mut self, id: u64, cpu: Duration, now: SimTime) {
        self.advance(now);
        let left = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX / 4);
        self.jobs.push(Job { id, left });
    }

    /// Drops all work.
    pub(super) fn clear(&mut self, now: SimTime) {
        self.advance(now);
        self.jobs.clear();
    }

    /// Whether the job is not done.
    pub(super) fn has_job(&self, id: u64) -> bool {
        self.jobs.iter().any(|job| job.id == id)
    }

    /// Counts CPU time that was used aside from the jobs.
    pub(super) fn charge(&mut self, cpu: Duration) {
        self.total += u64::try_from(cpu.as_nanos()).unwrap_or(0);
    }

    /// Sets what the container gets of the node's cores from `now` on.
    pub(super) fn grant(&mut self, available_milli: u64, now: SimTime) {
        self.advance(now);
        self.rate = (self.n_jobs() * 1000).min(available_milli.max(1));
    }

    /// Takes the cores away from `now` on.
    pub(super) fn halt(&mut self, now: SimTime) {
        self.advance(now);
        self.rate = 0;
    }

    /// Takes the jobs that are done at `now`, in order of arrival.
    pub(super) fn take_done(&mut self, now: SimTime) -> Vec<u64> {
        self.advance(now);
        let done = self.jobs.iter().filter(|job| job.left == 0).map(|job| job.id).collect();
        self.jobs.retain(|job| job.left > 0);
        done
    }

    /// When the next job is done, if nothing changes before.
    pub(super) fn next_done(&self) -> Option<SimTime> {
        let least = self.jobs.iter().map(|job| job.left).min()?;
        let needed = least.checked_mul(self.n_jobs())?;
        Some(self.at + Duration::from_micros(self.micros_for(needed)))
    }

    /// CPU time used up to `now`.
    pub(super) fn used(&self, now: SimTime) -> Duration {
        let (consumed, _) = self.consumption(now);
        let left = self.jobs.iter().fold(0u64, |sum, job| sum.saturating_add(job.left));
        Duration::from_nanos(self.total + consumed.min(left))
    }

    /// Time until `needed` nanoseconds are consumed, rounded up.
    fn micros_for(&self, needed: u64) -> u64 {
        let rate = self.rate.max(1);
        let Some(quota) = self.quota else { return needed.div_ceil(rate) };
        let to_end = PERIOD_MICROS - self.offset(self.at);
        let now_left = quota.saturating_sub(self.used_in_period).min(rate * to_end);
        if needed <= now_left {
            return needed.div_ceil(rate);
        }
        let needed = needed - now_left;
        let per_period = quota.min(rate * PERIOD_MICROS);
        // A need that ends exactly with a period's share ends inside that period.
        let n_full = (needed - 1) / per_period;
        let rest = needed - n_full * per_period;
        to_end + n_full * PERIOD_MICROS + rest.div_ceil(rate)
    }

    /// CPU time consumed between the last advance and `now`, and the use of the period of `now`.
    fn consumption(&self, now: SimTime) -> (u64, u64) {
        let elapsed = micros(now.since(self.at));
        let rate = if self.jobs.is_empty() { 0 } else { self.rate };
        let Some(quota) = self.quota else { return (rate * elapsed, 0) };
        let to_end = PERIOD_MICROS - self.offset(self.at);
        let left = quota.saturating_sub(self.used_in_period);
        if elapsed < to_end {
            let part = left.min(rate * elapsed);
            return (part, self.used_in_period + part);
        }
        let first = left.min(rate * to_end);
        let n_full = (elapsed - to_end) / PERIOD_MICROS;
        let rest = (elapsed - to_end) % PERIOD_MICROS;
        let last = quota.min(rate * rest);
        (first + n_full * quota.min(rate * PERIOD_MICROS) + last, last)
    }

    fn advance(&mut self, now: SimTime) {
        if now <= self.at {
            return;
        }
        let (consumed, used_in_period) = self.consumption(now);
        self.used_in_period = used_in_period;
        self.at = now;
        let n_jobs = self.n_jobs();
        if n_jobs == 0 {
            return;
        }
        let each = consumed / n_jobs;
        for job in &mut self.jobs {
            let done = each.min(job.left);
            job.left -= done;
            self.total += done;
        }
    }

    fn offset(&self, at: SimTime) -> u64 {
        micros(at.since(self.anchor)) % PERIOD_MICROS
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::millis;

    fn run(limit: Option<u64>, works_ms: &[u64], cores: u64) -> Vec<u64> {
        let mut cpu = Cpu::new(limit, SimTime::ZERO);
        for (id, &work) in works_ms.iter().enumerate() {
            cpu.add(id as u64, millis(work), SimTime::ZERO);
        }
        let mut ends = Vec::new();
        cpu.grant(cores, SimTime::ZERO);
        while let Some(due) = cpu.next_done() {
            for _ in cpu.take_done(due) {
                ends.push(due.as_micros() / 1000);
            }
            cpu.grant(cores, due);
        }
        let total: u64 = works_ms.iter().sum();
        assert_eq!(cpu.used(SimTime::from_micros(60_000_000)), millis(total));
        ends
    }

    #[test]
    fn without_a_limit_work_takes_its_cpu_time() {
        assert_eq!(run(None, &[30], 8000), [30]);
        assert_eq!(run(None, &[30, 60], 8000), [30, 60]);
        // One core for two threads: each runs at half speed until the first is done.
        assert_eq!(run(None, &[30, 60], 1000), [60, 90]);
    }

    #[test]
    fn a_quota_throttles_for_the_rest_of_each_period() {
        // 200m: 20 ms in each 100 ms, so 30 ms take 100 ms and 10 ms more.
        assert_eq!(run(Some(200), &[30], 8000), [110]);
        assert_eq!(run(Some(200), &[20], 8000), [20]);
        assert_eq!(run(Some(200), &[60], 8000), [220]);
        // Four threads spend the quota four times as fast.
        assert_eq!(run(Some(200), &[30, 30, 30, 30], 8000), [505; 4]);
        assert_eq!(run(Some(1000), &[250], 8000), [250]);
    }

    #[test]
    fn use_is_exact_in_the_middle_of_throttling() {
        let mut cpu = Cpu::new(Some(200), SimTime::ZERO);
        cpu.add(0, millis(100), SimTime::ZERO);
        cpu.grant(8000, SimTime::ZERO);
        assert_eq!(cpu.used(SimTime::from_micros(10_000)), millis(10));
        assert_eq!(cpu.used(SimTime::from_micros(70_000)), millis(20));
        assert_eq!(cpu.used(SimTime::from_micros(105_000)), millis(25));
    }
}
