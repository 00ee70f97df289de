//! The autoscaler (`pkg/apis/autoscaling/validation/validation.go`).

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler as HorizontalPodAutoscalerV1;
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, MetricSpec, MetricTarget,
};
use serde_json::Value;

use super::meta::metadata;
use super::{Errors, NameRule, Path, text};
use crate::k8s::Profile;

/// HPAScaleToZero is on (kubernetes PR 139648).
const SCALE_TO_ZERO_SINCE: u8 = 37;
/// Where autoscaling/v1 keeps metrics it has no field for (`pkg/apis/autoscaling/annotations.go`).
const METRICS_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/metrics";
/// The longest stabilisation window, in seconds.
const STABILIZATION_MAX: i32 = 3600;
/// The longest period of a policy, in seconds.
const POLICY_PERIOD_MAX: i32 = 1800;
/// The types a metric can have.
const METRIC_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

/// `ValidateHorizontalPodAutoscaler`.
pub fn autoscaler(autoscaler: &HorizontalPodAutoscaler, profile: Profile, errors: &mut Errors) {
    metadata(&autoscaler.metadata, NameRule::Subdomain, true, errors);
    let root = Path::root("spec");
    let spec = &autoscaler.spec;
    let target = &spec.scale_target_ref;
    bounds(spec.min_replicas, spec.max_replicas, profile, &root, errors);
    scale_target(&target.kind, &target.name, &root, errors);
    let list = root.field("metrics");
    for (idx, each) in spec.metrics.iter().flatten().enumerate() {
        metric(each, &list.index(idx), errors);
    }
    let types = spec.metrics.iter().flatten().map(|metric| metric.type_.as_str());
    wakes(spec.min_replicas, types, &list, errors);
    if let Some(behavior) = &spec.behavior {
        let at = root.field("behavior");
        if let Some(up) = &behavior.scale_up {
            rules(up, &at.field("scaleUp"), errors);
        }
        if let Some(down) = &behavior.scale_down {
            rules(down, &at.field("scaleDown"), errors);
        }
    }
}

/// The same of autoscaling/v1, which has a field for one metric, and an annotation for others.
pub fn autoscaler_v1(
    autoscaler: &HorizontalPodAutoscalerV1,
    profile: Profile,
    errors: &mut Errors,
) {
    metadata(&autoscaler.metadata, NameRule::Subdomain, true, errors);
    let root = Path::root("spec");
    let spec = &autoscaler.spec;
    let target = &spec.scale_target_ref;
    bounds(spec.min_replicas, spec.max_replicas, profile, &root, errors);
    scale_target(&target.kind, &target.name, &root, errors);
    let annotations = autoscaler.metadata.annotations.as_ref();
    let annotated = annotations.and_then(|all| all.get(METRICS_ANNOTATION));
    let others: Vec<Value> =
        annotated.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let types = others.iter().filter_map(|metric| metric.get("type")?.as_str());
    wakes(spec.min_replicas, types, &root.field("metrics"), errors);
    if let Some(percent) = spec.target_cpu_utilization_percentage.filter(|&percent| percent < 1) {
        let at = root.field("targetCPUUtilizationPercentage");
        errors.invalid(&at, percent, "must be greater than 0");
    }
}

fn bounds(min: Option<i32>, max: i32, profile: Profile, root: &Path<'_>, errors: &mut Errors) {
    let min = min.unwrap_or(1);
    let lowest = i32::from(!profile.at_least(SCALE_TO_ZERO_SINCE));
    if min < lowest {
        let why = format!("must be greater than or equal to {lowest}");
        errors.invalid(&root.field("minReplicas"), min, &why);
    }
    let at = root.field("maxReplicas");
    if max < 1 {
        errors.invalid(&at, max, "must be greater than 0");
    }
    if max < min {
        errors.invalid(&at, max, "must be greater than or equal to `minReplicas`");
    }
}

/// `validateMetrics`: a workload at zero is woken by a metric that needs no pods.
fn wakes<'a>(
    min: Option<i32>,
    mut types: impl Iterator<Item = &'a str>,
    list: &Path<'_>,
    errors: &mut Errors,
) {
    if min == Some(0) && !types.any(|type_| matches!(type_, "Object" | "External")) {
        let why = "must specify at least one Object or External metric to support scaling to zero \
                   replicas";
        errors.forbidden(list, why);
    }
}

/// `ValidateCrossVersionObjectReference`.
fn scale_target(kind: &str, name: &str, root: &Path<'_>, errors: &mut Errors) {
    let target = root.field("scaleTargetRef");
    for (field, value) in [("kind", kind), ("name", name)] {
        if value.is_empty() {
            errors.required(&target.field(field), "");
        } else {
            errors.refused(&target.field(field), value, text::path_segment(value));
        }
    }
}

/// `validateMetricSpec`: the source that the type names, and no other.
fn metric(metric: &MetricSpec, path: &Path<'_>, errors: &mut Errors) {
    if metric.type_.is_empty() {
        errors.required(&path.field("type"), "must specify a metric source type");
        return;
    }
    errors.one_of(&path.field("type"), Some(&metric.type_), &METRIC_TYPES);
    let sources: [(&str, &str, Option<&MetricTarget>); 5] = [
        ("Resource", "resource", metric.resource.as_ref().map(|source| &source.target)),
        ("Pods", "pods", metric.pods.as_ref().map(|source| &source.target)),
        ("Object", "object", metric.object.as_ref().map(|source| &source.target)),
        ("External", "external", metric.external.as_ref().map(|source| &source.target)),
        (
            "ContainerResource",
            "containerResource",
            metric.container_resource.as_ref().map(|source| &source.target),
        ),
    ];
    for (type_, field, target) in sources {
        let at = path.field(field);
        match target {
            None if metric.type_ == type_ => {
                let why = "must populate information for the given metric source".to_string();
                errors.required(&at, &why);
            }
            Some(_) if metric.type_ != type_ => {
                let why = "must populate the given metric source only";
                errors.forbidden(&at, why);
            }
            Some(aim) => target_of(aim, type_, &at.field("target"), errors),
            None => {}
        }
    }
    if let Some(resource) = &metric.resource
        && resource.name.is_empty()
    {
        errors.required(&path.field("resource.name"), "must specify a resource name");
    }
}

fn target_of(target: &MetricTarget, type_: &str, path: &Path<'_>, errors: &mut Errors) {
    let types = ["Utilization", "Value", "AverageValue"];
    if target.type_.is_empty() {
        errors.required(&path.field("type"), "must specify a metric target type");
    } else {
        errors.one_of(&path.field("type"), Some(&target.type_), &types);
    }
    if let Some(percent) = target.average_utilization.filter(|&percent| percent < 1) {
        errors.invalid(&path.field("averageUtilization"), percent, "must be greater than 0");
    }
    if matches!(type_, "Resource" | "ContainerResource") {
        match (target.average_utilization, &target.average_value) {
            (None, None) => {
                let why = "must set either a target raw value or a target utilization";
                errors.required(&path.field("averageUtilization"), why);
            }
            (Some(_), Some(_)) => {
                let why = "may not set both a target raw value and a target utilization";
                errors.forbidden(&path.field("averageValue"), why);
            }
            _ => {}
        }
    }
}

/// `validateScalingRules`.
fn rules(rules: &HPAScalingRules, path: &Path<'_>, errors: &mut Errors) {
    if let Some(seconds) = rules.stabilization_window_seconds {
        let at = path.field("stabilizationWindowSeconds");
        errors.non_negative(&at, Some(i64::from(seconds)));
        if seconds > STABILIZATION_MAX {
            let why = format!("must be less than or equal to {STABILIZATION_MAX}");
            errors.invalid(&at, seconds, &why);
        }
    }
    let policies = ["Disabled", "Max", "Min"];
    errors.one_of(&path.field("selectPolicy"), rules.select_policy.as_deref(), &policies);
    let list = path.field("policies");
    if rules.policies.as_ref().is_none_or(Vec::is_empty) {
        errors.required(&list, "must specify at least one Policy");
    }
    for (idx, policy) in rules.policies.iter().flatten().enumerate() {
        let at = list.index(idx);
        errors.one_of(&at.field("type"), Some(&policy.type_), &["Percent", "Pods"]);
        if policy.value <= 0 {
            errors.invalid(&at.field("value"), policy.value, "must be greater than zero");
        }
        let period = at.field("periodSeconds");
        if policy.period_seconds <= 0 {
            errors.invalid(&period, policy.period_seconds, "must be greater than zero");
        } else if policy.period_seconds > POLICY_PERIOD_MAX {
            let why = format!("must be less than or equal to {POLICY_PERIOD_MAX}");
            errors.invalid(&period, policy.period_seconds, &why);
        }
    }
}
