//! Filters over the node object: cordon, name, taints, selector and affinity.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

use crate::k8s::{matches_labels, node_term_matches};

use super::super::class::PodClass;
use super::super::node_info::NodeInfo;
use super::super::reason::{Plugin, Reason, Rejection};
use super::super::terms::Labels;

/// `nodeunschedulable/node_unschedulable.go`: a cordoned node needs the toleration of its taint.
pub fn cordoned(class: &PodClass, info: &NodeInfo) -> Option<Rejection> {
    if !info.unschedulable {
        return None;
    }
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    (!tolerates(&class.tolerations, &taint))
        .then(|| Rejection::firm(Plugin::NodeUnschedulable, Reason::Unschedulable))
}

/// `nodename/node_name.go`.
pub fn other_name(pod: &Pod, info: &NodeInfo) -> Option<Rejection> {
    let wanted = pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())?;
    (wanted != &*info.name).then(|| Rejection::firm(Plugin::NodeName, Reason::NodeName))
}

/// `tainttoleration/taint_toleration.go:Filter`.
pub fn untolerated(class: &PodClass, info: &NodeInfo) -> Option<Rejection> {
    let repels = |t: &&Taint| t.effect == "NoSchedule" || t.effect == "NoExecute";
    let taint = info.taints.iter().filter(repels).find(|t| !tolerates(&class.tolerations, t))?;
    let value = taint.value.as_deref().unwrap_or("");
    let reason = Reason::Taint(Arc::from(taint.key.as_str()), Arc::from(value));
    Some(Rejection::firm(Plugin::TaintToleration, reason))
}

/// `nodeaffinity/node_affinity.go:Filter`.
pub fn affinity(class: &PodClass, info: &NodeInfo) -> Option<Rejection> {
    (!required_matches(class, info))
        .then(|| Rejection::firm(Plugin::NodeAffinity, Reason::NodeAffinity))
}

/// Whether the node has what the pod's node selector and required affinity ask for.
pub fn required_matches(class: &PodClass, info: &NodeInfo) -> bool {
    if class.node_selector.is_empty() && class.required_nodes.is_none() {
        return true;
    }
    let empty = Labels::new();
    let labels = node_labels(info.node.as_deref(), &empty);
    let selected = matches_labels(&class.node_selector, labels);
    let wanted = class.required_nodes.as_ref();
    selected
        && wanted.is_none_or(|terms| terms.iter().any(|t| node_term_matches(t, labels, &info.name)))
}

/// The labels of a node.
pub fn node_labels<'a>(node: Option<&'a Node>, empty: &'a Labels) -> &'a Labels {
    node.and_then(|node| node.metadata.labels.as_ref()).unwrap_or(empty)
}

/// Whether one of `tolerations` tolerates `taint` (`api/core/v1/toleration.go:ToleratesTaint`).
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().unwrap_or("");
        let key = toleration.key.as_deref().unwrap_or("");
        let same_effect = effect.is_empty() || effect == taint.effect;
        let same_key = key.is_empty() || key == taint.key;
        let same_value = match toleration.operator.as_deref().unwrap_or("") {
            "" | "Equal" => {
                toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("")
            }
            "Exists" => true,
            _ => false,
        };
        same_effect && same_key && same_value
    })
}
