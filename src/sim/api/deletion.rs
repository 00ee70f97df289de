//! Deletion: grace for pods, finalizers, propagation
//! (`registry/rest/delete.go:BeforeDelete`, `generic/registry/store.go:Delete`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::object::{Kind, Obj};
use super::status::Status;
use super::store::{Api, ChangeType, DeleteOptions, Deletion, Propagation};

pub(super) fn delete(
    api: &mut Api,
    kind: Kind,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deletion, Status> {
    let resource = api.resource_name(kind);
    let Some(stored) = api.object(kind, namespace, name).cloned() else {
        return Err(Status::not_found(&resource, name));
    };
    if let Some(uid) = &options.uid
        && stored.meta().uid.as_ref() != Some(uid)
    {
        return Err(Status::other_uid(&resource, name, uid, &stored));
    }
    let mut object = stored.clone();
    add_propagation_finalizer(&mut object, options.propagation);
    let grace = match &stored {
        Obj::Pod(pod) => pod_grace(pod, options),
        _ => 0,
    };
    if let Obj::Namespace(namespace) = &mut object {
        // registry/core/namespace/storage/storage.go:Delete.
        let status = Arc::make_mut(namespace).status.get_or_insert_default();
        status.phase = Some("Terminating".to_owned());
    }
    if grace == 0 && !has_finalizers(&object) {
        if matches!(stored, Obj::Pod(_)) && stored.meta().deletion_grace_period_seconds != Some(0) {
            // Grace 0 is written first, then the object goes (updateForGracefulDeletionAndFinalizers).
            mark(api, &mut object, 0);
            object = api.commit(ChangeType::Modified, object, Some(stored));
        }
        return Ok(Deletion::Removed(api.remove(object)));
    }
    if let (Some(_), Some(old)) =
        (&stored.meta().deletion_timestamp, stored.meta().deletion_grace_period_seconds)
        && old <= grace
        && object == stored
    {
        return Ok(Deletion::Marked(stored));
    }
    mark(api, &mut object, grace);
    Ok(Deletion::Marked(api.commit(ChangeType::Modified, object, Some(stored))))
}

/// Whether something must still happen before the object may go: finalizers of its metadata, and
/// for a namespace those of its spec.
pub(super) fn has_finalizers(object: &Obj) -> bool {
    let of_spec = match object {
        Obj::Namespace(namespace) => namespace.spec.as_ref().and_then(|s| s.finalizers.as_ref()),
        _ => None,
    };
    object.meta().finalizers.iter().chain(of_spec).any(|finalizers| !finalizers.is_empty())
}

/// Writes deletionTimestamp (a time in the future) and grace; a second deletion may only shorten.
fn mark(api: &Api, object: &mut Obj, grace: i64) {
    let now = api.now;
    let meta = object.meta_mut();
    let seconds = u64::try_from(grace).unwrap_or(0);
    if meta.deletion_timestamp.is_none() && meta.generation.is_some_and(|g| g > 0) {
        meta.generation = meta.generation.map(|g| g + 1);
    }
    let due = match (&meta.deletion_timestamp, meta.deletion_grace_period_seconds) {
        (Some(old), Some(old_grace)) => {
            let shift = jiff::SignedDuration::from_secs(grace - old_grace);
            old.0.checked_add(shift).unwrap_or(old.0)
        }
        _ => (now + Duration::from_secs(seconds)).timestamp(),
    };
    meta.deletion_timestamp = Some(Time(due));
    meta.deletion_grace_period_seconds = Some(grace);
}

/// `registry/core/pod/strategy.go:CheckGracefulDelete`.
fn pod_grace(pod: &k8s_openapi::api::core::v1::Pod, options: &DeleteOptions) -> i64 {
    let spec = pod.spec.as_ref();
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("");
    let unscheduled = spec.and_then(|s| s.node_name.as_deref()).unwrap_or("").is_empty();
    if unscheduled || phase == "Succeeded" || phase == "Failed" {
        return 0;
    }
    let wanted = options
        .grace_period_seconds
        .or_else(|| spec.and_then(|s| s.termination_grace_period_seconds))
        .unwrap_or(30);
    let wanted = if wanted < 0 { 1 } else { wanted };
    match pod.metadata.deletion_grace_period_seconds {
        Some(old) if pod.metadata.deletion_timestamp.is_some() => wanted.min(old),
        _ => wanted,
    }
}

fn add_propagation_finalizer(object: &mut Obj, propagation: Option<Propagation>) {
    let finalizer = match propagation {
        Some(Propagation::Foreground) => "foregroundDeletion",
        Some(Propagation::Orphan) => "orphan",
        _ => return,
    };
    let finalizers = object.meta_mut().finalizers.get_or_insert_default();
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
}
