//! Scores of the nodes that passed the filters, and their weights
//! (`algorithmprovider/registry.go` at 1.20, `apis/config/v1/default_plugins.go` later).

pub mod interpod;
pub mod node;
pub mod resources;
pub mod spread;

use crate::sim::profile::Profile;

use super::class::Spread;
use super::filter::Attempt;
use super::nodes::{NodeIdx, Nodes};

/// The highest score of one plugin (`framework/interface.go:MaxNodeScore`).
pub const MAX_SCORE: i64 = 100;

/// How much each plugin counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    least_allocated: i64,
    balanced: i64,
    images: i64,
    interpod: i64,
    node_affinity: i64,
    spread: i64,
    taints: i64,
}

impl Weights {
    /// Up to 1.22 (component config v1beta2).
    const OLD: Weights = Weights {
        least_allocated: 1,
        balanced: 1,
        images: 1,
        interpod: 1,
        node_affinity: 1,
        spread: 2,
        taints: 1,
    };
    /// From 1.23 (v1beta3, then v1).
    const NEW: Weights = Weights { interpod: 2, node_affinity: 2, taints: 3, ..Weights::OLD };

    /// Those of a minor.
    pub fn of(profile: Profile) -> Self {
        if profile.at_least(23) { Weights::NEW } else { Weights::OLD }
    }
}

/// The system's spread constraints for a pod that has none of its own: hostname with skew 3 and
/// zone with skew 5 (`podtopologyspread/plugin.go:systemDefaultConstraints`).
#[derive(Clone, Debug, Default)]
pub struct DefaultSpread {
    /// Both constraints; empty when nothing selects the pod.
    pub constraints: Vec<Spread>,
}

/// The weighted sum of all scores, node by node.
pub fn total(
    attempt: &Attempt<'_>,
    defaults: &DefaultSpread,
    nodes: &Nodes,
    feasible: &[NodeIdx],
) -> Vec<i64> {
    let weights = Weights::of(attempt.profile);
    let class = attempt.class;
    let mut total = vec![0; feasible.len()];
    let mut raw = vec![0; feasible.len()];
    let infos = || feasible.iter().map(|&idx| nodes.get(idx));

    for (sum, info) in total.iter_mut().zip(infos()) {
        *sum += weights.least_allocated * resources::least_allocated(class, info)
            + weights.balanced * resources::balanced(class, info, attempt.profile);
    }
    if !class.images.is_empty() {
        for (sum, info) in total.iter_mut().zip(infos()) {
            *sum += weights.images * node::image_locality(class, info, nodes);
        }
    }
    if node::untolerated_preferences(attempt, nodes, feasible, &mut raw) {
        normalize_reversed(&mut raw);
        add(&mut total, &raw, weights.taints);
    }
    if node::preferred_affinity(attempt, nodes, feasible, &mut raw) {
        normalize(&mut raw);
        add(&mut total, &raw, weights.node_affinity);
    }
    if spread::score(attempt, defaults, nodes, feasible, &mut raw) {
        add(&mut total, &raw, weights.spread);
    }
    if interpod::score(attempt, nodes, feasible, &mut raw) {
        interpod::normalize(&mut raw, attempt.profile);
        add(&mut total, &raw, weights.interpod);
    }
    total
}

fn add(total: &mut [i64], scores: &[i64], weight: i64) {
    for (sum, score) in total.iter_mut().zip(scores) {
        *sum += weight * score;
    }
}

/// `plugins/helper/normalize_score.go:DefaultNormalizeScore`, not reversed.
fn normalize(scores: &mut [i64]) {
    let max = scores.iter().copied().max().unwrap_or(0);
    if max > 0 {
        scores.iter_mut().for_each(|score| *score = MAX_SCORE * *score / max);
    }
}

/// `plugins/helper/normalize_score.go:DefaultNormalizeScore`, reversed: the least is the best.
fn normalize_reversed(scores: &mut [i64]) {
    normalize(scores);
    scores.iter_mut().for_each(|score| *score = MAX_SCORE - *score);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_untolerated_preferences_score_highest() {
        let mut scores = [0, 1, 2];
        normalize_reversed(&mut scores);
        assert_eq!(scores, [100, 50, 0]);
        let mut none = [0, 0];
        normalize_reversed(&mut none);
        assert_eq!(none, [100, 100]);
    }

    #[test]
    fn weights_changed_with_the_configuration_api() {
        assert_eq!(Weights::of(Profile::OLDEST).taints, 1);
        assert_eq!(Weights::of(Profile::NEWEST).taints, 3);
        assert_eq!(Weights::of(Profile::NEWEST).spread, 2);
    }
}
