//! Filters over what a node has left: resources, pod count, host ports.

use std::sync::Arc;

use super::super::class::PodClass;
use super::super::node_info::NodeInfo;
use super::super::nodes::NodeIdx;
use super::super::reason::{Plugin, Reason, Rejection};
use super::super::resources::Resources;
use super::Attempt;

/// `nodeports/node_ports.go`.
pub fn ports(class: &PodClass, info: &NodeInfo) -> Option<Rejection> {
    let taken = class.ports.iter().any(|port| info.ports.iter().any(|used| used.conflicts(port)));
    taken.then(|| Rejection::resolvable(Plugin::NodePorts, Reason::NodePorts))
}

/// `noderesources/fit.go:fitsRequest`, with the pods nominated to the node counted in.
pub fn fit(attempt: &Attempt<'_>, idx: NodeIdx, info: &NodeInfo) -> Option<Rejection> {
    let mut n_pods = info.pods.len();
    let mut raised = None;
    for nominated in attempt.nominated.iter().filter(|nominated| nominated.node == idx) {
        let requested = raised.get_or_insert_with(|| info.requested.clone());
        Resources::add(requested, &nominated.class.request.resources);
        n_pods += 1;
    }
    let requested = raised.as_ref().unwrap_or(&info.requested);
    let reasons = shortages(&attempt.class.request.resources, requested, n_pods, info);
    if reasons.is_empty() {
        return None;
    }
    // What an empty node could not give, no preemption helps against (1.29, `fit.go:isFit`).
    let resolvable = !attempt.profile.at_least(29) || fits_empty(attempt.class, info);
    Some(Rejection { plugin: Plugin::NodeResourcesFit, reasons, resolvable })
}

/// Whether the node could take the pod if it had no other.
pub fn fits_empty(class: &PodClass, info: &NodeInfo) -> bool {
    shortages(&class.request.resources, &Resources::default(), 0, info).is_empty()
}

fn shortages(
    wanted: &Resources,
    requested: &Resources,
    n_pods: usize,
    info: &NodeInfo,
) -> Vec<Reason> {
    let have = &info.allocatable;
    let mut reasons = Vec::new();
    if u64::try_from(n_pods).unwrap_or(u64::MAX) >= info.max_pods {
        reasons.push(Reason::TooManyPods);
    }
    let short =
        |wanted: u64, used: u64, have: u64| wanted > 0 && wanted > have.saturating_sub(used);
    if short(wanted.cpu, requested.cpu, have.cpu) {
        reasons.push(Reason::Insufficient(Arc::from("cpu")));
    }
    if short(wanted.memory, requested.memory, have.memory) {
        reasons.push(Reason::Insufficient(Arc::from("memory")));
    }
    if short(wanted.ephemeral, requested.ephemeral, have.ephemeral) {
        reasons.push(Reason::Insufficient(Arc::from("ephemeral-storage")));
    }
    for (name, amount) in &wanted.extended {
        if short(*amount, requested.extended(name), have.extended(name)) {
            reasons.push(Reason::Insufficient(Arc::from(name.as_str())));
        }
    }
    reasons
}
