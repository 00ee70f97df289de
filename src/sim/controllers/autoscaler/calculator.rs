//! How many replicas one metric asks for
//! (`ctl/podautoscaler/replica_calculator.go`, `metrics/utilization.go`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::base::{SimTime, secs};
use crate::k8s::pod_condition;

/// `--horizontal-pod-autoscaler-cpu-initialization-period`.
const CPU_INITIALIZATION_PERIOD: Duration = secs(300);
/// `--horizontal-pod-autoscaler-initial-readiness-delay`.
const INITIAL_READINESS_DELAY: Duration = secs(30);

/// One pod's use of the resource, in thousandths of its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) value: u64,
    pub(super) at: SimTime,
    pub(super) window: Duration,
}

/// What a metric is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Percent of the request.
    Utilization(u32),
    /// Use of one pod, in thousandths of the unit.
    AverageValue(u64),
}

/// How far from its target a ratio may be and still lead to nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance {
    pub(super) up: f64,
    pub(super) down: f64,
    /// Whether the bounds themselves are compared, as from 1.33, or the distance from 1: 1.1 is
    /// inside the bound 1 + 0.1 but, in floats, further than 0.1 from 1.
    pub(super) compares_bounds: bool,
}

/// What the calculation starts from.
#[derive(Debug)]
pub(super) struct Input<'a> {
    pub(super) now: SimTime,
    /// `spec.replicas` of the target.
    pub(super) current: u32,
    /// All pods that the target's selector matches.
    pub(super) pods: &'a [Arc<Pod>],
    /// Samples by pod name.
    pub(super) samples: BTreeMap<&'a str, Sample>,
    /// Requests by pod name, in thousandths; needed for a utilisation.
    pub(super) requests: BTreeMap<&'a str, u64>,
    pub(super) is_cpu: bool,
    pub(super) target: Target,
    pub(super) tolerance: Tolerance,
    /// Whether a missing pod counts with the target when that is above 100 % of its request.
    pub(super) fallback_follows_target: bool,
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recommendation {
    pub(super) replicas: u32,
    /// Percent of the request over the ready pods.
    pub(super) utilization: Option<u32>,
    /// Mean use of a ready pod, in thousandths of the unit.
    pub(super) average: u64,
}

/// The pods by what is known of them (`groupPods`).
#[derive(Debug, Default)]
pub(super) struct Groups<'a> {
    pub(super) ready: Vec<&'a str>,
    pub(super) unready: Vec<&'a str>,
    pub(super) missing: Vec<&'a str>,
}

impl Tolerance {
    fn contains(self, ratio: f64) -> bool {
        if self.compares_bounds {
            1.0 - self.down <= ratio && ratio <= 1.0 + self.up
        } else {
            (1.0 - ratio).abs() <= self.up
        }
    }
}

/// `groupPods`.
pub(super) fn group<'a>(
    pods: &'a [Arc<Pod>],
    samples: &BTreeMap<&'a str, Sample>,
    is_cpu: bool,
    now: SimTime,
) -> Groups<'a> {
    let mut groups = Groups::default();
    for pod in pods {
        let name = pod.metadata.name.as_deref().unwrap_or("");
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("");
        if pod.metadata.deletion_timestamp.is_some() || phase == "Failed" {
            continue;
        }
        if phase == "Pending" {
            groups.unready.push(name);
            continue;
        }
        match samples.get(name) {
            None => groups.missing.push(name),
            Some(sample) if is_cpu && is_unready(pod, sample, now) => groups.unready.push(name),
            Some(_) => groups.ready.push(name),
        }
    }
    groups
}

/// Whether a CPU sample says nothing about the load yet.
fn is_unready(pod: &Pod, sample: &Sample, now: SimTime) -> bool {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(instant);
    let (Some(ready), Some(started)) = (pod_condition(pod, "Ready"), started) else {
        return true;
    };
    let changed = ready.last_transition_time.as_ref().map_or(SimTime::ZERO, instant);
    let is_false = ready.status == "False";
    if started + CPU_INITIALIZATION_PERIOD > now {
        is_false || sample.at < changed + sample.window
    } else {
        is_false && started + INITIAL_READINESS_DELAY > changed
    }
}

fn instant(time: &Time) -> SimTime {
    SimTime::from_timestamp(time.0)
}

/// `GetResourceReplicas` and `GetRawResourceReplicas`.
pub(super) fn recommend(input: &Input<'_>) -> Result<Recommendation, String> {
    let groups = group(input.pods, &input.samples, input.is_cpu, input.now);
    let mut usage: BTreeMap<&str, u64> = groups
        .ready
        .iter()
        .filter_map(|name| Some((*name, input.samples.get(name)?.value)))
        .collect();
    if usage.is_empty() {
        return Err("did not receive metrics for any ready pods".to_owned());
    }
    let (ratio, utilization, average) = input.ratio(&usage)?;
    let decided = |replicas| Ok(Recommendation { replicas, utilization, average });
    let counts_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !counts_unready && groups.missing.is_empty() {
        let keeps = input.tolerance.contains(ratio);
        return decided(if keeps { input.current } else { ceil(ratio, groups.ready.len()) });
    }
    for name in &groups.missing {
        if ratio < 1.0 {
            usage.insert(name, input.fallback(name));
        } else if ratio > 1.0 {
            usage.insert(name, 0);
        }
    }
    if counts_unready {
        usage.extend(groups.unready.iter().map(|name| (*name, 0)));
    }
    let (new_ratio, ..) = input.ratio(&usage)?;
    let crossed = (ratio < 1.0 && new_ratio > 1.0) || (ratio > 1.0 && new_ratio < 1.0);
    if input.tolerance.contains(new_ratio) || crossed {
        return decided(input.current);
    }
    let replicas = ceil(new_ratio, usage.len());
    let is_backwards = (new_ratio < 1.0 && replicas > input.current)
        || (new_ratio > 1.0 && replicas < input.current);
    decided(if is_backwards { input.current } else { replicas })
}

impl Input<'_> {
    /// Ratio to the target, utilisation in whole percent, mean use.
    fn ratio(&self, usage: &BTreeMap<&str, u64>) -> Result<(f64, Option<u32>, u64), String> {
        match self.target {
            Target::Utilization(target) => {
                let (mut used, mut requested, mut n) = (0u64, 0u64, 0u64);
                for (name, value) in usage {
                    let Some(request) = self.requests.get(name) else { continue };
                    used += value;
                    requested += request;
                    n += 1;
                }
                if requested == 0 {
                    return Err("no metrics returned matched known pods".to_owned());
                }
                let percent = u32::try_from(used * 100 / requested).unwrap_or(u32::MAX);
                Ok((f64::from(percent) / f64::from(target), Some(percent), used / n))
            }
            Target::AverageValue(target) => {
                let total: u64 = usage.values().sum();
                let mean = total / (usage.len() as u64).max(1);
                Ok((mean as f64 / target as f64, None, mean))
            }
        }
    }

    /// What a pod without a sample is taken to use when the rest uses too little.
    fn fallback(&self, name: &str) -> u64 {
        match self.target {
            Target::AverageValue(target) => target,
            Target::Utilization(target) => {
                let request = self.requests.get(name).copied().unwrap_or(0);
                let percent = if self.fallback_follows_target { target.max(100) } else { 100 };
                request * u64::from(percent) / 100
            }
        }
    }
}

fn ceil(ratio: f64, n_pods: usize) -> u32 {
    // A float cast saturates.
    (ratio * n_pods as f64).ceil() as u32
}
