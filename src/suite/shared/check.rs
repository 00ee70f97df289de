//! The check between two trials: is the stack in the cluster as it was when it was first ready?

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::base::{ObjectRef, secs};
use crate::k8s::{has_finished, is_pod_active, is_pod_ready, is_terminating};
use crate::stack::Manifest;
use crate::wait::{self, Deadline};

use super::super::scenario::{Aspect, Scenario};
use super::super::stop::Stop;
use super::essence::{essence, first_difference, way_back};
use super::objects::Found;
use super::snapshot::{Snapshot, pods_of, selects_pods};
use super::{Ownership, SharedCluster};

/// What a trial set in motion has come to rest.
const SETTLED: Deadline = Deadline::new(
    secs(120),
    "pods end within their grace of 60 s and the kubelet's removal lag; a rebuild takes as long",
);
/// Proxies follow an object that was put right: ingress-nginx within 4.3 s, kube-proxy within 1.2 s.
const FOLLOWED: Duration = secs(5);
/// Waiting longer than this for an autoscaler is slower than to rebuild the stack.
const REBUILD_TAKES: Duration = secs(100);

/// Something that is not as it was.
#[derive(Clone, Debug)]
pub(super) enum Difference {
    /// An object of the stack is missing.
    Gone(ObjectRef),
    /// An object of the stack is another one of that name.
    Replaced(ObjectRef),
    /// Its pod template differs at this field.
    Template(ObjectRef, String),
    /// It differs at this field.
    Changed(ObjectRef, String),
    /// An object that the stack did not make.
    Extra(Box<Found>),
    /// The autoscaler holds more replicas than at the start, and for how long at most.
    Scaled { workload: ObjectRef, replicas: i32, within: Option<Duration> },
    /// The pods of a workload run on fewer nodes than at the start.
    Crowded { workload: ObjectRef, n_nodes: usize, n_before: usize },
    /// Something is under way.
    Unsettled(String),
}

/// What to do about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Put it right.
    Mend,
    /// It passes.
    Wait,
    /// Only a new stack will do.
    Rebuild,
}

impl Difference {
    pub(super) fn remedy(&self) -> Remedy {
        match self {
            Difference::Changed(..) | Difference::Extra(_) => Remedy::Mend,
            Difference::Unsettled(_) => Remedy::Wait,
            Difference::Scaled { within: Some(within), .. } if *within <= REBUILD_TAKES => {
                Remedy::Wait
            }
            _ => Remedy::Rebuild,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Gone(object) => write!(f, "{object} is gone"),
            Difference::Replaced(object) => write!(f, "{object} was replaced"),
            Difference::Template(object, at) | Difference::Changed(object, at) => {
                write!(f, "{object} was changed at {at}")
            }
            Difference::Extra(found) => write!(f, "{} is left over", found.object),
            Difference::Scaled { workload, replicas, within } => {
                write!(f, "{workload} is held at {replicas} replicas ")?;
                match within {
                    Some(within) => write!(f, "for up to {} s", within.as_secs()),
                    None => f.write_str("for ever"),
                }
            }
            Difference::Crowded { workload, n_nodes, n_before } => {
                write!(f, "the pods of {workload} run on {n_nodes} nodes, not on {n_before}")
            }
            Difference::Unsettled(what) => f.write_str(what),
        }
    }
}

/// What the check came to.
pub(super) enum Checked {
    /// The stack is as it was, after these were mended.
    AsApplied(Vec<String>),
    /// It is not, and a rebuild is the way.
    Rebuild(String),
}

impl SharedCluster {
    /// Proves that the stack is as in `snapshot`, after mending what is cheap to mend.
    ///
    /// # Errors
    /// The cluster could not be read.
    pub(super) async fn check(
        &self,
        snapshot: &Snapshot,
        scenario: &Scenario,
    ) -> Result<Checked, Stop> {
        let found = self.differences(snapshot, scenario, true).await?;
        if let Some(hopeless) = found.iter().find(|d| d.remedy() == Remedy::Rebuild) {
            return Ok(Checked::Rebuild(hopeless.to_string()));
        }
        let mends: Vec<_> = found.iter().filter(|d| d.remedy() == Remedy::Mend).collect();
        if let Err(trouble) = self.mend(snapshot, &mends).await {
            return Ok(Checked::Rebuild(trouble.message));
        }
        if mends.iter().any(|mend| matches!(mend, Difference::Changed(..))) {
            tokio::time::sleep(FOLLOWED).await;
        }
        // Lists of every kind are long; they are read again only where something was deleted.
        let extras = mends.iter().any(|mend| matches!(mend, Difference::Extra(_)));
        let settled = wait::until_ok("the stack is as it was applied", SETTLED, || async {
            self.hasten_ends().await.map_err(|stop| stop.message)?;
            let left = self.differences(snapshot, scenario, extras).await;
            let left = left.map_err(|stop| stop.message)?;
            if let Some(hopeless) = left.iter().find(|d| d.remedy() == Remedy::Rebuild) {
                return Ok(Err(hopeless.to_string()));
            }
            match left.first() {
                None => Ok(Ok(())),
                Some(first) => Err(first.to_string()),
            }
        });
        Ok(match settled.await {
            Ok(Ok(())) => Checked::AsApplied(mends.iter().map(ToString::to_string).collect()),
            Ok(Err(hopeless)) => Checked::Rebuild(hopeless),
            Err(error) => Checked::Rebuild(error.unmet),
        })
    }

    /// All differences from `snapshot` that matter to `scenario`; left-over objects only if `extras`.
    async fn differences(
        &self,
        snapshot: &Snapshot,
        scenario: &Scenario,
        extras: bool,
    ) -> Result<Vec<Difference>, Stop> {
        let mut found = Vec::new();
        for manifest in self.request.stack.objects() {
            found.extend(self.object_difference(snapshot, manifest).await?);
        }
        let claims = self.claims_of_sets().await?;
        for (claim, uid) in &snapshot.claims {
            match claims.iter().find(|now| now.name_any() == claim.name) {
                None => found.push(Difference::Gone(claim.clone())),
                Some(now) if now.uid().as_ref() != Some(uid) => {
                    found.push(Difference::Replaced(claim.clone()));
                }
                Some(_) => {}
            }
        }
        if extras {
            let known = snapshot.claims.values().cloned().collect();
            let left = self.left_over(&known).await?;
            found.extend(left.into_iter().map(|left| Difference::Extra(Box::new(left))));
        }
        found.extend(self.autoscaler_difference().await?);
        found.extend(self.pod_differences(snapshot, scenario).await?);
        Ok(found)
    }

    async fn object_difference(
        &self,
        snapshot: &Snapshot,
        manifest: &Manifest,
    ) -> Result<Option<Difference>, Stop> {
        let object = manifest.object_ref.clone();
        let Some(recorded) = snapshot.objects.get(&object) else { return Ok(None) };
        let Some(now) = self.read(manifest).await? else {
            return Ok(Some(Difference::Gone(object)));
        };
        if now.metadata.uid.as_deref() != Some(recorded.uid.as_str())
            || now.metadata.deletion_timestamp.is_some()
        {
            return Ok(Some(Difference::Replaced(object)));
        }
        let essence = essence(manifest, &now, self.is_autoscaled(&object));
        Ok(first_difference(&recorded.essence, &essence).map(|at| {
            if at.starts_with("/spec/template") {
                Difference::Template(object, at)
            } else {
                Difference::Changed(object, at)
            }
        }))
    }

    async fn autoscaler_difference(&self) -> Result<Option<Difference>, Stop> {
        let Some(target) = &self.target else { return Ok(None) };
        let Some(autoscaler) = &target.front.autoscaler else { return Ok(None) };
        let workload = &target.front.workload;
        let api: Api<HorizontalPodAutoscaler> =
            Api::namespaced(self.client.clone(), &workload.namespace);
        let now = api.get_opt(&autoscaler.name).await?;
        let desired = now.and_then(|now| now.status).map_or(0, |status| status.desired_replicas);
        let manifest = self.request.stack.manifest(&workload.reference());
        let scaled = match manifest {
            Some(manifest) => self.read(manifest).await?,
            None => None,
        };
        let has = scaled.and_then(|scaled| scaled.data.pointer("/spec/replicas")?.as_i64());
        let replicas = desired.max(has.and_then(|has| i32::try_from(has).ok()).unwrap_or(0));
        Ok((replicas > target.wish()).then(|| Difference::Scaled {
            workload: workload.reference(),
            replicas,
            within: autoscaler.scale_in(),
        }))
    }

    async fn pod_differences(
        &self,
        snapshot: &Snapshot,
        scenario: &Scenario,
    ) -> Result<Vec<Difference>, Stop> {
        let pods = self.pods().await?;
        let mut found = Vec::new();
        for pod in &pods {
            if is_terminating(pod) {
                found.push(Difference::Unsettled(format!("Pod {} still ends", pod.name_any())));
            } else if !is_pod_ready(pod) && !has_finished(pod) {
                found.push(Difference::Unsettled(format!("Pod {} is not Ready", pod.name_any())));
            }
        }
        for manifest in self.request.stack.objects().iter().filter(|m| selects_pods(m)) {
            let n = pods_of(manifest, &pods).iter().filter(|pod| is_pod_active(pod)).count();
            let wanted = self.wanted(manifest);
            if n != wanted {
                let object = &manifest.object_ref;
                found.push(Difference::Unsettled(format!("{object} has {n} pods, not {wanted}")));
            }
        }
        if found.is_empty() && scenario.aspects.contains(&Aspect::Scheduling) {
            let crowded = self.crowded(snapshot, &pods).into_iter();
            found.extend(crowded.map(|(workload, n_nodes, n_before)| Difference::Crowded {
                workload,
                n_nodes,
                n_before,
            }));
        }
        Ok(found)
    }

    /// How many pods a workload has at rest: what its manifest says, or its autoscaler's minimum.
    fn wanted(&self, manifest: &Manifest) -> usize {
        let autoscaler = self.target.as_ref().and_then(|target| target.front.autoscaler.as_ref());
        match autoscaler {
            Some(autoscaler) if self.is_autoscaled(&manifest.object_ref) => {
                usize::try_from(autoscaler.min).unwrap_or(0)
            }
            _ => {
                let replicas = manifest.value.pointer("/spec/replicas").and_then(Value::as_u64);
                usize::try_from(replicas.unwrap_or(1)).unwrap_or(usize::MAX)
            }
        }
    }

    /// Objects in the namespaces where the stack runs that were neither there before nor made for
    /// it. Of the claims that StatefulSets make, those with the uids in `claims` are.
    ///
    /// # Errors
    /// What the API answered.
    pub(super) async fn left_over(&self, claims: &BTreeSet<String>) -> Result<Vec<Found>, Stop> {
        let mut left = Vec::new();
        for namespace in &self.homes {
            // What others put into a namespace of theirs is no business of ours.
            if self.options.ownership == Ownership::Borrowed && !self.has_made(namespace) {
                continue;
            }
            for found in self.catalogue.objects_in(&self.client, namespace).await? {
                let uid = found.uid();
                let ours =
                    claims.contains(&uid) || self.request.stack.manifest(&found.object).is_some();
                if !ours && !self.was_there_before(&uid) {
                    left.push(found);
                }
            }
        }
        Ok(left)
    }

    async fn mend(&self, snapshot: &Snapshot, mends: &[&Difference]) -> Result<(), Stop> {
        for mend in mends {
            if let Difference::Extra(found) = mend {
                self.delete_found(found).await?;
            }
        }
        let changed = mends.iter().filter_map(|mend| match mend {
            Difference::Changed(object, _) => Some(object),
            _ => None,
        });
        for object in changed {
            let Some(manifest) = self.request.stack.manifest(object) else { continue };
            self.request.stack.apply_one(manifest, &self.client).await?;
            // Applying takes no field away that somebody else has set.
            let (Some(recorded), Some(now)) =
                (snapshot.objects.get(object), self.read(manifest).await?)
            else {
                continue;
            };
            let now = essence(manifest, &now, self.is_autoscaled(object));
            let patch = way_back(&recorded.essence, &now);
            if !patch.0.is_empty() {
                let api = self.request.stack.api_of(manifest, &self.client).await?;
                let patch = Patch::Json::<()>(patch);
                api.patch(&object.name, &PatchParams::default(), &patch).await?;
            }
        }
        Ok(())
    }

    /// Deletes an object that was listed; that it is gone already is no error.
    ///
    /// # Errors
    /// What the API answered.
    pub(super) async fn delete_found(&self, found: &Found) -> Result<(), Stop> {
        let params = DeleteParams::background().preconditions(kube::api::Preconditions {
            uid: Some(found.uid()),
            resource_version: None,
        });
        match found.api(&self.client).delete(&found.object.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
