//! Soft topology spread constraints (`podtopologyspread/scoring.go`).

use super::super::class::Spread;
use super::super::filter::Attempt;
use super::super::filter::spread::{includes, n_live, slot};
use super::super::node_info::NodeInfo;
use super::super::nodes::{NodeIdx, Nodes};
use super::{DefaultSpread, MAX_SCORE};

/// The constraints of one attempt with what they count.
struct Soft<'a> {
    constraints: &'a [Spread],
    /// Matching pods by value; only for topologies larger than a node.
    by_value: Vec<Vec<Option<i64>>>,
    weights: Vec<f64>,
    /// Whether a node that lacks one of the keys scores 0.
    require_all: bool,
}

/// Fills `raw` with normalised scores; false when no constraint applies.
pub fn score(
    attempt: &Attempt<'_>,
    defaults: &DefaultSpread,
    nodes: &Nodes,
    feasible: &[NodeIdx],
    raw: &mut [i64],
) -> bool {
    let own = attempt.class.own_spread;
    let constraints = if own { &attempt.class.soft_spread } else { &defaults.constraints };
    if constraints.is_empty() {
        return false;
    }
    // The system's constraints ask for all keys only up to 1.20 (pull request 105046).
    let require_all = own || !attempt.profile.at_least(21);
    let soft = Soft::new(attempt, constraints, require_all, nodes, feasible);
    for (score, &idx) in raw.iter_mut().zip(feasible) {
        *score = soft.score(attempt, nodes.get(idx)).unwrap_or(-1);
    }
    normalize(raw);
    true
}

impl<'a> Soft<'a> {
    fn new(
        attempt: &Attempt<'_>,
        constraints: &'a [Spread],
        require_all: bool,
        nodes: &Nodes,
        feasible: &[NodeIdx],
    ) -> Self {
        let keys = &attempt.classes.keys;
        let size = |s: &Spread| if s.hostname { 0 } else { keys.n_values(s.key) };
        let by_value = constraints.iter().map(|s| vec![None; size(s)]).collect();
        let mut soft = Soft { constraints, by_value, weights: Vec::new(), require_all };
        let n_scored = soft.mark_candidates(nodes, feasible);
        soft.weights = constraints
            .iter()
            .zip(&soft.by_value)
            .map(|(spread, values)| {
                let n_values = values.iter().flatten().count();
                domain_weight(if spread.hostname { n_scored } else { n_values })
            })
            .collect();
        if soft.by_value.iter().any(|values| values.iter().any(Option::is_some)) {
            soft.count(attempt, nodes);
        }
        soft
    }

    /// Notes the values the candidates have, and counts the candidates that are scored.
    fn mark_candidates(&mut self, nodes: &Nodes, feasible: &[NodeIdx]) -> usize {
        let mut n_scored = 0;
        for &idx in feasible {
            let info = nodes.get(idx);
            if self.is_ignored(info) {
                continue;
            }
            n_scored += 1;
            for (spread, values) in self.constraints.iter().zip(&mut self.by_value) {
                if let (false, Some(value)) = (spread.hostname, info.topology[spread.key]) {
                    values[slot(value)] = Some(0);
                }
            }
        }
        n_scored
    }

    fn count(&mut self, attempt: &Attempt<'_>, nodes: &Nodes) {
        for info in nodes.iter() {
            if self.is_ignored(info) {
                continue;
            }
            for (spread, values) in self.constraints.iter().zip(&mut self.by_value) {
                if spread.hostname || !includes(spread, attempt.class, info) {
                    continue;
                }
                if let Some(value) = info.topology[spread.key]
                    && let Some(count) = &mut values[slot(value)]
                {
                    *count += n_live(info, spread.matcher, attempt.classes);
                }
            }
        }
    }

    fn is_ignored(&self, info: &NodeInfo) -> bool {
        self.require_all && self.constraints.iter().any(|s| info.topology[s.key].is_none())
    }

    /// The raw score: higher is more crowded. Rounded, but cut off in 1.20 and 1.21.
    fn score(&self, attempt: &Attempt<'_>, info: &NodeInfo) -> Option<i64> {
        if self.is_ignored(info) {
            return None;
        }
        let mut score = 0.0;
        for ((spread, values), weight) in
            self.constraints.iter().zip(&self.by_value).zip(&self.weights)
        {
            let Some(value) = info.topology[spread.key] else { continue };
            let count = if spread.hostname {
                n_live(info, spread.matcher, attempt.classes)
            } else {
                values[slot(value)].unwrap_or(0)
            };
            score += crowding(count, spread.max_skew, *weight);
        }
        let score = if attempt.profile.at_least(22) { score.round() } else { score };
        Some(to_integer(score))
    }
}

/// `scoring.go:topologyNormalizingWeight`.
#[expect(clippy::cast_precision_loss, reason = "upstream computes in float64 as well")]
fn domain_weight(size: usize) -> f64 {
    ((size + 2) as f64).ln()
}

/// `scoring.go:scoreForCount`.
#[expect(clippy::cast_precision_loss, reason = "upstream computes in float64 as well")]
fn crowding(count: i64, max_skew: i64, weight: f64) -> f64 {
    count as f64 * weight + (max_skew - 1) as f64
}

#[expect(clippy::cast_possible_truncation, reason = "truncated as upstream does")]
fn to_integer(score: f64) -> i64 {
    score as i64
}

/// `scoring.go:NormalizeScore`: negative marks nodes that are left out.
fn normalize(scores: &mut [i64]) {
    let scored = || scores.iter().copied().filter(|score| *score >= 0);
    let (min, max) = (scored().min().unwrap_or(0), scored().max().unwrap_or(0));
    for score in scores {
        *score = match *score {
            left_out if left_out < 0 => 0,
            _ if max == 0 => MAX_SCORE,
            score => MAX_SCORE * (max + min - score) / max,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_crowded_node_scores_highest() {
        let mut scores = [2, 4, 3, -1];
        normalize(&mut scores);
        assert_eq!(scores, [100, 50, 75, 0]);
        let mut empty = [0, 0];
        normalize(&mut empty);
        assert_eq!(empty, [100, 100]);
    }

    #[test]
    fn crowding_grows_with_pods_and_domains() {
        let weight = domain_weight(3);
        assert!((crowding(1, 3, weight) - (5.0_f64.ln() + 2.0)).abs() < 1e-12);
        assert!((crowding(0, 3, weight) - 2.0).abs() < 1e-12);
    }
}
