//! Workloads and budgets (`pkg/apis/apps/validation`, `pkg/apis/batch/validation`,
//! `pkg/apis/policy/validation`).

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta::{go_map, go_selector, is_empty_selector, metadata, selector};
use super::pod::{pod_template, template_metadata};
use super::{Errors, NameRule, Path, cron, quoted, storage};
use crate::k8s::{Profile, matches_selector};

/// The longest CronJob name: a Job's name adds 11 characters and may have 63.
const CRON_JOB_NAME_MAX: usize = 52;

/// CronJobTimeZone is on: servers before it drop the field.
const TIME_ZONE_SINCE: u8 = 25;

/// Pods and claims of a StatefulSet are validated with it (kubernetes PRs 131790, 132212); servers
/// before it take the set, and refuse its pods and claims once it makes them.
const STATEFUL_SET_PARTS_SINCE: u8 = 34;

/// `ValidateDeployment`.
pub fn deployment(deployment: &Deployment, profile: Profile, errors: &mut Errors) {
    metadata(&deployment.metadata, NameRule::Subdomain, true, errors);
    let root = Path::root("spec");
    let spec = &deployment.spec;
    errors.non_negative(&root.field("replicas"), spec.replicas.map(i64::from));
    selects_template(&spec.selector, &spec.template, "deployment", &root, errors);
    let template = root.field("template");
    pod_template(&spec.template, &template, profile, errors);
    only_restart(&spec.template, &template, errors);
    strategy(deployment, &root, errors);
    errors.non_negative(&root.field("minReadySeconds"), spec.min_ready_seconds.map(i64::from));
    let limit = spec.revision_history_limit.map(i64::from);
    errors.non_negative(&root.field("revisionHistoryLimit"), limit);
    if let Some(deadline) = spec.progress_deadline_seconds {
        let at = root.field("progressDeadlineSeconds");
        errors.non_negative(&at, Some(i64::from(deadline)));
        if deadline <= spec.min_ready_seconds.unwrap_or(0) {
            errors.invalid(&at, deadline, "must be greater than minReadySeconds");
        }
    }
}

/// `ValidateDeploymentStrategy`.
fn strategy(deployment: &Deployment, root: &Path<'_>, errors: &mut Errors) {
    let Some(strategy) = &deployment.spec.strategy else { return };
    let at = root.field("strategy");
    match strategy.type_.as_deref().unwrap_or("") {
        "Recreate" if strategy.rolling_update.is_some() => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.forbidden(&at.field("rollingUpdate"), why);
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let rolling = at.field("rollingUpdate");
            let Some(update) = &strategy.rolling_update else {
                errors.required(&rolling, "this should be defaulted and never be nil");
                return;
            };
            let surge = update.max_surge.as_ref();
            let unavailable = update.max_unavailable.as_ref();
            int_or_percent(unavailable, &rolling.field("maxUnavailable"), errors);
            int_or_percent(surge, &rolling.field("maxSurge"), errors);
            if is_zero(surge) && is_zero(unavailable) {
                let why = "may not be 0 when `maxSurge` is 0";
                errors.invalid(&rolling.field("maxUnavailable"), go_value(unavailable), why);
            }
            at_most_all(unavailable, &rolling.field("maxUnavailable"), errors);
        }
        other => errors.not_supported(&at.field("type"), other, &["Recreate", "RollingUpdate"]),
    }
}

/// `ValidateReplicaSet`.
pub fn replica_set(set: &ReplicaSet, profile: Profile, errors: &mut Errors) {
    metadata(&set.metadata, NameRule::Subdomain, true, errors);
    let root = Path::root("spec");
    errors.non_negative(&root.field("replicas"), set.spec.replicas.map(i64::from));
    errors.non_negative(&root.field("minReadySeconds"), set.spec.min_ready_seconds.map(i64::from));
    let Some(template) = &set.spec.template else {
        errors.required(&root.field("template"), "");
        return;
    };
    selects_template(&set.spec.selector, template, "replica set", &root, errors);
    let at = root.field("template");
    pod_template(template, &at, profile, errors);
    only_restart(template, &at, errors);
}

/// `ValidateStatefulSet`.
pub fn stateful_set(set: &StatefulSet, profile: Profile, errors: &mut Errors) {
    metadata(&set.metadata, NameRule::of("apps", "StatefulSet", profile), true, errors);
    let root = Path::root("spec");
    let spec = &set.spec;
    let policies = ["OrderedReady", "Parallel"];
    let policy = spec.pod_management_policy.as_deref();
    errors.one_of(&root.field("podManagementPolicy"), policy, &policies);
    if let Some(strategy) = &spec.update_strategy {
        let at = root.field("updateStrategy");
        let type_ = strategy.type_.as_deref();
        errors.one_of(&at.field("type"), type_, &["RollingUpdate", "OnDelete"]);
        if type_ == Some("OnDelete") && strategy.rolling_update.is_some() {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            errors.invalid(
                &at.field("rollingUpdate"),
                "apps.RollingUpdateStatefulSetStrategy",
                why,
            );
        }
        let partition = strategy.rolling_update.as_ref().and_then(|update| update.partition);
        let at = at.field("rollingUpdate");
        errors.non_negative(&at.field("partition"), partition.map(i64::from));
    }
    errors.non_negative(&root.field("replicas"), spec.replicas.map(i64::from));
    errors.non_negative(&root.field("minReadySeconds"), spec.min_ready_seconds.map(i64::from));
    selects_template(&spec.selector, &spec.template, "statefulset", &root, errors);
    let at = root.field("template");
    if !profile.at_least(STATEFUL_SET_PARTS_SINCE) {
        template_metadata(&spec.template, &at, errors);
        only_restart(&spec.template, &at, errors);
        return;
    }
    // The claims become volumes of the pods; a mount of one is no mount of an unknown volume.
    let mut template = spec.template.clone();
    if let Some(pod) = &mut template.spec {
        let claims = spec.volume_claim_templates.iter().flatten();
        let named = claims.filter_map(|claim| claim.metadata.name.clone());
        let volumes = pod.volumes.get_or_insert_default();
        for name in named {
            if !volumes.iter().any(|volume| volume.name == name) {
                let volume = k8s_openapi::api::core::v1::Volume { name, ..Default::default() };
                volumes.push(volume);
            }
        }
    }
    pod_template(&template, &at, profile, errors);
    only_restart(&spec.template, &at, errors);
    let list = root.field("volumeClaimTemplates");
    for (idx, claim) in spec.volume_claim_templates.iter().flatten().enumerate() {
        let at = list.index(idx);
        if claim.metadata.name.as_deref().unwrap_or("").is_empty() {
            errors.required(&at.field("metadata.name"), "");
        }
        if let Some(claim) = &claim.spec {
            storage::claim_spec(claim, &at.field("spec"), errors);
        }
    }
}

/// `ValidateDaemonSet`.
pub fn daemon_set(set: &DaemonSet, profile: Profile, errors: &mut Errors) {
    metadata(&set.metadata, NameRule::Subdomain, true, errors);
    let root = Path::root("spec");
    let spec = &set.spec;
    selects_template(&spec.selector, &spec.template, "daemonset", &root, errors);
    let at = root.field("template");
    pod_template(&spec.template, &at, profile, errors);
    only_restart(&spec.template, &at, errors);
    errors.non_negative(&root.field("minReadySeconds"), spec.min_ready_seconds.map(i64::from));
    let type_ = spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    let types = ["RollingUpdate", "OnDelete"];
    errors.one_of(&root.field("updateStrategy.type"), type_, &types);
}

/// `ValidateJob`. The generated selector and labels come after validation of what was written.
pub fn job(job: &Job, profile: Profile, errors: &mut Errors) {
    metadata(&job.metadata, NameRule::Subdomain, true, errors);
    if let Some(spec) = &job.spec {
        job_spec(spec, &Path::root("spec"), profile, errors);
    }
}

fn job_spec(spec: &JobSpec, path: &Path<'_>, profile: Profile, errors: &mut Errors) {
    let numbers = [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
    ];
    for (field, number) in numbers {
        errors.non_negative(&path.field(field), number);
    }
    let at = path.field("template");
    pod_template(&spec.template, &at, profile, errors);
    let policy = spec.template.spec.as_ref().and_then(|pod| pod.restart_policy.as_deref());
    if policy == Some("Always") {
        let why = "valid values: \"OnFailure\", \"Never\"";
        errors.required(&at.field("spec.restartPolicy"), why);
    }
}

/// `ValidateCronJob`.
pub fn cron_job(job: &CronJob, profile: Profile, errors: &mut Errors) {
    metadata(&job.metadata, NameRule::Subdomain, true, errors);
    let root = Path::root("spec");
    let name = job.metadata.name.as_deref().unwrap_or("");
    if name.len() > CRON_JOB_NAME_MAX {
        let why = format!("must be no more than {CRON_JOB_NAME_MAX} characters");
        errors.invalid(&Path::root("metadata").field("name"), quoted(name), &why);
    }
    schedule(job, profile, &root.field("schedule"), errors);
    if job.spec.time_zone.as_deref() == Some("") && profile.at_least(TIME_ZONE_SINCE) {
        let why = "timeZone must be nil or non-empty string";
        errors.invalid(&root.field("timeZone"), quoted(""), why);
    }
    let policy = job.spec.concurrency_policy.as_deref();
    let policies = ["Allow", "Forbid", "Replace"];
    errors.one_of(&root.field("concurrencyPolicy"), policy, &policies);
    if let Some(spec) = &job.spec.job_template.spec {
        let at = root.field("jobTemplate");
        job_spec(spec, &at.field("spec"), profile, errors);
    }
}

/// `validateScheduleFormat`.
fn schedule(job: &CronJob, profile: Profile, path: &Path<'_>, errors: &mut Errors) {
    let schedule = &job.spec.schedule;
    if schedule.is_empty() {
        errors.required(path, "");
        return;
    }
    // From 1.22 the library that reads schedules takes a time zone; from 1.29 validation does not.
    let zoned = cron::without_zone(schedule).filter(|_| profile.at_least(22));
    if let Err(why) = cron::check(zoned.unwrap_or(schedule)) {
        errors.invalid(path, quoted(schedule), &why);
    }
    if zoned.is_none() {
        return;
    }
    if profile.at_least(29) {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid(path, quoted(schedule), why);
    } else if job.spec.time_zone.is_some() {
        let why = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        errors.invalid(path, quoted(schedule), why);
    }
}

/// `ValidatePodDisruptionBudgetSpec`.
pub fn disruption_budget(budget: &PodDisruptionBudget, errors: &mut Errors) {
    metadata(&budget.metadata, NameRule::Subdomain, true, errors);
    let root = Path::root("spec");
    let Some(spec) = &budget.spec else { return };
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        errors.invalid(
            &root,
            "policy.PodDisruptionBudgetSpec",
            "minAvailable and maxUnavailable cannot be both set",
        );
    }
    let values = [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)];
    for (field, value) in values {
        int_or_percent(value.as_ref(), &root.field(field), errors);
        at_most_all(value.as_ref(), &root.field(field), errors);
    }
    if let Some(pods) = &spec.selector {
        selector(pods, &root.field("selector"), errors);
    }
    let policies = ["IfHealthyBudget", "AlwaysAllow"];
    let policy = spec.unhealthy_pod_eviction_policy.as_deref();
    errors.one_of(&root.field("unhealthyPodEvictionPolicy"), policy, &policies);
}

/// The selector is there, selects something, and selects the template.
fn selects_template(
    pods: &LabelSelector,
    template: &PodTemplateSpec,
    kind: &str,
    root: &Path<'_>,
    errors: &mut Errors,
) {
    let at = root.field("selector");
    if pods.match_labels.is_none() && pods.match_expressions.is_none() {
        errors.required(&at, "");
    } else if is_empty_selector(pods) {
        let why = format!("empty selector is invalid for {kind}");
        errors.invalid(&at, go_selector(pods), &why);
        return;
    }
    selector(pods, &at, errors);
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.as_ref());
    let none = std::collections::BTreeMap::new();
    // An absent selector selects nothing.
    if is_empty_selector(pods) || !matches_selector(pods, labels.unwrap_or(&none)) {
        let why = "`selector` does not match template `labels`";
        errors.invalid(&root.field("template.metadata.labels"), go_map(labels), why);
    }
}

/// Pods of controllers that replace them restart always.
fn only_restart(template: &PodTemplateSpec, path: &Path<'_>, errors: &mut Errors) {
    let policy = template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    errors.one_of(&path.field("spec.restartPolicy"), policy, &["Always"]);
}

/// `ValidatePositiveIntOrPercent`.
pub(super) fn int_or_percent(value: Option<&IntOrString>, path: &Path<'_>, errors: &mut Errors) {
    match value {
        Some(IntOrString::Int(number)) => errors.non_negative(path, Some(i64::from(*number))),
        Some(IntOrString::String(text)) if percent(text).is_none() => {
            let why = "a valid percent string must be a numeric string followed by an ending '%' \
                       (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            errors.invalid(path, quoted(text), why);
        }
        _ => {}
    }
}

/// `IsNotMoreThan100Percent`.
fn at_most_all(value: Option<&IntOrString>, path: &Path<'_>, errors: &mut Errors) {
    if let Some(IntOrString::String(text)) = value
        && percent(text).is_some_and(|percent| percent > 100)
    {
        errors.invalid(path, go_value(value), "must not be greater than 100%");
    }
}

fn percent(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%')?;
    let fits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { Some(digits.parse().unwrap_or(u64::MAX)) } else { None }
}

fn is_zero(value: Option<&IntOrString>) -> bool {
    match value {
        None => true,
        Some(IntOrString::Int(number)) => *number == 0,
        Some(IntOrString::String(text)) => percent(text) == Some(0),
    }
}

/// `intstr.IntOrString` in Go syntax.
fn go_value(value: Option<&IntOrString>) -> String {
    match value {
        Some(IntOrString::String(text)) => {
            format!("intstr.IntOrString{{Type:1, IntVal:0, StrVal:{text:?}}}")
        }
        Some(IntOrString::Int(number)) => {
            format!("intstr.IntOrString{{Type:0, IntVal:{number}, StrVal:\"\"}}")
        }
        None => "intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}".to_owned(),
    }
}

/// A selector that an update may not change, in Go syntax.
pub(super) fn immutable_selector(pods: &LabelSelector, old: &LabelSelector, errors: &mut Errors) {
    if pods != old {
        let root = Path::root("spec");
        errors.invalid(&root.field("selector"), go_selector(pods), "field is immutable");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_names_a_time_zone_on_the_minors_that_took_it() {
        let refusals = |minor: &str| {
            let mut job = CronJob::default();
            job.spec.schedule = "CRON_TZ=Europe/Berlin 0 3 * * *".to_owned();
            let mut errors = Errors::default();
            let profile = minor.parse().expect("a minor that is modelled");
            schedule(&job, profile, &Path::root("spec.schedule"), &mut errors);
            errors.into_vec().len()
        };
        assert_eq!(["1.21", "1.22", "1.28", "1.29"].map(refusals), [1, 0, 0, 1]);
    }
}
