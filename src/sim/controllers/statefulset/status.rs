//! The status of a set (`updateStatefulSetStatus`, `completeRollingUpdate`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};

use crate::sim::api::Status;
use crate::sim::context::Cx;

use super::super::owned::{name, namespace, nonzero};
use super::control::Tally;

/// availableReplicas exists from this minor (semantics 3.8).
const AVAILABLE_SINCE: u8 = 22;

/// Writes the status if it has changed; a conflict is retried once on the fresh object.
pub fn write(set: &StatefulSet, tally: &Tally, cx: &mut Cx<'_>) -> Result<(), Status> {
    let old = set.status.as_ref();
    let is_complete =
        !is_on_delete(set) && tally.updated == tally.replicas && tally.ready == tally.replicas;
    let (current, current_revision) = if is_complete {
        (tally.updated, &tally.update_revision)
    } else {
        (tally.current, &tally.current_revision)
    };
    let available = cx.api.profile.at_least(AVAILABLE_SINCE).then_some(tally.available);
    let status = StatefulSetStatus {
        replicas: tally.replicas,
        ready_replicas: nonzero(tally.ready),
        current_replicas: nonzero(current),
        updated_replicas: nonzero(tally.updated),
        available_replicas: available,
        current_revision: Some(current_revision.clone()),
        update_revision: Some(tally.update_revision.clone()),
        observed_generation: set.metadata.generation,
        collision_count: Some(old.and_then(|s| s.collision_count).unwrap_or(0)),
        conditions: old.and_then(|s| s.conditions.clone()),
    };
    if old == Some(&status) {
        return Ok(());
    }
    let wanted = StatefulSet { status: Some(status), ..set.clone() };
    let Err(refused) = cx.api.update_status(wanted.clone()) else { return Ok(()) };
    let fresh = cx.api.get::<StatefulSet>(namespace(&set.metadata), name(&set.metadata));
    match fresh.map(Arc::clone) {
        Some(fresh) => cx
            .api
            .update_status(StatefulSet { status: wanted.status, ..StatefulSet::clone(&fresh) })
            .map(|_| ()),
        None => Err(refused),
    }
}

/// Whether pods are only updated when someone deletes them.
pub fn is_on_delete(set: &StatefulSet) -> bool {
    let strategy = set.spec.update_strategy.as_ref();
    strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete")
}
