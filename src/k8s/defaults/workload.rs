//! Defaults of workloads (`pkg/apis/apps/v1/defaults.go`, `pkg/apis/batch/v1/defaults.go`).

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{pod_spec, set, storage};
use crate::k8s::Profile;

/// maxSurge and maxUnavailable of a Deployment (`SetDefaults_Deployment`).
const ROLLING_UPDATE_SHARE: &str = "25%";
/// Old ReplicaSets or revisions kept.
const REVISION_HISTORY_LIMIT: i32 = 10;
/// Seconds without progress after which a rollout counts as failed.
const PROGRESS_DEADLINE_SECONDS: i32 = 600;
/// Retries of a Job before it fails (`SetDefaults_Job`).
const JOB_BACKOFF_LIMIT: i32 = 6;

/// `SetDefaults_Deployment`.
pub fn deployment(deployment: &mut Deployment) {
    let spec = &mut deployment.spec;
    spec.replicas.get_or_insert(1);
    let strategy = spec.strategy.get_or_insert_default();
    set(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling = strategy.rolling_update.get_or_insert_default();
        let share = || IntOrString::String(ROLLING_UPDATE_SHARE.to_owned());
        rolling.max_surge.get_or_insert_with(share);
        rolling.max_unavailable.get_or_insert_with(share);
    }
    spec.revision_history_limit.get_or_insert(REVISION_HISTORY_LIMIT);
    spec.progress_deadline_seconds.get_or_insert(PROGRESS_DEADLINE_SECONDS);
    template(&mut spec.template);
}

/// `SetDefaults_ReplicaSet`.
pub fn replica_set(set: &mut ReplicaSet) {
    set.spec.replicas.get_or_insert(1);
    if let Some(pods) = &mut set.spec.template {
        template(pods);
    }
}

/// `SetDefaults_StatefulSet`.
pub fn stateful_set(stateful_set: &mut StatefulSet, profile: Profile) {
    let spec = &mut stateful_set.spec;
    spec.replicas.get_or_insert(1);
    set(&mut spec.pod_management_policy, "OrderedReady");
    spec.revision_history_limit.get_or_insert(REVISION_HISTORY_LIMIT);
    let strategy = spec.update_strategy.get_or_insert_default();
    if strategy.type_.as_deref().unwrap_or("").is_empty() {
        strategy.type_ = Some("RollingUpdate".to_owned());
        // A type that is written out leaves rollingUpdate alone, which acts as partition 0.
        strategy.rolling_update.get_or_insert_default().partition.get_or_insert(0);
    }
    if let Some(rolling) = &mut strategy.rolling_update {
        rolling.partition.get_or_insert(0);
    }
    if profile.at_least(27) {
        let policy = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        set(&mut policy.when_deleted, "Retain");
        set(&mut policy.when_scaled, "Retain");
    }
    for claim in spec.volume_claim_templates.iter_mut().flatten() {
        storage::persistent_volume_claim(claim);
    }
    template(&mut spec.template);
}

/// `SetDefaults_DaemonSet`.
pub fn daemon_set(daemon_set: &mut DaemonSet, profile: Profile) {
    let spec = &mut daemon_set.spec;
    let strategy = spec.update_strategy.get_or_insert_default();
    set(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling = strategy.rolling_update.get_or_insert_default();
        rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        if profile.at_least(22) {
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
    }
    spec.revision_history_limit.get_or_insert(REVISION_HISTORY_LIMIT);
    template(&mut spec.template);
}

/// `SetDefaults_Job`.
pub fn job(job: &mut Job, profile: Profile) {
    job_spec(job.spec.get_or_insert_default(), profile);
}

fn job_spec(spec: &mut JobSpec, profile: Profile) {
    if spec.completions.is_none() && spec.parallelism.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    spec.backoff_limit.get_or_insert(JOB_BACKOFF_LIMIT);
    if profile.at_least(22) {
        set(&mut spec.completion_mode, "NonIndexed");
        spec.suspend.get_or_insert(false);
    }
    template(&mut spec.template);
}

/// `SetDefaults_CronJob`.
pub fn cron_job(cron_job: &mut CronJob) {
    let spec = &mut cron_job.spec;
    set(&mut spec.concurrency_policy, "Allow");
    spec.suspend.get_or_insert(false);
    spec.successful_jobs_history_limit.get_or_insert(3);
    spec.failed_jobs_history_limit.get_or_insert(1);
    if let Some(job) = &mut spec.job_template.spec {
        // The template's own completions and parallelism are left to the Job.
        template(&mut job.template);
    }
}

fn template(template: &mut PodTemplateSpec) {
    pod_spec(template.spec.get_or_insert_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_rolling_update_gets_the_other_half() {
        let text = r#"{"spec":{"selector":{},"template":{},
            "strategy":{"rollingUpdate":{"maxSurge":1}}}}"#;
        let mut once: Deployment = serde_json::from_str(text).expect("a deployment");
        deployment(&mut once);
        let strategy = once.spec.strategy.as_ref().expect("a strategy");
        assert_eq!(strategy.type_.as_deref(), Some("RollingUpdate"));
        let rolling = strategy.rolling_update.as_ref().expect("rolling update");
        assert_eq!(rolling.max_surge, Some(IntOrString::Int(1)));
        assert_eq!(rolling.max_unavailable, Some(IntOrString::String("25%".into())));
        let mut twice = once.clone();
        deployment(&mut twice);
        assert_eq!(once, twice);
    }

    #[test]
    fn recreate_has_no_rolling_update() {
        let text = r#"{"spec":{"selector":{},"template":{},"strategy":{"type":"Recreate"}}}"#;
        let mut object: Deployment = serde_json::from_str(text).expect("a deployment");
        deployment(&mut object);
        assert_eq!(object.spec.strategy.and_then(|strategy| strategy.rolling_update), None);
        assert_eq!(object.spec.progress_deadline_seconds, Some(600));
    }
}
