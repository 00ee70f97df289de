//! The horizontal pod autoscaler (`ctl/podautoscaler/horizontal.go`).

mod calculator;
mod limits;
mod overlap;
mod proposal;
#[cfg(test)]
mod scenario;
mod status;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::base::{SimTime, secs};
use crate::k8s::matches_selector;
use crate::sim::api::events::{Note, record};
use crate::sim::api::{Change, ChangeType, Obj, Objects, Part, Status};
use crate::sim::context::Cx;

use super::{Controller, Key, Work};
use limits::{Bounds, Memory, Rules};
use overlap::Selectors;
use proposal::{Failure, Situation, propose};
use status::{Numbers, set_condition, set_numbers};
use target::Scale;

/// `--horizontal-pod-autoscaler-sync-period`: the fixed interval of its queue
/// (`ctl/podautoscaler/rate_limiters.go`).
const SYNC_PERIOD: Duration = secs(15);
/// Its event source (`horizontal.go:NewHorizontalController`).
const SOURCE: &str = "horizontal-pod-autoscaler";
/// One invalid metric forbids to scale down (semantics 7.2, "newer"; by memory of the changelog).
const INVALID_METRIC_BLOCKS_DOWN_SINCE: u8 = 22;
/// Windows for both directions at once, and net changes per period (semantics 7.4, "newer").
const SEPARATE_WINDOWS_SINCE: u8 = 21;

/// Autoscalers that select the same pods do not scale (kubernetes PR 112011; by memory of the
/// changelog).
const OVERLAP_REFUSED_SINCE: u8 = 27;

/// The controller.
#[derive(Debug, Default)]
pub(super) struct AutoscalerController {
    memories: BTreeMap<Key, Memory>,
    selectors: Selectors,
}

/// A pass over one autoscaler: the object with the status to write.
struct Sync<'a, 'cx> {
    hpa: HorizontalPodAutoscaler,
    key: &'a Key,
    memory: &'a mut Memory,
    selectors: &'a mut Selectors,
    cache: &'a Objects,
    cx: &'a mut Cx<'cx>,
    now: SimTime,
}

/// What the metrics say.
struct Measured {
    replicas: u32,
    /// The metric that asks for most.
    name: String,
    statuses: Vec<MetricStatus>,
}

/// What to do about the size.
struct Outcome {
    desired: u32,
    reason: String,
    rescale: bool,
    metrics: Option<Vec<MetricStatus>>,
}

impl Controller for AutoscalerController {
    fn name(&self) -> &'static str {
        "autoscaler"
    }

    fn on_change(&mut self, change: &Change, _cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        let Obj::HorizontalPodAutoscaler(_) = &change.object else { return };
        let key = Key::new(change.object.namespace(), change.object.name());
        if change.change_type == ChangeType::Deleted {
            self.memories.remove(&key);
            self.selectors.remove(&key);
        } else {
            // Also new ones wait for a full period: the queue is rate limited (`enqueueHPA`).
            work.add_after(key, SYNC_PERIOD, cx);
        }
    }

    fn reconcile(
        &mut self,
        key: &Key,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let found = cache.get::<HorizontalPodAutoscaler>(&key.namespace, &key.name);
        let Some(hpa) = found.map(Arc::clone) else { return Ok(()) };
        let memory = self.memories.entry(key.clone()).or_default();
        let now = cx.now;
        let selectors = &mut self.selectors;
        let hpa_now = HorizontalPodAutoscaler::clone(&hpa);
        let mut sync = Sync { hpa: hpa_now, key, memory, selectors, cache, cx, now };
        sync.run();
        sync.write_status(&hpa);
        // After success and failure alike (`processNextWorkItem`).
        work.add_after(key.clone(), SYNC_PERIOD, cx);
        Ok(())
    }
}

impl Sync<'_, '_> {
    /// `reconcileAutoscaler`.
    fn run(&mut self) {
        let namespace = self.hpa.metadata.namespace.clone().unwrap_or_default();
        let reference = self.hpa.spec.scale_target_ref.clone();
        let scale = match target::read(self.cx.api, &namespace, &reference) {
            Ok(scale) => scale,
            Err(error) => {
                let message = format!(
                    "the HPA controller was unable to get the target's current scale: {error}"
                );
                self.condition("AbleToScale", false, "FailedGetScale", message);
                self.event(Note::warning(SOURCE, "FailedGetScale", error));
                return;
            }
        };
        let message = "the HPA controller was able to get the target's current scale";
        self.condition("AbleToScale", true, "SucceededGetScale", message);
        self.memory.start(self.now, scale.replicas);
        let Some(mut outcome) = self.decide(&scale) else {
            let desired = self.hpa.status.as_ref().map_or(0, |status| status.desired_replicas);
            let metrics = self.hpa.status.as_ref().and_then(|s| s.current_metrics.clone());
            let desired = u32::try_from(desired).unwrap_or(0);
            self.numbers(scale.replicas, desired, metrics, false);
            return;
        };
        if outcome.rescale {
            if let Err(error) = target::write(self.cx.api, &namespace, &reference, outcome.desired)
            {
                self.refused(&scale, &outcome, &error.message);
                return;
            }
            self.rescaled(&scale, &outcome);
        } else {
            outcome.desired = scale.replicas;
        }
        self.numbers(scale.replicas, outcome.desired, outcome.metrics, outcome.rescale);
    }

    /// The size to set; `None` when no metric can be had.
    fn decide(&mut self, scale: &Scale) -> Option<Outcome> {
        let current = scale.replicas;
        let min = u32::try_from(self.hpa.spec.min_replicas.unwrap_or(1)).unwrap_or(1);
        let max = u32::try_from(self.hpa.spec.max_replicas).unwrap_or(1);
        let at_once = |desired, reason: &str| {
            Some(Outcome { desired, reason: reason.to_owned(), rescale: true, metrics: None })
        };
        if current == 0 && min != 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.condition("ScalingActive", false, "ScalingDisabled", message);
            return Some(Outcome {
                desired: 0,
                reason: String::new(),
                rescale: false,
                metrics: None,
            });
        }
        if current > max {
            return at_once(max, "Current number of replicas above Spec.MaxReplicas");
        }
        if current < min {
            return at_once(min, "Current number of replicas below Spec.MinReplicas");
        }
        let measured = match self.measure(scale) {
            Ok(measured) => measured,
            Err(message) => {
                self.event(Note::warning(SOURCE, "FailedComputeMetricsReplicas", message));
                return None;
            }
        };
        let bounds = Bounds { current, min, max };
        let reason = if measured.replicas > current {
            format!("{} above target", measured.name)
        } else {
            "All metrics below target".to_owned()
        };
        let decision = match &self.hpa.spec.behavior {
            None => self.memory.decide(self.now, measured.replicas, bounds),
            Some(behavior) => {
                let (up, down) = Rules::of(behavior);
                let nets = self.cx.api.profile.at_least(SEPARATE_WINDOWS_SINCE);
                self.memory.decide_with(self.now, measured.replicas, bounds, (&up, &down), nets)
            }
        };
        self.condition("AbleToScale", true, decision.able.0, decision.able.1);
        let (limited, limit, message) = decision.limited;
        self.condition("ScalingLimited", limited, limit, message);
        let name = self.hpa.metadata.name.as_deref().unwrap_or("");
        self.cx.trace.line(
            self.now,
            "autoscaler",
            format_args!(
                "{name} has {current}, asks {}, gets {}",
                measured.replicas, decision.replicas
            ),
        );
        Some(Outcome {
            desired: decision.replicas,
            reason,
            rescale: decision.replicas != current,
            metrics: Some(measured.statuses),
        })
    }

    /// `computeReplicasForMetrics`.
    fn measure(&mut self, scale: &Scale) -> Result<Measured, String> {
        let selector = &scale.selector;
        if selector.match_labels.is_none() && selector.match_expressions.is_none() {
            let message = "the HPA target's scale is missing a selector";
            self.condition("ScalingActive", false, "InvalidSelector", message);
            self.event(Note::warning(SOURCE, "SelectorRequired", "selector is required"));
            return Err("selector is required".to_owned());
        }
        let pods = self.selected_pods(scale);
        if self.cx.api.profile.at_least(OVERLAP_REFUSED_SINCE) {
            self.selectors.put(self.key, selector);
            let namespace = &self.key.namespace;
            if let Some(message) = self.selectors.ambiguity(namespace, selector, &pods) {
                self.condition("ScalingActive", false, "AmbiguousSelector", message.clone());
                self.event(Note::warning(SOURCE, "AmbiguousSelector", message.clone()));
                return Err(message);
            }
        }
        let specs = self.hpa.spec.metrics.clone().unwrap_or_default();
        let mut best: Option<(u32, String)> = None;
        let (mut statuses, mut failures) = (Vec::new(), Vec::new());
        for spec in &specs {
            let situation = Situation {
                now: self.now,
                profile: self.cx.api.profile,
                metrics: &*self.cx.metrics,
                pods: &pods,
                current: scale.replicas,
                behavior: self.hpa.spec.behavior.as_ref(),
            };
            match propose(spec, &situation) {
                Ok(proposal) => {
                    if best.as_ref().is_none_or(|(most, _)| *most == 0 || proposal.replicas > *most)
                    {
                        best = Some((proposal.replicas, proposal.name));
                    }
                    statuses.push(proposal.status);
                }
                Err(failure) => {
                    self.event(Note::warning(SOURCE, failure.reason, failure.message.clone()));
                    failures.push(failure);
                }
            }
        }
        self.conclude(scale, best, statuses, &failures, specs.len())
    }

    fn conclude(
        &mut self,
        scale: &Scale,
        best: Option<(u32, String)>,
        statuses: Vec<MetricStatus>,
        failures: &[Failure],
        n_metrics: usize,
    ) -> Result<Measured, String> {
        let blocks_down = self.cx.api.profile.at_least(INVALID_METRIC_BLOCKS_DOWN_SINCE);
        let usable = best.filter(|(replicas, _)| {
            failures.is_empty() || !blocks_down || *replicas >= scale.replicas
        });
        match (usable, failures.first()) {
            (Some((replicas, name)), _) => {
                let message = format!(
                    "the HPA was able to successfully calculate a replica count from {name}"
                );
                self.condition("ScalingActive", true, "ValidMetricFound", message);
                Ok(Measured { replicas, name, statuses })
            }
            (None, Some(failure)) => {
                let message =
                    format!("the HPA was unable to compute the replica count: {}", failure.message);
                self.condition("ScalingActive", false, failure.reason, message);
                Err(format!(
                    "invalid metrics ({} invalid out of {n_metrics}), first error is: {}",
                    failures.len(),
                    failure.message
                ))
            }
            (None, None) => Err("no metrics to compute a replica count from".to_owned()),
        }
    }

    fn selected_pods(&self, scale: &Scale) -> Vec<Arc<Pod>> {
        let namespace = self.hpa.metadata.namespace.as_deref().unwrap_or("");
        let none = BTreeMap::new();
        self.cache
            .list_in::<Pod>(namespace)
            .filter(|pod| {
                matches_selector(&scale.selector, pod.metadata.labels.as_ref().unwrap_or(&none))
            })
            .map(Arc::clone)
            .collect()
    }

    fn rescaled(&mut self, scale: &Scale, outcome: &Outcome) {
        let desired = outcome.desired;
        let message =
            format!("the HPA controller was able to update the target scale to {desired}");
        self.condition("AbleToScale", true, "SucceededRescale", message);
        let message = format!("New size: {desired}; reason: {}", outcome.reason);
        self.event(Note::normal(SOURCE, "SuccessfulRescale", message));
        if let Some(behavior) = &self.hpa.spec.behavior {
            let (up, down) = Rules::of(behavior);
            self.memory.scaled(self.now, (scale.replicas, desired), (&up, &down));
        }
    }

    fn refused(&mut self, scale: &Scale, outcome: &Outcome, error: &str) {
        let message = format!("the HPA controller was unable to update the target scale: {error}");
        self.condition("AbleToScale", false, "FailedUpdateScale", message);
        let (desired, reason) = (outcome.desired, &outcome.reason);
        let message = format!("New size: {desired}; reason: {reason}; error: {error}");
        self.event(Note::warning(SOURCE, "FailedRescale", message));
        let metrics = self.hpa.status.as_ref().and_then(|s| s.current_metrics.clone());
        let kept = self.hpa.status.as_ref().map_or(0, |status| status.desired_replicas);
        self.numbers(scale.replicas, u32::try_from(kept).unwrap_or(0), metrics, false);
    }

    fn numbers(
        &mut self,
        current: u32,
        desired: u32,
        metrics: Option<Vec<MetricStatus>>,
        rescaled: bool,
    ) {
        set_numbers(&mut self.hpa, self.now, Numbers { current, desired, metrics, rescaled });
    }

    fn condition(&mut self, kind: &str, is_true: bool, reason: &str, message: impl Into<String>) {
        set_condition(&mut self.hpa, self.now, kind, is_true, reason, message);
    }

    fn event(&mut self, note: Note) {
        record(self.cx.api, &self.hpa, note);
    }

    /// `updateStatusIfNeeded`: by patch, so that a lagging cache does not lose the write.
    fn write_status(&mut self, old: &HorizontalPodAutoscaler) {
        if self.hpa.status == old.status {
            return;
        }
        let namespace = self.hpa.metadata.namespace.clone().unwrap_or_default();
        let name = self.hpa.metadata.name.clone().unwrap_or_default();
        let status = self.hpa.status.take();
        // A refused status write is not retried: the next sync is 15 s away at most.
        let _ =
            self.cx.api.patch::<HorizontalPodAutoscaler>(Part::Status, &namespace, &name, |hpa| {
                hpa.status = status
            });
    }
}
