//! The front's autoscaler as the manifests state it, and how long it takes to let its replicas go.

use std::time::Duration;

use serde_json::Value;

use crate::base::secs;

/// Stabilisation of scale-down unless `behavior` sets it (`--horizontal-pod-autoscaler-downscale-stabilization`).
const DEFAULT_WINDOW_S: u64 = 300;
/// From one sync of an autoscaler to the next (`--horizontal-pod-autoscaler-sync-period`).
const SYNC_S: u64 = 15;
/// Nobody asks how much longer than this it takes.
const LONG_S: u64 = 2 * 3600;

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoscaler {
    /// Its name.
    pub name: String,
    /// `minReplicas`.
    pub min: i32,
    /// `maxReplicas`.
    pub max: i32,
    /// Stabilisation of scale-down, in seconds.
    pub window_s: u64,
    /// How fast replicas may go after that; `None` when they never may.
    policies: Option<Policies>,
}

/// `behavior.scaleDown.policies`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Policies {
    list: Vec<Policy>,
    /// Whether the policy that takes least counts, not the one that takes most.
    takes_least: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    is_percent: bool,
    value: i64,
    period_s: u64,
}

impl Autoscaler {
    /// The one called `name`, from its manifest.
    pub(super) fn of(name: &str, value: &Value) -> Self {
        let number = |pointer: &str| {
            value.pointer(pointer).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok())
        };
        let down = value.pointer("/spec/behavior/scaleDown");
        let window = down.and_then(|down| down.get("stabilizationWindowSeconds"));
        Autoscaler {
            name: name.to_owned(),
            min: number("/spec/minReplicas").unwrap_or(1),
            max: number("/spec/maxReplicas").unwrap_or(1),
            window_s: window.and_then(Value::as_u64).unwrap_or(DEFAULT_WINDOW_S),
            policies: Policies::of(down),
        }
    }

    /// Whether its maximum is above its minimum.
    pub fn can_scale(&self) -> bool {
        self.max > self.min
    }

    /// Why it never adds a replica, when it cannot scale.
    pub fn fixed_size(&self) -> String {
        let (name, max) = (&self.name, self.max);
        format!(
            "HorizontalPodAutoscaler {name} keeps {max} replicas: its minReplicas is maxReplicas"
        )
    }

    /// How long after its metrics have fallen it takes from the maximum to the minimum; more than an
    /// hour is not told apart from much more. `None` when replicas are never taken away.
    pub fn scale_in(&self) -> Option<Duration> {
        let policies = self.policies.as_ref()?;
        Some(secs(self.window_s + policies.takes_s(self.max.into(), self.min.into())))
    }
}

impl Policies {
    fn of(down: Option<&Value>) -> Option<Self> {
        let select = down.and_then(|down| down.get("selectPolicy")).and_then(Value::as_str);
        if select == Some("Disabled") {
            return None;
        }
        let given = down.and_then(|down| down.get("policies")).and_then(Value::as_array);
        let policy = |policy: &Value| Policy {
            is_percent: policy.get("type").and_then(Value::as_str) == Some("Percent"),
            value: policy.get("value").and_then(Value::as_i64).unwrap_or(1),
            period_s: policy.get("periodSeconds").and_then(Value::as_u64).unwrap_or(SYNC_S),
        };
        let mut list: Vec<Policy> = given.into_iter().flatten().map(policy).collect();
        if list.is_empty() {
            // The default lets all go at once.
            list.push(Policy { is_percent: true, value: 100, period_s: SYNC_S });
        }
        Some(Policies { list, takes_least: select == Some("Min") })
    }

    /// Seconds from the first replica that goes to the last one, from `has` to `min`
    /// (`calculateScaleDownLimitWithBehaviors`, sync by sync).
    fn takes_s(&self, mut has: i64, min: i64) -> u64 {
        let (mut now_s, mut gone) = (0, Vec::new());
        loop {
            let next = self.limit(now_s, has, &gone).max(min);
            if next < has {
                gone.push((now_s, has - next));
                has = next;
            }
            if has <= min || now_s > LONG_S {
                return now_s;
            }
            now_s += SYNC_S;
        }
    }

    /// How few replicas may be left at `now_s`, when `gone` went at their times.
    fn limit(&self, now_s: u64, has: i64, gone: &[(u64, i64)]) -> i64 {
        let limits = self.list.iter().map(|policy| {
            // A period that ends just after a sync is over for the next one only.
            let is_recent = |at_s: u64| at_s + policy.period_s + SYNC_S > now_s;
            let recent = gone.iter().filter(|(at_s, _)| is_recent(*at_s)).map(|(_, n)| n);
            let start = has + recent.sum::<i64>();
            match policy.is_percent {
                true => start * (100 - policy.value).max(0) / 100,
                false => start - policy.value,
            }
        });
        let limit = if self.takes_least { limits.max() } else { limits.min() };
        limit.unwrap_or(has)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scale_in_s(down: Value) -> Option<u64> {
        let spec = json!({"minReplicas": 2, "maxReplicas": 10, "behavior": {"scaleDown": down}});
        Autoscaler::of("web", &json!({"spec": spec})).scale_in().map(|time| time.as_secs())
    }

    #[test]
    fn without_policies_all_go_after_the_window() {
        assert_eq!(scale_in_s(json!({})), Some(300));
        assert_eq!(scale_in_s(json!({"stabilizationWindowSeconds": 0})), Some(0));
    }

    #[test]
    fn policies_take_their_periods_and_at_most_a_sync_more_for_each() {
        let policies = |value: u64, period: u64| json!([{"type": "Pods", "value": value, "periodSeconds": period}]);
        let down = |policies: Value| json!({"stabilizationWindowSeconds": 0, "policies": policies});
        // Eight go one by one: seven periods lie between the first and the last.
        assert_eq!(scale_in_s(down(policies(1, 60))), Some(7 * 75));
        assert_eq!(scale_in_s(down(policies(8, 60))), Some(0));
        // 10, 5, 2.
        let half = json!([{"type": "Percent", "value": 50, "periodSeconds": 30}]);
        assert_eq!(scale_in_s(down(half)), Some(45));
        assert!(scale_in_s(down(policies(1, 1800))).is_some_and(|takes_s| takes_s > 3600));
    }

    #[test]
    fn the_policy_that_counts_is_selected() {
        let down = |select: &str| {
            json!({"stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": [
                {"type": "Pods", "value": 1, "periodSeconds": 60},
                {"type": "Pods", "value": 4, "periodSeconds": 60},
            ]})
        };
        assert_eq!(scale_in_s(down("Max")), Some(75));
        assert_eq!(scale_in_s(down("Min")), Some(7 * 75));
        assert_eq!(scale_in_s(down("Disabled")), None);
    }
}
