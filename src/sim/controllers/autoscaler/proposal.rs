//! What each metric of an autoscaler proposes
//! (`ctl/podautoscaler/horizontal.go:computeReplicasForMetric`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, HorizontalPodAutoscalerBehavior, MetricSpec, MetricStatus,
    MetricTarget, MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::base::SimTime;
use crate::k8s::milli;
use crate::sim::metrics::MetricsServer;
use crate::sim::profile::Profile;

use super::calculator::{Input, Recommendation, Sample, Target, Tolerance, recommend};

/// `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;

/// What a proposal is computed from.
#[derive(Debug)]
pub(super) struct Situation<'a> {
    pub(super) now: SimTime,
    pub(super) profile: Profile,
    pub(super) metrics: &'a MetricsServer,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) current: u32,
    pub(super) behavior: Option<&'a HorizontalPodAutoscalerBehavior>,
}

/// A metric's proposal.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) replicas: u32,
    /// How messages call the metric.
    pub(super) name: String,
    pub(super) status: MetricStatus,
}

/// Why a metric has none: the reason of ScalingActive, and the message of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The proposal of one metric.
pub(super) fn propose(spec: &MetricSpec, at: &Situation<'_>) -> Result<Proposal, Failure> {
    let failure = |reason, message: String| Err(Failure { reason, message });
    match (spec.type_.as_str(), &spec.resource, &spec.container_resource) {
        ("Resource", Some(source), _) => resource(&source.name, None, &source.target, at)
            .map_err(|message| Failure { reason: "FailedGetResourceMetric", message }),
        ("ContainerResource", _, Some(source)) => {
            resource(&source.name, Some(&source.container), &source.target, at)
                .map_err(|message| Failure { reason: "FailedGetContainerResourceMetric", message })
        }
        ("Pods", ..) => {
            let name = spec.pods.as_ref().map_or("", |pods| pods.metric.name.as_str());
            failure("FailedGetPodsMetric", no_adapter("pods", "custom", name))
        }
        ("Object", ..) => {
            let name = spec.object.as_ref().map_or("", |object| object.metric.name.as_str());
            failure("FailedGetObjectMetric", no_adapter("object", "custom", name))
        }
        ("External", ..) => {
            let name = spec.external.as_ref().map_or("", |external| external.metric.name.as_str());
            failure("FailedGetExternalMetric", no_adapter("external", "external", name))
        }
        (other, ..) => failure(
            "InvalidMetricSourceType",
            format!("unknown metric source type \"{other}\": invalid metric source"),
        ),
    }
}

/// No adapter serves custom or external metrics in the simulated cluster.
fn no_adapter(kind: &str, api: &str, name: &str) -> String {
    format!(
        "failed to get {kind} metric value: unable to get metric {name}: unable to fetch metrics \
         from {api} metrics API: the server could not find the requested resource"
    )
}

fn resource(
    name: &str,
    container: Option<&str>,
    target: &MetricTarget,
    at: &Situation<'_>,
) -> Result<Proposal, String> {
    let kind = if container.is_some() { "container resource" } else { "resource" };
    let average = target.average_value.as_ref().and_then(milli).filter(|value| *value > 0);
    let percent = target.average_utilization.and_then(|percent| u32::try_from(percent).ok());
    // `computeStatusForResourceMetricGeneric`: a raw value wins over a utilisation.
    let (goal, wanted, metric_name) = match (average, percent) {
        (Some(value), _) => {
            (Target::AverageValue(value), "resource usage", format!("{name} {kind}"))
        }
        (None, Some(percent)) if percent > 0 => (
            Target::Utilization(percent),
            "utilization",
            format!("{name} {kind} utilization (percentage of request)"),
        ),
        _ => {
            return Err(
                "invalid resource metric source: neither a utilization target nor a value \
                        target was set"
                    .to_owned(),
            );
        }
    };
    let found = recommend_for(name, container, goal, at)
        .map_err(|error| format!("failed to get {name} {wanted}: {error}"))?;
    Ok(Proposal {
        replicas: found.replicas,
        name: metric_name,
        status: metric_status(name, container, &found),
    })
}

/// `GetResourceReplicas` up to the arithmetic: samples and requests of the pods.
fn recommend_for(
    name: &str,
    container: Option<&str>,
    target: Target,
    at: &Situation<'_>,
) -> Result<Recommendation, String> {
    let mut samples = BTreeMap::new();
    for pod in at.pods {
        if let Some(sample) = sample(pod, name, container, at.metrics) {
            samples.insert(pod_name(pod), sample);
        }
    }
    if samples.is_empty() {
        return Err(format!(
            "unable to get metrics for resource {name}: no metrics returned from resource metrics \
             API"
        ));
    }
    let mut requests = BTreeMap::new();
    if matches!(target, Target::Utilization(_)) {
        for pod in at.pods {
            requests.insert(pod_name(pod), request(pod, name, container, at.profile)?);
        }
    }
    recommend(&Input {
        now: at.now,
        current: at.current,
        pods: at.pods,
        samples,
        requests,
        is_cpu: name == "cpu",
        target,
        tolerance: tolerance(at),
        fallback_follows_target: at.profile.at_least(FALLBACK_FOLLOWS_TARGET_SINCE),
    })
}

/// `replica_calculator.go`: `fallbackUtilization := max(100, targetUtilization)`, by memory of the
/// release notes (semantics 7.3, "newer").
const FALLBACK_FOLLOWS_TARGET_SINCE: u8 = 22;
/// HPAConfigurableTolerance, on by default (semantics 7.3).
const TOLERANCE_FIELD_SINCE: u8 = 35;
/// The rewrite for that gate changed how the default tolerance is compared (alpha in 1.33).
const TOLERANCE_BOUNDS_SINCE: u8 = 33;
/// Containers that restart in `initContainers` count (SidecarContainers, on since 1.29).
const SIDECARS_SINCE: u8 = 29;

fn tolerance(at: &Situation<'_>) -> Tolerance {
    let behavior = at.behavior.filter(|_| at.profile.at_least(TOLERANCE_FIELD_SINCE));
    let of = |value: Option<&Quantity>| {
        value.and_then(milli).map_or(TOLERANCE, |thousandths| thousandths as f64 / 1000.0)
    };
    let up = behavior.and_then(|b| b.scale_up.as_ref()?.tolerance.as_ref());
    let down = behavior.and_then(|b| b.scale_down.as_ref()?.tolerance.as_ref());
    Tolerance {
        up: of(up),
        down: of(down),
        compares_bounds: at.profile.at_least(TOLERANCE_BOUNDS_SINCE),
    }
}

fn pod_name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("")
}

/// The pod's use in thousandths of the unit (`metrics/client.go:getPodMetrics`).
fn sample(
    pod: &Pod,
    resource: &str,
    container: Option<&str>,
    metrics: &MetricsServer,
) -> Option<Sample> {
    let usage = metrics.usage(pod.metadata.namespace.as_deref()?, pod_name(pod))?;
    let mut counted = usage
        .containers
        .iter()
        .filter(|c| container.is_none_or(|wanted| wanted == c.name))
        .map(|c| match resource {
            "cpu" => Some(c.cpu_nano.div_ceil(1_000_000)),
            "memory" => Some(c.memory_bytes.saturating_mul(1000)),
            _ => None,
        })
        .peekable();
    counted.peek()?;
    let value = counted.sum::<Option<u64>>()?;
    Some(Sample { value, at: usage.timestamp, window: usage.window })
}

/// The pod's request in thousandths (`calculatePodRequests`).
fn request(
    pod: &Pod,
    resource: &str,
    container: Option<&str>,
    profile: Profile,
) -> Result<u64, String> {
    let Some(spec) = pod.spec.as_ref() else { return Ok(0) };
    let sidecars = spec.init_containers.iter().flatten().filter(|c| {
        profile.at_least(SIDECARS_SINCE) && c.restart_policy.as_deref() == Some("Always")
    });
    let all = spec.containers.iter().chain(sidecars);
    let mut total = 0u64;
    for counted in all.filter(|c| container.is_none_or(|wanted| wanted == c.name)) {
        let Some(value) = requested(counted, resource) else {
            return Err(missing_request(pod, counted, resource, profile));
        };
        total = total.saturating_add(value);
    }
    Ok(total)
}

fn requested(container: &Container, resource: &str) -> Option<u64> {
    milli(container.resources.as_ref()?.requests.as_ref()?.get(resource)?)
}

/// The message names container and pod since 1.25 (`calculatePodRequests`, by memory).
const MISSING_REQUEST_NAMES_POD_SINCE: u8 = 25;

fn missing_request(pod: &Pod, container: &Container, resource: &str, profile: Profile) -> String {
    if profile.at_least(MISSING_REQUEST_NAMES_POD_SINCE) {
        let (container, pod) = (&container.name, pod_name(pod));
        format!("missing request for {resource} in container {container} of Pod {pod}")
    } else {
        format!("missing request for {resource}")
    }
}

fn metric_status(name: &str, container: Option<&str>, found: &Recommendation) -> MetricStatus {
    let current = MetricValueStatus {
        average_utilization: found.utilization.and_then(|percent| i32::try_from(percent).ok()),
        average_value: Some(thousandths(found.average)),
        value: None,
    };
    match container {
        None => MetricStatus {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricStatus { current, name: name.to_owned() }),
            ..MetricStatus::default()
        },
        Some(container) => MetricStatus {
            type_: "ContainerResource".to_owned(),
            container_resource: Some(ContainerResourceMetricStatus {
                container: container.to_owned(),
                current,
                name: name.to_owned(),
            }),
            ..MetricStatus::default()
        },
    }
}

/// A quantity as `NewMilliQuantity` prints it.
fn thousandths(value: u64) -> Quantity {
    if value.is_multiple_of(1000) {
        Quantity((value / 1000).to_string())
    } else {
        Quantity(format!("{value}m"))
    }
}
