//! Status, conditions and the progress deadline (`deployment/sync.go`, `progress.go`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetCondition,
};

use crate::base::{SimTime, secs};
use crate::sim::api::Status;
use crate::sim::context::Cx;

use super::super::owned::{name, nonzero};
use super::arithmetic::{actual, available, max_unavailable, replicas, size, total};
use super::conditions::{self, condition, deadline_seconds, find, has_deadline};
use super::controller::Rollout;

/// DeploymentReplicaSetTerminatingReplicas is on from this minor (semantics 3.6).
const TERMINATING_SHOWN_SINCE: u8 = 35;
/// The reason of a rollout that is done.
const DONE: &str = "NewReplicaSetAvailable";
/// The reason of a rollout that took too long.
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

impl Rollout {
    /// Status while scaling or paused (`syncDeploymentStatus`).
    pub fn sync_status(&mut self, cx: &mut Cx<'_>) -> Result<(), Status> {
        let status = self.calculate(cx);
        self.set_status(status, cx)
    }

    /// Status of a rollout with its progress (`syncRolloutStatus`).
    pub fn sync_rollout_status(&mut self, cx: &mut Cx<'_>) -> Result<(), Status> {
        let mut status = self.calculate(cx);
        let old = self.d.status.clone().unwrap_or_default();
        if has_deadline(&self.d) {
            self.judge_progress(&old, &mut status, cx);
        } else {
            conditions::remove(&mut status, "Progressing");
        }
        match self.replica_failure(cx) {
            Some(failure) => conditions::set(&mut status, failure),
            None => conditions::remove(&mut status, "ReplicaFailure"),
        }
        if status == old {
            self.requeue_if_stuck(&status, cx);
            return Ok(());
        }
        self.set_status(status, cx)
    }

    fn judge_progress(
        &self,
        old: &DeploymentStatus,
        status: &mut DeploymentStatus,
        cx: &mut Cx<'_>,
    ) {
        let current = find(old, "Progressing").cloned();
        let is_done = status.replicas == status.updated_replicas
            && current.as_ref().is_some_and(|c| c.reason.as_deref() == Some(DONE));
        if is_done {
            return;
        }
        let subject = match &self.new {
            Some(set) => format!("ReplicaSet \"{}\"", name(&set.metadata)),
            None => format!("Deployment \"{}\"", name(&self.d.metadata)),
        };
        let set = |status: &mut DeploymentStatus, truth, reason, message| {
            conditions::set(status, condition("Progressing", truth, (reason, message), cx.now));
        };
        if is_complete(&self.d, status) {
            set(status, "True", DONE, format!("{subject} has successfully progressed."));
        } else if has_progressed(old, status) {
            let reason = ("ReplicaSetUpdated", format!("{subject} is progressing."));
            let mut new = condition("Progressing", "True", reason, cx.now);
            // Replaced even when nothing else changed: the deadline counts from the last progress.
            if let Some(current) = current {
                if current.status.as_deref() == Some("True") {
                    new.last_transition_time = current.last_transition_time;
                }
                conditions::remove(status, "Progressing");
            }
            conditions::set(status, new);
        } else if has_timed_out(&self.d, status, cx.now) {
            set(status, "False", TIMED_OUT, format!("{subject} has timed out progressing."));
        }
    }

    /// `calculateStatus`.
    fn calculate(&self, cx: &Cx<'_>) -> DeploymentStatus {
        let d = &self.d;
        let all = self.all();
        let ready = |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.ready_replicas);
        let n_available = total(&all, available);
        let old = d.status.as_ref();
        let terminating = cx.api.profile.at_least(TERMINATING_SHOWN_SINCE).then(|| {
            let of = |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.terminating_replicas);
            total(&all, |set| of(set).unwrap_or(0))
        });
        let mut status = DeploymentStatus {
            observed_generation: d.metadata.generation,
            replicas: nonzero(total(&all, actual)),
            updated_replicas: nonzero(self.new.as_deref().map_or(0, actual)),
            ready_replicas: nonzero(total(&all, |set| ready(set).unwrap_or(0))),
            available_replicas: nonzero(n_available),
            unavailable_replicas: nonzero((total(&all, size) - n_available).max(0)),
            terminating_replicas: terminating,
            collision_count: old.and_then(|s| s.collision_count),
            conditions: old.and_then(|s| s.conditions.clone()),
        };
        let enough = n_available >= replicas(d) - max_unavailable(d);
        let (truth, reason, verb) = if enough {
            ("True", "MinimumReplicasAvailable", "has")
        } else {
            ("False", "MinimumReplicasUnavailable", "does not have")
        };
        let message = format!("Deployment {verb} minimum availability.");
        conditions::set(&mut status, condition("Available", truth, (reason, message), cx.now));
        status
    }

    /// The failure a ReplicaSet reports, the new one's first (`getReplicaFailures`).
    fn replica_failure(&self, cx: &Cx<'_>) -> Option<DeploymentCondition> {
        let failure = |set: &Arc<ReplicaSet>| -> Option<ReplicaSetCondition> {
            let found = set.status.as_ref()?.conditions.as_ref()?.iter();
            found.clone().find(|c| c.type_.as_deref() == Some("ReplicaFailure")).cloned()
        };
        let failure = self.new.iter().chain(&self.old).find_map(failure)?;
        let mut new = condition(
            "ReplicaFailure",
            failure.status.as_deref().unwrap_or("True"),
            (&failure.reason.unwrap_or_default(), failure.message.unwrap_or_default()),
            cx.now,
        );
        new.last_transition_time = failure.last_transition_time;
        Some(new)
    }

    fn set_status(&mut self, status: DeploymentStatus, cx: &mut Cx<'_>) -> Result<(), Status> {
        if self.d.status.as_ref() == Some(&status) {
            return Ok(());
        }
        self.d.status = Some(status);
        self.write_status(cx)
    }

    /// Writes status (and the revision annotation) of the Deployment as it was seen.
    pub fn write_status(&mut self, cx: &mut Cx<'_>) -> Result<(), Status> {
        self.d = Deployment::clone(&*cx.api.update_status(self.d.clone())?);
        Ok(())
    }

    /// Looks again when the deadline will have passed (`requeueStuckDeployment`).
    fn requeue_if_stuck(&mut self, status: &DeploymentStatus, cx: &Cx<'_>) {
        let Some(current) = find(status, "Progressing").filter(|_| has_deadline(&self.d)) else {
            return;
        };
        if is_complete(&self.d, status) || current.reason.as_deref() == Some(TIMED_OUT) {
            return;
        }
        let due = deadline_of(&self.d, current);
        self.look_again = Some(match due.since(cx.now) {
            left if left < secs(1) => Duration::from_millis(5),
            left => left + secs(1),
        });
    }
}

/// Updated, alive and available as wished, and observed (`DeploymentComplete`).
pub fn is_complete(d: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = replicas(d);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation >= d.metadata.generation
}

/// `DeploymentProgressing`.
fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |count: Option<i32>| count.unwrap_or(0);
    let n_old = |status: &DeploymentStatus| n(status.replicas) - n(status.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || n_old(new) < n_old(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

/// `DeploymentTimedOut`: a rollout that was once done cannot time out.
fn has_timed_out(d: &Deployment, status: &DeploymentStatus, now: SimTime) -> bool {
    let Some(current) = find(status, "Progressing") else { return false };
    match current.reason.as_deref() {
        Some(DONE) => false,
        Some(TIMED_OUT) => true,
        _ => deadline_of(d, current) < now,
    }
}

/// When the deadline passes: it counts from the condition's last update.
fn deadline_of(d: &Deployment, progressing: &DeploymentCondition) -> SimTime {
    let updated = progressing.last_update_time.as_ref();
    let from = updated.map_or(SimTime::ZERO, |time| SimTime::from_timestamp(time.0));
    from + secs(u64::try_from(deadline_seconds(d).unwrap_or(0)).unwrap_or(0))
}
