//! The blocking chain: who waits for whom, from a workload down to the reason.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use crate::k8s::{controller_of, is_pod_ready, is_terminating, pod_condition};

/// Most lines a chain is allowed to have.
const MAX_LINES: usize = 12;

/// What in `namespace` is not as wished, each line from the workload down to the reason. Reading
/// it is best effort: what the API does not answer is left out.
pub async fn blocking_chain(client: &Client, namespace: &str) -> Vec<String> {
    let lists = Lists::read(client, namespace).await;
    let mut lines: Vec<String> = Vec::new();
    // Pods of one owner that wait for the same are one line.
    let mut alike: Vec<((String, String), String, usize)> = Vec::new();
    for pod in &lists.pods {
        if is_pod_ready(pod) && !is_terminating(pod) {
            continue;
        }
        let (owners, why) = (lists.owners(pod), lists.why_pod(pod));
        let line = format!("{owners}Pod {}: {why}", named(pod));
        let key = (owners, why);
        match alike.iter_mut().find(|(known, ..)| *known == key) {
            Some((_, _, n_more)) => *n_more += 1,
            None => alike.push((key, line, 0)),
        }
    }
    lines.extend(alike.into_iter().map(|(_, line, n_more)| match n_more {
        0 => line,
        n => format!("{line}; and {n} more like it"),
    }));
    for set in &lists.replica_sets {
        let wanted = set.spec.replicas.unwrap_or(1);
        let has = set.status.as_ref().map_or(0, |status| status.replicas);
        if has < wanted {
            let why = lists.last_warning("ReplicaSet", &set.name_any());
            lines.push(format!("ReplicaSet {}: {has} of {wanted} pods exist{why}", set.name_any()));
        }
    }
    for set in &lists.stateful_sets {
        let wanted = set.spec.replicas.unwrap_or(1);
        let has = set.status.as_ref().map_or(0, |status| status.replicas);
        if has < wanted {
            let why = lists.last_warning("StatefulSet", &set.name_any());
            lines
                .push(format!("StatefulSet {}: {has} of {wanted} pods exist{why}", set.name_any()));
        }
    }
    for claim in &lists.claims {
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase != Some("Bound") {
            let why = lists.last_warning("PersistentVolumeClaim", &claim.name_any());
            let phase = phase.unwrap_or("unknown");
            lines.push(format!("PersistentVolumeClaim {}: {phase}{why}", claim.name_any()));
        }
    }
    lines.truncate(MAX_LINES);
    lines
}

struct Lists {
    deployments: Vec<Deployment>,
    replica_sets: Vec<ReplicaSet>,
    stateful_sets: Vec<StatefulSet>,
    pods: Vec<Pod>,
    claims: Vec<PersistentVolumeClaim>,
    events: Vec<Event>,
}

impl Lists {
    async fn read(client: &Client, namespace: &str) -> Lists {
        Lists {
            deployments: list(client, namespace).await,
            replica_sets: list(client, namespace).await,
            stateful_sets: list(client, namespace).await,
            pods: list(client, namespace).await,
            claims: list(client, namespace).await,
            events: list(client, namespace).await,
        }
    }

    /// `Deployment a (1 of 3 ready) <- ReplicaSet b <- `, as far as the owners are known.
    fn owners(&self, pod: &Pod) -> String {
        let Some(owner) = controller_of(&pod.metadata) else { return String::new() };
        let top = self
            .replica_sets
            .iter()
            .find(|set| owner.kind == "ReplicaSet" && set.name_any() == owner.name)
            .and_then(|set| controller_of(&set.metadata))
            .map_or(String::new(), |top| self.deployment(&top.name));
        format!("{top}{} {} <- ", owner.kind, owner.name)
    }

    fn deployment(&self, name: &str) -> String {
        let Some(found) = self.deployments.iter().find(|d| d.name_any() == name) else {
            return String::new();
        };
        let wanted = found.spec.replicas.unwrap_or(1);
        let ready = found.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        format!("Deployment {name} ({ready} of {wanted} ready) <- ")
    }

    fn why_pod(&self, pod: &Pod) -> String {
        format!("{}{}", pod_trouble(pod), self.last_warning("Pod", &pod.name_any()))
    }

    fn last_warning(&self, kind: &str, name: &str) -> String {
        let about = |event: &&Event| {
            event.type_.as_deref() == Some("Warning")
                && event.involved_object.kind.as_deref() == Some(kind)
                && event.involved_object.name.as_deref() == Some(name)
        };
        let newest = self
            .events
            .iter()
            .filter(about)
            .max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
        newest.map_or(String::new(), |event| {
            let reason = event.reason.as_deref().unwrap_or("");
            format!(" ({reason}: {})", event.message.as_deref().unwrap_or(""))
        })
    }
}

/// Its name, and its node if it has one.
fn named(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    format!("{}{}", pod.name_any(), node.map_or(String::new(), |node| format!(" on {node}")))
}

/// What keeps a pod from being ready, as its status tells.
fn pod_trouble(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("Unknown");
    if is_terminating(pod) {
        return format!("{phase}, being deleted");
    }
    if let Some(scheduled) = pod_condition(pod, "PodScheduled")
        && scheduled.status != "True"
    {
        let reason = scheduled.reason.as_deref().unwrap_or("not scheduled");
        return format!("{reason}: {}", scheduled.message.as_deref().unwrap_or(""));
    }
    let states = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or(&[]);
    for container in states {
        let state = container.state.as_ref();
        if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
            let reason = waiting.reason.as_deref().unwrap_or("waiting");
            let message = waiting.message.as_deref().unwrap_or("");
            return format!("container {} {reason} {message}", container.name).trim_end().into();
        }
        if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
            let reason = ended.reason.as_deref().unwrap_or("");
            return format!("container {} ended with {} {reason}", container.name, ended.exit_code);
        }
    }
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or(&[]);
    for gate in gates {
        if pod_condition(pod, &gate.condition_type).is_none_or(|c| c.status != "True") {
            return format!("{phase}, readiness gate {} is not True", gate.condition_type);
        }
    }
    match states.iter().find(|container| !container.ready) {
        Some(container) => format!("{phase}, container {} is not ready", container.name),
        None => format!("{phase}, not ready"),
    }
}

async fn list<K>(client: &Client, namespace: &str) -> Vec<K>
where
    K: super::watched::Object + kube::Resource<Scope = kube::core::NamespaceResourceScope>,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default()
}
