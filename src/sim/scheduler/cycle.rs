//! One scheduling attempt: filter, score, choose; or say why not
//! (`core/generic_scheduler.go`, later `schedule_one.go`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::sim::api::Part;
use crate::sim::api::events::{Note, record};
use crate::sim::context::Cx;

use super::claims::{ClaimStep, Claims};
use super::filter::{Attempt, Nominated, Subject};
use super::kube_scheduler::Scheduler;
use super::node_info::PodId;
use super::nodes::{NodeIdx, Nodes};
use super::pods::{PodEntry, key};
use super::reason::Diagnosis;
use super::score::{self, DefaultSpread};

/// The component's name in events.
pub(super) const SOURCE: &str = "default-scheduler";
/// Fewer nodes than this are all looked at (`minFeasibleNodesToFind`).
const MIN_FEASIBLE: usize = 100;
/// The share of nodes looked for never falls below this many percent
/// (`minFeasibleNodesPercentageToFind`).
const MIN_PERCENT: usize = 5;

/// Where a pod goes.
#[derive(Debug)]
struct Choice {
    node: NodeIdx,
    steps: Vec<ClaimStep>,
}

impl Scheduler {
    /// Ends the attempt for a pod that was taken from the queue.
    pub(super) fn decide(&mut self, id: PodId, cx: &mut Cx<'_>) {
        let Some(entry) = self.pods.get(id).cloned() else { return };
        if entry.pod.metadata.deletion_timestamp.is_some() {
            // `skipPodSchedule`: its deletion is on the way.
            self.queue.remove(id);
            return;
        }
        let defaults = self.default_spreads.of(entry.class, &mut self.classes, &self.cache);
        self.nodes.prepare(&mut self.classes);
        match self.choose(id, &entry, &defaults, cx) {
            Ok(choice) => {
                let name = Arc::clone(&self.nodes.get(choice.node).name);
                let (namespace, pod) = key(&entry.pod);
                cx.trace.line(cx.now, "scheduler", format_args!("{namespace}/{pod} to {name}"));
                self.assume(id, choice.node, choice.steps, cx);
            }
            Err(diagnosis) => self.give_up(id, &entry, &diagnosis, cx),
        }
    }

    fn choose(
        &mut self,
        id: PodId,
        entry: &PodEntry,
        defaults: &DefaultSpread,
        cx: &mut Cx<'_>,
    ) -> Result<Choice, Diagnosis> {
        let n_nodes = self.nodes.order().len();
        let claims = Claims::read(&entry.pod, &self.cache, &self.claim_users, self.profile)
            .map_err(|(plugin, text)| Diagnosis::of_pod(plugin, text, n_nodes))?;
        let nominated = self.nominated(id, entry);
        let attempt = Attempt::new(
            Subject {
                profile: self.profile,
                pod: &entry.pod,
                class_id: entry.class,
                classes: &self.classes,
                claims: &claims,
                nominated: &nominated,
            },
            &self.nodes,
        );
        let mut diagnosis = Diagnosis::over(n_nodes);
        let (feasible, n_looked) = feasible(&attempt, &self.nodes, self.next_start, &mut diagnosis);
        let node = match feasible.as_slice() {
            [] => None,
            [only] => Some(*only),
            several => {
                let scores = score::total(&attempt, defaults, &self.nodes, several);
                Some(several[best(&scores, cx)])
            }
        };
        self.next_start = (self.next_start + n_looked) % n_nodes.max(1);
        let Some(node) = node else { return Err(diagnosis) };
        let steps = claims.plan(self.nodes.get(node)).unwrap_or_default();
        Ok(Choice { node, steps })
    }

    /// Pods of at least the priority of `entry` that wait for room made by preemption.
    pub(super) fn nominated(&self, id: PodId, entry: &PodEntry) -> Vec<Nominated<'_>> {
        let priority = self.classes.get(entry.class).priority;
        let others = self.nominations.iter().filter(|(other, _)| *other != id);
        others
            .filter_map(|&(other, node)| {
                let class = self.classes.get(self.pods.get(other)?.class);
                (class.priority >= priority).then_some(Nominated { node, class })
            })
            .collect()
    }

    /// No node fits: preemption, then condition, event, and the wait for better times.
    fn give_up(&mut self, id: PodId, entry: &PodEntry, diagnosis: &Diagnosis, cx: &mut Cx<'_>) {
        let preemption = self.preempt(id, entry, diagnosis, cx);
        let message = diagnosis.message(self.profile, &preemption.message);
        let (namespace, name) = key(&entry.pod);
        cx.trace.line(cx.now, "scheduler", format_args!("{namespace}/{name} waits: {message}"));
        self.queue.wait(id, diagnosis.plugins, cx.now);
        self.report_failure(&entry.pod, "Unschedulable", &message, preemption.node, cx);
    }

    /// Writes event and condition of a failed attempt (`schedule_one.go:handleSchedulingFailure`).
    pub(super) fn report_failure(
        &mut self,
        pod: &Arc<Pod>,
        reason: &str,
        message: &str,
        nominated: Option<NodeIdx>,
        cx: &mut Cx<'_>,
    ) {
        record(cx.api, pod.as_ref(), Note::warning(SOURCE, "FailedScheduling", message));
        let condition = PodCondition {
            type_: "PodScheduled".into(),
            status: "False".into(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(Time(cx.now.timestamp())),
            ..PodCondition::default()
        };
        let node = nominated.map(|idx| self.nodes.get(idx).name.to_string());
        self.bindings.charge(cx.now);
        let (namespace, name) = key(pod);
        // A pod that has gone meanwhile needs no condition; its deletion is on the way.
        let _ = cx.api.patch::<Pod>(Part::Status, namespace, name, |pod| {
            let status = pod.status.get_or_insert_default();
            if node.is_some() {
                status.nominated_node_name = node;
            }
            set_condition(status.conditions.get_or_insert_default(), condition);
        });
    }
}

/// `podutil.UpdatePodCondition`: the transition time stays while the status does.
fn set_condition(conditions: &mut Vec<PodCondition>, mut condition: PodCondition) {
    match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
        Some(known) => {
            if known.status == condition.status {
                condition.last_transition_time = known.last_transition_time.clone();
            }
            condition.observed_generation = known.observed_generation;
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

/// The nodes that pass, up to the number that is enough, and how many were looked at.
fn feasible(
    attempt: &Attempt<'_>,
    nodes: &Nodes,
    start: usize,
    diagnosis: &mut Diagnosis,
) -> (Vec<NodeIdx>, usize) {
    let order = nodes.order();
    let enough = enough_nodes(order.len());
    let mut feasible = Vec::with_capacity(enough);
    let mut n_looked = 0;
    for offset in 0..order.len() {
        if feasible.len() == enough {
            break;
        }
        n_looked += 1;
        let idx = order[(start + offset) % order.len()];
        match attempt.rejection(idx, nodes.get(idx)) {
            None => feasible.push(idx),
            Some(rejection) => diagnosis.add(idx, rejection),
        }
    }
    (feasible, n_looked)
}

/// `generic_scheduler.go:numFeasibleNodesToFind` with the adaptive percentage.
fn enough_nodes(n_nodes: usize) -> usize {
    if n_nodes < MIN_FEASIBLE {
        return n_nodes;
    }
    let percent = 50usize.saturating_sub(n_nodes / 125).max(MIN_PERCENT);
    (n_nodes * percent / 100).max(MIN_FEASIBLE)
}

/// The place of a highest score; ties are drawn (`generic_scheduler.go:selectHost`).
fn best(scores: &[i64], cx: &mut Cx<'_>) -> usize {
    let top = scores.iter().copied().max().unwrap_or(0);
    let n_best = scores.iter().filter(|score| **score == top).count();
    let drawn = cx.rng.index("scheduler-tie", n_best);
    let mut best = scores.iter().enumerate().filter(|(_, score)| **score == top);
    best.nth(drawn).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_clusters_are_searched_in_part() {
        // `generic_scheduler_test.go:TestNumFeasibleNodesToFind`.
        assert_eq!(enough_nodes(10), 10);
        assert_eq!(enough_nodes(100), 100);
        assert_eq!(enough_nodes(1000), 420);
        assert_eq!(enough_nodes(6000), 300);
    }
}
