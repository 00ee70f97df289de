//! Pods leave nodes with NoExecute taints they do not tolerate
//! (`ctl/nodelifecycle/scheduler/taint_manager.go`; its own controller since 1.29).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::base::{SimTime, secs};
use crate::sim::api::events::{Note, record};
use crate::sim::api::{ChangeType, DeleteOptions, Kind, Objects, Part, Status};
use crate::sim::context::Cx;

use super::health::pods_on;
use super::{Key, Work};

/// Event source; renamed when it became a controller of its own.
const SOURCE: &str = "taint-eviction-controller";
const OLD_SOURCE: &str = "taint-controller";
const OWN_CONTROLLER_SINCE: u8 = 29;
/// PodDisruptionConditions, on by default (semantics 9.2).
const DISRUPTION_CONDITION_SINCE: u8 = 26;

/// Pods that are to be deleted, and the NoExecute taints of the nodes that have some.
#[derive(Debug, Default)]
pub(super) struct Evictions {
    tainted: BTreeMap<String, Vec<Taint>>,
    due: BTreeMap<Key, Due>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    since: SimTime,
    at: SimTime,
}

impl Evictions {
    /// A node has changed: its pods are looked at when its NoExecute taints have.
    pub(super) fn on_node(
        &mut self,
        node: &Node,
        is_gone: bool,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) {
        let name = node.metadata.name.as_deref().unwrap_or("");
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or(&[]);
        let taints: Vec<Taint> =
            taints.iter().filter(|t| !is_gone && t.effect == "NoExecute").cloned().collect();
        if self.tainted.get(name).map_or(&[][..], Vec::as_slice) == taints.as_slice() {
            return;
        }
        if taints.is_empty() {
            self.tainted.remove(name);
        } else {
            self.tainted.insert(name.to_owned(), taints);
        }
        let pods: Vec<Arc<Pod>> = pods_on(name, cache).cloned().collect();
        for pod in pods {
            self.process(&pod, work, cx);
        }
    }

    /// A pod has changed; cheap while no node is tainted.
    pub(super) fn on_pod(
        &mut self,
        pod: &Pod,
        change_type: ChangeType,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) {
        if self.tainted.is_empty() && self.due.is_empty() {
            return;
        }
        if change_type == ChangeType::Deleted {
            self.due.remove(&key_of(pod));
        } else {
            self.process(pod, work, cx);
        }
    }

    /// `processPodOnNode`.
    fn process(&mut self, pod: &Pod, work: &mut Work, cx: &mut Cx<'_>) {
        let key = key_of(pod);
        let spec = pod.spec.as_ref();
        let node = spec.and_then(|spec| spec.node_name.as_deref()).unwrap_or("");
        let Some(taints) = self.tainted.get(node) else {
            if self.due.remove(&key).is_some() {
                let text = format!("Cancelling deletion of Pod {}/{}", key.namespace, key.name);
                record(cx.api, pod, Note::normal(source(cx), "TaintManagerEviction", text));
            }
            return;
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        let tolerations = spec.and_then(|spec| spec.tolerations.as_deref()).unwrap_or(&[]);
        let since = self.due.get(&key).map_or(cx.now, |due| due.since);
        match allowance(taints, tolerations) {
            Allowance::Forever => {
                self.due.remove(&key);
            }
            Allowance::For(time) => {
                let at = since + time;
                self.due.insert(key.clone(), Due { since, at });
                work.add_after(key, at - cx.now, cx);
            }
        }
    }

    /// The time of a pod may have come.
    pub(super) fn reconcile(
        &mut self,
        key: &Key,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let Some(due) = self.due.get(key).copied() else { return Ok(()) };
        if cx.now < due.at {
            work.add_after(key.clone(), due.at - cx.now, cx);
            return Ok(());
        }
        self.due.remove(key);
        let (namespace, name) = (key.namespace.as_str(), key.name.as_str());
        let Some(pod) = cx.api.get::<Pod>(namespace, name).cloned() else { return Ok(()) };
        let text = format!("Marking for deletion Pod {namespace}/{name}");
        record(cx.api, pod.as_ref(), Note::normal(source(cx), "TaintManagerEviction", text));
        if cx.api.profile.at_least(DISRUPTION_CONDITION_SINCE) {
            let text = "Taint manager: deleting due to NoExecute taint";
            mark_disrupted(&pod, "DeletionByTaintManager", text, cx)?;
        }
        match cx.api.delete(Kind::POD, namespace, name, &DeleteOptions::default()) {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }
}

/// Sets condition DisruptionTarget.
pub(in crate::sim::controllers) fn mark_disrupted(
    pod: &Pod,
    reason: &str,
    message: &str,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let name = pod.metadata.name.as_deref().unwrap_or("");
    let now = Time(cx.now.timestamp());
    cx.api.patch::<Pod>(Part::Status, namespace, name, |pod| {
        let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != "DisruptionTarget");
        conditions.push(PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(now),
            ..PodCondition::default()
        });
    })?;
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    Forever,
    For(Duration),
}

/// How long the tolerations let a pod stay (`getMinTolerationTime`).
pub(super) fn allowance(taints: &[Taint], tolerations: &[Toleration]) -> Allowance {
    let mut shortest: Option<Duration> = None;
    for taint in taints {
        let Some(toleration) = tolerations.iter().find(|t| tolerates(t, taint)) else {
            return Allowance::For(Duration::ZERO);
        };
        if let Some(seconds) = toleration.toleration_seconds {
            let time = secs(u64::try_from(seconds).unwrap_or(0));
            shortest = Some(shortest.map_or(time, |least| least.min(time)));
        }
    }
    shortest.map_or(Allowance::Forever, Allowance::For)
}

/// `core/v1/toleration.go:ToleratesTaint`.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    let same_effect = effect.is_empty() || effect == taint.effect;
    let same_key = key.is_empty() || key == taint.key;
    let same_value = match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "" | "Equal" => {
            toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("")
        }
        _ => false,
    };
    same_effect && same_key && same_value
}

fn key_of(pod: &Pod) -> Key {
    let meta = &pod.metadata;
    Key::new(meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""))
}

fn source(cx: &Cx<'_>) -> &'static str {
    if cx.api.profile.at_least(OWN_CONTROLLER_SINCE) { SOURCE } else { OLD_SOURCE }
}
