//! Where pods go, and what is said when they go nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use seatrial::k8s::{bytes, milli};
use serde_json::{Value, json};

use super::body::{Body, body};
use super::needs::Need;
use super::support::{Cluster, Outcome, READY, deployment, ensure, is_true, pause, pod};

/// A pod that fits nowhere is told so within this.
const TOLD: Duration = Duration::from_secs(15);

fn nodes_of(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(|p| p.spec.as_ref()?.node_name.clone()).collect()
}

fn unschedulable(pods: &[Pod]) -> Option<&str> {
    pods.iter().find_map(|pod| {
        let condition = seatrial::k8s::pod_condition(pod, "PodScheduled")?;
        (condition.reason.as_deref() == Some("Unschedulable")).then_some(())?;
        condition.message.as_deref()
    })
}

fn apart(kind: &str, rule: Value) -> Value {
    let mut spec = pause();
    spec["affinity"] = json!({"podAntiAffinity": {kind: rule}});
    spec
}

fn hostname_term(app: &str) -> Value {
    json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}})
}

/// What containers count for in scores when they request nothing: thousandths of a core, and bytes
/// (`pkg/scheduler/util/non_zero.go`).
const DEFAULT_CPU: u64 = 100;
const DEFAULT_MEMORY: u64 = 200 << 20;

/// Fills workers until all are requested as much as the fullest: what else runs in a cluster must not
/// decide, and 1.20 has nothing but free capacity to go by where nodes have no zone.
async fn even_out(cluster: &Cluster) -> Outcome {
    let workers = cluster.workers().await?;
    let mut taken: BTreeMap<String, (u64, u64)> =
        workers.into_iter().map(|worker| (worker, (0, 0))).collect();
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    let pods = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    for pod in pods {
        let phase = pod.status.and_then(|status| status.phase).unwrap_or_default();
        if matches!(phase.as_str(), "Succeeded" | "Failed") {
            continue;
        }
        let Some(spec) = pod.spec else { continue };
        let Some(taken) = taken.get_mut(&spec.node_name.unwrap_or_default()) else { continue };
        for container in spec.containers {
            let requests = container.resources.and_then(|r| r.requests).unwrap_or_default();
            taken.0 += requests.get("cpu").and_then(milli).unwrap_or(DEFAULT_CPU);
            taken.1 += requests.get("memory").and_then(bytes).unwrap_or(DEFAULT_MEMORY);
        }
    }
    let most = taken.values().fold((0, 0), |most, t| (most.0.max(t.0), most.1.max(t.1)));
    for (idx, (worker, (cpu, memory))) in taken.into_iter().enumerate() {
        let mut spec = pause();
        spec["nodeName"] = worker.into();
        let requests =
            json!({"cpu": format!("{}m", most.0 - cpu), "memory": (most.1 - memory).to_string()});
        spec["containers"][0]["resources"] = json!({"requests": requests});
        cluster.create::<Pod>(pod(&format!("filler-{idx}"), spec)).await?;
    }
    Ok(())
}

async fn equal_pods_spread_over_equal_nodes(cluster: &Cluster) -> Outcome {
    even_out(cluster).await?;
    cluster.deployment("a", 3, pause()).await?;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    ensure(nodes_of(&pods).len() == 3, format!("{:?}", nodes_of(&pods)))
}

async fn required_anti_affinity_leaves_a_fourth_pod_pending(cluster: &Cluster) -> Outcome {
    let rule = json!([hostname_term("a")]);
    let spec = apart("requiredDuringSchedulingIgnoredDuringExecution", rule);
    let object = deployment("a", 4, spec);
    cluster.create::<k8s_openapi::api::apps::v1::Deployment>(object).await?;
    let pods = cluster
        .until_pods("app=a", READY, "three up and one told", |pods| {
            pods.iter().filter(|p| is_true(p, "Ready")).count() == 3
                && unschedulable(pods).is_some()
        })
        .await?;
    ensure(nodes_of(&pods).len() == 3, "three nodes are used")?;
    let message = unschedulable(&pods).unwrap_or_default();
    ensure(message.contains("nodes are available") && message.contains("anti-affinity"), message)
}

async fn preferred_anti_affinity_yields(cluster: &Cluster) -> Outcome {
    let rule = json!([{"weight": 100, "podAffinityTerm": hostname_term("a")}]);
    let spec = apart("preferredDuringSchedulingIgnoredDuringExecution", rule);
    cluster.deployment("a", 4, spec).await?;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    ensure(nodes_of(&pods).len() == 3, "three workers take four pods")
}

async fn too_large_a_request_is_insufficient(cluster: &Cluster) -> Outcome {
    let mut spec = pause();
    spec["containers"][0]["resources"] = json!({"requests": {"cpu": "10000"}});
    cluster.create::<Pod>(pod("a", spec)).await?;
    let pods = cluster
        .until_pods("app=a", TOLD, "it is told", |pods| unschedulable(pods).is_some())
        .await?;
    let message = unschedulable(&pods).unwrap_or_default();
    ensure(message.contains("Insufficient cpu"), message)
}

async fn the_control_plane_is_tainted(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 8, pause()).await?;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    let workers: BTreeSet<String> = cluster.workers().await?.into_iter().collect();
    ensure(nodes_of(&pods).is_subset(&workers), format!("{:?}", nodes_of(&pods)))
}

async fn a_node_selector_picks_the_node(cluster: &Cluster) -> Outcome {
    let worker = cluster.workers().await?.pop().ok_or("no worker")?;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = nodes.get(&worker).await.map_err(|e| e.to_string())?;
    let labels = node.metadata.labels.unwrap_or_default();
    // Not the name of the node everywhere.
    let host = labels.get("kubernetes.io/hostname").ok_or("no label with the host's name")?;
    let mut spec = pause();
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": host});
    cluster.deployment("a", 2, spec).await?;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    ensure(nodes_of(&pods) == BTreeSet::from([worker]), format!("{:?}", nodes_of(&pods)))
}

async fn a_cordoned_node_takes_no_pod(cluster: &Cluster) -> Outcome {
    let worker = cluster.workers().await?.pop().ok_or("no worker")?;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let cordon = |on: bool| json!({"spec": {"unschedulable": on}});
    let params = PatchParams::default();
    nodes.patch(&worker, &params, &Patch::Merge(cordon(true))).await.map_err(|e| e.to_string())?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let made = cluster.deployment("a", 4, pause()).await;
    nodes.patch(&worker, &params, &Patch::Merge(cordon(false))).await.map_err(|e| e.to_string())?;
    made?;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    ensure(!nodes_of(&pods).contains(&worker), "a pod is on the cordoned node")
}

async fn a_hard_spread_constraint_holds_its_skew(cluster: &Cluster) -> Outcome {
    let mut spec = pause();
    spec["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "a"}},
    }]);
    // Only workers count as domains: the control plane's taint is not considered by default.
    spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [
            {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"},
        ]}],
    }}});
    cluster.deployment("a", 6, spec).await?;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    for node in nodes_of(&pods) {
        let on_node = |p: &&Pod| p.spec.as_ref().and_then(|s| s.node_name.as_ref()) == Some(&node);
        let n = pods.iter().filter(on_node).count();
        ensure(n == 2, format!("{n} pods on {node}"))?;
    }
    Ok(())
}

pub fn bodies() -> Vec<Body> {
    vec![
        body!(equal_pods_spread_over_equal_nodes).needs(&[Need::Workers(3)]).alone(),
        body!(required_anti_affinity_leaves_a_fourth_pod_pending).needs(&[Need::Workers(3)]),
        body!(preferred_anti_affinity_yields).needs(&[Need::Workers(3)]),
        body!(too_large_a_request_is_insufficient),
        body!(the_control_plane_is_tainted).needs(&[Need::ControlPlane]),
        body!(a_node_selector_picks_the_node),
        body!(a_cordoned_node_takes_no_pod).needs(&[Need::NodeChanges]).alone(),
        body!(a_hard_spread_constraint_holds_its_skew).needs(&[Need::Workers(3)]),
    ]
}
