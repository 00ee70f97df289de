//! HorizontalPodAutoscaler: bounds, conditions, metrics.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Value, json};

use super::body::{Body, body};
use super::needs::Need;
use super::served::ServedApi;
use super::support::{Cluster, Outcome, ensure, pause};

/// autoscaling/v2 came with 1.23, v2beta2 went with 1.26.
const SCALER: Need = Need::Served("autoscaling", "HorizontalPodAutoscaler");
/// Two syncs of the autoscaler.
const SYNCS: Duration = Duration::from_secs(45);
/// The longest until first metrics, and a sync on top.
const METRICS: Duration = Duration::from_secs(120);

fn autoscaler(min: i32, max: i32) -> Value {
    json!({
        "metadata": {"name": "a"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
            "minReplicas": min, "maxReplicas": max,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
            }}],
        },
    })
}

async fn scalers(cluster: &Cluster) -> Result<ServedApi<HorizontalPodAutoscaler>, String> {
    ServedApi::find(cluster).await
}

fn requests_cpu() -> Value {
    let mut spec = pause();
    spec["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
    spec
}

fn condition(hpa: &HorizontalPodAutoscaler, kind: &str) -> Option<(String, String)> {
    let conditions = hpa.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|c| c.type_ == kind)?;
    Some((found.status.clone(), found.reason.clone().unwrap_or_default()))
}

async fn replicas(cluster: &Cluster, wanted: i32) -> Outcome {
    cluster
        .until("a", SYNCS, "scaled", |d: &Deployment| d.spec.replicas == Some(wanted))
        .await
        .map(|_| ())
}

async fn below_the_minimum_is_raised_at_once(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 1, requests_cpu()).await?;
    scalers(cluster).await?.create(autoscaler(3, 6)).await?;
    replicas(cluster, 3).await
}

async fn above_the_maximum_is_lowered_at_once(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 4, requests_cpu()).await?;
    scalers(cluster).await?.create(autoscaler(1, 2)).await?;
    replicas(cluster, 2).await
}

async fn an_idle_workload_shows_its_utilisation(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 2, requests_cpu()).await?;
    scalers(cluster).await?.create(autoscaler(2, 4)).await?;
    let hpa = scalers(cluster)
        .await?
        .until("a", METRICS, "metrics", |h: &HorizontalPodAutoscaler| {
            condition(h, "ScalingActive")
                == Some(("True".to_owned(), "ValidMetricFound".to_owned()))
        })
        .await?;
    let metrics = hpa.status.and_then(|s| s.current_metrics).unwrap_or_default();
    let utilisation = metrics
        .first()
        .and_then(|m| m.resource.as_ref())
        .and_then(|r| r.current.average_utilization);
    ensure(utilisation.is_some_and(|u| u < 50), format!("{utilisation:?}"))
}

async fn a_workload_without_requests_has_no_metric(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 2, pause()).await?;
    scalers(cluster).await?.create(autoscaler(2, 4)).await?;
    scalers(cluster)
        .await?
        .until("a", METRICS, "the reason", |h: &HorizontalPodAutoscaler| {
            condition(h, "ScalingActive")
                == Some(("False".to_owned(), "FailedGetResourceMetric".to_owned()))
        })
        .await
        .map(|_| ())
}

async fn a_missing_target_is_said(cluster: &Cluster) -> Outcome {
    scalers(cluster).await?.create(autoscaler(2, 4)).await?;
    scalers(cluster)
        .await?
        .until("a", SYNCS, "the reason", |h: &HorizontalPodAutoscaler| {
            condition(h, "AbleToScale") == Some(("False".to_owned(), "FailedGetScale".to_owned()))
        })
        .await
        .map(|_| ())
}

pub fn bodies() -> Vec<Body> {
    vec![
        body!(below_the_minimum_is_raised_at_once).needs(&[SCALER]),
        body!(above_the_maximum_is_lowered_at_once).needs(&[SCALER]),
        body!(an_idle_workload_shows_its_utilisation).needs(&[SCALER, Need::Metrics]),
        body!(a_workload_without_requests_has_no_metric).needs(&[SCALER, Need::Metrics]),
        body!(a_missing_target_is_said).needs(&[SCALER]),
    ]
}
