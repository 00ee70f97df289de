//! Creating and deleting pods (`replica_set.go:manageReplicas`, `slowStartBatch`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::base::{SimTime, millis};
use crate::sim::api::events::{self, Note};
use crate::sim::api::{DeleteOptions, Kind, Objects, Status};
use crate::sim::context::Cx;

use super::super::owned::{
    controller_ref, count, is_active, is_namespace_terminating, name, namespace, uid,
};
use super::super::{Key, Work};
use super::controller::{Tracked, finish, related_by_node};
use super::counters::Counts;
use super::victims::deletion_order;

/// Creations or deletions in one sync (`replicaset.BurstReplicas`).
const BURST_MAX: i32 = 500;
/// The first batch of creations; it doubles while all succeed (`controller.SlowStartInitialBatchSize`).
const FIRST_BATCH: i32 = 1;
/// One API write, so one parallel batch: 2 to 15 ms (semantics 0.2).
const API_WRITE_MS: (u64, u64) = (2, 15);
/// The component in events.
pub const COMPONENT: &str = "replicaset-controller";

/// A sync that is creating pods, batch by batch.
#[derive(Debug)]
pub struct Burst {
    /// When the next batch starts.
    pub due: SimTime,
    /// Whether something changed meanwhile, so that another sync must follow.
    pub dirty: bool,
    remaining: i32,
    batch: i32,
    counts: Counts,
}

/// Decides on a burst of creations and expects them all.
pub fn start_burst(
    tracked: &mut Tracked,
    set: &ReplicaSet,
    counts: Counts,
    wanted: i32,
    cx: &mut Cx<'_>,
) {
    let remaining = (wanted - counts.active).min(BURST_MAX);
    cx.trace.line(
        cx.now,
        "replicaset",
        format_args!(
            "{}/{} has {} wants {wanted}",
            namespace(&set.metadata),
            name(&set.metadata),
            counts.active
        ),
    );
    tracked.expectations.expect_creations(remaining, cx.now);
    tracked.burst =
        Some(Burst { due: cx.now, dirty: false, remaining, batch: FIRST_BATCH, counts });
}

/// Creates the next batch; after the last one, or a failure, ends the sync.
pub fn continue_burst(
    tracked: &mut Tracked,
    set: &ReplicaSet,
    key: &Key,
    work: &mut Work,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let Some(mut burst) = tracked.burst.take() else { return Ok(()) };
    let n_batch = burst.batch.min(burst.remaining);
    let mut failure = None;
    for _ in 0..n_batch {
        if let Err(status) = create_pod(set, cx) {
            tracked.expectations.created(1);
            failure = Some(status);
        }
    }
    burst.remaining -= n_batch;
    burst.batch *= 2;
    if failure.is_none() && burst.remaining > 0 {
        let (low, high) = API_WRITE_MS;
        let latency = cx.rng.between("api-write", millis(low), millis(high));
        burst.due = cx.now + latency;
        tracked.burst = Some(burst);
        work.add_after(key.clone(), latency, cx);
        return Ok(());
    }
    // Creations skipped after a failure will never be seen.
    tracked.expectations.created(burst.remaining);
    if burst.dirty {
        work.add(key.clone(), cx);
    }
    finish(set, burst.counts, failure.map_or(Ok(()), Err), key, work, cx)
}

fn create_pod(set: &ReplicaSet, cx: &mut Cx<'_>) -> Result<(), Status> {
    let empty = PodTemplateSpec::default();
    let template = set.spec.template.as_ref().unwrap_or(&empty);
    let mut pod = pod_from_template(template, controller_ref(cx.api, set));
    pod.metadata.namespace = set.metadata.namespace.clone();
    pod.metadata.generate_name = Some(format!("{}-", name(&set.metadata)));
    match cx.api.create(pod) {
        Ok(pod) => {
            let message = format!("Created pod: {}", name(&pod.metadata));
            events::record(cx.api, set, Note::normal(COMPONENT, "SuccessfulCreate", message));
            Ok(())
        }
        // The pod will never be created; the namespace controller removes the set.
        Err(status) if is_namespace_terminating(&status) => Ok(()),
        Err(status) => {
            let message = format!("Error creating: {}", status.message);
            events::record(cx.api, set, Note::warning(COMPONENT, "FailedCreate", message));
            Err(status)
        }
    }
}

/// A pod as its template has it (`controller_utils.go:GetPodFromTemplate`).
pub fn pod_from_template(template: &PodTemplateSpec, owner: OwnerReference) -> Pod {
    let meta = template.metadata.as_ref();
    Pod {
        metadata: ObjectMeta {
            labels: meta.and_then(|m| m.labels.clone()),
            annotations: meta.and_then(|m| m.annotations.clone()),
            finalizers: meta.and_then(|m| m.finalizers.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Deletes the pods that are too many, those first that are missed least.
pub fn delete_surplus(
    sets: &mut BTreeMap<String, Tracked>,
    set: &ReplicaSet,
    surplus: i32,
    cache: &Objects,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let space = namespace(&set.metadata);
    let Some(tracked) = sets.get(uid(&set.metadata)) else { return Ok(()) };
    let names = tracked.pods.names();
    let mut pods: Vec<Arc<Pod>> = names
        .filter_map(|pod_name| cache.get::<Pod>(space, pod_name))
        .filter(|pod| is_active(pod))
        .map(Arc::clone)
        .collect();
    let n_victims = usize::try_from(surplus.min(BURST_MAX)).unwrap_or(0);
    if n_victims < pods.len() {
        shuffle(&mut pods, cx);
        let related = related_by_node(sets, set, cache);
        pods = deletion_order(pods, &related, cx.now, cx.api.profile);
        pods.truncate(n_victims);
    }
    let Some(tracked) = sets.get_mut(uid(&set.metadata)) else { return Ok(()) };
    let uids = pods.iter().map(|pod| uid(&pod.metadata).to_owned());
    tracked.expectations.expect_deletions(uids, cx.now);
    cx.trace.line(
        cx.now,
        "replicaset",
        format_args!("{space}/{} deletes {}", name(&set.metadata), count(pods.len())),
    );
    let mut failure = Ok(());
    for pod in &pods {
        let pod_name = name(&pod.metadata);
        match cx.api.delete(Kind::POD, space, pod_name, &DeleteOptions::default()) {
            Ok(_) => {
                let message = format!("Deleted pod: {pod_name}");
                events::record(cx.api, set, Note::normal(COMPONENT, "SuccessfulDelete", message));
            }
            Err(status) => {
                // The expected deletion will not be seen; what is already gone is no failure.
                tracked.expectations.deleted(uid(&pod.metadata));
                if status.code != 404 {
                    let message = format!("Error deleting: {}", status.message);
                    let note = Note::warning(COMPONENT, "FailedDelete", message);
                    events::record(cx.api, set, note);
                    failure = Err(status);
                }
            }
        }
    }
    failure
}

/// Pods that nothing tells apart go in arbitrary order (semantics 12: scale-down residual tie).
fn shuffle(pods: &mut [Arc<Pod>], cx: &mut Cx<'_>) {
    for idx in (1..pods.len()).rev() {
        let other = cx.rng.index("scale-down-tie", idx + 1);
        pods.swap(idx, other);
    }
}
