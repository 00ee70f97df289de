//! The conditions of a Deployment (`deployment_util.go:SetDeploymentCondition`).

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::base::SimTime;

/// Whether progress is timed: a deadline is set and is not "never".
pub fn has_deadline(d: &Deployment) -> bool {
    deadline_seconds(d).is_some_and(|seconds| seconds != i32::MAX)
}

/// spec.progressDeadlineSeconds.
pub fn deadline_seconds(d: &Deployment) -> Option<i32> {
    d.spec.progress_deadline_seconds
}

/// The condition of a type.
pub fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|c| c.type_.as_deref() == Some(type_))
}

/// A condition that holds from now.
pub fn condition(
    type_: &str,
    status: &str,
    (reason, message): (&str, String),
    now: SimTime,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(type_.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now.timestamp())),
        last_transition_time: Some(Time(now.timestamp())),
    }
}

/// Sets a condition; one with the same status and reason is left as it is.
pub fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(current) = find(status, new.type_.as_deref().unwrap_or("")) {
        if current.status == new.status && current.reason == new.reason {
            return;
        }
        if current.status == new.status {
            new.last_transition_time = current.last_transition_time.clone();
        }
    }
    let type_ = new.type_.clone().unwrap_or_default();
    remove(status, &type_);
    status.conditions.get_or_insert_default().push(new);
}

/// Removes the condition of a type.
pub fn remove(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_.as_deref() != Some(type_));
        if conditions.is_empty() {
            status.conditions = None;
        }
    }
}
