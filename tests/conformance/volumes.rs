//! Claims and volumes: binding, waiting, protection.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use seatrial::wait::{self, Deadline};
use serde_json::{Value, json};

use super::body::{Body, body};
use super::needs::Need;
use super::support::{Cluster, Outcome, READY, ensure, from_json, is_true, pause, pod};

/// Binding on a quiet cluster.
const BOUND: Duration = Duration::from_secs(30);
/// The binder has seen a new volume.
const SYNCED: Deadline = Deadline::new(BOUND, "it syncs what changes at once, and all every 15 s");

fn claim(name: &str, class: &str, mode: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "storageClassName": class, "accessModes": [mode],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    })
}

fn uses(claim: &str) -> Value {
    let mut spec = pause();
    spec["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    spec["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
    spec
}

fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("")
}

async fn a_claim_binds_to_the_smallest_volume_that_fits(cluster: &Cluster) -> Outcome {
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    let class = format!("static-{}", cluster.namespace);
    let name = |size: &str| format!("{}-{size}", cluster.namespace.replace('_', "-"));
    for size in ["5", "2"] {
        let volume = from_json(json!({
            "metadata": {"name": name(size)},
            "spec": {
                "capacity": {"storage": format!("{size}Gi")}, "accessModes": ["ReadWriteOnce"],
                "storageClassName": class, "hostPath": {"path": "/tmp/conformance"},
            },
        }))?;
        volumes.create(&PostParams::default(), &volume).await.map_err(|e| e.to_string())?;
    }
    let bound = async {
        // The binder takes the smallest of those that it knows of.
        for size in ["5", "2"] {
            let available = async || match volumes.get(&name(size)).await {
                Ok(volume) => {
                    let phase = volume.status.and_then(|status| status.phase).unwrap_or_default();
                    ensure(phase == "Available", phase)
                }
                Err(error) => Err(error.to_string()),
            };
            let known = wait::until_ok("the volume is available", SYNCED, available).await;
            known.map_err(|error| error.to_string())?;
        }
        cluster.create::<PersistentVolumeClaim>(claim("a", &class, "ReadWriteOnce")).await?;
        cluster.until("a", BOUND, "bound", |c| phase(c) == "Bound").await
    }
    .await;
    for size in ["5", "2"] {
        let deleted = volumes.delete(&name(size), &DeleteParams::default()).await;
        deleted.map_err(|e| e.to_string())?;
    }
    let volume = bound?.spec.and_then(|s| s.volume_name);
    ensure(volume == Some(name("2")), format!("bound to {volume:?}"))
}

async fn a_claim_of_an_unknown_class_stays_pending(cluster: &Cluster) -> Outcome {
    cluster.create::<PersistentVolumeClaim>(claim("a", "nobody", "ReadWriteOnce")).await?;
    cluster.create::<Pod>(pod("a", uses("a"))).await?;
    tokio::time::sleep(BOUND).await;
    let left: PersistentVolumeClaim = cluster.get("a").await?;
    ensure(phase(&left) == "Pending", phase(&left))?;
    let pod: Pod = cluster.get("a").await?;
    let message = seatrial::k8s::pod_condition(&pod, "PodScheduled")
        .and_then(|c| c.message.clone())
        .unwrap_or_default();
    ensure(message.contains("unbound immediate PersistentVolumeClaims"), message)
}

async fn the_default_class_waits_for_its_first_consumer(cluster: &Cluster) -> Outcome {
    let object = json!({
        "metadata": {"name": "a"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let made: PersistentVolumeClaim = cluster.create(object).await?;
    let class = made.spec.and_then(|s| s.storage_class_name).ok_or("no default class")?;
    let classes: Api<StorageClass> = Api::all(cluster.client.clone());
    let class = classes.get(&class).await.map_err(|e| e.to_string())?;
    let mode = class.volume_binding_mode.unwrap_or_default();
    ensure(mode == "WaitForFirstConsumer", mode)?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let waiting: PersistentVolumeClaim = cluster.get("a").await?;
    ensure(phase(&waiting) == "Pending", phase(&waiting))?;
    cluster.create::<Pod>(pod("a", uses("a"))).await?;
    cluster.until("a", READY, "ready", |p: &Pod| is_true(p, "Ready")).await?;
    let bound: PersistentVolumeClaim = cluster.get("a").await?;
    ensure(phase(&bound) == "Bound", phase(&bound))
}

async fn a_claim_in_use_is_protected(cluster: &Cluster) -> Outcome {
    let object = json!({
        "metadata": {"name": "a"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    cluster.create::<PersistentVolumeClaim>(object).await?;
    cluster.create::<Pod>(pod("a", uses("a"))).await?;
    cluster.until("a", READY, "ready", |p: &Pod| is_true(p, "Ready")).await?;
    cluster.delete::<PersistentVolumeClaim>("a").await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let held: PersistentVolumeClaim = cluster.get("a").await?;
    ensure(held.metadata.deletion_timestamp.is_some(), "it is marked")?;
    cluster.delete::<Pod>("a").await?;
    cluster.until_gone::<PersistentVolumeClaim>("a", READY).await
}

async fn a_pod_of_a_missing_claim_is_not_scheduled(cluster: &Cluster) -> Outcome {
    cluster.create::<Pod>(pod("a", uses("nobody"))).await?;
    let told = |p: &Pod| {
        seatrial::k8s::pod_condition(p, "PodScheduled")
            .and_then(|c| c.message.as_deref())
            .is_some_and(|m| m.contains("persistentvolumeclaim \"nobody\" not found"))
    };
    cluster.until("a", BOUND, "the reason", told).await.map(|_| ())
}

pub fn bodies() -> Vec<Body> {
    vec![
        body!(a_claim_binds_to_the_smallest_volume_that_fits),
        body!(a_claim_of_an_unknown_class_stays_pending),
        body!(the_default_class_waits_for_its_first_consumer).needs(&[Need::DefaultClass]),
        body!(a_claim_in_use_is_protected).needs(&[Need::DefaultClass]),
        body!(a_pod_of_a_missing_claim_is_not_scheduled),
    ]
}
