//! The volume binder: claims and volumes find each other
//! (`ctl/volume/persistentvolume/pv_controller.go`).

mod claims;
mod matching;
mod protection;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::base::secs;
use crate::k8s::{claim_phase, pod_claims};
use crate::sim::api::{Change, ChangeType, Obj, Objects, Status};
use crate::sim::context::Cx;

use super::{Controller, Key, Work};

/// Unbound claims and volumes are looked at again (`DefaultControllerResyncPeriod`).
const RESYNC: Duration = secs(15);
/// Its event source (`pv_controller_base.go`).
const SOURCE: &str = "persistentvolume-controller";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The controller: binding, and protection of what is in use. A key without namespace is a volume.
#[derive(Debug, Default)]
pub(super) struct VolumeBinder {
    /// Names of the pods that mention a claim.
    users: BTreeMap<Key, BTreeSet<String>>,
}

impl Controller for VolumeBinder {
    fn name(&self) -> &'static str {
        "volume-binder"
    }

    fn on_change(&mut self, change: &Change, cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        match &change.object {
            Obj::Pod(pod) => self.on_pod(change, pod, work, cx),
            Obj::PersistentVolumeClaim(claim) => {
                let namespace = claim.metadata.namespace.as_deref().unwrap_or("");
                let name = claim.metadata.name.as_deref().unwrap_or("");
                if change.change_type == ChangeType::Deleted {
                    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.clone());
                    if let Some(volume) = volume.filter(|volume| !volume.is_empty()) {
                        work.add(Key::new("", volume), cx);
                    }
                } else {
                    work.add(Key::new(namespace, name), cx);
                }
            }
            Obj::PersistentVolume(volume) => {
                if change.change_type == ChangeType::Deleted {
                    let reserved = volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref());
                    if let Some(key) =
                        reserved.and_then(|r| Some(Key::new(r.namespace.clone()?, r.name.clone()?)))
                    {
                        work.add(key, cx);
                    }
                } else {
                    work.add(Key::new("", volume.metadata.name.as_deref().unwrap_or("")), cx);
                }
            }
            // A new class may be what pending claims wait for; they would find it at their resync.
            Obj::StorageClass(_) if change.change_type == ChangeType::Added => {
                for claim in cache.list::<PersistentVolumeClaim>() {
                    if claim_phase(claim) == "Pending" {
                        let meta = &claim.metadata;
                        let namespace = meta.namespace.as_deref().unwrap_or("");
                        let name = meta.name.as_deref().unwrap_or("");
                        work.add_after(Key::new(namespace, name), RESYNC, cx);
                    }
                }
            }
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
        if key.namespace.is_empty() {
            let Some(volume) = cache.get::<PersistentVolume>("", &key.name).cloned() else {
                return Ok(());
            };
            protection::sync_volume(&volume, cx)?;
            if volumes::sync(&volume, cache, cx)? {
                let reserved = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
                if let Some(claim) = reserved {
                    let space = claim.namespace.clone().unwrap_or_default();
                    work.add(Key::new(space, claim.name.clone().unwrap_or_default()), cx);
                }
            }
            return Ok(());
        }
        let found = cache.get::<PersistentVolumeClaim>(&key.namespace, &key.name);
        let Some(claim) = found.cloned() else { return Ok(()) };
        let users = self.pods_of(key, cache);
        let is_used = users.iter().any(|pod| is_placed(pod));
        protection::sync_claim(&claim, is_used, cx)?;
        if claim.metadata.deletion_timestamp.is_some() && !is_used {
            return Ok(());
        }
        if claim_phase(&claim) == "Pending" {
            work.add_after(key.clone(), RESYNC, cx);
        }
        claims::sync(&claim, &users, cache, cx)
    }
}

impl VolumeBinder {
    /// Keeps `users`, and wakes the claims of a pod that is gone.
    fn on_pod(&mut self, change: &Change, pod: &Arc<Pod>, work: &mut Work, cx: &mut Cx<'_>) {
        if change.change_type == ChangeType::Modified {
            return;
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        let name = pod.metadata.name.as_deref().unwrap_or("");
        for (_, claim) in pod_claims(pod) {
            let key = Key::new(namespace, claim);
            if change.change_type == ChangeType::Added {
                self.users.entry(key).or_default().insert(name.to_owned());
                continue;
            }
            if let Some(pods) = self.users.get_mut(&key) {
                pods.remove(name);
                if pods.is_empty() {
                    self.users.remove(&key);
                }
            }
            work.add(key, cx);
        }
    }

    fn pods_of(&self, claim: &Key, cache: &Objects) -> Vec<Arc<Pod>> {
        let names = self.users.get(claim).into_iter().flatten();
        names.filter_map(|name| cache.get::<Pod>(&claim.namespace, name).cloned()).collect()
    }
}

/// Whether the pod was given a node: from then on it holds its claims.
fn is_placed(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    !node.unwrap_or("").is_empty()
}

fn has_annotation(meta: &ObjectMeta, name: &str) -> bool {
    meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(name))
}

fn annotate(meta: &mut ObjectMeta, name: &str, value: &str) {
    meta.annotations.get_or_insert_default().insert(name.to_owned(), value.to_owned());
}
