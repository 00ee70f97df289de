//! Which ReplicaSet is the new one, and the making of it
//! (`deployment/sync.go:getNewReplicaSet`, `deployment_util.go:FindNewReplicaSet`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::k8s;
use crate::sim::api::events::{self, Note};
use crate::sim::api::{Objects, Status};
use crate::sim::context::Cx;

use super::super::owned::{controller_ref, name, namespace, uid};
use super::arithmetic::{
    DESIRED_REPLICAS, MAX_REPLICAS, max_total, new_set_size, replicas, size, sort_by_age, total,
};
use super::conditions::{self, condition, has_deadline};
use super::controller::{COMPONENT, Rollout};
use super::template::{self, equal_ignoring_hash};

/// The revision a ReplicaSet or Deployment stands for.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier revisions of a ReplicaSet that was rolled back to.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotations of the Deployment that its ReplicaSets do not get (`annotationsToSkip`).
const SKIPPED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];

/// Splits the ReplicaSets of a Deployment into the new one (the oldest with its template) and the others.
pub fn split(
    mut sets: Vec<Arc<ReplicaSet>>,
    mut same: impl FnMut(&ReplicaSet) -> bool,
) -> (Option<Arc<ReplicaSet>>, Vec<Arc<ReplicaSet>>) {
    sort_by_age(&mut sets);
    let new = sets.iter().position(|set| same(set)).map(|idx| sets.remove(idx));
    (new, sets)
}

/// Whether `set` was made from the template `d` has now.
pub fn has_template_of(set: &ReplicaSet, d: &Deployment) -> bool {
    let theirs = set.spec.template.as_ref();
    theirs.is_some_and(|theirs| equal_ignoring_hash(theirs, &d.spec.template))
}

/// The revision of a ReplicaSet; 0 when it has none.
pub fn revision(set: &ReplicaSet) -> i64 {
    let annotations = set.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(REVISION)).and_then(|r| r.parse().ok()).unwrap_or(0)
}

impl Rollout {
    /// Brings the new ReplicaSet's annotations and the Deployment's revision up to date; creates the
    /// ReplicaSet when `create` is set and there is none.
    pub fn sync_revision(
        &mut self,
        create: bool,
        cache: &Objects,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let new_revision = self.old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
        match self.new.clone() {
            Some(set) => self.sync_existing(&set, new_revision, cx),
            None if create => self.create_new_set(new_revision, cache, cx),
            None => Ok(()),
        }
    }

    fn sync_existing(
        &mut self,
        set: &Arc<ReplicaSet>,
        new_revision: i64,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let mut copy = ReplicaSet::clone(set);
        annotate(&self.d, &mut copy, new_revision);
        let min_ready = self.d.spec.min_ready_seconds;
        if copy.spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
            copy.spec.min_ready_seconds = min_ready;
        }
        if copy != **set {
            self.new = Some(cx.api.update(copy)?);
            return Ok(());
        }
        let shown = set.metadata.annotations.as_ref().and_then(|a| a.get(REVISION)).cloned();
        let mut changed = self.show_revision(shown.unwrap_or_default());
        let status = self.d.status.get_or_insert_default();
        let unseen = conditions::find(status, "Progressing").is_none();
        if unseen && has_deadline(&self.d) {
            let message = format!("Found new replica set \"{}\"", name(&set.metadata));
            self.progressing("True", ("FoundNewReplicaSet", message), cx);
            changed = true;
        }
        if changed { self.write_status(cx) } else { Ok(()) }
    }

    fn create_new_set(
        &mut self,
        new_revision: i64,
        cache: &Objects,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let set = self.new_set(new_revision, cx);
        let set_name = name(&set.metadata).to_owned();
        let n_replicas = size(&set);
        let created = match cx.api.create(set) {
            Ok(created) => {
                if n_replicas > 0 {
                    let message = format!("Scaled up replica set {set_name} to {n_replicas}");
                    events::record(
                        cx.api,
                        &self.d,
                        Note::normal(COMPONENT, "ScalingReplicaSet", message),
                    );
                }
                let message = format!("Created new replica set \"{set_name}\"");
                if has_deadline(&self.d) {
                    self.progressing("True", ("NewReplicaSetCreated", message), cx);
                }
                created
            }
            Err(status) if status.reason == "AlreadyExists" => {
                self.take_existing(&set_name, status, cache, cx)?
            }
            Err(status) => return self.creation_failed(&set_name, status, cx),
        };
        self.new = Some(created);
        self.show_revision(new_revision.to_string());
        self.write_status(cx)
    }

    /// The name is taken: by our own set that the cache did not show, or by a foreign one.
    fn take_existing(
        &mut self,
        set_name: &str,
        refused: Status,
        cache: &Objects,
        cx: &mut Cx<'_>,
    ) -> Result<Arc<ReplicaSet>, Status> {
        let space = namespace(&self.d.metadata);
        let Some(existing) = cache.get::<ReplicaSet>(space, set_name) else { return Err(refused) };
        let owner = k8s::controller_of(&existing.metadata);
        let is_ours = owner.is_some_and(|owner| owner.uid == uid(&self.d.metadata));
        if is_ours && has_template_of(existing, &self.d) {
            return Ok(Arc::clone(existing));
        }
        let status = self.d.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.write_status(cx)?;
        Err(refused)
    }

    fn creation_failed(
        &mut self,
        set_name: &str,
        refused: Status,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let message =
            format!("Failed to create new replica set \"{set_name}\": {}", refused.message);
        if has_deadline(&self.d) {
            self.progressing("False", ("ReplicaSetCreateError", message.clone()), cx);
            self.write_status(cx)?;
        }
        let note = Note::warning(COMPONENT, "ReplicaSetCreateError", message);
        events::record(cx.api, &self.d, note);
        Err(refused)
    }

    fn new_set(&self, new_revision: i64, cx: &Cx<'_>) -> ReplicaSet {
        let d = &self.d;
        let spec = d.spec.clone();
        let collisions = d.status.as_ref().and_then(|s| s.collision_count);
        let hash = template::hash(&spec.template, collisions);
        let template = template::with_hash(&spec.template, &hash);
        let mut selector: LabelSelector = spec.selector;
        template::label(&mut selector.match_labels, &hash);
        let mut set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", name(&d.metadata))),
                namespace: d.metadata.namespace.clone(),
                labels: template.metadata.as_ref().and_then(|m| m.labels.clone()),
                owner_references: Some(vec![controller_ref(cx.api, d)]),
                ..ObjectMeta::default()
            },
            spec: ReplicaSetSpec {
                replicas: Some(new_set_size(d, 0, total(&self.old, size))),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            },
            status: None,
        };
        annotate(d, &mut set, new_revision);
        annotate_replicas(d, &mut set);
        set
    }

    /// Copies the revision to the Deployment; whether that changed it.
    fn show_revision(&mut self, revision: String) -> bool {
        let annotations = self.d.metadata.annotations.get_or_insert_default();
        if annotations.get(REVISION) == Some(&revision) {
            return false;
        }
        annotations.insert(REVISION.to_owned(), revision);
        true
    }

    /// Sets the Progressing condition.
    pub fn progressing(&mut self, status: &str, reason: (&str, String), cx: &Cx<'_>) {
        let new = condition("Progressing", status, reason, cx.now);
        conditions::set(self.d.status.get_or_insert_default(), new);
    }
}

/// The Deployment's annotations and the revision (`SetNewReplicaSetAnnotations`).
fn annotate(d: &Deployment, set: &mut ReplicaSet, new_revision: i64) {
    let had_revision = set.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(REVISION));
    let old_revision = revision(set);
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (key, value) in d.metadata.annotations.iter().flatten() {
        if !SKIPPED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    if old_revision < new_revision {
        annotations.insert(REVISION.to_owned(), new_revision.to_string());
        if had_revision {
            let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
            if !history.is_empty() {
                history.push(',');
            }
            history.push_str(&old_revision.to_string());
        }
    }
}

/// The numbers later proportional scaling starts from (`SetReplicasAnnotations`).
pub fn annotate_replicas(d: &Deployment, set: &mut ReplicaSet) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED_REPLICAS.to_owned(), replicas(d).to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), max_total(d).to_string());
}
