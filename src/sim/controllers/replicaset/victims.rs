//! Which pods go first when a ReplicaSet shrinks
//! (`controller_utils.go:ActivePodsWithRanks`, `getPodsRankedByRelatedPodsOnSameNode`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::base::SimTime;
use crate::sim::profile::Profile;

use super::super::owned::{phase, ready_since, uid};

/// int32, default 0 (`core.PodDeletionCost`).
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// PodDeletionCost and LogarithmicScaleDown are on from this minor (semantics 3.7).
const RANKED_BY_COST_SINCE: u8 = 22;

/// What a pod is compared by.
struct Ranked {
    pod: Arc<Pod>,
    assigned: bool,
    phase_rank: u8,
    ready_since: Option<SimTime>,
    cost: i32,
    related: usize,
    restarts: i32,
    created: SimTime,
}

/// The pods in the order in which they are deleted.
///
/// `related` counts the active pods of the same owner by node. Ties are left in the given order.
pub fn deletion_order(
    pods: Vec<Arc<Pod>>,
    related: &BTreeMap<String, usize>,
    now: SimTime,
    profile: Profile,
) -> Vec<Arc<Pod>> {
    let logarithmic = profile.at_least(RANKED_BY_COST_SINCE);
    let ranked = pods.into_iter().map(|pod| Ranked::new(pod, related, logarithmic)).collect();
    let less = |a: &Ranked, b: &Ranked| a.goes_before(b, now, logarithmic);
    merge_sort(ranked, &less).into_iter().map(|ranked| ranked.pod).collect()
}

impl Ranked {
    fn new(pod: Arc<Pod>, related: &BTreeMap<String, usize>, with_cost: bool) -> Self {
        let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("");
        let annotations = pod.metadata.annotations.as_ref();
        let cost = annotations.and_then(|a| a.get(DELETION_COST)).and_then(|c| c.parse().ok());
        let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
        let created = pod.metadata.creation_timestamp.as_ref();
        Ranked {
            assigned: !node.is_empty(),
            phase_rank: match phase(&pod) {
                "Pending" | "" => 0,
                "Unknown" => 1,
                _ => 2,
            },
            ready_since: ready_since(&pod),
            cost: if with_cost { cost.unwrap_or(0) } else { 0 },
            related: related.get(node).copied().unwrap_or(0),
            restarts: statuses.map(|s| s.restart_count).max().unwrap_or(0),
            created: created.map_or(SimTime::ZERO, |time| SimTime::from_timestamp(time.0)),
            pod,
        }
    }

    fn goes_before(&self, other: &Ranked, now: SimTime, logarithmic: bool) -> bool {
        let by_state = self
            .assigned
            .cmp(&other.assigned)
            .then(self.phase_rank.cmp(&other.phase_rank))
            .then(self.ready_since.is_some().cmp(&other.ready_since.is_some()))
            .then(self.cost.cmp(&other.cost))
            .then(other.related.cmp(&self.related));
        if by_state != Ordering::Equal {
            return by_state == Ordering::Less;
        }
        if let (Some(mine), Some(theirs)) = (self.ready_since, other.ready_since)
            && mine != theirs
        {
            return self.is_younger(other, (mine, theirs), now, logarithmic);
        }
        if self.restarts != other.restarts {
            return self.restarts > other.restarts;
        }
        self.created != other.created
            && self.is_younger(other, (self.created, other.created), now, logarithmic)
    }

    /// Whether the first time is later; with buckets, times of the same magnitude go by uid.
    fn is_younger(
        &self,
        other: &Ranked,
        (mine, theirs): (SimTime, SimTime),
        now: SimTime,
        logarithmic: bool,
    ) -> bool {
        if !logarithmic {
            return mine > theirs;
        }
        match age_bucket(mine, now).cmp(&age_bucket(theirs, now)) {
            Ordering::Equal => uid(&self.pod.metadata) < uid(&other.pod.metadata),
            order => order == Ordering::Less,
        }
    }
}

/// floor(log2(age in ns)), -1 for no age (`logarithmicRankDiff`).
fn age_bucket(since: SimTime, now: SimTime) -> i64 {
    now.since(since).as_nanos().checked_ilog2().map_or(-1, i64::from)
}

/// A stable sort for a comparison that, like the one upstream, is not always transitive.
fn merge_sort<T>(mut items: Vec<T>, less: &impl Fn(&T, &T) -> bool) -> Vec<T> {
    if items.len() < 2 {
        return items;
    }
    let right = items.split_off(items.len() / 2);
    let mut left = merge_sort(items, less).into_iter().peekable();
    let mut right = merge_sort(right, less).into_iter().peekable();
    let mut merged = Vec::new();
    loop {
        let next = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if less(b, a) => right.next(),
            (Some(_), _) => left.next(),
            (None, _) => right.next(),
        };
        match next {
            Some(item) => merged.push(item),
            None => return merged,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodCondition, PodSpec, PodStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::base::secs;

    fn pod(name: &str, node: &str, ready_at: Option<u64>) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.uid = Some(name.into());
        pod.metadata.creation_timestamp = Some(Time(SimTime::ZERO.timestamp()));
        let node_name = (!node.is_empty()).then(|| node.to_owned());
        pod.spec = Some(PodSpec { node_name, ..PodSpec::default() });
        let conditions = ready_at.map(|at| {
            vec![PodCondition {
                type_: "Ready".into(),
                status: "True".into(),
                last_transition_time: Some(Time((SimTime::ZERO + secs(at)).timestamp())),
                ..PodCondition::default()
            }]
        });
        let phase = Some(if node.is_empty() { "Pending" } else { "Running" }.to_owned());
        pod.status = Some(PodStatus { phase, conditions, ..PodStatus::default() });
        Arc::new(pod)
    }

    fn order(pods: Vec<Arc<Pod>>, related: &[(&str, usize)], minor: &str) -> Vec<String> {
        let related = related.iter().map(|(node, n)| ((*node).to_owned(), *n)).collect();
        let profile: Profile = minor.parse().expect("a known minor");
        deletion_order(pods, &related, SimTime::ZERO + secs(1000), profile)
            .iter()
            .filter_map(|pod| pod.metadata.name.clone())
            .collect()
    }

    #[test]
    fn unassigned_then_unready_then_crowded_nodes_then_young() {
        let pods = vec![
            pod("old", "n1", Some(10)),
            pod("young", "n1", Some(900)),
            pod("crowded", "n2", Some(10)),
            pod("unready", "n1", None),
            pod("unassigned", "", None),
        ];
        let want = ["unassigned", "unready", "crowded", "young", "old"];
        assert_eq!(order(pods.clone(), &[("n1", 1), ("n2", 2)], "1.20"), want);
        assert_eq!(order(pods, &[("n1", 1), ("n2", 2)], "1.30"), want);
    }

    #[test]
    fn deletion_cost_counts_from_1_22_on() {
        let mut cheap = Pod::clone(&pod("cheap", "n1", Some(10)));
        cheap.metadata.annotations = Some([(DELETION_COST.to_owned(), "-5".to_owned())].into());
        let pods = vec![pod("young", "n1", Some(900)), Arc::new(cheap)];
        assert_eq!(order(pods.clone(), &[], "1.20"), ["young", "cheap"]);
        assert_eq!(order(pods, &[], "1.22"), ["cheap", "young"]);
    }

    #[test]
    fn times_of_one_magnitude_go_by_uid_from_1_22_on() {
        let pods = vec![pod("b", "n1", Some(110)), pod("a", "n1", Some(100))];
        assert_eq!(order(pods.clone(), &[], "1.20"), ["b", "a"], "younger first");
        assert_eq!(order(pods, &[], "1.22"), ["a", "b"], "same bucket: uid");
    }
}
