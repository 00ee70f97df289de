//! The autoscaler: formula, limits, stabilisation, conditions.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::calculator::{Input, Recommendation, Sample, Target, Tolerance, recommend};
use super::limits::{Bounds, Memory, Rules};
use crate::base::{SimTime, secs};

/// The instant of the calculation: an hour after the start, so that pods can be old.
const NOW_S: u64 = 3600;

fn at(seconds: u64) -> SimTime {
    SimTime::ZERO + secs(seconds)
}

/// A running pod, ready since `ready_s`, started at `started_s`.
fn pod(n: usize, started_s: u64, ready: &str, ready_s: u64) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": format!("web-{n}"), "namespace": "shop"},
        "status": {
            "phase": "Running", "startTime": at(started_s).timestamp().to_string(),
            "conditions": [{
                "type": "Ready", "status": ready,
                "lastTransitionTime": at(ready_s).timestamp().to_string(),
            }],
        },
    });
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}

fn old_pods(n: usize) -> Vec<Arc<Pod>> {
    (0..n).map(|n| pod(n, 100, "True", 110)).collect()
}

/// Utilisation 50 %, requests of 100m; `usage` in thousandths by pod, `None` without a sample.
fn calculate(
    pods: &[Arc<Pod>],
    usage: &[Option<u64>],
    current: u32,
) -> Result<Recommendation, String> {
    calculate_with(pods, usage, current, true)
}

fn calculate_with(
    pods: &[Arc<Pod>],
    usage: &[Option<u64>],
    current: u32,
    compares_bounds: bool,
) -> Result<Recommendation, String> {
    let names = pods.iter().map(|pod| pod.metadata.name.as_deref().unwrap_or(""));
    let samples: BTreeMap<&str, Sample> = names
        .clone()
        .zip(usage)
        .filter_map(|(name, value)| {
            Some((name, Sample { value: (*value)?, at: at(NOW_S - 10), window: secs(15) }))
        })
        .collect();
    recommend(&Input {
        now: at(NOW_S),
        current,
        pods,
        samples,
        requests: names.map(|name| (name, 100)).collect(),
        is_cpu: true,
        target: Target::Utilization(50),
        tolerance: Tolerance { up: 0.1, down: 0.1, compares_bounds },
        fallback_follows_target: true,
    })
}

#[test]
fn the_formula_of_the_documentation() {
    let table: &[(usize, u64, u32)] = &[(3, 100, 6), (3, 54, 3), (3, 56, 4), (6, 10, 2)];
    for &(n, each, wanted) in table {
        let found = calculate(&old_pods(n), &vec![Some(each); n], n as u32);
        assert_eq!(found.map(|r| r.replicas), Ok(wanted), "{n} pods at {each}m");
    }
}

#[test]
fn utilisation_is_cut_to_whole_percent() {
    let found = calculate(&old_pods(3), &[Some(55), Some(55), Some(56)], 3).expect("metrics");
    assert_eq!(found.utilization, Some(55));
    assert_eq!(found.average, 55);
    assert_eq!(found.replicas, 3, "55 of 50 is the bound itself");
    let old = calculate_with(&old_pods(3), &[Some(55), Some(55), Some(56)], 3, false);
    assert_eq!(old.map(|r| r.replicas), Ok(4), "1 - 1.1 is more than 0.1 in floats");
}

#[test]
fn pods_without_samples_damp_both_directions() {
    let up = calculate(&old_pods(6), &[Some(100), Some(100), Some(100), None, None, None], 6);
    assert_eq!(up.map(|r| r.replicas), Ok(6), "3 x 100 over 6 pods is the target");
    let down = calculate(&old_pods(3), &[Some(10), Some(10), None], 3);
    assert_eq!(down.map(|r| r.replicas), Ok(3), "10 + 10 + 100 over 3 pods is 40 %: 2.4");
    let crossing = calculate(&old_pods(2), &[Some(40), None], 2);
    assert_eq!(crossing.map(|r| r.replicas), Ok(2), "below the target with, above it without");
}

#[test]
fn young_cpu_samples_do_not_count() {
    let mut pods = old_pods(3);
    // Ready 5 s before the sample, whose window is 15 s.
    pods.push(pod(3, NOW_S - 20, "True", NOW_S - 15));
    let found = calculate(&pods, &[Some(60), Some(60), Some(60), Some(500)], 3).expect("metrics");
    assert_eq!(found.utilization, Some(60));
    assert_eq!(found.replicas, 3, "60 x 3 over 4 pods is below the target: crossed");
    // The same sample from a pod that has been ready for long enough counts.
    pods[3] = pod(3, NOW_S - 60, "True", NOW_S - 50);
    let found = calculate(&pods, &[Some(60), Some(60), Some(60), Some(500)], 4).expect("metrics");
    assert_eq!(found.replicas, 14, "680 / 4 = 170 %");
}

#[test]
fn old_unready_pods_count_unless_they_never_were_ready() {
    let never = vec![pod(0, 100, "True", 110), pod(1, 100, "False", 101)];
    let found = calculate(&never, &[Some(100), Some(100)], 2).expect("metrics");
    assert_eq!(found.replicas, 2, "the unready one is taken to use nothing");
    let lately = vec![pod(0, 100, "True", 110), pod(1, 100, "False", 2000)];
    let found = calculate(&lately, &[Some(100), Some(100)], 2).expect("metrics");
    assert_eq!(found.replicas, 4);
}

#[test]
fn without_any_ready_sample_there_is_no_answer() {
    let none = calculate(&old_pods(2), &[None, None], 2);
    assert_eq!(none, Err("did not receive metrics for any ready pods".to_owned()));
}

#[test]
fn scaling_down_waits_for_the_highest_recent_recommendation() {
    let mut memory = Memory::default();
    let bounds = Bounds { current: 6, min: 3, max: 10 };
    memory.start(at(0), 6);
    let kept = memory.decide(at(15), 2, bounds);
    assert_eq!((kept.replicas, kept.able.0), (6, "ScaleDownStabilized"));
    assert_eq!(memory.decide(at(300), 2, bounds).replicas, 6, "300 s old still counts");
    let free = memory.decide(at(315), 2, bounds);
    assert_eq!((free.replicas, free.able.0), (3, "ReadyForNewScale"));
    assert_eq!(free.limited.1, "TooFewReplicas");
}

#[test]
fn without_behavior_a_sync_at_most_doubles_or_reaches_four() {
    for (current, wanted, reason) in
        [(1, 4, "ScaleUpLimit"), (3, 6, "ScaleUpLimit"), (6, 10, "TooManyReplicas")]
    {
        let mut memory = Memory::default();
        let found = memory.decide(at(15), 50, Bounds { current, min: 1, max: 10 });
        assert_eq!((found.replicas, found.limited), (wanted, (true, reason, found.limited.2)));
    }
}

fn behavior(value: serde_json::Value) -> (Rules, Rules) {
    let behavior: HorizontalPodAutoscalerBehavior = serde_json::from_value(value).expect("rules");
    Rules::of(&behavior)
}

#[test]
fn default_policies_add_four_or_double() {
    let (up, down) = behavior(json!({"scaleUp": {}}));
    for (current, wanted) in [(1, 5), (3, 7), (6, 12)] {
        let mut memory = Memory::default();
        let bounds = Bounds { current, min: 1, max: 100 };
        let found = memory.decide_with(at(15), 50, bounds, (&up, &down), true);
        assert_eq!(found.replicas, wanted, "from {current}");
    }
}

#[test]
fn a_policy_counts_what_its_period_has_seen() {
    let (up, down) = behavior(json!({
        "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
        "scaleDown": {"selectPolicy": "Disabled"},
    }));
    let mut memory = Memory::default();
    let mut bounds = Bounds { current: 3, min: 1, max: 100 };
    assert_eq!(memory.decide_with(at(15), 50, bounds, (&up, &down), true).replicas, 5);
    memory.scaled(at(15), (3, 5), (&up, &down));
    bounds.current = 5;
    let held = memory.decide_with(at(30), 50, bounds, (&up, &down), true);
    assert_eq!((held.replicas, held.limited.1), (5, "ScaleUpLimit"));
    assert_eq!(memory.decide_with(at(80), 50, bounds, (&up, &down), true).replicas, 7);
    let down_held = memory.decide_with(at(1000), 1, bounds, (&up, &down), true);
    assert_eq!(down_held.replicas, 5, "disabled");
}
