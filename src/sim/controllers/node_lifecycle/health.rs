//! Heartbeats and what their absence leads to
//! (`ctl/nodelifecycle/node_lifecycle_controller.go:tryUpdateNodeHealth`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::base::{SimTime, secs};
use crate::k8s::pod_condition;
use crate::sim::api::events::{Note, record};
use crate::sim::api::{Objects, Part};
use crate::sim::context::Cx;
use crate::sim::profile::Profile;

use super::SOURCE;

/// `--node-monitor-grace-period`: 40 s, 50 s since 1.32 (semantics 9.2).
const GRACE: Duration = secs(40);
const LONG_GRACE: Duration = secs(50);
const LONG_GRACE_SINCE: u8 = 32;
/// `--node-startup-grace-period`.
const STARTUP_GRACE: Duration = secs(60);
/// Where kubelets keep their leases.
const LEASES: &str = "kube-node-lease";
/// The conditions a kubelet reports.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What is known of a node's heartbeats.
#[derive(Debug)]
struct Heartbeat {
    renewed: Option<jiff::Timestamp>,
    reported: Option<jiff::Timestamp>,
    seen_at: SimTime,
}

/// The heartbeats of all nodes.
#[derive(Debug, Default)]
pub(super) struct Health {
    beats: BTreeMap<String, Heartbeat>,
}

/// A node's state at a pass of the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    NotReady,
    Unknown,
}

pub(super) fn grace(profile: Profile) -> Duration {
    if profile.at_least(LONG_GRACE_SINCE) { LONG_GRACE } else { GRACE }
}

pub(super) fn readiness(node: &Node) -> Readiness {
    match condition(node, "Ready").map(|c| c.status.as_str()) {
        Some("True") => Readiness::Ready,
        Some("False") => Readiness::NotReady,
        _ => Readiness::Unknown,
    }
}

pub(super) fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

impl Health {
    pub(super) fn forget(&mut self, node: &str) {
        self.beats.remove(node);
    }

    /// After a full disruption all nodes start over (`handleDisruption`).
    pub(super) fn restart(&mut self, now: SimTime) {
        for beat in self.beats.values_mut() {
            beat.seen_at = now;
        }
    }

    /// Takes the heartbeats that have reached the cache over; a node that has been silent for too
    /// long gets its conditions set to Unknown. Returns what the node is from now on.
    pub(super) fn check(
        &mut self,
        node: &Arc<Node>,
        cache: &Objects,
        cx: &mut Cx<'_>,
    ) -> Readiness {
        let name = node.metadata.name.as_deref().unwrap_or("");
        let lease = cache.get::<Lease>(LEASES, name);
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|t| t.0));
        let ready = condition(node, "Ready");
        let reported = ready.and_then(|ready| ready.last_heartbeat_time.as_ref().map(|t| t.0));
        let allowed = if ready.is_some() { grace(cx.api.profile) } else { STARTUP_GRACE };
        let beat = self.beats.entry(name.to_owned()).or_insert(Heartbeat {
            renewed,
            reported,
            seen_at: cx.now,
        });
        if renewed > beat.renewed || reported > beat.reported {
            beat.seen_at = cx.now;
            beat.renewed = renewed.max(beat.renewed);
            beat.reported = reported.max(beat.reported);
        }
        // A pass takes time, so that the real monitor comes by a little later than each period:
        // exactly the grace after the heartbeat counts as more.
        if cx.now < beat.seen_at + allowed {
            return readiness(node);
        }
        mark_unknown(name, ready.is_some(), cx);
        Readiness::Unknown
    }
}

fn mark_unknown(node: &str, was_reported: bool, cx: &mut Cx<'_>) {
    let now = Time(cx.now.timestamp());
    let (reason, message) = if was_reported {
        ("NodeStatusUnknown", "Kubelet stopped posting node status.")
    } else {
        ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
    };
    // Refused only when the node has gone.
    let _ = cx.api.patch::<Node>(Part::Status, "", node, |node| {
        let status = node.status.get_or_insert_default();
        let conditions = status.conditions.get_or_insert_default();
        for kind in REPORTED {
            let idx = conditions.iter().position(|c| c.type_ == kind).unwrap_or_else(|| {
                conditions
                    .push(NodeCondition { type_: kind.to_owned(), ..NodeCondition::default() });
                conditions.len() - 1
            });
            let condition = &mut conditions[idx];
            if condition.status == "Unknown" {
                continue;
            }
            "Unknown".clone_into(&mut condition.status);
            condition.reason = Some(reason.to_owned());
            condition.message = Some(message.to_owned());
            condition.last_transition_time = Some(now.clone());
        }
    });
}

/// `ctl/util/node/controller_utils.go:MarkPodsNotReady`.
pub(super) fn mark_pods_not_ready(node: &str, cache: &Objects, cx: &mut Cx<'_>) {
    let pods: Vec<Arc<Pod>> = pods_on(node, cache).cloned().collect();
    for pod in pods {
        if pod_condition(&pod, "Ready").is_none_or(|condition| condition.status != "True") {
            continue;
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        let name = pod.metadata.name.as_deref().unwrap_or("");
        let now = Time(cx.now.timestamp());
        // Refused only when the pod has gone.
        let _ = cx.api.patch::<Pod>(Part::Status, namespace, name, |pod| {
            let conditions = pod.status.get_or_insert_default().conditions.iter_mut().flatten();
            for ready in conditions.filter(|condition| condition.type_ == "Ready") {
                "False".clone_into(&mut ready.status);
                ready.last_transition_time = Some(now.clone());
            }
        });
        record(cx.api, pod.as_ref(), Note::warning(SOURCE, "NodeNotReady", "Node is not ready"));
    }
}

/// The pods bound to a node. A scan: nodes are lost rarely.
pub(super) fn pods_on<'a>(node: &str, cache: &'a Objects) -> impl Iterator<Item = &'a Arc<Pod>> {
    cache
        .list::<Pod>()
        .filter(move |pod| pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node))
}
