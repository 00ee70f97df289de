//! What the scheduler takes from its watches (`scheduler/eventhandlers.go:addAllEventHandlers`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::sim::api::{Change, ChangeType, Obj};
use crate::sim::context::Cx;

use super::claims::claim_names;
use super::hints::{Move, helps};
use super::kube_scheduler::Scheduler;
use super::node_info::PodId;
use super::nodes::NodeIdx;
use super::pods::{Place, PodEntry, key};

/// The scheduler that pods name by default, and the only one here.
const SCHEDULER_NAME: &str = "default-scheduler";

impl Scheduler {
    /// Takes a change over.
    pub(super) fn take_over(&mut self, change: &Change, cx: &mut Cx<'_>) {
        let gone = change.change_type == ChangeType::Deleted;
        match &change.object {
            // The pod informer leaves finished pods out (`NewInformerFactory`).
            Obj::Pod(pod) if gone || is_finished(pod) => self.remove_pod(pod, cx),
            Obj::Pod(pod) => self.set_pod(pod, cx),
            Obj::Node(node) if gone => {
                self.nodes.unset(node.metadata.name.as_deref().unwrap_or(""));
            }
            Obj::Node(node) => self.set_node(node, cx),
            Obj::Namespace(namespace) => {
                let name = namespace.metadata.name.as_deref().unwrap_or("");
                let labels = namespace.metadata.labels.clone().unwrap_or_default();
                self.classes.matchers.set_namespace(name, (!gone).then_some(labels));
            }
            Obj::Service(_) => {
                self.cache.apply(change);
                self.default_spreads.on_change(change);
                self.announce(Move::Service, cx);
            }
            Obj::ReplicaSet(_) | Obj::StatefulSet(_) => {
                self.cache.apply(change);
                self.default_spreads.on_change(change);
            }
            Obj::PersistentVolume(_) | Obj::PersistentVolumeClaim(_) | Obj::StorageClass(_) => {
                self.cache.apply(change);
                if !gone {
                    self.announce(Move::Storage, cx);
                }
            }
            Obj::PodDisruptionBudget(_) => self.cache.apply(change),
            _ => {}
        }
    }

    /// Moves the unschedulable pods that `event` may help.
    pub(super) fn announce(&mut self, event: Move<'_>, cx: &Cx<'_>) {
        if self.queue.none_unschedulable() {
            return;
        }
        let (pods, classes, profile) = (&self.pods, &self.classes, self.profile);
        self.queue.move_if(cx.now, |id, plugins| {
            pods.get(id).is_some_and(|entry| helps(event, entry.class, plugins, classes, profile))
        });
    }

    /// Events of a node move pods only if what the scheduler reads has changed
    /// (`eventhandlers.go:nodeSchedulingPropertiesChange`).
    fn set_node(&mut self, node: &Arc<Node>, cx: &Cx<'_>) {
        let idx = self.nodes.idx(node.metadata.name.as_deref().unwrap_or(""));
        let before = self.nodes.get(idx).node.clone();
        self.nodes.set(node, &mut self.classes);
        if before.is_some_and(|before| !node_differs(&before, node)) {
            return;
        }
        self.nodes.prepare(&mut self.classes);
        if !self.queue.none_unschedulable() {
            let info = self.nodes.get(idx).clone();
            self.announce(Move::Node(&info), cx);
        }
    }

    fn set_pod(&mut self, pod: &Arc<Pod>, cx: &mut Cx<'_>) {
        match self.pods.find(pod) {
            Some(id) if self.is_same_pod(id, pod) => self.update_pod(id, pod, cx),
            Some(_) => {
                self.remove_pod(pod, cx);
                self.add_pod(pod, cx);
            }
            None => self.add_pod(pod, cx),
        }
    }

    fn is_same_pod(&self, id: PodId, pod: &Pod) -> bool {
        self.pods.get(id).is_some_and(|entry| entry.pod.metadata.uid == pod.metadata.uid)
    }

    fn add_pod(&mut self, pod: &Arc<Pod>, cx: &mut Cx<'_>) {
        let class = self.classes.intern(pod);
        let live = pod.metadata.deletion_timestamp.is_none();
        let entry = PodEntry { pod: Arc::clone(pod), class, place: Place::Waiting, live };
        let id = self.pods.add(entry);
        match bound_to(pod) {
            Some(node) => self.assign(id, node, cx),
            None if is_ours(pod) => {
                let priority = self.classes.get(class).priority;
                self.queue.add(id, priority, is_gated(pod), cx.now);
            }
            None => {}
        }
    }

    fn update_pod(&mut self, id: PodId, pod: &Arc<Pod>, cx: &mut Cx<'_>) {
        let class = self.classes.intern(pod);
        let Some(entry) = self.pods.get_mut(id) else { return };
        let (before, place) = (entry.class, entry.place);
        entry.pod = Arc::clone(pod);
        if let (Place::Assumed(idx) | Place::Assigned(idx), true) = (place, before != class) {
            self.count_out(id, idx);
            if let Some(entry) = self.pods.get_mut(id) {
                entry.class = class;
            }
            self.count_in(id, idx);
        } else if let Some(entry) = self.pods.get_mut(id) {
            entry.class = class;
        }
        self.note_deletion(id, pod);
        match (place, bound_to(pod)) {
            (Place::Waiting | Place::Assumed(_), Some(node)) => self.assign(id, node, cx),
            (Place::Waiting, None) => {
                self.queue.update(id, is_gated(pod), before != class, cx.now);
            }
            _ => {}
        }
    }

    /// A pod that is being deleted no longer counts for spreading.
    fn note_deletion(&mut self, id: PodId, pod: &Pod) {
        let Some(entry) = self.pods.get_mut(id) else { return };
        if !entry.live || pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        entry.live = false;
        let class = entry.class;
        if let Place::Assumed(idx) | Place::Assigned(idx) = entry.place {
            self.nodes.get_mut(idx).mark_terminating(class);
        }
    }

    fn assign(&mut self, id: PodId, node: &str, cx: &Cx<'_>) {
        let idx = self.nodes.idx(node);
        let Some(entry) = self.pods.get_mut(id) else { return };
        let (class, place) = (entry.class, entry.place);
        entry.place = Place::Assigned(idx);
        match place {
            Place::Assumed(assumed) if assumed == idx => {}
            Place::Assumed(assumed) | Place::Assigned(assumed) => {
                self.count_out(id, assumed);
                self.count_in(id, idx);
            }
            Place::Waiting => self.count_in(id, idx),
        }
        self.queue.remove(id);
        self.bindings.remove(id);
        self.nominations.retain(|(nominated, _)| *nominated != id);
        self.announce(Move::PodAssigned(class), cx);
    }

    fn remove_pod(&mut self, pod: &Pod, cx: &Cx<'_>) {
        let Some(id) = self.pods.find(pod) else { return };
        self.queue.remove(id);
        self.bindings.remove(id);
        self.nominations.retain(|(nominated, _)| *nominated != id);
        let Some(entry) = self.pods.get(id) else { return };
        let (class, place) = (entry.class, entry.place);
        if let Place::Assumed(idx) | Place::Assigned(idx) = place {
            self.count_out(id, idx);
        }
        self.pods.remove(id);
        if place != Place::Waiting {
            self.announce(Move::PodGone(class), cx);
        }
    }

    /// Counts a pod in on a node.
    pub(super) fn count_in(&mut self, id: PodId, idx: NodeIdx) {
        let Some(entry) = self.pods.get(id) else { return };
        let class = self.classes.get(entry.class);
        self.nodes.get_mut(idx).add_pod(id, entry.class, entry.live, class);
        for claim in claim_names(&entry.pod) {
            *self.claim_users.entry((key(&entry.pod).0.to_owned(), claim)).or_default() += 1;
        }
    }

    /// Counts a pod out of a node.
    pub(super) fn count_out(&mut self, id: PodId, idx: NodeIdx) {
        let Some(entry) = self.pods.get(id) else { return };
        let class = self.classes.get(entry.class);
        self.nodes.get_mut(idx).remove_pod(id, entry.class, entry.live, class);
        for claim in claim_names(&entry.pod) {
            let user = (key(&entry.pod).0.to_owned(), claim);
            if let Some(count) = self.claim_users.get_mut(&user) {
                *count -= 1;
                if *count == 0 {
                    self.claim_users.remove(&user);
                }
            }
        }
    }
}

/// The node a pod is bound to.
fn bound_to(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

fn is_ours(pod: &Pod) -> bool {
    let name = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    name.is_none_or(|name| name.is_empty() || name == SCHEDULER_NAME)
}

/// `schedulinggates/scheduling_gates.go:PreEnqueue`.
fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| !gates.is_empty())
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn node_differs(before: &Node, after: &Node) -> bool {
    let status = |node: &Node| {
        let status = node.status.as_ref()?;
        let conditions = status.conditions.iter().flatten();
        let states: Vec<(String, String)> =
            conditions.map(|c| (c.type_.clone(), c.status.clone())).collect();
        Some((status.allocatable.clone(), states))
    };
    before.spec != after.spec
        || before.metadata.labels != after.metadata.labels
        || status(before) != status(after)
}
