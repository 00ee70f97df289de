//! From a recommendation to a size: stabilisation, rate limits, bounds
//! (`ctl/podautoscaler/horizontal.go:normalizeDesiredReplicas` and following).

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

use crate::base::{SimTime, secs};

/// `--horizontal-pod-autoscaler-downscale-stabilization`.
const DOWNSCALE_STABILIZATION: Duration = secs(300);
/// Without `behavior` a sync may double the size (`scaleUpLimitFactor`) ...
const SCALE_UP_FACTOR: u32 = 2;
/// ... or reach this size (`scaleUpLimitMinimum`).
const SCALE_UP_MINIMUM: u32 = 4;
/// Default scale-up policies: 4 pods and 100 % in 15 s (`apis/autoscaling/v2/defaults.go`).
const DEFAULT_UP: [Policy; 2] =
    [Policy { percent: false, value: 4, period: secs(15) }, Policy { percent: true, ..EVERYTHING }];
/// Default scale-down policy: 100 % in 15 s.
const EVERYTHING: Policy = Policy { percent: true, value: 100, period: secs(15) };

/// What an autoscaler remembers between syncs.
#[derive(Debug, Default)]
pub(super) struct Memory {
    recommendations: Vec<(SimTime, u32)>,
    ups: Vec<(SimTime, u32)>,
    downs: Vec<(SimTime, u32)>,
}

/// The size to set, and the conditions it comes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) replicas: u32,
    /// Reason and message of AbleToScale.
    pub(super) able: (&'static str, &'static str),
    /// Whether ScalingLimited is true, its reason and message.
    pub(super) limited: (bool, &'static str, &'static str),
}

/// The bounds of one decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) current: u32,
    pub(super) min: u32,
    pub(super) max: u32,
}

#[derive(Clone, Copy, Debug)]
struct Policy {
    percent: bool,
    value: u32,
    period: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Select {
    Max,
    Min,
    Disabled,
}

/// `behavior` of one direction, with defaults filled in.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    policies: Vec<Policy>,
    select: Select,
    window: Duration,
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const WITHIN: (&str, &str) =
    ("DesiredWithinRange", "the desired count is within the acceptable range");
const UP_LIMIT: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: (&str, &str) = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);
const TOO_MANY: (&str, &str) =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");

impl Memory {
    /// `recordInitialRecommendation`: the size found first counts as recommended.
    pub(super) fn start(&mut self, now: SimTime, current: u32) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// Stabilises and limits `desired` without `behavior`.
    pub(super) fn decide(&mut self, now: SimTime, desired: u32, bounds: Bounds) -> Decision {
        // Not `since`, which would clamp at the epoch.
        self.recommendations.retain(|(at, _)| *at + DOWNSCALE_STABILIZATION >= now);
        let highest = self.recommendations.iter().map(|(_, n)| *n).max().unwrap_or(0);
        let stabilized = highest.max(desired);
        self.recommendations.push((now, desired));
        let able = if stabilized == desired { READY } else { DOWN_STABILIZED };
        let up_limit = (bounds.current * SCALE_UP_FACTOR).max(SCALE_UP_MINIMUM);
        let (max, reason) =
            if bounds.max > up_limit { (up_limit, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
        let (replicas, reason) = if stabilized < bounds.min {
            (bounds.min, TOO_FEW)
        } else if stabilized > max {
            (max, reason)
        } else {
            (stabilized, WITHIN)
        };
        Decision { replicas, able, limited: (replicas != stabilized, reason.0, reason.1) }
    }

    /// The same with `behavior`; `separate_windows` since 1.21.
    pub(super) fn decide_with(
        &mut self,
        now: SimTime,
        desired: u32,
        bounds: Bounds,
        (up, down): (&Rules, &Rules),
        separate_windows: bool,
    ) -> Decision {
        let within = |window: Duration| {
            let recent = self.recommendations.iter().filter(move |(at, _)| *at + window > now);
            recent.map(|(_, n)| *n)
        };
        let up_value = within(up.window).min().unwrap_or(desired).min(desired);
        let down_value = within(down.window).max().unwrap_or(desired).max(desired);
        let rises = desired >= bounds.current;
        let stabilized = match (separate_windows, rises) {
            (true, _) => bounds.current.max(up_value).min(down_value),
            (false, true) => up_value,
            (false, false) => down_value,
        };
        let longest = up.window.max(down.window);
        self.recommendations.retain(|(at, _)| *at + longest >= now);
        self.recommendations.push((now, desired));
        let able = match (stabilized == desired, rises) {
            (true, _) => READY,
            (false, true) => UP_STABILIZED,
            (false, false) => DOWN_STABILIZED,
        };
        let (replicas, reason) = self.limit(now, stabilized, bounds, (up, down), separate_windows);
        Decision { replicas, able, limited: (replicas != stabilized, reason.0, reason.1) }
    }

    /// `convertDesiredReplicasWithBehaviorRate`.
    fn limit(
        &self,
        now: SimTime,
        desired: u32,
        bounds: Bounds,
        (up, down): (&Rules, &Rules),
        nets: bool,
    ) -> (u32, (&'static str, &'static str)) {
        let current = bounds.current;
        if desired > current {
            let limit = self.up_limit(now, current, up, nets).max(current);
            let (max, reason) =
                if bounds.max > limit { (limit, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
            if desired > max {
                return (max, reason);
            }
        } else if desired < current {
            let limit = self.down_limit(now, current, down, nets).min(current);
            let (min, reason) =
                if bounds.min < limit { (limit, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
            if desired < min {
                return (min, reason);
            }
        }
        (desired, WITHIN)
    }

    /// `calculateScaleUpLimitWithScalingRules`.
    fn up_limit(&self, now: SimTime, current: u32, rules: &Rules, nets: bool) -> u32 {
        let proposals = rules.policies.iter().map(|policy| {
            let added = sum_since(&self.ups, now, policy.period);
            let deleted = if nets { sum_since(&self.downs, now, policy.period) } else { 0 };
            let start = (current + deleted).saturating_sub(added);
            if policy.percent {
                let factor = 1.0 + f64::from(policy.value) / 100.0;
                (f64::from(start) * factor).ceil() as u32
            } else {
                start.saturating_add(policy.value)
            }
        });
        match rules.select {
            Select::Disabled => current,
            Select::Max => proposals.max().unwrap_or(current),
            Select::Min => proposals.min().unwrap_or(current),
        }
    }

    /// `calculateScaleDownLimitWithBehaviors`.
    fn down_limit(&self, now: SimTime, current: u32, rules: &Rules, nets: bool) -> u32 {
        let proposals = rules.policies.iter().map(|policy| {
            let deleted = sum_since(&self.downs, now, policy.period);
            let added = if nets { sum_since(&self.ups, now, policy.period) } else { 0 };
            let start = (current + deleted).saturating_sub(added);
            if policy.percent {
                let factor = 1.0 - f64::from(policy.value) / 100.0;
                // The cast truncates, as upstream's does.
                (f64::from(start) * factor) as u32
            } else {
                start.saturating_sub(policy.value)
            }
        });
        match rules.select {
            Select::Disabled => current,
            // The greatest change gives the smallest size.
            Select::Max => proposals.min().unwrap_or(current),
            Select::Min => proposals.max().unwrap_or(current),
        }
    }

    /// `storeScaleEvent`: only autoscalers with `behavior` keep them.
    pub(super) fn scaled(
        &mut self,
        now: SimTime,
        (from, to): (u32, u32),
        (up, down): (&Rules, &Rules),
    ) {
        self.ups.retain(|(at, _)| *at + up.longest_period() >= now);
        self.downs.retain(|(at, _)| *at + down.longest_period() >= now);
        match to.checked_sub(from) {
            Some(added) => self.ups.push((now, added)),
            None => self.downs.push((now, from - to)),
        }
    }
}

fn sum_since(events: &[(SimTime, u32)], now: SimTime, period: Duration) -> u32 {
    events.iter().filter(|(at, _)| *at + period > now).map(|(_, n)| n).sum()
}

impl Rules {
    /// The rules for scaling up and down, with defaults where `behavior` is silent.
    pub(super) fn of(behavior: &HorizontalPodAutoscalerBehavior) -> (Rules, Rules) {
        let up = Rules::fill(behavior.scale_up.as_ref(), &DEFAULT_UP, Duration::ZERO);
        let down =
            Rules::fill(behavior.scale_down.as_ref(), &[EVERYTHING], DOWNSCALE_STABILIZATION);
        (up, down)
    }

    fn fill(rules: Option<&HPAScalingRules>, defaults: &[Policy], window: Duration) -> Rules {
        let given = rules.and_then(|rules| rules.policies.as_deref()).unwrap_or(&[]);
        let policies: Vec<Policy> = given
            .iter()
            .map(|policy| Policy {
                percent: policy.type_ == "Percent",
                value: u32::try_from(policy.value).unwrap_or(0),
                period: secs(u64::try_from(policy.period_seconds).unwrap_or(0)),
            })
            .collect();
        let select = match rules.and_then(|rules| rules.select_policy.as_deref()) {
            Some("Min") => Select::Min,
            Some("Disabled") => Select::Disabled,
            _ => Select::Max,
        };
        let seconds = rules.and_then(|rules| rules.stabilization_window_seconds);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Rules {
            policies: if policies.is_empty() { defaults.to_vec() } else { policies },
            select,
            window: seconds.map_or(window, secs),
        }
    }

    fn longest_period(&self) -> Duration {
        self.policies.iter().map(|policy| policy.period).max().unwrap_or_default()
    }
}
