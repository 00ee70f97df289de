//! Preferred inter-pod affinity, both ways (`interpodaffinity/scoring.go`).

use std::collections::BTreeMap;

use crate::sim::profile::Profile;

use super::super::filter::Attempt;
use super::super::filter::spread::slot;
use super::super::nodes::{NodeIdx, Nodes};
use super::super::terms::{ClassId, KeyId};
use super::MAX_SCORE;

/// What required affinity of a pod that is there weighs for one that matches it
/// (`apis/config/v1beta1/defaults.go:HardPodAffinityWeight`).
const REQUIRED_AFFINITY_WEIGHT: i64 = 1;

/// Fills `raw` with the sums of weights; false when no term concerns the pod.
pub fn score(attempt: &Attempt<'_>, nodes: &Nodes, feasible: &[NodeIdx], raw: &mut [i64]) -> bool {
    let class = attempt.class;
    let matchers = &attempt.classes.matchers;
    let concerned = |other: &ClassId| {
        let other = attempt.classes.get(*other);
        let mut terms = other.preferred.iter().chain(&other.required_affinity);
        terms.any(|term| matchers.hits(term.matcher, attempt.class_id))
    };
    if class.preferred.is_empty() && !attempt.classes.weighing.iter().any(concerned) {
        return false;
    }
    let mut effects: BTreeMap<ClassId, Vec<(KeyId, i64)>> = BTreeMap::new();
    let mut sums: Vec<Vec<i64>> = vec![Vec::new(); attempt.classes.keys.len()];
    for info in nodes.iter() {
        for group in &info.groups {
            let effects =
                effects.entry(group.class).or_insert_with(|| effects_of(attempt, group.class));
            for &(key, weight) in effects.iter() {
                let Some(value) = info.topology[key] else { continue };
                if sums[key].is_empty() {
                    sums[key].resize(attempt.classes.keys.n_values(key), 0);
                }
                sums[key][slot(value)] += weight * i64::from(group.all);
            }
        }
    }
    if sums.iter().all(Vec::is_empty) {
        return false;
    }
    for (score, &idx) in raw.iter_mut().zip(feasible) {
        let values = nodes.get(idx).topology.iter().zip(&sums);
        let known = values.filter_map(|(value, sums)| sums.get(slot((*value)?)));
        *score = known.sum();
    }
    true
}

/// What one pod of `other` adds to the nodes of its topology value (`processExistingPod`).
fn effects_of(attempt: &Attempt<'_>, other_id: ClassId) -> Vec<(KeyId, i64)> {
    let matchers = &attempt.classes.matchers;
    let other = attempt.classes.get(other_id);
    let wishes = attempt.class.preferred.iter().filter(|t| matchers.hits(t.matcher, other_id));
    let theirs = |t: &&super::super::class::Term| matchers.hits(t.matcher, attempt.class_id);
    let answered = other.preferred.iter().filter(theirs);
    let required = other.required_affinity.iter().filter(theirs);
    wishes
        .chain(answered)
        .map(|term| (term.key, term.weight))
        .chain(required.map(|term| (term.key, REQUIRED_AFFINITY_WEIGHT)))
        .collect()
}

/// `scoring.go:NormalizeScore`. Up to 1.21 zero always lay within the range.
pub fn normalize(scores: &mut [i64], profile: Profile) {
    let bound = if profile.at_least(22) { None } else { Some(0) };
    let all = || scores.iter().copied().chain(bound);
    let (min, max) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
    for score in scores {
        *score = if max > min { scale(*score - min, max - min) } else { 0 };
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as upstream")]
fn scale(part: i64, whole: i64) -> i64 {
    (MAX_SCORE as f64 * (part as f64 / whole as f64)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_stretched_to_100() {
        let mut scores = [-1, 0, 0];
        normalize(&mut scores, Profile::NEWEST);
        assert_eq!(scores, [0, 100, 100]);
        let mut old = [2, 4];
        normalize(&mut old, Profile::OLDEST);
        assert_eq!(old, [50, 100]);
        let mut new = [2, 4];
        normalize(&mut new, Profile::NEWEST);
        assert_eq!(new, [0, 100]);
    }
}
