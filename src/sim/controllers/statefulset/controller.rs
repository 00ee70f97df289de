//! The control loop: what wakes it, and which pods belong to a set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;

use crate::k8s;
use crate::sim::api::{Change, ChangeType, Obj, Objects, Part, Status};
use crate::sim::context::Cx;

use super::super::owned::{apps_owner, controller_ref, name, namespace, uid};
use super::super::{Controller, Key, Work};
use super::control::Control;
use super::pods::{ordinal, revision_of};
use super::revision::{revisions, truncate};
use super::status;

/// The StatefulSet controller.
#[derive(Debug, Default)]
pub struct StatefulSetController {
    /// Pods by the uid of their set.
    pods: BTreeMap<String, BTreeSet<String>>,
    /// Pods without a controller, by namespace.
    orphans: BTreeMap<String, BTreeSet<String>>,
}

impl Controller for StatefulSetController {
    fn name(&self) -> &'static str {
        "statefulset"
    }

    fn on_change(&mut self, change: &Change, cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        match &change.object {
            Obj::StatefulSet(set) => {
                if change.change_type == ChangeType::Deleted {
                    self.pods.remove(uid(&set.metadata));
                }
                work.add(Key::new(namespace(&set.metadata), name(&set.metadata)), cx);
            }
            Obj::Pod(pod) => self.on_pod(change, pod, cache, work, cx),
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
        let Some(set) = cache.get::<StatefulSet>(&key.namespace, &key.name).map(Arc::clone) else {
            return Ok(());
        };
        let pods = self.claim(&set, cache, cx)?;
        let in_use: BTreeSet<String> = pods.iter().map(|pod| revision_of(pod).to_owned()).collect();
        let found = revisions(&set, cache, cx)?;
        let mut control = Control::new(&set, &found, pods, cx);
        let outcome = control.run(cache, cx);
        if let Some(delay) = control.look_again {
            work.add_after(key.clone(), delay, cx);
        }
        let tally = control.tally;
        status::write(&set, &tally, cx)?;
        outcome?;
        truncate(&set, &found, &|revision| in_use.contains(revision), cx)
    }
}

impl StatefulSetController {
    fn on_pod(
        &mut self,
        change: &Change,
        pod: &Arc<Pod>,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) {
        let space = namespace(&pod.metadata);
        let pod_name = name(&pod.metadata);
        let owner = apps_owner(&pod.metadata, "StatefulSet");
        let is_gone = change.change_type == ChangeType::Deleted;
        let is_orphan = k8s::controller_of(&pod.metadata).is_none();
        if is_gone || !is_orphan {
            if let Some(orphans) = self.orphans.get_mut(space) {
                orphans.remove(pod_name);
            }
        } else if self.orphans.entry(space.to_owned()).or_default().insert(pod_name.to_owned()) {
            for set in cache.list_in::<StatefulSet>(space).filter(|set| is_member(set, pod)) {
                work.add(Key::new(space, name(&set.metadata)), cx);
            }
        }
        let previous = change.previous.as_ref().map(Obj::meta);
        let old_owner = previous.and_then(|meta| apps_owner(meta, "StatefulSet"));
        for (named, stays) in [(old_owner, false), (owner, !is_gone)] {
            let Some(named) = named else { continue };
            let names = self.pods.entry(named.uid.clone()).or_default();
            if stays {
                names.insert(pod_name.to_owned());
            } else {
                names.remove(pod_name);
            }
            work.add(Key::new(space, &*named.name), cx);
        }
    }

    /// The pods of a set: adopts orphans that match, releases owned ones that no longer do.
    fn claim(
        &mut self,
        set: &StatefulSet,
        cache: &Objects,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<Arc<Pod>>, Status> {
        let space = namespace(&set.metadata);
        let is_alive = set.metadata.deletion_timestamp.is_none();
        let mut claimed = Vec::new();
        for pod_name in self.pods.get(uid(&set.metadata)).into_iter().flatten() {
            let Some(pod) = cache.get::<Pod>(space, pod_name) else { continue };
            if is_member(set, pod) {
                claimed.push(Arc::clone(pod));
            } else if is_alive && !k8s::is_terminating(pod) {
                cx.api.patch::<Pod>(Part::Main, space, pod_name, |pod| {
                    if let Some(owners) = &mut pod.metadata.owner_references {
                        owners.retain(|owner| owner.uid != uid(&set.metadata));
                    }
                })?;
            }
        }
        let orphans = self.orphans.get(space).into_iter().flatten();
        for pod_name in orphans.filter(|_| is_alive) {
            let Some(pod) = cache.get::<Pod>(space, pod_name) else { continue };
            if is_member(set, pod) && !k8s::is_terminating(pod) {
                let owner = controller_ref(cx.api, set);
                let adopted = cx.api.patch::<Pod>(Part::Main, space, pod_name, |pod| {
                    pod.metadata.owner_references.get_or_insert_default().push(owner);
                })?;
                claimed.extend(adopted);
            }
        }
        Ok(claimed)
    }
}

/// Whether the set selects the pod and the pod has one of its names.
fn is_member(set: &StatefulSet, pod: &Pod) -> bool {
    let none = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
    k8s::matches_selector(&set.spec.selector, labels)
        && ordinal(name(&pod.metadata), name(&set.metadata)).is_some()
}
