//! The stack as it was when it was first ready: what later trials must find again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::DynamicObject;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::base::ObjectRef;
use crate::k8s::{is_pod_active, matches_selector};
use crate::stack::{Applier, Manifest};
use crate::wait::Scope;

use super::super::stop::Stop;
use super::SharedCluster;
use super::essence::essence;

/// One object of the stack.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) uid: String,
    pub(super) essence: Value,
}

/// The stack in the cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) objects: BTreeMap<ObjectRef, Recorded>,
    /// Claims that StatefulSets made, and their uids.
    pub(super) claims: BTreeMap<ObjectRef, String>,
    /// On how many nodes each workload's pods run.
    pub(super) spread: BTreeMap<ObjectRef, usize>,
}

impl SharedCluster {
    /// Reads the stack as it is, with the claims that its StatefulSets made.
    ///
    /// # Errors
    /// An object is missing, or what the API answered.
    pub(super) async fn take_snapshot(&self) -> Result<Snapshot, Stop> {
        let mut snapshot = Snapshot::default();
        for manifest in self.request.stack.objects() {
            let object = self.read(manifest).await?.ok_or_else(|| {
                Stop::errored(format!("{} vanished while it was applied", manifest.object_ref))
            })?;
            let recorded = Recorded {
                uid: object.metadata.uid.clone().unwrap_or_default(),
                essence: essence(manifest, &object, self.is_autoscaled(&manifest.object_ref)),
            };
            snapshot.objects.insert(manifest.object_ref.clone(), recorded);
        }
        for claim in self.claims_of_sets().await? {
            snapshot.claims.insert(claim_ref(&claim), claim.uid().unwrap_or_default());
        }
        snapshot.spread = self.spread(&self.pods().await?);
        Ok(snapshot)
    }

    /// The object of `manifest` in the cluster, if it is there.
    ///
    /// # Errors
    /// What the API answered.
    pub(super) async fn read(&self, manifest: &Manifest) -> Result<Option<DynamicObject>, Stop> {
        Ok(Applier::new(self.client.clone()).find(&manifest.value).await?)
    }

    /// Whether an autoscaler of the stack decides how many replicas `object` has.
    pub(super) fn is_autoscaled(&self, object: &ObjectRef) -> bool {
        self.target.as_ref().is_some_and(|target| {
            target.front.autoscaler.is_some() && target.front.workload.reference() == *object
        })
    }

    /// Claims made from the templates of the stack's StatefulSets.
    ///
    /// # Errors
    /// What the API answered.
    pub(super) async fn claims_of_sets(&self) -> Result<Vec<Arc<PersistentVolumeClaim>>, Stop> {
        let mut claims = Vec::new();
        for manifest in self.request.stack.objects() {
            claims.extend(self.claims_of(manifest).await?);
        }
        Ok(claims)
    }

    /// Claims with the names that the StatefulSet of `manifest` gives; other kinds give none.
    ///
    /// # Errors
    /// What the API answered.
    pub(super) async fn claims_of(
        &self,
        manifest: &Manifest,
    ) -> Result<Vec<Arc<PersistentVolumeClaim>>, Stop> {
        let prefixes = claim_prefixes(manifest);
        if prefixes.is_empty() {
            return Ok(Vec::new());
        }
        let namespace = &manifest.object_ref.namespace;
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let mut claims = Scope::all(api).list().await?;
        claims.retain(|claim| {
            let name = claim.name_any();
            prefixes.iter().any(|prefix| is_numbered(&name, prefix))
        });
        Ok(claims)
    }

    /// All pods in the namespaces where the stack runs that were not there before it.
    ///
    /// # Errors
    /// What the API answered.
    pub(super) async fn pods(&self) -> Result<Vec<Arc<Pod>>, Stop> {
        let mut pods = Vec::new();
        for namespace in &self.homes {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            pods.extend(Scope::all(api).list().await?);
        }
        pods.retain(|pod| !self.was_there_before(&pod.uid().unwrap_or_default()));
        Ok(pods)
    }

    fn spread(&self, pods: &[Arc<Pod>]) -> BTreeMap<ObjectRef, usize> {
        let workloads = self.request.stack.objects().iter().filter(|m| selects_pods(m));
        workloads
            .map(|manifest| {
                let own = pods_of(manifest, pods);
                let own = own.iter().filter(|pod| is_pod_active(pod));
                let nodes: BTreeSet<_> = own.filter_map(|pod| node_of(pod)).collect();
                (manifest.object_ref.clone(), nodes.len())
            })
            .collect()
    }

    /// Workloads whose pods run on fewer nodes than when `snapshot` was taken, with both numbers.
    pub(super) fn crowded(
        &self,
        snapshot: &Snapshot,
        pods: &[Arc<Pod>],
    ) -> Vec<(ObjectRef, usize, usize)> {
        let now = self.spread(pods);
        let both = now.into_iter().filter_map(|(workload, n_now)| {
            let n_before = *snapshot.spread.get(&workload)?;
            (n_now < n_before).then_some((workload, n_now, n_before))
        });
        both.collect()
    }
}

/// The name of a claim.
pub(super) fn claim_ref(claim: &PersistentVolumeClaim) -> ObjectRef {
    let namespace = claim.namespace().unwrap_or_default();
    ObjectRef::new("PersistentVolumeClaim", namespace, claim.name_any())
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Kinds that keep a number of pods.
pub(super) fn selects_pods(manifest: &Manifest) -> bool {
    matches!(manifest.object_ref.kind.as_str(), "Deployment" | "StatefulSet")
}

/// The pods that `manifest` selects.
pub(super) fn pods_of<'a>(manifest: &Manifest, pods: &'a [Arc<Pod>]) -> Vec<&'a Arc<Pod>> {
    let selector = manifest.value.pointer("/spec/selector").cloned().unwrap_or_default();
    let Ok(selector) = serde_json::from_value(selector) else { return Vec::new() };
    let fits = |pod: &&Arc<Pod>| {
        pod.namespace().as_deref() == Some(manifest.object_ref.namespace.as_str())
            && matches_selector(&selector, pod.labels())
    };
    pods.iter().filter(fits).collect()
}

/// `template-set-` of each claim template.
pub(super) fn claim_prefixes(manifest: &Manifest) -> Vec<String> {
    if manifest.object_ref.kind != "StatefulSet" {
        return Vec::new();
    }
    let templates = manifest.value.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    let names = templates
        .into_iter()
        .flatten()
        .filter_map(|template| template.pointer("/metadata/name").and_then(Value::as_str));
    names.map(|name| format!("{name}-{}-", manifest.object_ref.name)).collect()
}

/// Whether `name` is `prefix` and a number.
pub(super) fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}
