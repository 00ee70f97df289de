//! Required inter-pod affinity and anti-affinity (`interpodaffinity/filtering.go`).

use super::super::class::{Classes, PodClass, Term};
use super::super::node_info::NodeInfo;
use super::super::nodes::Nodes;
use super::super::reason::{Plugin, Reason, Rejection};
use super::super::terms::{ClassId, KeyId};
use super::Attempt;
use super::spread::slot;

/// Matching pods by topology value.
#[derive(Debug, Default)]
pub struct Counts {
    /// For each required affinity term of the pod: pods that match all its terms.
    near: Vec<Vec<u32>>,
    anything_near: bool,
    /// For each required anti-affinity term of the pod: pods that match it.
    away: Vec<Vec<u32>>,
    /// For each topology key: pods whose anti-affinity speaks against the pod.
    repelled: Vec<(KeyId, Vec<u32>)>,
}

impl Counts {
    /// Counts over all nodes; pods that are being deleted count as well.
    pub fn new(class: &PodClass, class_id: ClassId, classes: &Classes, nodes: &Nodes) -> Self {
        let zeros = |term: &Term| vec![0; classes.keys.n_values(term.key)];
        let mut counts = Counts {
            near: class.required_affinity.iter().map(zeros).collect(),
            anything_near: false,
            away: class.required_anti.iter().map(zeros).collect(),
            repelled: Vec::new(),
        };
        let repelling: Vec<(ClassId, &Term)> = classes
            .repelling
            .iter()
            .flat_map(|&other| classes.get(other).required_anti.iter().map(move |t| (other, t)))
            .filter(|(_, term)| classes.matchers.hits(term.matcher, class_id))
            .collect();
        if repelling.is_empty() && counts.near.is_empty() && counts.away.is_empty() {
            return counts;
        }
        for info in nodes.iter() {
            for group in &info.groups {
                counts.add_own(class, classes, info, group.class, group.all);
                for (_, term) in repelling.iter().filter(|(other, _)| *other == group.class) {
                    counts.add_repelled(term.key, classes, info, group.all);
                }
            }
        }
        counts
    }

    fn add_own(
        &mut self,
        class: &PodClass,
        classes: &Classes,
        info: &NodeInfo,
        other: ClassId,
        n_pods: u32,
    ) {
        let hit = |term: &Term| classes.matchers.hits(term.matcher, other);
        if !class.required_affinity.is_empty() && class.required_affinity.iter().all(hit) {
            for (term, by_value) in class.required_affinity.iter().zip(&mut self.near) {
                if let Some(value) = info.topology[term.key] {
                    by_value[slot(value)] += n_pods;
                    self.anything_near = true;
                }
            }
        }
        for (term, by_value) in class.required_anti.iter().zip(&mut self.away) {
            if hit(term)
                && let Some(value) = info.topology[term.key]
            {
                by_value[slot(value)] += n_pods;
            }
        }
    }

    fn add_repelled(&mut self, key: KeyId, classes: &Classes, info: &NodeInfo, n_pods: u32) {
        let Some(value) = info.topology[key] else { return };
        let at = match self.repelled.iter().position(|(known, _)| *known == key) {
            Some(at) => at,
            None => {
                self.repelled.push((key, vec![0; classes.keys.n_values(key)]));
                self.repelled.len() - 1
            }
        };
        self.repelled[at].1[slot(value)] += n_pods;
    }

    /// Why the node does not do. Up to 1.21 each reason came with a general one.
    pub fn rejection(&self, attempt: &Attempt<'_>, info: &NodeInfo) -> Option<Rejection> {
        let (reason, resolvable) = if !self.satisfies_affinity(attempt, info) {
            (Reason::PodAffinity, false)
        } else if self.meets_unwanted(attempt, info) {
            (Reason::PodAntiAffinity, true)
        } else if self.is_unwanted(info) {
            (Reason::ExistingAntiAffinity, true)
        } else {
            return None;
        };
        let mut reasons = vec![reason];
        if !attempt.profile.at_least(22) {
            reasons.push(Reason::AnyPodAffinity);
        }
        Some(Rejection { plugin: Plugin::InterPodAffinity, reasons, resolvable })
    }

    /// `satisfyPodAffinity`: the first pod of a group that wants its own kind may go anywhere.
    fn satisfies_affinity(&self, attempt: &Attempt<'_>, info: &NodeInfo) -> bool {
        let terms = &attempt.class.required_affinity;
        let mut all_near = true;
        for (term, by_value) in terms.iter().zip(&self.near) {
            let Some(value) = info.topology[term.key] else { return false };
            all_near &= by_value[slot(value)] > 0;
        }
        let wants_itself =
            || terms.iter().all(|t| attempt.classes.matchers.hits(t.matcher, attempt.class_id));
        all_near || (!self.anything_near && wants_itself())
    }

    fn meets_unwanted(&self, attempt: &Attempt<'_>, info: &NodeInfo) -> bool {
        attempt.class.required_anti.iter().zip(&self.away).any(|(term, by_value)| {
            info.topology[term.key].is_some_and(|value| by_value[slot(value)] > 0)
        })
    }

    fn is_unwanted(&self, info: &NodeInfo) -> bool {
        self.repelled.iter().any(|(key, by_value)| {
            info.topology[*key].is_some_and(|value| by_value[slot(value)] > 0)
        })
    }
}
