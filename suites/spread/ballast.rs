//! Ballast: makes all workers but one look busy, with requests and with an operator's load hints.
//!
//! The scheduler's default spreading (weight 2, at most 100) alone would keep three replicas
//! apart on any idle cluster. An emptier node gains up to 85 points from LeastAllocated and
//! 3 x 50 from two soft taints against one; default spreading brings 100 to 120, and a preferred
//! anti-affinity of any weight 200 more: so the replicas stay apart by policy only. Before 1.23 the
//! taints count once and the anti-affinity brings 100, with the same outcome.
//!
//! Where there is no default spreading, nothing but the policy's 100 points keeps replicas apart. Taints
//! alone then make the difference, 60 points from five against two: requests would add to that, or on a
//! small node take from it, by what else runs there.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::k8s::{self, Profile};
use crate::suite::{Held, Stop, Trial, workers};
use crate::wait::{self, Scope};

/// Share of a busy worker that is requested once the ballast is there, in percent.
const FILL_PERCENT: u64 = 85;
/// Soft taints on a busy worker, and on the empty one.
const N_TAINTS: [usize; 2] = [2, 1];
/// The same where the scheduler spreads nothing by itself.
const N_TAINTS_ALONE: [usize; 2] = [5, 2];
/// A program that does nothing; a node that reports no image of the name is asked to pull this one.
const IMAGE: &str = "registry.k8s.io/pause:3.10";
/// The name of that program's image in whatever registry a node has it from.
const IMAGE_NAME: &str = "pause";
/// Where ballast runs.
const NAMESPACE: &str = "default";
const LABEL: &str = "seatrial.dev/ballast";
const TAINT_PREFIX: &str = "seatrial.dev/busy-";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Fills all workers but one, or marks them as full.
///
/// # Errors
/// The API refused something, or the ballast does not start.
pub async fn load_all_but_one(trial: &Trial) -> Result<Held, Stop> {
    let mut workers = workers(trial).await?;
    let client = trial.client();
    let names = workers.iter().map(|node| node.name_any()).collect();
    trial.defer(take_back(client.clone(), names));
    let taken = Taken::read(trial).await?;
    let fills = spreads_by_default(&trial.engine().kubernetes(), &workers);
    let [on_busy, on_empty] = if fills { N_TAINTS } else { N_TAINTS_ALONE };
    if !fills {
        workers.sort_by_key(|node| taken.on(node).cpu_milli);
    }
    for (idx, node) in workers.iter().enumerate() {
        taint(&client, node, if idx == 0 { on_empty } else { on_busy }).await?;
        if idx > 0 && fills {
            let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
            pods.create(&PostParams::default(), &ballast_pod(node, &taken)?).await?;
        }
    }
    let scope = Scope::labelled(Api::<Pod>::namespaced(client, NAMESPACE), LABEL);
    let n_busy = workers.len().saturating_sub(1);
    let n_pods = if fills { n_busy } else { 0 };
    // Ballast is no part of the stack: that it does not start says nothing about the claim.
    let started = wait::until(&scope, &wait::n_pods_ready(n_pods), wait::POD_STARTED).await;
    started.map_err(|error| Stop::errored(format!("the ballast does not start\n{error}")))?;
    Ok(format!("{n_busy} workers are busy"))
}

/// Whether the scheduler spreads replicas that ask for nothing: 1.20 only over nodes that have a zone
/// (`podtopologyspread/scoring.go:initPreScoreState`).
fn spreads_by_default(kubernetes: &str, workers: &[Arc<Node>]) -> bool {
    let is_newer = Profile::from_str(kubernetes).map_or(true, |profile| profile.at_least(21));
    is_newer || workers.iter().all(|node| node.labels().contains_key(ZONE_LABEL))
}

/// CPU in thousandths of a core, and memory in bytes.
#[derive(Clone, Copy, Default)]
struct Amount {
    cpu_milli: u64,
    memory: u64,
}

/// What a container counts for that does not say what it requests.
const UNSAID: Amount = Amount { cpu_milli: 100, memory: 200 << 20 };

/// What is requested on each node already, and the room that is left at least: for a pod of the
/// front and one of the database. With less, a small node would keep replicas apart by its size.
struct Taken {
    by_node: BTreeMap<String, Amount>,
    room: Amount,
}

impl Taken {
    async fn read(trial: &Trial) -> Result<Taken, Stop> {
        let mut by_node: BTreeMap<String, Amount> = BTreeMap::new();
        for pod in Scope::all(Api::<Pod>::all(trial.client())).list().await? {
            let Some(spec) = &pod.spec else { continue };
            let ended = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            if matches!(ended, Some("Succeeded" | "Failed")) {
                continue;
            }
            let taken = by_node.entry(spec.node_name.clone().unwrap_or_default()).or_default();
            for container in &spec.containers {
                let resources = container.resources.as_ref();
                let requests = resources.and_then(|resources| resources.requests.as_ref());
                taken.add(Amount::scored(requests));
            }
        }
        let mut room = Amount::default();
        let target = trial.target();
        for workload in std::iter::once(&target.front.workload).chain(&target.database) {
            let manifest = trial.stack().manifest(&workload.reference());
            let containers = manifest
                .and_then(|manifest| manifest.value.pointer("/spec/template/spec/containers"))
                .and_then(Value::as_array);
            for container in containers.into_iter().flatten() {
                let resources = container.pointer("/resources/requests").cloned();
                let requests = resources.and_then(|value| serde_json::from_value(value).ok());
                room.add(Amount::scored(requests.as_ref()));
            }
        }
        Ok(Taken { by_node, room })
    }

    /// What is requested on `node`.
    fn on(&self, node: &Node) -> Amount {
        self.by_node.get(&node.name_any()).copied().unwrap_or_default()
    }

    /// What ballast on `node` requests.
    fn ballast(&self, node: &Node) -> Amount {
        let status = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let all = status.map_or_else(Amount::default, Amount::of);
        let taken = self.on(node);
        let fill = |all: u64, taken: u64, room: u64| {
            let share = all / 100 * FILL_PERCENT;
            share.min(all.saturating_sub(room)).saturating_sub(taken)
        };
        Amount {
            cpu_milli: fill(all.cpu_milli, taken.cpu_milli, self.room.cpu_milli),
            memory: fill(all.memory, taken.memory, self.room.memory),
        }
    }
}

impl Amount {
    fn of(resources: &BTreeMap<String, Quantity>) -> Amount {
        Amount {
            cpu_milli: resources.get("cpu").and_then(k8s::milli).unwrap_or(0),
            memory: resources.get("memory").and_then(k8s::bytes).unwrap_or(0),
        }
    }

    /// What a container counts for when nodes are scored (`scheduler/util/pod_resources.go`): one that
    /// requests nothing counts for something too.
    fn scored(requests: Option<&BTreeMap<String, Quantity>>) -> Amount {
        let of = |name: &str| requests.and_then(|requests| requests.get(name));
        Amount {
            cpu_milli: of("cpu").and_then(k8s::milli).unwrap_or(UNSAID.cpu_milli),
            memory: of("memory").and_then(k8s::bytes).unwrap_or(UNSAID.memory),
        }
    }

    fn add(&mut self, other: Amount) {
        self.cpu_milli += other.cpu_milli;
        self.memory += other.memory;
    }
}

/// A pod that requests most of what the node has left.
fn ballast_pod(node: &Node, taken: &Taken) -> Result<Pod, Stop> {
    let Amount { cpu_milli, memory } = taken.ballast(node);
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
