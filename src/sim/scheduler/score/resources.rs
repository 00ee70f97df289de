//! Scores over resources: least allocated and balanced allocation (`plugins/noderesources`).

use crate::sim::profile::Profile;

use super::super::class::PodClass;
use super::super::node_info::NodeInfo;
use super::MAX_SCORE;

/// `least_allocated.go`: the mean share of CPU and memory that stays free.
pub fn least_allocated(class: &PodClass, info: &NodeInfo) -> i64 {
    let request = &class.request;
    let cpu = free_share(info.nonzero_cpu + request.nonzero_cpu, info.allocatable.cpu);
    let memory = free_share(info.nonzero_memory + request.nonzero_memory, info.allocatable.memory);
    (cpu + memory) / 2
}

/// `least_allocated.go:leastRequestedScore`.
fn free_share(used: u64, capacity: u64) -> i64 {
    if capacity == 0 || used > capacity {
        return 0;
    }
    let share = u128::from(capacity - used) * 100 / u128::from(capacity);
    i64::try_from(share).unwrap_or(0)
}

/// `balanced_allocation.go`: how near the shares of CPU and memory are to each other. From 1.33 a
/// pod without requests gets none (issue 129138); from 1.35 the change counts.
pub fn balanced(class: &PodClass, info: &NodeInfo, profile: Profile) -> i64 {
    let request = &class.request;
    let have = &info.allocatable;
    if !profile.at_least(22) {
        let cpu = share(info.nonzero_cpu + request.nonzero_cpu, have.cpu);
        let memory = share(info.nonzero_memory + request.nonzero_memory, have.memory);
        return balanced_of_old(cpu, memory);
    }
    let wanted = &request.resources;
    if profile.at_least(33) && wanted.cpu == 0 && wanted.memory == 0 {
        return 0;
    }
    let used = &info.requested;
    let after = balanced_of(&[
        (used.cpu + wanted.cpu, have.cpu),
        (used.memory + wanted.memory, have.memory),
    ]);
    if !profile.at_least(35) {
        return after;
    }
    let before = balanced_of(&[(used.cpu, have.cpu), (used.memory, have.memory)]);
    MAX_SCORE / 2 + (MAX_SCORE / 2 + after - before) / 2
}

/// Up to 1.21: any share of 1 or more is worth nothing.
fn balanced_of_old(cpu: f64, memory: f64) -> i64 {
    if cpu >= 1.0 || memory >= 1.0 {
        return 0;
    }
    to_score((1.0 - (cpu - memory).abs()) * 100.0)
}

/// From 1.22: one minus the standard deviation of the two shares.
fn balanced_of(amounts: &[(u64, u64); 2]) -> i64 {
    let [cpu, memory] = amounts.map(|(used, have)| (have > 0).then(|| share(used, have).min(1.0)));
    let deviation = match (cpu, memory) {
        (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
        _ => 0.0,
    };
    to_score((1.0 - deviation) * 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "upstream computes in float64 as well")]
fn share(used: u64, capacity: u64) -> f64 {
    if capacity == 0 { 1.0 } else { used as f64 / capacity as f64 }
}

#[expect(clippy::cast_possible_truncation, reason = "truncated as upstream does")]
fn to_score(score: f64) -> i64 {
    score as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_share_is_integer_arithmetic() {
        assert_eq!(free_share(1000, 3000), 66);
        assert_eq!(free_share(3001, 3000), 0);
        assert_eq!(free_share(0, 0), 0);
    }

    #[test]
    fn balance_compares_the_two_shares() {
        // `balanced_allocation_test.go`: 30 % CPU and 60 % memory.
        assert_eq!(balanced_of_old(0.3, 0.6), 70);
        assert_eq!(balanced_of_old(1.0, 0.6), 0);
        assert_eq!(balanced_of(&[(3, 10), (6, 10)]), 85);
        assert_eq!(balanced_of(&[(15, 10), (10, 10)]), 100);
    }
}
