//! Deployments, ReplicaSets, StatefulSets, owners, budgets.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{DeleteParams, EvictParams};
use serde_json::{Value, json};

use super::body::{Body, body};
use super::needs::Need;
use super::served::ServedApi;
use super::support::{Cluster, Outcome, READY, deployment, ensure, is_true, pause, refusal};

/// policy/v1 came with 1.21, v1beta1 went with 1.25.
const BUDGETS: Need = Need::Served("policy", "PodDisruptionBudget");
/// Time for controllers to react on a quiet cluster.
const REACTION: Duration = Duration::from_secs(15);

fn annotate(value: &str) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {"rev": value}}}}})
}

fn rolled_out(d: &Deployment) -> bool {
    let Some(status) = &d.status else { return false };
    status.observed_generation == d.metadata.generation
        && status.updated_replicas == d.spec.replicas
        && status.replicas == d.spec.replicas
        && status.available_replicas == d.spec.replicas
}

async fn a_deployment_owns_a_replica_set_that_owns_pods(cluster: &Cluster) -> Outcome {
    let made = cluster.deployment("a", 2, pause()).await?;
    let sets: Vec<ReplicaSet> = cluster.list("app=a").await?;
    ensure(sets.len() == 1, format!("{} ReplicaSets", sets.len()))?;
    let owner = seatrial::k8s::controller_of(&sets[0].metadata).ok_or("no owner")?;
    ensure(Some(&owner.uid) == made.metadata.uid.as_ref(), "owned by the Deployment")?;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    let owned = pods.iter().all(|pod| {
        seatrial::k8s::controller_of(&pod.metadata).map(|o| &o.uid) == sets[0].metadata.uid.as_ref()
    });
    ensure(owned && pods.len() == 2, "two pods owned by the ReplicaSet")?;
    let hashed = |l: &Option<std::collections::BTreeMap<String, String>>| {
        l.as_ref().is_some_and(|l| l.contains_key("pod-template-hash"))
    };
    ensure(pods.iter().all(|p| hashed(&p.metadata.labels)), "pods carry the template's hash")
}

async fn a_deleted_pod_is_replaced_at_once(cluster: &Cluster) -> Outcome {
    let mut spec = pause();
    spec["terminationGracePeriodSeconds"] = json!(30);
    cluster.deployment("a", 1, spec).await?;
    let first: Vec<Pod> = cluster.list("app=a").await?;
    let name = first[0].metadata.name.clone().unwrap_or_default();
    cluster.delete::<Pod>(&name).await?;
    cluster
        .until_pods("app=a", Duration::from_secs(5), "a replacement", |pods| {
            pods.iter().any(|p| p.metadata.name.as_deref() != Some(&name))
        })
        .await?;
    Ok(())
}

async fn a_rollout_keeps_all_replicas_available(cluster: &Cluster) -> Outcome {
    let mut object = deployment("a", 3, pause());
    object["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    cluster.create::<Deployment>(object).await?;
    cluster.until("a", READY, "available", rolled_out).await?;
    cluster.merge::<Deployment>("a", annotate("2")).await?;
    let lowest = std::sync::atomic::AtomicI32::new(i32::MAX);
    cluster
        .until("a", READY, "rolled out", |d: &Deployment| {
            let available = d.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0);
            lowest.fetch_min(available, std::sync::atomic::Ordering::Relaxed);
            rolled_out(d)
        })
        .await?;
    let lowest = lowest.into_inner();
    ensure(lowest >= 3, format!("only {lowest} available"))
}

async fn an_older_template_reuses_its_replica_set(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 1, pause()).await?;
    cluster.merge::<Deployment>("a", annotate("2")).await?;
    cluster.until("a", READY, "rolled out", rolled_out).await?;
    let undo = json!({"spec": {"template": {"metadata": {"annotations": {"rev": null}}}}});
    cluster.merge::<Deployment>("a", undo).await?;
    cluster.until("a", READY, "rolled back", rolled_out).await?;
    let sets: Vec<ReplicaSet> = cluster.list("app=a").await?;
    ensure(sets.len() == 2, format!("{} ReplicaSets", sets.len()))?;
    let revision = |s: &ReplicaSet| {
        let annotations = s.metadata.annotations.as_ref()?;
        annotations.get("deployment.kubernetes.io/revision")?.parse::<u32>().ok()
    };
    let newest = sets.iter().filter_map(revision).max();
    ensure(newest == Some(3), format!("revision {newest:?}"))
}

async fn a_rollout_that_never_gets_ready_stops_at_the_surge(cluster: &Cluster) -> Outcome {
    let mut object = deployment("a", 3, pause());
    object["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    cluster.create::<Deployment>(object).await?;
    cluster.until("a", READY, "available", rolled_out).await?;
    let gate = json!({"spec": {"template": {"spec": {"readinessGates": [
        {"conditionType": "example.com/never"},
    ]}}}});
    cluster.merge::<Deployment>("a", gate).await?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let stuck: Deployment = cluster.get("a").await?;
    let status = stuck.status.ok_or("no status")?;
    let counts = (status.replicas, status.updated_replicas, status.available_replicas);
    ensure(counts == (Some(4), Some(1), Some(3)), format!("{counts:?}"))
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

async fn recreate_ends_the_old_pods_first(cluster: &Cluster) -> Outcome {
    let mut object = deployment("a", 2, pause());
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.create::<Deployment>(object).await?;
    cluster.until("a", READY, "available", rolled_out).await?;
    let old: Vec<Pod> = cluster.list("app=a").await?;
    let old: Vec<_> = old.into_iter().map(|p| p.metadata.uid).collect();
    cluster.merge::<Deployment>("a", annotate("2")).await?;
    let mixed = std::sync::atomic::AtomicBool::new(false);
    cluster
        .until_pods("app=a", READY, "two new pods", |pods| {
            let is_old = |p: &&Pod| old.contains(&p.metadata.uid);
            let n_old = pods.iter().filter(is_old).count();
            let n_running = pods.iter().filter(is_old).filter(|p| !has_ended(p)).count();
            if n_running > 0 && n_old < pods.len() {
                mixed.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            n_old == 0 && pods.len() == 2
        })
        .await?;
    ensure(!mixed.into_inner(), "old and new pods lived side by side")
}

async fn a_paused_deployment_does_not_roll_out(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 1, pause()).await?;
    let mut patch = annotate("2");
    patch["spec"]["paused"] = json!(true);
    cluster.merge::<Deployment>("a", patch).await?;
    tokio::time::sleep(REACTION).await;
    let sets: Vec<ReplicaSet> = cluster.list("app=a").await?;
    ensure(sets.len() == 1, "a paused Deployment made a ReplicaSet")?;
    cluster.merge::<Deployment>("a", json!({"spec": {"paused": false}})).await?;
    cluster.until("a", READY, "rolled out", rolled_out).await?;
    let sets: Vec<ReplicaSet> = cluster.list("app=a").await?;
    ensure(sets.len() == 2, "it rolls out once resumed")
}

async fn scaling_in_prefers_pods_that_are_not_ready(cluster: &Cluster) -> Outcome {
    let mut spec = pause();
    spec["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    cluster.create::<Deployment>(deployment("a", 2, spec)).await?;
    let pods = cluster
        .until_pods("app=a", READY, "two running pods", |pods| {
            pods.len() == 2 && pods.iter().all(|p| is_true(p, "ContainersReady"))
        })
        .await?;
    let chosen = pods[0].metadata.name.clone().unwrap_or_default();
    super::pods::set_condition(cluster, &chosen, "example.com/gate", "True").await?;
    cluster
        .until_pods("app=a", REACTION, "one ready pod", |p| p.iter().any(|p| is_true(p, "Ready")))
        .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.merge::<Deployment>("a", json!({"spec": {"replicas": 1}})).await?;
    let left = cluster.until_pods("app=a", READY, "one pod", |pods| pods.len() == 1).await?;
    ensure(left[0].metadata.name.as_deref() == Some(&chosen), "the ready pod was deleted")
}

async fn deleting_a_deployment_ends_its_pods(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 2, pause()).await?;
    cluster.delete::<Deployment>("a").await?;
    cluster.until_pods("app=a", READY, "no pod left", <[Pod]>::is_empty).await?;
    let sets: Vec<ReplicaSet> = cluster.list("app=a").await?;
    ensure(sets.is_empty(), "the ReplicaSet is gone too")
}

async fn orphaned_pods_live_on(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 1, pause()).await?;
    let api: Api<Deployment> = cluster.api();
    api.delete("a", &DeleteParams::orphan()).await.map_err(|e| e.to_string())?;
    cluster.until_gone::<Deployment>("a", REACTION).await?;
    tokio::time::sleep(REACTION).await;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    ensure(pods.len() == 1 && pods[0].metadata.deletion_timestamp.is_none(), "the pod is gone")
}

async fn a_stateful_set_starts_in_order(cluster: &Cluster) -> Outcome {
    let object = json!({
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db", "replicas": 2,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": pause()},
        },
    });
    cluster.create::<StatefulSet>(object).await?;
    let early = std::sync::atomic::AtomicBool::new(false);
    cluster
        .until_pods("app=db", READY, "two ready pods", |pods| {
            let find = |name: &str| pods.iter().find(|p| p.metadata.name.as_deref() == Some(name));
            if find("db-1").is_some() && !find("db-0").is_some_and(|p| is_true(p, "Ready")) {
                early.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            pods.len() == 2 && pods.iter().all(|p| is_true(p, "Ready"))
        })
        .await?;
    ensure(!early.into_inner(), "db-1 came before db-0 was ready")
}

async fn a_budget_refuses_evictions(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 2, pause()).await?;
    let budget = json!({
        "metadata": {"name": "a"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "a"}}},
    });
    let budgets: ServedApi<PodDisruptionBudget> = ServedApi::find(cluster).await?;
    budgets.create(budget).await?;
    budgets
        .until("a", REACTION, "the budget is counted", |b: &PodDisruptionBudget| {
            b.status
                .as_ref()
                .is_some_and(|s| s.current_healthy == Some(2) && s.disruptions_allowed == Some(0))
        })
        .await?;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    let name = pods[0].metadata.name.clone().unwrap_or_default();
    let api: Api<Pod> = cluster.api();
    let status = refusal(api.evict(&name, &EvictParams::default()).await)?;
    ensure(status.code == 429, format!("{status:?}"))?;
    let wider = json!({"spec": {"minAvailable": 1}});
    budgets.merge("a", wider).await?;
    budgets
        .until("a", REACTION, "one may go", |b: &PodDisruptionBudget| {
            b.status.as_ref().is_some_and(|s| s.disruptions_allowed == Some(1))
        })
        .await?;
    api.evict(&name, &EvictParams::default()).await.map(|_| ()).map_err(|e| e.to_string())
}

pub fn bodies() -> Vec<Body> {
    vec![
        body!(a_deployment_owns_a_replica_set_that_owns_pods),
        body!(a_deleted_pod_is_replaced_at_once),
        body!(a_rollout_keeps_all_replicas_available),
        body!(an_older_template_reuses_its_replica_set),
        body!(a_rollout_that_never_gets_ready_stops_at_the_surge),
        body!(recreate_ends_the_old_pods_first),
        body!(a_paused_deployment_does_not_roll_out),
        body!(scaling_in_prefers_pods_that_are_not_ready),
        body!(deleting_a_deployment_ends_its_pods),
        body!(orphaned_pods_live_on),
        body!(a_stateful_set_starts_in_order),
        body!(a_budget_refuses_evictions).needs(&[BUDGETS]),
    ]
}
