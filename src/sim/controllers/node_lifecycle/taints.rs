//! Taints that follow from conditions (`doNoScheduleTaintingPass`, `processTaintBaseEviction`).

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::sim::api::{Part, Status};
use crate::sim::context::Cx;

use super::health::{Readiness, condition, readiness};

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that, when true, keep pods away (`nodeConditionToTaintKeyStatusMap`).
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// Makes the NoSchedule taints of a node those of its conditions; others are left alone.
pub(super) fn sync_no_schedule(node: &Node, cx: &mut Cx<'_>) -> Result<(), Status> {
    let mut wanted: Vec<&str> = PRESSURES
        .iter()
        .filter(|(kind, _)| condition(node, kind).is_some_and(|c| c.status == "True"))
        .map(|(_, key)| *key)
        .collect();
    if condition(node, "Ready").is_some() {
        wanted.extend(no_execute_key(readiness(node)));
    }
    let spec = node.spec.as_ref();
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push(UNSCHEDULABLE);
    }
    let ours = |taint: &Taint| {
        taint.effect == "NoSchedule"
            && ([NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str())
                || PRESSURES.iter().any(|(_, key)| *key == taint.key))
    };
    let taints = spec.and_then(|spec| spec.taints.as_deref()).unwrap_or(&[]);
    let mut present: Vec<&str> =
        taints.iter().filter(|taint| ours(taint)).map(|taint| taint.key.as_str()).collect();
    present.sort_unstable();
    wanted.sort_unstable();
    if present == wanted {
        return Ok(());
    }
    let name = node.metadata.name.as_deref().unwrap_or("");
    let now = Time(cx.now.timestamp());
    cx.api.patch::<Node>(Part::Main, "", name, |node| {
        let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
        taints.retain(|taint| !ours(taint) || wanted.contains(&taint.key.as_str()));
        for key in wanted {
            if !taints.iter().any(|taint| taint.key == key && taint.effect == "NoSchedule") {
                taints.push(taint(key, "NoSchedule", now.clone()));
            }
        }
    })?;
    Ok(())
}

/// The NoExecute taint that belongs to a readiness.
pub(super) fn no_execute_key(readiness: Readiness) -> Option<&'static str> {
    match readiness {
        Readiness::Ready => None,
        Readiness::NotReady => Some(NOT_READY),
        Readiness::Unknown => Some(UNREACHABLE),
    }
}

/// The NoExecute taint of ours that a node has.
pub(super) fn no_execute(node: &Node) -> Option<&'static str> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or(&[]);
    let has = |key| taints.iter().any(|t| t.key == key && t.effect == "NoExecute");
    [NOT_READY, UNREACHABLE].into_iter().find(|key| has(*key))
}

/// Sets or removes the NoExecute taint (`SwapNodeControllerTaint`, `markNodeAsReachable`).
pub(super) fn set_no_execute(
    node: &str,
    key: Option<&'static str>,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let now = Time(cx.now.timestamp());
    cx.api.patch::<Node>(Part::Main, "", node, |node| {
        let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
        let ours = |taint: &Taint| {
            taint.effect == "NoExecute" && (taint.key == NOT_READY || taint.key == UNREACHABLE)
        };
        taints.retain(|taint| !ours(taint) || Some(taint.key.as_str()) == key);
        if let Some(key) = key
            && !taints.iter().any(ours)
        {
            taints.push(taint(key, "NoExecute", now));
        }
    })?;
    Ok(())
}

fn taint(key: &str, effect: &str, now: Time) -> Taint {
    Taint {
        key: key.to_owned(),
        effect: effect.to_owned(),
        time_added: Some(now),
        ..Taint::default()
    }
}
