//! Hard topology spread constraints (`podtopologyspread/filtering.go`).

use super::super::class::{Classes, PodClass, Spread};
use super::super::node_info::NodeInfo;
use super::super::nodes::Nodes;
use super::super::reason::{Plugin, Reason, Rejection};
use super::super::terms::{ClassId, MatcherId};
use super::{Attempt, node};

/// Matching pods by topology value, for each hard constraint of a pod.
#[derive(Debug, Default)]
pub struct Counts {
    constraints: Vec<Domain>,
}

/// One constraint's domains.
#[derive(Debug)]
struct Domain {
    by_value: Vec<Option<i64>>,
    minimum: i64,
}

impl Counts {
    /// Counts over all nodes that are eligible.
    pub fn new(class: &PodClass, _class_id: ClassId, classes: &Classes, nodes: &Nodes) -> Self {
        let spreads = &class.hard_spread;
        let mut constraints: Vec<Domain> = spreads
            .iter()
            .map(|s| Domain { by_value: vec![None; classes.keys.n_values(s.key)], minimum: 0 })
            .collect();
        if spreads.is_empty() {
            return Counts { constraints };
        }
        for info in nodes.iter() {
            if !spreads.iter().all(|spread| info.topology[spread.key].is_some()) {
                continue;
            }
            for (spread, domain) in spreads.iter().zip(&mut constraints) {
                if !includes(spread, class, info) {
                    continue;
                }
                if let Some(value) = info.topology[spread.key] {
                    let slot = &mut domain.by_value[slot(value)];
                    *slot = Some(slot.unwrap_or(0) + n_live(info, spread.matcher, classes));
                }
            }
        }
        for (spread, domain) in spreads.iter().zip(&mut constraints) {
            let n_domains = domain.by_value.iter().flatten().count();
            let lowest = domain.by_value.iter().flatten().min().copied();
            // Without any domain upstream's minimum is MaxInt32: nothing exceeds it.
            let lowest = lowest.unwrap_or(i64::from(i32::MAX));
            domain.minimum = if n_domains < spread.min_domains { 0 } else { lowest };
        }
        Counts { constraints }
    }

    /// Why the node does not do.
    pub fn rejection(&self, attempt: &Attempt<'_>, info: &NodeInfo) -> Option<Rejection> {
        for (spread, domain) in attempt.class.hard_spread.iter().zip(&self.constraints) {
            let Some(value) = info.topology[spread.key] else {
                return Some(Rejection::firm(Plugin::PodTopologySpread, Reason::SpreadLabel));
            };
            let matching = domain.by_value[slot(value)].unwrap_or(0);
            let itself = i64::from(attempt.classes.matchers.hits(spread.matcher, attempt.class_id));
            if matching + itself - domain.minimum > spread.max_skew {
                return Some(Rejection::resolvable(Plugin::PodTopologySpread, Reason::Spread));
            }
        }
        None
    }
}

/// Whether a node counts for a constraint (`common.go:matchNodeInclusionPolicies`).
pub fn includes(spread: &Spread, class: &PodClass, info: &NodeInfo) -> bool {
    (!spread.honor_affinity || node::required_matches(class, info))
        && (!spread.honor_taints || node::untolerated(class, info).is_none())
}

/// Pods of a node that match and are not being deleted (`common.go:countPodsMatchSelector`).
pub fn n_live(info: &NodeInfo, matcher: MatcherId, classes: &Classes) -> i64 {
    let matching = info.groups.iter().filter(|g| classes.matchers.hits(matcher, g.class));
    matching.map(|group| i64::from(group.live)).sum()
}

/// A topology value as an index.
pub fn slot(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
