//! The status of a ReplicaSet (`replica_set_utils.go:calculateStatus`, `updateReplicaSetStatus`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::sim::api::Status;
use crate::sim::context::Cx;
use crate::sim::profile::Profile;

use super::super::owned::{name, namespace, nonzero};
use super::counters::Counts;

/// DeploymentReplicaSetTerminatingReplicas is on from this minor (semantics 3.6).
const TERMINATING_SHOWN_SINCE: u8 = 35;

/// Writes the status if it has changed; a conflict is retried once on the fresh object.
pub fn write(
    set: &ReplicaSet,
    counts: Counts,
    failure: Option<&Status>,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let status = calculate(set, counts, failure, cx);
    if set.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let wanted = ReplicaSet { status: Some(status), ..set.clone() };
    let Err(refused) = cx.api.update_status(wanted.clone()) else { return Ok(()) };
    let fresh = cx.api.get::<ReplicaSet>(namespace(&set.metadata), name(&set.metadata));
    match fresh.map(Arc::clone) {
        Some(fresh) => cx
            .api
            .update_status(ReplicaSet { status: wanted.status, ..ReplicaSet::clone(&fresh) })
            .map(|_| ()),
        None => Err(refused),
    }
}

fn calculate(
    set: &ReplicaSet,
    counts: Counts,
    failure: Option<&Status>,
    cx: &Cx<'_>,
) -> ReplicaSetStatus {
    let old = set.status.as_ref();
    let mut conditions = old.and_then(|s| s.conditions.clone()).unwrap_or_default();
    let is_failure = |c: &ReplicaSetCondition| c.type_.as_deref() == Some("ReplicaFailure");
    let known = conditions.iter().any(is_failure);
    match failure {
        Some(status) if !known => {
            let wanted = set.spec.replicas.unwrap_or(1);
            let reason = if counts.active < wanted { "FailedCreate" } else { "FailedDelete" };
            conditions.push(ReplicaSetCondition {
                type_: Some("ReplicaFailure".into()),
                status: Some("True".into()),
                reason: Some(reason.into()),
                message: Some(status.message.clone()),
                last_transition_time: Some(Time(cx.now.timestamp())),
            });
        }
        None if known => conditions.retain(|c| !is_failure(c)),
        _ => {}
    }
    ReplicaSetStatus {
        replicas: counts.active,
        fully_labeled_replicas: nonzero(counts.labelled),
        ready_replicas: nonzero(counts.ready),
        available_replicas: nonzero(counts.available),
        terminating_replicas: terminating(counts, cx.api.profile),
        observed_generation: set.metadata.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    }
}

fn terminating(counts: Counts, profile: Profile) -> Option<i32> {
    profile.at_least(TERMINATING_SHOWN_SINCE).then_some(counts.terminating)
}
