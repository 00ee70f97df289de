//! Taking the stack away: in reverse order, only what is ours, until nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::base::{ObjectRef, secs};
use crate::engine::host::LEASE_LABEL;
use crate::stack::Manifest;
use crate::wait::{self, Deadline, Scope};

use super::super::stop::Stop;
use super::snapshot::{claim_ref, pods_of, selects_pods};
use super::{Ownership, SharedCluster};

/// Everything that was deleted is gone.
const REMOVED: Deadline = Deadline::new(
    secs(300),
    "pods end within their grace, volumes are unmounted, then the namespace is emptied",
);
/// Grace of pods that nobody is connected to; not zero, which would not wait for the kubelet.
const NO_CLIENTS_GRACE_S: u32 = 1;
/// Volumes of deleted claims are gone.
const VOLUMES_REMOVED: Deadline =
    Deadline::new(secs(90), "the provisioner deletes the data of one volume after the other");
/// A volume object whose data the provisioner did not delete.
const VOLUME_OBJECTS_REMOVED: Deadline =
    Deadline::new(secs(30), "no finalizer but that of a claim, which is gone");

/// How much is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// What a new stack needs gone. File systems and pools stay: an operator takes minutes to make
    /// them, and will not let them go while there is anything in them.
    ForTheNext,
    /// Everything.
    All,
}

/// An object that is being deleted.
struct Going {
    object: ObjectRef,
    uid: String,
    api: Api<DynamicObject>,
}

impl SharedCluster {
    /// Deletes the stack and waits until it is gone, with its pods and volumes.
    ///
    /// # Errors
    /// What is left, and what holds it.
    pub(super) async fn remove(&self, extent: Extent) -> Result<(), Stop> {
        let volumes = self.release_volumes().await?;
        let mut going = Vec::new();
        let mut last = Vec::new();
        let reversed = self.request.stack.objects().iter().rev();
        let (workloads, others): (Vec<_>, Vec<_>) = reversed.partition(|m| selects_pods(m));
        for manifest in workloads {
            going.extend(self.delete(manifest).await?);
        }
        // Now: the garbage collector, which takes what they leave, grants pods all of their grace.
        self.end_soon(&self.pods_of_ours().await?).await?;
        for manifest in others {
            if extent == Extent::ForTheNext && self.outlives_a_rebuild(manifest) {
                continue;
            }
            // Provisioners read the class while they delete a volume of it.
            if manifest.object_ref.kind == "StorageClass" {
                last.push(manifest);
            } else {
                going.extend(self.delete(manifest).await?);
            }
        }
        for claim in self.our_claims().await? {
            let api: Api<PersistentVolumeClaim> =
                Api::namespaced(self.client.clone(), &claim.namespace().unwrap_or_default());
            ignore_missing(api.delete(&claim.name_any(), &DeleteParams::default()).await)?;
        }
        for found in self.left_over(&BTreeSet::new()).await? {
            self.delete_found(&found).await?;
        }
        wait::until_ok("the stack is gone", REMOVED, || self.nothing_left(&going)).await?;
        self.await_volumes(&volumes).await?;
        let mut classes = Vec::new();
        for manifest in last {
            classes.extend(self.delete(manifest).await?);
        }
        wait::until_ok("storage classes are gone", VOLUME_OBJECTS_REMOVED, || {
            self.nothing_left(&classes)
        })
        .await?;
        Ok(())
    }

    /// Ends pods without the grace that they need while they have clients.
    async fn end_soon(&self, pods: impl IntoIterator<Item = &Arc<Pod>>) -> Result<(), Stop> {
        let ends = pods.into_iter().map(|pod| {
            let namespace = pod.namespace().unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
            let params = DeleteParams::default()
                .grace_period(NO_CLIENTS_GRACE_S)
                .preconditions(Preconditions { uid: pod.uid(), resource_version: None });
            async move { ignore_missing(api.delete(&pod.name_any(), &params).await) }
        });
        try_join_all(ends).await.map(drop)
    }

    /// Shortens the grace of the front's replicas that end already (no effect on a kubelet before
    /// 1.22, which finishes a kill as it began). Other pods keep theirs: a database has data to close.
    pub(super) async fn hasten_ends(&self) -> Result<(), Stop> {
        let front = self.target.as_ref().map(|target| target.front.workload.reference());
        let Some(front) = front.and_then(|front| self.request.stack.manifest(&front)) else {
            return Ok(());
        };
        let pods = self.pods_of_ours().await?;
        let mut ending = pods_of(front, &pods);
        ending.retain(|pod| {
            let grace_s = pod.metadata.deletion_grace_period_seconds;
            grace_s.is_some_and(|grace_s| grace_s > i64::from(NO_CLIENTS_GRACE_S))
        });
        self.end_soon(ending).await
    }

    /// Pods in the stack's namespaces that end with it.
    async fn pods_of_ours(&self) -> Result<Vec<Arc<Pod>>, Stop> {
        let mut pods = self.pods().await?;
        pods.retain(|pod| {
            self.options.ownership == Ownership::Made
                || self.has_made(&pod.namespace().unwrap_or_default())
        });
        Ok(pods)
    }

    /// Custom objects and definitions outside the namespaces where the stack runs, and the
    /// namespaces that hold them.
    fn outlives_a_rebuild(&self, manifest: &Manifest) -> bool {
        let lasting = |manifest: &Manifest| {
            let at_home = self.homes.contains(&manifest.object_ref.namespace);
            manifest.object_ref.kind == "CustomResourceDefinition"
                || (manifest.is_custom() && !at_home)
        };
        let holds = |other: &Manifest| {
            manifest.object_ref.kind == "Namespace"
                && other.object_ref.namespace == manifest.object_ref.name
        };
        lasting(manifest) || self.request.stack.objects().iter().any(|o| lasting(o) && holds(o))
    }

    /// Deletes the object of `manifest` if it is there and ours.
    async fn delete(&self, manifest: &Manifest) -> Result<Option<Going>, Stop> {
        let Some(now) = self.read(manifest).await? else { return Ok(None) };
        if self.options.ownership == Ownership::Borrowed && !self.is_ours(&now) {
            // It would be applied over, labelled and deleted with the next stack.
            return Err(Stop::errored(format!(
                "{} was made anew by somebody else during the run: it stays",
                manifest.object_ref
            )));
        }
        let api = self.request.stack.api_of(manifest, &self.client).await?;
        let uid = now.metadata.uid.unwrap_or_default();
        let params = DeleteParams::background()
            .preconditions(Preconditions { uid: Some(uid.clone()), resource_version: None });
        ignore_missing(api.delete(&manifest.object_ref.name, &params).await)?;
        Ok(Some(Going { object: manifest.object_ref.clone(), uid, api }))
    }

    /// Claims of the stack and its StatefulSets.
    async fn our_claims(&self) -> Result<Vec<Arc<PersistentVolumeClaim>>, Stop> {
        let mut claims = Vec::new();
        for namespace in &self.homes {
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
            claims.extend(Scope::all(api).list().await?);
        }
        let of_sets: BTreeSet<_> =
            self.claims_of_sets().await?.iter().filter_map(|claim| claim.uid()).collect();
        claims.retain(|claim| {
            let reference = claim_ref(claim);
            let named = self.request.stack.manifest(&reference).is_some();
            let made = self.has_made(&reference.namespace);
            let labelled = self.is_ours(&**claim);
            let uid = claim.uid().unwrap_or_default();
            match self.options.ownership {
                Ownership::Made => {
                    (named || made || of_sets.contains(&uid)) && !self.was_there_before(&uid)
                }
                Ownership::Borrowed => made || labelled,
            }
        });
        Ok(claims)
    }

    /// Lets the provisioner delete the data of our claims' volumes together with them.
    async fn release_volumes(&self) -> Result<BTreeMap<String, String>, Stop> {
        let claims: BTreeSet<_> =
            self.our_claims().await?.iter().filter_map(|claim| claim.uid()).collect();
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        let mut volumes = BTreeMap::new();
        for volume in Scope::all(api.clone()).list().await? {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let Some(claim) = claim else { continue };
            let bound = claim.uid.as_ref().is_some_and(|uid| claims.contains(uid));
            // A claim that a scenario deleted has left its volume behind.
            let left = self.has_made(claim.namespace.as_deref().unwrap_or_default())
                && !self.was_there_before(&volume.uid().unwrap_or_default());
            if !bound && !left || !self.may_be_deleted(&volume) {
                continue;
            }
            let patch = Patch::Merge(json!({
                "metadata": {"labels": { LEASE_LABEL: self.options.lease }},
                "spec": {"persistentVolumeReclaimPolicy": "Delete"},
            }));
            ignore_missing(api.patch(&volume.name_any(), &PatchParams::default(), &patch).await)?;
            volumes.insert(volume.name_any(), volume.uid().unwrap_or_default());
        }
        Ok(volumes)
    }

    /// Whether a volume holds nothing but what was written for this run. In a borrowed cluster that is
    /// so if it was provisioned since.
    fn may_be_deleted(&self, volume: &PersistentVolume) -> bool {
        self.options.ownership == Ownership::Made
            || (was_provisioned(volume)
                && !self.was_there_before(&volume.uid().unwrap_or_default()))
    }

    async fn await_volumes(&self, volumes: &BTreeMap<String, String>) -> Result<(), Stop> {
        if volumes.is_empty() {
            return Ok(());
        }
        let scope = Scope::all(Api::<PersistentVolume>::all(self.client.clone()));
        let uids: Vec<String> = volumes.values().cloned().collect();
        let gone = wait::none_of("volumes of the stack", uids.clone());
        if wait::until(&scope, &gone, VOLUMES_REMOVED).await.is_ok() {
            return Ok(());
        }
        // Nobody provisions them, or the provisioner is at a loss: the object at least must go.
        for volume in scope.list().await? {
            let uid = volume.uid().unwrap_or_default();
            if uids.contains(&uid) {
                let params = DeleteParams::default()
                    .preconditions(Preconditions { uid: Some(uid), resource_version: None });
                ignore_missing(scope.api().delete(&volume.name_any(), &params).await)?;
            }
        }
        wait::until(&scope, &gone, VOLUME_OBJECTS_REMOVED).await?;
        Ok(())
    }

    /// Whether everything in `going` is gone and no pod of the stack is left.
    async fn nothing_left(&self, going: &[Going]) -> Result<(), String> {
        let read = going.iter().map(|going| async move {
            let now = going.api.get_opt(&going.object.name).await;
            let now = now.map_err(|error| error.to_string())?;
            let left = now.filter(|now| now.metadata.uid.as_deref() == Some(going.uid.as_str()));
            Ok::<_, String>(left.map(|now| held(&going.object, &now)))
        });
        let mut left: Vec<String> = try_join_all(read).await?.into_iter().flatten().collect();
        for pod in self.pods_of_ours().await.map_err(|stop| stop.message)? {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            let name = pod.name_any();
            left.push(format!("Pod {name} on {} still ends", node.unwrap_or("no node")));
        }
        if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
    }
}

/// Whether a provisioner made the volume, for the claim that it is bound to: of others the data is
/// somebody's.
pub(in crate::suite) fn was_provisioned(volume: &PersistentVolume) -> bool {
    volume.annotations().contains_key("pv.kubernetes.io/provisioned-by")
}

/// An object that does not go, and what holds it.
fn held(object: &ObjectRef, now: &DynamicObject) -> String {
    match now.finalizers() {
        [] => format!("{object} is still there"),
        finalizers => format!("{object} is held by the finalizers {}", finalizers.join(", ")),
    }
}

fn ignore_missing<T>(result: Result<T, kube::Error>) -> Result<(), Stop> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
