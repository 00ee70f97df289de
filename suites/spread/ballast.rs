//! Ballast: makes all workers but one look busy, with requests and with an operator's load hints.
//!
//! The scheduler's default spreading (weight 2, at most 100) alone would keep three replicas
//! apart on any idle cluster. An emptier node gains up to 85 points from LeastAllocated and
//! 3 x 50 from two soft taints against one; default spreading brings 100 to 120, and a preferred
//! anti-affinity of any weight 200 more: so the replicas stay apart by policy only.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::k8s;
use crate::suite::{Held, Stop, Trial, workers};
use crate::wait::{self, Scope};

/// Share of a busy worker that ballast requests, in percent; the rest is room for the stack.
const FILL_PERCENT: u64 = 85;
/// Soft taints on a busy worker, and on the empty one.
const N_TAINTS_BUSY: usize = 2;
const N_TAINTS_EMPTY: usize = 1;
/// A program that does nothing; a node that reports no image of the name is asked to pull this one.
const IMAGE: &str = "registry.k8s.io/pause:3.10";
/// The name of that program's image in whatever registry a node has it from.
const IMAGE_NAME: &str = "pause";
/// Where ballast runs.
const NAMESPACE: &str = "default";
const LABEL: &str = "seatrial.dev/ballast";
const TAINT_PREFIX: &str = "seatrial.dev/busy-";

/// Fills all workers but the first.
///
/// # Errors
/// The API refused something, or the ballast does not start.
pub async fn load_all_but_one(trial: &Trial) -> Result<Held, Stop> {
    let workers = workers(trial).await?;
    let client = trial.client();
    let names = workers.iter().map(|node| node.name_any()).collect();
    trial.defer(take_back(client.clone(), names));
    for (idx, node) in workers.iter().enumerate() {
        let n_taints = if idx == 0 { N_TAINTS_EMPTY } else { N_TAINTS_BUSY };
        taint(&client, node, n_taints).await?;
        if idx > 0 {
            let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
            pods.create(&PostParams::default(), &ballast_pod(node)?).await?;
        }
    }
    let scope = Scope::labelled(Api::<Pod>::namespaced(client, NAMESPACE), LABEL);
    let n_busy = workers.len().saturating_sub(1);
    wait::until(&scope, &wait::n_pods_ready(n_busy), wait::POD_STARTED).await?;
    Ok(format!("{n_busy} workers are busy"))
}

/// A pod that requests most of what the node has.
fn ballast_pod(node: &Node) -> Result<Pod, Stop> {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let quantity = |name: &str| allocatable.and_then(|resources| resources.get(name));
    let cpu_milli = quantity("cpu").and_then(k8s::milli).unwrap_or(0) * FILL_PERCENT / 100;
    let memory = quantity("memory").and_then(k8s::bytes).unwrap_or(0) / 100 * FILL_PERCENT;
    let name = node.name_any();
    let image = k8s::reported_image(std::slice::from_ref(node), IMAGE_NAME);
    serde_json::from_value(json!({
        "metadata": {"name": format!("ballast-{name}"), "labels": {LABEL: "yes"}},
        "spec": {
            "nodeName": name,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "pause",
                "image": image.as_deref().unwrap_or(IMAGE),
                "imagePullPolicy": "IfNotPresent",
                "resources": {
                    "requests": {"cpu": format!("{cpu_milli}m"), "memory": memory.to_string()}
                }
            }]
        }
    }))
    .map_err(|error| Stop::errored(format!("the ballast pod is malformed: {error}")))
}

async fn taint(client: &Client, node: &Node, n_taints: usize) -> Result<(), Stop> {
    let kept = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut taints = json!(kept);
    if let Some(list) = taints.as_array_mut() {
        list.extend(
            (0..n_taints).map(
                |n| json!({"key": format!("{TAINT_PREFIX}{n}"), "effect": "PreferNoSchedule"}),
            ),
        );
    }
    let patch = Patch::Merge(json!({"spec": {"taints": taints}}));
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch(&node.name_any(), &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn take_back(client: Client, names: Vec<String>) -> Result<(), Stop> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    for pod in Scope::labelled(pods.clone(), LABEL).list().await? {
        pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
    }
    let nodes: Api<Node> = Api::all(client);
    for name in names {
        let node = nodes.get(&name).await?;
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let kept: Vec<_> =
            taints.into_iter().filter(|taint| !taint.key.starts_with(TAINT_PREFIX)).collect();
        let patch = Patch::Merge(json!({"spec": {"taints": kept}}));
        nodes.patch(&name, &PatchParams::default(), &patch).await?;
    }
    Ok(())
}
