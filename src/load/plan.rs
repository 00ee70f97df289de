//! Arrival plans: when each request is due, fixed before the first is sent.

use std::time::Duration;

/// A piecewise constant arrival rate; the last piece goes on until the load is stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrivalPlan {
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    starts: Duration,
    per_second: f64,
}

impl ArrivalPlan {
    /// `per_second` requests a second, evenly spaced.
    pub fn constant(per_second: f64) -> Self {
        ArrivalPlan { steps: vec![Step { starts: Duration::ZERO, per_second }] }
    }

    /// One rate after the other, each for `step`.
    pub fn staircase(step: Duration, rates: &[f64]) -> Self {
        let steps = (0u32..)
            .zip(rates)
            .map(|(idx, &per_second)| Step { starts: step.saturating_mul(idx), per_second })
            .collect();
        ArrivalPlan { steps }
    }

    /// The same steps at `factor` times their rates.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        for step in &mut self.steps {
            step.per_second *= factor;
        }
        self
    }

    /// The highest rate of any step, in requests a second.
    pub fn peak(&self) -> f64 {
        self.steps.iter().map(|step| step.per_second).fold(0.0, f64::max)
    }

    /// When the request after one due at `previous` is due; the first for `None`. `None` when no
    /// further request is planned. Times count from the start of the load.
    pub fn next_due(&self, previous: Option<Duration>) -> Option<Duration> {
        let Some(previous) = previous else {
            return self.steps.iter().find(|step| step.per_second > 0.0).map(|step| step.starts);
        };
        let idx = self.steps.partition_point(|step| step.starts <= previous).checked_sub(1)?;
        let step = self.steps[idx];
        let later = &self.steps[idx + 1..];
        let ends = later.first().map_or(Duration::MAX, |next| next.starts);
        if step.per_second > 0.0 {
            let due = previous + Duration::from_secs_f64(1.0 / step.per_second);
            if due < ends {
                return Some(due);
            }
        }
        later.iter().find(|next| next.per_second > 0.0).map(|next| next.starts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(plan: &ArrivalPlan, n: usize) -> Vec<u128> {
        let mut previous = None;
        let mut times = Vec::new();
        while times.len() < n
            && let Some(due) = plan.next_due(previous)
        {
            times.push(due.as_millis());
            previous = Some(due);
        }
        times
    }

    #[test]
    fn a_constant_plan_is_evenly_spaced() {
        assert_eq!(times(&ArrivalPlan::constant(10.0), 4), [0, 100, 200, 300]);
    }

    #[test]
    fn a_staircase_changes_rate_at_each_step() {
        let plan = ArrivalPlan::staircase(Duration::from_secs(1), &[2.0, 4.0]);
        assert_eq!(times(&plan, 6), [0, 500, 1000, 1250, 1500, 1750]);
    }

    #[test]
    fn a_scaled_plan_keeps_its_steps() {
        let plan = ArrivalPlan::staircase(Duration::from_secs(1), &[4.0, 8.0]).scaled(0.5);
        assert_eq!(times(&plan, 4), [0, 500, 1000, 1250]);
        assert!((plan.peak() - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_rate_of_zero_pauses_and_ends_the_plan() {
        let plan = ArrivalPlan::staircase(Duration::from_secs(1), &[1.0, 0.0, 1.0, 0.0]);
        assert_eq!(times(&plan, 9), [0, 2000]);
        assert_eq!(ArrivalPlan::constant(0.0).next_due(None), None);
    }
}
