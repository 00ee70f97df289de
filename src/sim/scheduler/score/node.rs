//! Scores over the node object: soft taints, preferred node affinity, images it has.

use super::super::class::PodClass;
use super::super::filter::Attempt;
use super::super::filter::node::{node_labels, tolerates};
use super::super::node_info::NodeInfo;
use super::super::nodes::{NodeIdx, Nodes};
use super::super::terms::Labels;
use crate::k8s::node_term_matches;

/// Images smaller than this after spreading count nothing (`image_locality.go:minThreshold`).
const MIN_IMAGE_BYTES: u64 = 23 << 20;
/// More than this for each container counts no more (`image_locality.go:maxContainerThreshold`).
const MAX_IMAGE_BYTES: u64 = 1000 << 20;

/// `tainttoleration/taint_toleration.go:Score`: `PreferNoSchedule` taints that are not tolerated.
/// False when no node has such a taint, so that all score the same.
pub fn untolerated_preferences(
    attempt: &Attempt<'_>,
    nodes: &Nodes,
    feasible: &[NodeIdx],
    raw: &mut [i64],
) -> bool {
    let mut any = false;
    for (score, &idx) in raw.iter_mut().zip(feasible) {
        let soft = nodes.get(idx).taints.iter().filter(|t| t.effect == "PreferNoSchedule");
        let count = soft.filter(|taint| !tolerates(&attempt.class.tolerations, taint)).count();
        *score = i64::try_from(count).unwrap_or(i64::MAX);
        any |= count > 0;
    }
    any
}

/// `nodeaffinity/node_affinity.go:Score`: the weights of the preferred terms that match.
pub fn preferred_affinity(
    attempt: &Attempt<'_>,
    nodes: &Nodes,
    feasible: &[NodeIdx],
    raw: &mut [i64],
) -> bool {
    let preferred = &attempt.class.preferred_nodes;
    if preferred.is_empty() {
        return false;
    }
    let empty = Labels::new();
    for (score, &idx) in raw.iter_mut().zip(feasible) {
        let info = nodes.get(idx);
        let labels = node_labels(info.node.as_deref(), &empty);
        let matching =
            preferred.iter().filter(|p| node_term_matches(&p.preference, labels, &info.name));
        *score = matching.map(|p| i64::from(p.weight)).sum();
    }
    true
}

/// `imagelocality/image_locality.go`: the bytes the node need not pull, each image weighed by the
/// share of nodes that have it.
pub fn image_locality(class: &PodClass, info: &NodeInfo, nodes: &Nodes) -> i64 {
    let n_nodes = u64::try_from(nodes.order().len()).unwrap_or(u64::MAX).max(1);
    let spread = |&image: &u32| {
        let size = info.image_size(image)?;
        let with_it = u128::from(nodes.n_with_image(image));
        u64::try_from(u128::from(size) * with_it / u128::from(n_nodes)).ok()
    };
    image_score(class.images.iter().filter_map(spread).sum(), class.n_images)
}

fn image_score(bytes: u64, n_images: u64) -> i64 {
    let max = MAX_IMAGE_BYTES * n_images;
    let clamped = bytes.clamp(MIN_IMAGE_BYTES, max.max(MIN_IMAGE_BYTES));
    i64::try_from(100 * (clamped - MIN_IMAGE_BYTES) / (max - MIN_IMAGE_BYTES)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_scores_are_clamped() {
        // `image_locality_test.go`: 250 MiB of one image on all nodes, one container.
        assert_eq!(image_score(250 << 20, 1), 23);
        assert_eq!(image_score(10 << 20, 1), 0);
        assert_eq!(image_score(4000 << 20, 2), 100);
    }
}
