//! The control loop (`garbagecollector.go:attemptToDeleteItem`, `attemptToOrphanWorker`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::sim::api::{Change, ChangeType, DeleteOptions, Obj, Objects, Part, Propagation, Status};
use crate::sim::context::Cx;

use super::super::owned::uid;
use super::super::{Controller, Key, Work};
use super::graph::{FOREGROUND, Graph, Node, ORPHAN, is_deleting_with, owners};

/// The garbage collector. Its keys are uids.
#[derive(Debug, Default)]
pub struct GarbageCollector {
    graph: Graph,
}

/// The owners of an object, looked up at the API server (`classifyReferences`).
#[derive(Debug, Default)]
struct Owners {
    /// They exist.
    solid: Vec<String>,
    /// They are gone.
    dangling: Vec<String>,
    /// They wait for their dependents to go.
    waiting: Vec<String>,
}

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbagecollector"
    }

    fn on_change(&mut self, change: &Change, _cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        let meta = change.object.meta();
        let uid = uid(meta);
        if change.change_type == ChangeType::Deleted {
            self.on_deleted(uid, work, cx);
            return;
        }
        if let Some(previous) = change.previous.as_ref().map(Obj::meta)
            && previous.owner_references == meta.owner_references
            && previous.finalizers == meta.finalizers
            && previous.deletion_timestamp == meta.deletion_timestamp
        {
            return;
        }
        let lost = self.graph.insert(uid, &change.object);
        for owner in lost {
            self.wake_waiting_owner(&owner, work, cx);
        }
        let unknown_owner = owners(meta).iter().any(|owner| self.graph.node(&owner.uid).is_none());
        let held = |finalizer| is_deleting_with(meta, finalizer);
        if unknown_owner || held(FOREGROUND) || held(ORPHAN) {
            work.add(Key::new("", uid), cx);
        }
        if held(FOREGROUND) {
            self.wake_dependents(uid, work, cx);
        }
    }

    fn reconcile(
        &mut self,
        key: &Key,
        _cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let Some(node) = self.graph.node(&key.name).cloned() else { return Ok(()) };
        let live = cx.api.object(node.kind, &node.namespace, &node.name).cloned();
        let Some(live) = live.filter(|live| uid(live.meta()) == key.name) else { return Ok(()) };
        if is_deleting_with(live.meta(), ORPHAN) {
            return self.orphan(&key.name, &node, cx);
        }
        if is_deleting_with(live.meta(), FOREGROUND) {
            return self.delete_dependents_first(&key.name, &node, work, cx);
        }
        if live.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        self.judge(&key.name, &node, &live, cx)
    }
}

impl GarbageCollector {
    fn on_deleted(&mut self, uid: &str, work: &mut Work, cx: &mut Cx<'_>) {
        let Some(node) = self.graph.remove(uid) else { return };
        self.wake_dependents(uid, work, cx);
        for owner in node.owners.keys() {
            self.wake_waiting_owner(owner, work, cx);
        }
    }

    fn wake_dependents(&self, uid: &str, work: &mut Work, cx: &mut Cx<'_>) {
        for dependent in self.graph.dependents(uid) {
            work.add(Key::new("", &**dependent), cx);
        }
    }

    fn wake_waiting_owner(&self, owner: &str, work: &mut Work, cx: &mut Cx<'_>) {
        if self.graph.node(owner).is_some_and(|node| node.deleting_dependents) {
            work.add(Key::new("", owner), cx);
        }
    }

    /// Deletes an object without owners; one with some left only loses the references to others.
    fn judge(&self, uid: &str, node: &Node, live: &Obj, cx: &mut Cx<'_>) -> Result<(), Status> {
        if owners(live.meta()).is_empty() {
            return Ok(());
        }
        let found = classify(live, cx);
        if !found.solid.is_empty() {
            let gone: Vec<String> = found.dangling.into_iter().chain(found.waiting).collect();
            return if gone.is_empty() { Ok(()) } else { drop_owners(node, &gone, cx) };
        }
        let has_dependents = self.graph.dependents(uid).next().is_some();
        let held =
            |finalizer: &str| live.meta().finalizers.iter().flatten().any(|held| held == finalizer);
        let propagation = if !found.waiting.is_empty() && has_dependents || held(FOREGROUND) {
            Propagation::Foreground
        } else if held(ORPHAN) {
            Propagation::Orphan
        } else {
            Propagation::Background
        };
        delete(node, uid, propagation, cx)
    }

    /// Foreground: once no blocking dependent is left, the finalizer goes and with it the object.
    fn delete_dependents_first(
        &self,
        uid: &str,
        node: &Node,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let blocking: Vec<&String> = self.graph.blocking(uid).collect();
        if blocking.is_empty() {
            return drop_finalizer(node, FOREGROUND, cx);
        }
        for dependent in blocking {
            if self.graph.node(dependent).is_some_and(|node| !node.deleting_dependents) {
                work.add(Key::new("", &**dependent), cx);
            }
        }
        Ok(())
    }

    /// Orphan: the dependents lose their reference first, then the finalizer goes.
    fn orphan(&self, uid: &str, node: &Node, cx: &mut Cx<'_>) -> Result<(), Status> {
        for dependent in self.graph.dependents(uid) {
            if let Some(dependent) = self.graph.node(dependent) {
                drop_owners(dependent, &[uid.to_owned()], cx)?;
            }
        }
        drop_finalizer(node, ORPHAN, cx)
    }
}

fn classify(live: &Obj, cx: &Cx<'_>) -> Owners {
    let mut found = Owners::default();
    for owner in owners(live.meta()) {
        let list = match live_owner(owner, live.namespace(), cx) {
            LiveOwner::Gone => &mut found.dangling,
            LiveOwner::Waiting if owner.block_owner_deletion == Some(true) => &mut found.waiting,
            LiveOwner::Waiting | LiveOwner::Solid => &mut found.solid,
        };
        list.push(owner.uid.clone());
    }
    found
}

enum LiveOwner {
    Solid,
    Waiting,
    Gone,
}

/// Owners are found by kind, namespace and name, and must have the uid. A kind that is not known may
/// still appear, so its objects count as existing.
fn live_owner(owner: &OwnerReference, namespace: &str, cx: &Cx<'_>) -> LiveOwner {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let Some(kind) = cx.api.registry.by_kind(group, &owner.kind) else {
        return LiveOwner::Solid;
    };
    let space = if cx.api.registry.resource(kind).namespaced { namespace } else { "" };
    match cx.api.object(kind, space, &owner.name) {
        Some(live) if uid(live.meta()) == owner.uid => {
            if is_deleting_with(live.meta(), FOREGROUND) {
                LiveOwner::Waiting
            } else {
                LiveOwner::Solid
            }
        }
        _ => LiveOwner::Gone,
    }
}

fn delete(node: &Node, uid: &str, propagation: Propagation, cx: &mut Cx<'_>) -> Result<(), Status> {
    let options = DeleteOptions {
        uid: Some(uid.to_owned()),
        propagation: Some(propagation),
        ..DeleteOptions::default()
    };
    match cx.api.delete(node.kind, &node.namespace, &node.name, &options) {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

fn drop_owners(node: &Node, gone: &[String], cx: &mut Cx<'_>) -> Result<(), Status> {
    patch(node, cx, |object| {
        let meta = object.meta_mut();
        if let Some(owners) = &mut meta.owner_references {
            owners.retain(|owner| !gone.contains(&owner.uid));
        }
        if owners(meta).is_empty() {
            meta.owner_references = None;
        }
    })
}

fn drop_finalizer(node: &Node, finalizer: &str, cx: &mut Cx<'_>) -> Result<(), Status> {
    patch(node, cx, |object| {
        let meta = object.meta_mut();
        if let Some(finalizers) = &mut meta.finalizers {
            finalizers.retain(|held| held != finalizer);
        }
        if meta.finalizers.as_ref().is_some_and(Vec::is_empty) {
            meta.finalizers = None;
        }
    })
}

/// Changes the object in place; one that is gone needs no change.
fn patch(node: &Node, cx: &mut Cx<'_>, change: impl FnOnce(&mut Obj)) -> Result<(), Status> {
    let live = cx.api.object(node.kind, &node.namespace, &node.name).cloned();
    let Some(mut object) = live else { return Ok(()) };
    change(&mut object);
    cx.api.update_object(object, Part::Main, false).map(|_| ())
}
