//! From the choice of a node to the binding: assume, bind claims, bind the pod
//! (`schedule_one.go:bindingCycle`, `volumebinding/binder.go:BindPodVolumes`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};

use crate::base::{SimTime, millis, secs};
use crate::sim::api::Part;
use crate::sim::api::events::{Note, record};
use crate::sim::context::Cx;

use super::claims::{ClaimStep, SELECTED_NODE, is_bound};
use super::cycle::SOURCE;
use super::hints::Move;
use super::kube_scheduler::{Scheduler, SchedulerEvent};
use super::node_info::PodId;
use super::nodes::NodeIdx;
use super::pods::{Place, key};

/// A write reaches the API's store after 2 to 15 ms (semantics 0.2).
const WRITE_MS: (u64, u64) = (2, 15);
/// Time between two writes at the client's limit: 50 a second
/// (`component-base/config/v1alpha1/defaults.go`).
const WRITE_INTERVAL: Duration = millis(20);
/// Writes that may go at once before the limit acts: 100 (same file).
const WRITE_BURST: u32 = 100;
/// How often claims are looked at (`binder.go:BindPodVolumes`).
const CLAIM_POLL: Duration = secs(1);
/// How long claims may take (`VolumeBindingArgs.BindTimeoutSeconds`).
const CLAIM_TIMEOUT: Duration = secs(600);

/// A pod on its way to its node.
#[derive(Debug)]
struct Binding {
    node: NodeIdx,
    steps: Vec<ClaimStep>,
    deadline: SimTime,
}

/// Bindings under way, and the client's rate limit.
#[derive(Debug, Default)]
pub struct Bindings {
    pending: BTreeMap<PodId, Binding>,
    /// When the client's limiter would be full again.
    spent_until: SimTime,
}

impl Bindings {
    /// Drops the binding of a pod.
    pub fn remove(&mut self, id: PodId) {
        self.pending.remove(&id);
    }

    /// Takes a write from the limiter; says when it may go.
    pub fn charge(&mut self, now: SimTime) -> SimTime {
        let burst = WRITE_INTERVAL * (WRITE_BURST - 1);
        let spent = self.spent_until.since(now);
        self.spent_until = self.spent_until.max(now) + WRITE_INTERVAL;
        now + spent.saturating_sub(burst)
    }
}

impl Scheduler {
    /// Counts the pod in on the node and starts its binding.
    pub(super) fn assume(
        &mut self,
        id: PodId,
        node: NodeIdx,
        steps: Vec<ClaimStep>,
        cx: &mut Cx<'_>,
    ) {
        let Some(entry) = self.pods.get_mut(id) else { return };
        entry.place = Place::Assumed(node);
        self.count_in(id, node);
        self.nominations.retain(|(nominated, _)| *nominated != id);
        let waits = !steps.is_empty();
        let deadline = cx.now + CLAIM_TIMEOUT;
        self.bindings.pending.insert(id, Binding { node, steps, deadline });
        let event = if waits { SchedulerEvent::WriteClaims(id) } else { SchedulerEvent::Bind(id) };
        self.write(event, cx);
    }

    fn write(&mut self, event: SchedulerEvent, cx: &mut Cx<'_>) {
        let (low, high) = WRITE_MS;
        let due = self.bindings.charge(cx.now);
        let due = due + cx.rng.between("scheduler-write", millis(low), millis(high));
        cx.queue.at(due, event);
    }

    /// The binding arrives at the API.
    pub(super) fn write_binding(&mut self, id: PodId, cx: &mut Cx<'_>) {
        let Some(binding) = self.bindings.pending.get(&id) else { return };
        let Some(entry) = self.pods.get(id) else { return };
        let node = Arc::clone(&self.nodes.get(binding.node).name);
        let pod = Arc::clone(&entry.pod);
        let (namespace, name) = key(&pod);
        match cx.api.bind(namespace, name, pod.metadata.uid.as_deref(), &node) {
            Ok(bound) => {
                let message = format!("Successfully assigned {namespace}/{name} to {node}");
                record(cx.api, bound.as_ref(), Note::normal(SOURCE, "Scheduled", message));
                self.bindings.remove(id);
                self.queue.remove(id);
            }
            Err(status) => {
                let message = format!("binding rejected: {}", status.message);
                self.unassume(id, &message, cx);
            }
        }
    }

    /// Binds claims to volumes, and asks for volumes on the chosen node.
    pub(super) fn write_claims(&mut self, id: PodId, cx: &mut Cx<'_>) {
        let Some(binding) = self.bindings.pending.get(&id) else { return };
        let Some(entry) = self.pods.get(id) else { return };
        let node = Arc::clone(&self.nodes.get(binding.node).name);
        let namespace = key(&entry.pod).0.to_owned();
        for step in &binding.steps {
            // A claim or volume that has gone is found by the look that follows.
            match step {
                ClaimStep::Provision { claim } => {
                    let _ = cx.api.patch::<PersistentVolumeClaim>(
                        Part::Main,
                        &namespace,
                        claim,
                        |claim| {
                            let annotations = claim.metadata.annotations.get_or_insert_default();
                            annotations.insert(SELECTED_NODE.to_owned(), node.to_string());
                        },
                    );
                }
                ClaimStep::Bind { claim, volume } => {
                    let Some(owner) = cx.api.get::<PersistentVolumeClaim>(&namespace, claim) else {
                        continue;
                    };
                    let owner = claim_reference(owner);
                    let _ = cx.api.patch::<PersistentVolume>(Part::Main, "", volume, |volume| {
                        let meta = &mut volume.metadata;
                        let annotations = meta.annotations.get_or_insert_default();
                        annotations
                            .insert("pv.kubernetes.io/bound-by-controller".into(), "yes".into());
                        volume.spec.get_or_insert_default().claim_ref = Some(owner);
                    });
                }
            }
        }
        cx.queue.after(CLAIM_POLL, SchedulerEvent::PollClaims(id));
    }

    /// Binds the pod once its claims are bound (`binder.go:checkBindings`).
    pub(super) fn poll_claims(&mut self, id: PodId, cx: &mut Cx<'_>) {
        let Some(binding) = self.bindings.pending.get(&id) else { return };
        let Some(entry) = self.pods.get(id) else { return };
        let node = &self.nodes.get(binding.node).name;
        let namespace = key(&entry.pod).0;
        let mut all_bound = true;
        let mut failure = (cx.now >= binding.deadline)
            .then(|| "binding volumes: timed out waiting for the condition".to_owned());
        for step in &binding.steps {
            let (ClaimStep::Bind { claim, .. } | ClaimStep::Provision { claim }) = step;
            let Some(object) = self.cache.get::<PersistentVolumeClaim>(namespace, claim) else {
                failure =
                    Some(format!("binding volumes: persistentvolumeclaim \"{claim}\" not found"));
                continue;
            };
            let selected = object.metadata.annotations.as_ref().and_then(|a| a.get(SELECTED_NODE));
            let provision = matches!(step, ClaimStep::Provision { .. });
            if provision && selected.is_none_or(|selected| **selected != **node) {
                // The provisioner gave the node up: another one is to be found.
                failure = Some(format!("binding volumes: provisioning failed for PVC \"{claim}\""));
            }
            all_bound &= is_bound(object);
        }
        match failure {
            Some(message) => {
                self.unassume(
                    id,
                    &format!("running PreBind plugin \"VolumeBinding\": {message}"),
                    cx,
                );
            }
            None if all_bound => self.write(SchedulerEvent::Bind(id), cx),
            None => cx.queue.after(CLAIM_POLL, SchedulerEvent::PollClaims(id)),
        }
    }

    /// Takes a pod back from the node it was assumed on; it is tried again after its back-off.
    fn unassume(&mut self, id: PodId, message: &str, cx: &mut Cx<'_>) {
        self.bindings.remove(id);
        let Some(entry) = self.pods.get_mut(id) else { return };
        let Place::Assumed(node) = entry.place else { return };
        entry.place = Place::Waiting;
        let (pod, class) = (Arc::clone(&entry.pod), entry.class);
        self.count_out(id, node);
        self.queue.retry(id, cx.now);
        self.report_failure(&pod, "SchedulerError", message, None, cx);
        self.announce(Move::PodGone(class), cx);
    }
}

fn claim_reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    let meta = &claim.metadata;
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_limited_after_the_burst() {
        let mut bindings = Bindings::default();
        let now = SimTime::ZERO + secs(1);
        let due: Vec<SimTime> = (0..102).map(|_| bindings.charge(now)).collect();
        assert_eq!(due[99], now);
        assert_eq!(due[100], now + millis(20));
        assert_eq!(due[101], now + millis(40));
        assert_eq!(bindings.charge(now + secs(60)), now + secs(60));
    }
}
