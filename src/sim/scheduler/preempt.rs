//! Preemption: room for a pod by deleting pods of lower priority
//! (`defaultpreemption/default_preemption.go`).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::base::SimTime;
use crate::k8s::matches_selector;
use crate::sim::api::events::{Note, record};
use crate::sim::api::{DeleteOptions, Kind, Part};
use crate::sim::context::Cx;

use super::claims::Claims;
use super::cycle::SOURCE;
use super::filter::{Attempt, Subject};
use super::kube_scheduler::Scheduler;
use super::node_info::PodId;
use super::nodes::NodeIdx;
use super::pods::{Place, PodEntry, key};
use super::reason::Diagnosis;
use super::terms::Labels;

/// What preemption came to.
#[derive(Debug, Default)]
pub struct Preemption {
    /// Where room is being made.
    pub node: Option<NodeIdx>,
    /// What it says when it found nothing.
    pub message: String,
}

/// A node and the pods that would have to go.
#[derive(Debug)]
struct Candidate {
    node: NodeIdx,
    victims: Vec<PodId>,
    n_violations: usize,
}

impl Scheduler {
    /// Looks for victims, deletes those of the best candidate and nominates its node.
    pub(super) fn preempt(
        &mut self,
        id: PodId,
        entry: &PodEntry,
        diagnosis: &Diagnosis,
        cx: &mut Cx<'_>,
    ) -> Preemption {
        let class = self.classes.get(entry.class);
        let (priority, preempts) = (class.priority, class.preempts);
        let says = |message: String| Preemption { node: None, message };
        if !preempts {
            return says("not eligible due to preemptionPolicy=Never.".to_owned());
        }
        if self.waits_for_victims(id, priority) {
            return says("not eligible due to a terminating pod on the nominated node.".to_owned());
        }
        let mut candidates = Vec::new();
        for &node in &diagnosis.resolvable {
            candidates.extend(self.candidate(id, entry, node, priority));
        }
        let Some(chosen) = self.pick(candidates) else {
            self.nominations.retain(|(nominated, _)| *nominated != id);
            return says(diagnosis.no_preemption());
        };
        for &victim in &chosen.victims {
            self.delete_victim(victim, entry, chosen.node, cx);
        }
        self.nominations.retain(|(nominated, _)| *nominated != id);
        self.nominations.push((id, chosen.node));
        Preemption { node: Some(chosen.node), message: String::new() }
    }

    /// `PodEligibleToPreemptOthers`: victims of an earlier preemption are still on their way out.
    fn waits_for_victims(&self, id: PodId, priority: i32) -> bool {
        let Some((_, node)) = self.nominations.iter().find(|(nominated, _)| *nominated == id)
        else {
            return false;
        };
        self.nodes.get(*node).pods.iter().any(|&other| {
            self.pods.get(other).is_some_and(|other| {
                !other.live && self.classes.get(other.class).priority < priority
            })
        })
    }

    /// `selectVictimsOnNode`: all lower ones go, then as many as possible come back.
    fn candidate(
        &mut self,
        id: PodId,
        entry: &PodEntry,
        node: NodeIdx,
        priority: i32,
    ) -> Option<Candidate> {
        let lower: Vec<PodId> = self
            .nodes
            .get(node)
            .pods
            .iter()
            .copied()
            .filter(|&pod| self.priority(pod).is_some_and(|theirs| theirs < priority))
            .collect();
        if lower.is_empty() {
            return None;
        }
        for &pod in &lower {
            self.count_out(pod, node);
        }
        if !self.fits(id, entry, node) {
            lower.iter().for_each(|&pod| self.count_in(pod, node));
            return None;
        }
        let (mut spared_last, violating) = self.reprieve_order(&lower);
        let order: Vec<PodId> = violating.iter().copied().chain(spared_last.drain(..)).collect();
        let mut victims = Vec::new();
        for pod in order {
            self.count_in(pod, node);
            if !self.fits(id, entry, node) {
                self.count_out(pod, node);
                victims.push(pod);
            }
        }
        victims.iter().for_each(|&pod| self.count_in(pod, node));
        let n_violations = victims.iter().filter(|pod| violating.contains(pod)).count();
        Some(Candidate { node, victims, n_violations })
    }

    /// Pods in the order in which they may stay, those whose budget would be violated apart
    /// (`filterPodsWithPDBViolation`, `util/utils.go:MoreImportantPod`).
    fn reprieve_order(&self, pods: &[PodId]) -> (Vec<PodId>, Vec<PodId>) {
        let mut sorted = pods.to_vec();
        sorted.sort_by_key(|&pod| (Reverse(self.priority(pod)), self.started(pod), pod));
        let mut allowed: BTreeMap<(String, String), i32> = BTreeMap::new();
        sorted.into_iter().partition(|&pod| !self.violates_budget(pod, &mut allowed))
    }

    fn violates_budget(&self, pod: PodId, allowed: &mut BTreeMap<(String, String), i32>) -> bool {
        let Some(entry) = self.pods.get(pod) else { return false };
        let (namespace, _) = key(&entry.pod);
        let empty = Labels::new();
        let labels = entry.pod.metadata.labels.as_ref().unwrap_or(&empty);
        let mut violated = false;
        for budget in self.cache.list_in::<PodDisruptionBudget>(namespace) {
            let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            if !selector.is_some_and(|selector| matches_selector(selector, labels)) {
                continue;
            }
            let name = budget.metadata.name.clone().unwrap_or_default();
            let start =
                budget.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or(0);
            let left = allowed.entry((namespace.to_owned(), name)).or_insert(start);
            *left -= 1;
            violated |= *left < 0;
        }
        violated
    }

    /// Whether the pod fits the node as it is counted now.
    fn fits(&self, id: PodId, entry: &PodEntry, node: NodeIdx) -> bool {
        let claims = Claims::read(&entry.pod, &self.cache, &self.claim_users, self.profile);
        let Ok(claims) = claims else { return false };
        let nominated = self.nominated(id, entry);
        let subject = Subject {
            profile: self.profile,
            pod: &entry.pod,
            class_id: entry.class,
            classes: &self.classes,
            claims: &claims,
            nominated: &nominated,
        };
        let attempt = Attempt::new(subject, &self.nodes);
        attempt.rejection(node, self.nodes.get(node)).is_none()
    }

    /// `pickOneNodeForPreemption`: fewest budgets violated, lowest highest victim, lowest sum of
    /// priorities, fewest victims, latest start of the highest victims, first.
    fn pick(&self, candidates: Vec<Candidate>) -> Option<Candidate> {
        candidates.into_iter().min_by_key(|candidate| {
            let priorities = || candidate.victims.iter().filter_map(|&pod| self.priority(pod));
            let highest = priorities().max().unwrap_or(i32::MIN);
            let sum: i64 = priorities().map(|p| i64::from(p) - i64::from(i32::MIN)).sum();
            let top = candidate.victims.iter().filter(|&&pod| self.priority(pod) == Some(highest));
            let earliest = top.map(|&pod| self.started(pod)).min().unwrap_or(SimTime::ZERO);
            (candidate.n_violations, highest, sum, candidate.victims.len(), Reverse(earliest))
        })
    }

    fn delete_victim(
        &mut self,
        victim: PodId,
        preemptor: &PodEntry,
        node: NodeIdx,
        cx: &mut Cx<'_>,
    ) {
        let Some(entry) = self.pods.get(victim) else { return };
        let pod = std::sync::Arc::clone(&entry.pod);
        let (namespace, name) = key(&pod);
        let node = &self.nodes.get(node).name;
        let uid = preemptor.pod.metadata.uid.as_deref().unwrap_or("");
        let by = if self.profile.at_least(26) {
            format!("pod {uid}")
        } else {
            let (namespace, name) = key(&preemptor.pod);
            format!("{namespace}/{name}")
        };
        // Writes about a victim that has gone meanwhile change nothing.
        if self.profile.at_least(26) {
            let _ = cx.api.patch::<Pod>(Part::Status, namespace, name, |pod| {
                let status = pod.status.get_or_insert_default();
                status.conditions.get_or_insert_default().push(PodCondition {
                    type_: "DisruptionTarget".into(),
                    status: "True".into(),
                    reason: Some("PreemptionByScheduler".into()),
                    message: Some(
                        "default-scheduler: preempting to accommodate a higher priority pod".into(),
                    ),
                    last_transition_time: Some(Time(cx.now.timestamp())),
                    ..PodCondition::default()
                });
            });
        }
        let _ = cx.api.delete(Kind::POD, namespace, name, &DeleteOptions::default());
        let message = format!("Preempted by {by} on node {node}");
        record(cx.api, pod.as_ref(), Note::normal(SOURCE, "Preempted", message));
    }

    /// The priority of a pod that is on a node.
    fn priority(&self, pod: PodId) -> Option<i32> {
        let entry = self.pods.get(pod).filter(|entry| entry.place != Place::Waiting)?;
        Some(self.classes.get(entry.class).priority)
    }

    fn started(&self, pod: PodId) -> SimTime {
        let status = self.pods.get(pod).and_then(|entry| entry.pod.status.as_ref());
        let start = status.and_then(|status| status.start_time.as_ref());
        start.map_or(SimTime::MAX, |time| SimTime::from_timestamp(time.0))
    }
}
