//! The control loop: what wakes it, and the order of one sync (`syncReplicaSet`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::base::secs;
use crate::k8s;
use crate::sim::api::{Change, ChangeType, Kind, Obj, Objects, Part, Status};
use crate::sim::context::Cx;

use super::super::owned::{
    apps_owner, controller_ref, is_active, is_finished, name, namespace, ready_since, uid,
};
use super::super::{Controller, Key, Work};
use super::counters::{Counters, Counts, PodFact};
use super::expectations::Expectations;
use super::manage::Burst;
use super::status;

/// The ReplicaSet controller.
#[derive(Debug, Default)]
pub struct ReplicaSetController {
    sets: BTreeMap<String, Tracked>,
    /// Pods without a controller, by namespace.
    orphans: BTreeMap<String, BTreeSet<String>>,
}

/// What the controller remembers of a ReplicaSet, by uid.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    pub(super) pods: Counters,
    pub(super) expectations: Expectations,
    pub(super) burst: Option<Burst>,
    /// Owned pods whose labels have changed since the last sync.
    relabelled: BTreeSet<String>,
}

impl Controller for ReplicaSetController {
    fn name(&self) -> &'static str {
        "replicaset"
    }

    fn on_change(&mut self, change: &Change, cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        match &change.object {
            Obj::Pod(pod) => self.on_pod(change, pod, cache, work, cx),
            Obj::ReplicaSet(set) => self.on_set(change, set, cache, work, cx),
            _ => {}
        }
    }

    fn reconcile(
        &mut self,
        key: &Key,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let Some(set) = cache.get::<ReplicaSet>(&key.namespace, &key.name).map(Arc::clone) else {
            return Ok(());
        };
        let tracked = self.sets.entry(uid(&set.metadata).to_owned()).or_default();
        if let Some(burst) = &mut tracked.burst {
            if cx.now < burst.due {
                burst.dirty = true;
                return Ok(());
            }
            return super::manage::continue_burst(tracked, &set, key, work, cx);
        }
        let needs_sync = tracked.expectations.satisfied(cx.now);
        self.claim(&set, cache, cx)?;
        let tracked = self.sets.entry(uid(&set.metadata).to_owned()).or_default();
        let counts = tracked.pods.at(cx.now, min_ready(&set));
        if !needs_sync || set.metadata.deletion_timestamp.is_some() {
            return finish(&set, counts, Ok(()), key, work, cx);
        }
        let wanted = set.spec.replicas.unwrap_or(1);
        if counts.active < wanted {
            super::manage::start_burst(tracked, &set, counts, wanted, cx);
            return super::manage::continue_burst(tracked, &set, key, work, cx);
        }
        let deleted = if counts.active > wanted {
            super::manage::delete_surplus(&mut self.sets, &set, counts.active - wanted, cache, cx)
        } else {
            Ok(())
        };
        finish(&set, counts, deleted, key, work, cx)
    }
}

/// minReadySeconds.
pub(super) fn min_ready(set: &ReplicaSet) -> Duration {
    let seconds = set.spec.min_ready_seconds.unwrap_or(0);
    secs(u64::try_from(seconds).unwrap_or(0))
}

/// The end of a sync: status, and another look when pods are to become available.
pub(super) fn finish(
    set: &ReplicaSet,
    counts: Counts,
    managed: Result<(), Status>,
    key: &Key,
    work: &mut Work,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let wanted = set.spec.replicas.unwrap_or(1);
    status::write(set, counts, managed.as_ref().err(), cx)?;
    let min_ready = min_ready(set);
    if managed.is_ok()
        && !min_ready.is_zero()
        && counts.ready == wanted
        && counts.available != wanted
    {
        work.add_after(key.clone(), min_ready, cx);
    }
    managed
}

impl ReplicaSetController {
    fn on_set(
        &mut self,
        change: &Change,
        set: &Arc<ReplicaSet>,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) {
        let uid = uid(&set.metadata);
        if change.change_type == ChangeType::Deleted {
            self.sets.remove(uid);
        } else if let Some(Obj::ReplicaSet(previous)) = &change.previous
            && template_labels(previous) != template_labels(set)
        {
            self.recount(set, cache);
        }
        work.add(Key::new(namespace(&set.metadata), name(&set.metadata)), cx);
    }

    fn on_pod(
        &mut self,
        change: &Change,
        pod: &Arc<Pod>,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) {
        let space = namespace(&pod.metadata);
        let previous = match &change.previous {
            Some(Obj::Pod(previous)) => Some(previous),
            _ => None,
        };
        let owner = apps_owner(&pod.metadata, "ReplicaSet");
        let old_owner = previous.and_then(|p| apps_owner(&p.metadata, "ReplicaSet"));
        if let Some(old) = old_owner
            && owner.is_none_or(|owner| owner.uid != old.uid)
        {
            if let Some(tracked) = self.sets.get_mut(&old.uid) {
                tracked.pods.remove(name(&pod.metadata));
            }
            work.add(Key::new(space, &*old.name), cx);
        }
        match owner {
            Some(owner) => self.on_owned_pod(change, pod, owner, cache, work, cx),
            None if k8s::controller_of(&pod.metadata).is_none() => {
                self.on_orphan(change, pod, cache, work, cx);
            }
            None => {}
        }
        let adopted = k8s::controller_of(&pod.metadata).is_some();
        if (adopted || change.change_type == ChangeType::Deleted)
            && let Some(orphans) = self.orphans.get_mut(space)
        {
            orphans.remove(name(&pod.metadata));
        }
    }

    fn on_owned_pod(
        &mut self,
        change: &Change,
        pod: &Arc<Pod>,
        owner: &OwnerReference,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) {
        let key = Key::new(namespace(&pod.metadata), &*owner.name);
        let set = cache.get::<ReplicaSet>(&key.namespace, &key.name);
        let set = set.filter(|set| uid(&set.metadata) == owner.uid);
        let pod_name = name(&pod.metadata);
        if change.change_type == ChangeType::Deleted {
            if let Some(tracked) = self.sets.get_mut(&owner.uid) {
                tracked.pods.remove(pod_name);
                tracked.expectations.deleted(uid(&pod.metadata));
            }
            work.add(key, cx);
            return;
        }
        let tracked = self.sets.entry(owner.uid.clone()).or_default();
        let known = tracked.pods.get(pod_name);
        let fact = fact_of(pod, set.map(Arc::as_ref));
        tracked.pods.set(pod_name, fact);
        if k8s::is_terminating(pod) {
            tracked.expectations.deleted(uid(&pod.metadata));
        }
        if change.change_type == ChangeType::Added {
            tracked.expectations.created(1);
        }
        if let Some(set) = set {
            let relabelled = change
                .previous
                .as_ref()
                .is_none_or(|previous| previous.meta().labels != pod.metadata.labels);
            if relabelled && !selects(set, pod) {
                tracked.relabelled.insert(pod_name.to_owned());
            }
            // updatePod: look again once the pod has been Ready for minReadySeconds.
            let became_ready = fact.ready_since.is_some()
                && known.is_some_and(|old: PodFact| old.ready_since.is_none());
            if became_ready && !min_ready(set).is_zero() {
                work.add_after(key.clone(), min_ready(set) + secs(1), cx);
            }
        }
        work.add(key, cx);
    }

    /// A pod nobody controls: every ReplicaSet that selects it may adopt it.
    fn on_orphan(
        &mut self,
        change: &Change,
        pod: &Arc<Pod>,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) {
        if change.change_type == ChangeType::Deleted || k8s::is_terminating(pod) {
            return;
        }
        let space = namespace(&pod.metadata);
        let orphans = self.orphans.entry(space.to_owned()).or_default();
        let is_new = orphans.insert(name(&pod.metadata).to_owned());
        let labels_changed =
            change.previous.as_ref().is_none_or(|p| p.meta().labels != pod.metadata.labels);
        if is_new || labels_changed {
            for set in cache.list_in::<ReplicaSet>(space).filter(|set| selects(set, pod)) {
                work.add(Key::new(space, name(&set.metadata)), cx);
            }
        }
    }

    /// Adopts orphans that match, releases owned pods that no longer do
    /// (`controller_ref_manager.go:ClaimPods`).
    fn claim(&mut self, set: &ReplicaSet, cache: &Objects, cx: &mut Cx<'_>) -> Result<(), Status> {
        let space = namespace(&set.metadata).to_owned();
        let set_uid = uid(&set.metadata);
        let Some(tracked) = self.sets.get_mut(set_uid) else { return Ok(()) };
        for pod_name in std::mem::take(&mut tracked.relabelled) {
            let Some(pod) = cache.get::<Pod>(&space, &pod_name) else { continue };
            if selects(set, pod) || k8s::is_terminating(pod) {
                continue;
            }
            tracked.pods.remove(&pod_name);
            cx.api.patch::<Pod>(Part::Main, &space, &pod_name, |pod| {
                if let Some(owners) = &mut pod.metadata.owner_references {
                    owners.retain(|owner| owner.uid != set_uid);
                }
            })?;
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let Some(orphans) = self.orphans.get_mut(&space) else { return Ok(()) };
        let mut adopted = Vec::new();
        for pod_name in orphans.iter() {
            let Some(pod) = cache.get::<Pod>(&space, pod_name) else { continue };
            if !selects(set, pod) || !is_active(pod) {
                continue;
            }
            // RecheckDeletionTimestamp: an uncached look at the owner before the first adoption.
            let fresh = cx.api.get::<ReplicaSet>(&space, name(&set.metadata));
            if fresh.is_none_or(|fresh| {
                uid(&fresh.metadata) != set_uid || fresh.metadata.deletion_timestamp.is_some()
            }) {
                break;
            }
            let owner = controller_ref(cx.api, set);
            cx.api.patch::<Pod>(Part::Main, &space, pod_name, |pod| {
                pod.metadata.owner_references.get_or_insert_default().push(owner);
            })?;
            tracked.pods.set(pod_name, fact_of(pod, Some(set)));
            adopted.push(pod_name.clone());
        }
        for pod_name in adopted {
            orphans.remove(&pod_name);
        }
        Ok(())
    }

    /// Counts the pods of `set` anew after its template's labels have changed.
    fn recount(&mut self, set: &ReplicaSet, cache: &Objects) {
        let Some(tracked) = self.sets.get_mut(uid(&set.metadata)) else { return };
        let names: Vec<String> = tracked.pods.names().map(str::to_owned).collect();
        for pod_name in names {
            if let Some(pod) = cache.get::<Pod>(namespace(&set.metadata), &pod_name) {
                tracked.pods.set(&pod_name, fact_of(pod, Some(set)));
            }
        }
    }
}

fn fact_of(pod: &Pod, set: Option<&ReplicaSet>) -> PodFact {
    let labels = pod.metadata.labels.as_ref();
    let labelled = set.and_then(template_labels).is_none_or(|wanted| {
        labels.is_some_and(|labels| k8s::matches_labels(wanted, labels)) || wanted.is_empty()
    });
    PodFact {
        active: is_active(pod),
        terminating: k8s::is_terminating(pod) && !is_finished(pod),
        ready_since: ready_since(pod),
        labelled,
    }
}

fn template_labels(set: &ReplicaSet) -> Option<&BTreeMap<String, String>> {
    set.spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref()
}

fn selects(set: &ReplicaSet, pod: &Pod) -> bool {
    let none = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
    k8s::matches_selector(&set.spec.selector, labels)
}

/// The active pods by node of all ReplicaSets that share `set`'s controller
/// (`replica_set.go:getIndirectlyRelatedPods`).
pub(super) fn related_by_node(
    sets: &BTreeMap<String, Tracked>,
    set: &ReplicaSet,
    cache: &Objects,
) -> BTreeMap<String, usize> {
    let space = namespace(&set.metadata);
    let owner = k8s::controller_of(&set.metadata).map(|owner| &owner.uid);
    let siblings = cache.list_in::<ReplicaSet>(space).filter(|other| {
        uid(&other.metadata) == uid(&set.metadata)
            || owner.is_some() && k8s::controller_of(&other.metadata).map(|o| &o.uid) == owner
    });
    let mut related = BTreeMap::new();
    for sibling in siblings {
        let Some(tracked) = sets.get(uid(&sibling.metadata)) else { continue };
        for pod_name in tracked.pods.names() {
            let pod = cache.object(Kind::POD, space, pod_name).and_then(Obj::as_typed::<Pod>);
            if let Some(pod) = pod.filter(|pod| is_active(pod)) {
                let node = pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
                *related.entry(node).or_insert(0) += 1;
            }
        }
    }
    related
}
