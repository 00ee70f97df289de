//! ControllerRevisions: the templates a set has had
//! (`stateful_set_control.go:getStatefulSetRevisions`, `controller/history`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use crate::k8s;
use crate::sim::api::{DeleteOptions, Kind, Objects, Status};
use crate::sim::context::Cx;

use super::super::deployment::hash_bytes;
use super::super::owned::{controller_ref, name, namespace, uid};

/// The hash in a revision's labels.
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// The revisions of one sync.
#[derive(Debug)]
pub struct Revisions {
    /// All, oldest first.
    pub all: Vec<Arc<ControllerRevision>>,
    /// The one the pods below the partition have.
    pub current: Arc<ControllerRevision>,
    /// The one of the template now.
    pub update: Arc<ControllerRevision>,
}

/// Finds the current and the update revision; a template not seen before gets a new one, one seen
/// before is renumbered.
pub fn revisions(set: &StatefulSet, cache: &Objects, cx: &mut Cx<'_>) -> Result<Revisions, Status> {
    let space = namespace(&set.metadata);
    let is_ours = |revision: &&Arc<ControllerRevision>| {
        k8s::controller_of(&revision.metadata).is_some_and(|owner| owner.uid == uid(&set.metadata))
    };
    let mut all: Vec<Arc<ControllerRevision>> =
        cache.list_in::<ControllerRevision>(space).filter(is_ours).map(Arc::clone).collect();
    all.sort_by_key(|revision| revision.revision);
    let next = all.last().map_or(1, |last| number(last) + 1);
    let data = data_of(set);
    let equal = all.iter().rposition(|revision| revision.data.0 == data);
    let update = match equal {
        Some(idx) if idx + 1 == all.len() => Arc::clone(&all[idx]),
        Some(idx) => {
            let mut renumbered = ControllerRevision::clone(&all[idx]);
            renumbered.revision = Some(next);
            cx.api.update(renumbered)?
        }
        None => create(set, data, next, cx)?,
    };
    let shown = set.status.as_ref().and_then(|s| s.current_revision.as_deref()).unwrap_or("");
    let current = all.iter().find(|revision| name(&revision.metadata) == shown);
    let current = current.map_or_else(|| Arc::clone(&update), Arc::clone);
    Ok(Revisions { all, current, update })
}

fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or(0)
}

/// Only the template counts (`getPatch`).
fn data_of(set: &StatefulSet) -> Value {
    let mut template = serde_json::to_value(&set.spec.template).unwrap_or_default();
    if let Some(map) = template.as_object_mut() {
        map.insert("$patch".to_owned(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

/// The template a revision stands for (`ApplyRevision`).
pub fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

fn create(
    set: &StatefulSet,
    data: Value,
    number: i64,
    cx: &mut Cx<'_>,
) -> Result<Arc<ControllerRevision>, Status> {
    let collisions = set.status.as_ref().and_then(|s| s.collision_count).filter(|n| *n > 0);
    let hash = hash_bytes(data.to_string().as_bytes(), collisions);
    let template = set.spec.template.metadata.as_ref();
    let mut labels = template.and_then(|m| m.labels.clone()).unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let revision_name = format!("{}-{hash}", name(&set.metadata));
    let revision = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(revision_name.clone()),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_ref(cx.api, set)]),
            ..ObjectMeta::default()
        },
        data: RawExtension(data.clone()),
        revision: Some(number),
    };
    let refused = match cx.api.create(revision) {
        Ok(created) => return Ok(created),
        Err(refused) => refused,
    };
    // The cache may not show our own revision yet: the live one serves if it has the same template.
    let live = cx.api.get::<ControllerRevision>(namespace(&set.metadata), &revision_name);
    match live.filter(|live| refused.reason == "AlreadyExists" && live.data.0 == data) {
        Some(live) => Ok(Arc::clone(live)),
        None => Err(refused),
    }
}

/// Deletes the oldest revisions no pod has, beyond revisionHistoryLimit (`truncateHistory`).
pub fn truncate(
    set: &StatefulSet,
    revisions: &Revisions,
    in_use: &dyn Fn(&str) -> bool,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let limit = set.spec.revision_history_limit.unwrap_or(10);
    let is_old = |revision: &&Arc<ControllerRevision>| {
        let revision_name = name(&revision.metadata);
        revision_name != name(&revisions.current.metadata)
            && revision_name != name(&revisions.update.metadata)
            && !in_use(revision_name)
    };
    let old: Vec<&Arc<ControllerRevision>> = revisions.all.iter().filter(is_old).collect();
    let n_surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    for revision in &old[..n_surplus] {
        let (space, revision_name) = (namespace(&set.metadata), name(&revision.metadata));
        let options = DeleteOptions::default();
        match cx.api.delete(Kind::CONTROLLER_REVISION, space, revision_name, &options) {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(())
}
