//! The control loop: what wakes it, and the order of one sync (`syncDeployment`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::k8s;
use crate::sim::api::events::{self, Note};
use crate::sim::api::{Change, ChangeType, Obj, Objects, Part, Status};
use crate::sim::context::Cx;

use super::super::owned::{apps_owner, controller_ref, is_finished, name, namespace, uid};
use super::super::{Backoff, Controller, Key, Work};
use super::arithmetic::is_rolling;
use super::conditions::{find, has_deadline};
use super::revision::{has_template_of, split};

/// The component in events.
pub const COMPONENT: &str = "deployment-controller";
/// A Deployment that keeps failing is left until it changes (`maxRetries`).
const MAX_RETRIES: u32 = 15;

/// The Deployment controller.
#[derive(Debug, Default)]
pub struct DeploymentController {
    /// Which ReplicaSets have a Deployment's template, by the Deployment's uid.
    verdicts: BTreeMap<String, Verdicts>,
    /// The pods of each ReplicaSet, by its uid; finished ones do not count.
    pods: BTreeMap<String, BTreeSet<String>>,
}

/// Comparing templates is dear and ReplicaSets keep theirs.
#[derive(Debug)]
struct Verdicts {
    template: PodTemplateSpec,
    same: BTreeMap<String, bool>,
}

/// One sync of one Deployment.
#[derive(Debug)]
pub struct Rollout {
    /// The Deployment as seen, with the changes this sync has made.
    pub d: Deployment,
    /// The ReplicaSet with its template.
    pub new: Option<Arc<ReplicaSet>>,
    /// Its other ReplicaSets.
    pub old: Vec<Arc<ReplicaSet>>,
    /// When to look again although nothing changes.
    pub look_again: Option<Duration>,
}

/// Which ReplicaSets still have pods.
#[derive(Debug)]
pub struct OldPods<'a>(&'a BTreeMap<String, BTreeSet<String>>);

impl OldPods<'_> {
    /// Whether the ReplicaSet with this uid has a pod that has not finished.
    pub fn exist(&self, set_uid: &str) -> bool {
        self.0.get(set_uid).is_some_and(|names| !names.is_empty())
    }
}

impl Controller for DeploymentController {
    fn name(&self) -> &'static str {
        "deployment"
    }

    fn backoff(&self) -> Backoff {
        Backoff { max_retries: Some(MAX_RETRIES), ..Backoff::DEFAULT }
    }

    fn on_change(&mut self, change: &Change, cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        match &change.object {
            Obj::Deployment(d) => {
                if change.change_type == ChangeType::Deleted {
                    self.verdicts.remove(uid(&d.metadata));
                }
                work.add(Key::new(namespace(&d.metadata), name(&d.metadata)), cx);
            }
            Obj::ReplicaSet(set) => self.on_set(change, set, cache, work, cx),
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
        let Some(seen) = cache.get::<Deployment>(&key.namespace, &key.name).map(Arc::clone) else {
            return Ok(());
        };
        if seen.spec.selector == LabelSelector::default() {
            return selects_everything(&seen, cx);
        }
        let sets = claim(&seen, cache, cx)?;
        let (new, old) = split(sets, |set| self.is_same(&seen, set));
        let d = Deployment::clone(&seen);
        let mut rollout = Rollout { d, new, old, look_again: None };
        let outcome = rollout.sync(&OldPods(&self.pods), cache, cx);
        if let Some(delay) = rollout.look_again {
            work.add_after(key.clone(), delay, cx);
        }
        outcome
    }
}

impl Rollout {
    /// The steps of a sync, in upstream's order.
    fn sync(&mut self, pods: &OldPods<'_>, cache: &Objects, cx: &mut Cx<'_>) -> Result<(), Status> {
        if self.d.metadata.deletion_timestamp.is_some() {
            self.sync_revision(false, cache, cx)?;
            return self.sync_status(cx);
        }
        self.check_paused(cx)?;
        let is_paused = self.d.spec.paused == Some(true);
        if is_paused || self.is_scaling() {
            self.sync_revision(false, cache, cx)?;
            self.scale(cx)?;
            if is_paused {
                self.clean_history(cx)?;
            }
            return self.sync_status(cx);
        }
        if is_rolling(&self.d) { self.roll(cache, cx) } else { self.recreate(pods, cache, cx) }
    }

    /// Says in the Progressing condition that the rollout is paused or goes on
    /// (`checkPausedConditions`).
    fn check_paused(&mut self, cx: &mut Cx<'_>) -> Result<(), Status> {
        if !has_deadline(&self.d) {
            return Ok(());
        }
        let status = self.d.status.as_ref();
        let reason = status.and_then(|s| find(s, "Progressing")).and_then(|c| c.reason.as_deref());
        let is_paused = self.d.spec.paused == Some(true);
        let (reason, message) = match (is_paused, reason) {
            (_, Some("ProgressDeadlineExceeded")) => return Ok(()),
            (true, reason) if reason != Some("DeploymentPaused") => {
                ("DeploymentPaused", "Deployment is paused")
            }
            (false, Some("DeploymentPaused")) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return Ok(()),
        };
        self.progressing("Unknown", (reason, message.to_owned()), cx);
        self.write_status(cx)
    }
}

impl DeploymentController {
    fn on_set(
        &mut self,
        change: &Change,
        set: &Arc<ReplicaSet>,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) {
        let space = namespace(&set.metadata);
        if change.change_type == ChangeType::Deleted {
            for verdicts in self.verdicts.values_mut() {
                verdicts.same.remove(uid(&set.metadata));
            }
            self.pods.retain(|_, names| !names.is_empty());
        }
        let owner = apps_owner(&set.metadata, "Deployment");
        let previous = change.previous.as_ref().map(Obj::meta);
        let old_owner = previous.and_then(|meta| apps_owner(meta, "Deployment"));
        if let Some(old) = old_owner
            && owner.is_none_or(|owner| owner.uid != old.uid)
        {
            work.add(Key::new(space, &*old.name), cx);
        }
        match owner {
            Some(owner) => work.add(Key::new(space, &*owner.name), cx),
            None if k8s::controller_of(&set.metadata).is_none() => {
                let none = BTreeMap::new();
                let labels = set.metadata.labels.as_ref().unwrap_or(&none);
                for d in cache.list_in::<Deployment>(space).filter(|d| selects(d, labels)) {
                    work.add(Key::new(space, name(&d.metadata)), cx);
                }
            }
            None => {}
        }
    }

    /// Pods matter to Recreate only: the last old one that goes lets the new ones start.
    fn on_pod(
        &mut self,
        change: &Change,
        pod: &Arc<Pod>,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) {
        let Some(owner) = apps_owner(&pod.metadata, "ReplicaSet") else { return };
        let gone = change.change_type == ChangeType::Deleted || is_finished(pod);
        if !gone {
            if change.change_type == ChangeType::Added {
                let names = self.pods.entry(owner.uid.clone()).or_default();
                names.insert(name(&pod.metadata).to_owned());
            }
            return;
        }
        let Some(names) = self.pods.get_mut(&owner.uid) else { return };
        let removed = names.remove(name(&pod.metadata));
        if !removed || !names.is_empty() {
            return;
        }
        let space = namespace(&pod.metadata);
        let set = cache.get::<ReplicaSet>(space, &owner.name);
        if let Some(d) = set.and_then(|set| apps_owner(&set.metadata, "Deployment"))
            && cache.get::<Deployment>(space, &d.name).is_some_and(|d| !is_rolling(d))
        {
            work.add(Key::new(space, &*d.name), cx);
        }
    }

    fn is_same(&mut self, d: &Deployment, set: &ReplicaSet) -> bool {
        let template = &d.spec.template;
        let fresh = || Verdicts { template: template.clone(), same: BTreeMap::new() };
        let verdicts = self.verdicts.entry(uid(&d.metadata).to_owned()).or_insert_with(fresh);
        if verdicts.template != *template {
            *verdicts = fresh();
        }
        let verdict = verdicts.same.entry(uid(&set.metadata).to_owned());
        *verdict.or_insert_with(|| has_template_of(set, d))
    }
}

/// A selector that selects every pod is refused (`SelectingAll`).
fn selects_everything(d: &Deployment, cx: &mut Cx<'_>) -> Result<(), Status> {
    let message = "This deployment is selecting all pods. A non-empty selector is required.";
    events::record(cx.api, d, Note::warning(COMPONENT, "SelectingAll", message));
    let mut copy = d.clone();
    copy.status.get_or_insert_default().observed_generation = d.metadata.generation;
    cx.api.update_status(copy).map(|_| ())
}

fn selects(d: &Deployment, labels: &BTreeMap<String, String>) -> bool {
    k8s::matches_selector(&d.spec.selector, labels)
}

/// The ReplicaSets of `d`: adopts orphans that match, releases owned ones that no longer do
/// (`getReplicaSetsForDeployment`).
fn claim(d: &Deployment, cache: &Objects, cx: &mut Cx<'_>) -> Result<Vec<Arc<ReplicaSet>>, Status> {
    let space = namespace(&d.metadata);
    let none = BTreeMap::new();
    let mut claimed = Vec::new();
    for set in cache.list_in::<ReplicaSet>(space) {
        let matches = selects(d, set.metadata.labels.as_ref().unwrap_or(&none));
        match k8s::controller_of(&set.metadata) {
            Some(owner) if owner.uid == uid(&d.metadata) => {
                if matches {
                    claimed.push(Arc::clone(set));
                } else if d.metadata.deletion_timestamp.is_none() {
                    cx.api.patch::<ReplicaSet>(Part::Main, space, name(&set.metadata), |set| {
                        if let Some(owners) = &mut set.metadata.owner_references {
                            owners.retain(|owner| owner.uid != uid(&d.metadata));
                        }
                    })?;
                }
            }
            None if matches
                && d.metadata.deletion_timestamp.is_none()
                && set.metadata.deletion_timestamp.is_none() =>
            {
                let owner = controller_ref(cx.api, d);
                let adopted =
                    cx.api.patch::<ReplicaSet>(Part::Main, space, name(&set.metadata), |set| {
                        set.metadata.owner_references.get_or_insert_default().push(owner);
                    })?;
                claimed.extend(adopted);
            }
            _ => {}
        }
    }
    Ok(claimed)
}
