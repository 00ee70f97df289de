//! What a stack may find in its own cluster and the simulated one lacks. A pod that waits for it here
//! is no proof that it would there.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Node, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::engine::sim::{ClusterSpec, NodeSpec};
use crate::k8s::{bytes, fits_node, milli};
use crate::stack::Manifest;
use crate::suite::run::RunRequest;
use crate::suite::scenario::{Aspect, Scenario};
use crate::suite::target::{Program, StackTarget};

use super::{claims, workloads};

/// Where a pod template has its pod's spec.
const POD: &str = "spec.template.spec";
/// What every node has; anything else comes with device plugins or is set up by hand
/// (<https://kubernetes.io/docs/concepts/configuration/manage-resources-containers>).
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// What the cluster of `spec` lacks and `scenario` depends on, as a message.
pub(super) fn lacks(
    request: &RunRequest,
    scenario: &Scenario,
    spec: &ClusterSpec,
) -> Option<String> {
    let target = request.target().ok()?;
    let manifests = workloads(&target);
    let manifests = manifests.filter_map(|workload| request.stack.manifest(&workload.reference()));
    let mut lines: Vec<String> = manifests
        .flat_map(|manifest| {
            let places = places(manifest, spec).into_iter().map(|(path, what)| {
                format!("{}: {path} of {} {what}", manifest.locate(&path), manifest.object_ref)
            });
            places.chain(claims::of(request, manifest)).collect::<Vec<_>>()
        })
        .collect();
    lines.extend(database(request, scenario, &target));
    (!lines.is_empty()).then(|| {
        format!(
            "the simulated cluster lacks what the stack may find in its own (--engine kubeconfig \
             tells, on a cluster that has it):\n{}",
            lines.join("\n")
        )
    })
}

/// The fields of `manifest` that no simulated node satisfies, and why.
fn places(manifest: &Manifest, spec: &ClusterSpec) -> Vec<(String, String)> {
    let pod = manifest.value.pointer("/spec/template/spec").cloned().unwrap_or_default();
    let Ok(pod) = serde_json::from_value::<PodSpec>(pod) else { return Vec::new() };
    let nodes: Vec<Node> = spec.nodes.iter().map(|node| node_of(node, spec)).collect();
    let mut found = Vec::new();
    if let Some(name) = &pod.node_name
        && !spec.nodes.iter().any(|node| node.name == *name)
    {
        found.push((format!("{POD}.nodeName"), format!("names {name}")));
    }
    if !nodes.iter().any(|node| fits_node(&pod, node)) {
        let selected = PodSpec { affinity: None, ..pod.clone() };
        let field = match nodes.iter().any(|node| fits_node(&selected, node)) {
            true => "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution",
            false => "nodeSelector",
        };
        found.push((format!("{POD}.{field}"), "asks for labels that no node has".to_owned()));
    }
    let has_key = |key: &str| {
        nodes.iter().any(|node| {
            node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(key))
        })
    };
    for (field, key) in topology_keys(&pod) {
        if !has_key(&key) {
            found.push((format!("{POD}.{field}"), format!("is about {key}, which no node has")));
        }
    }
    for (list, containers) in
        [("containers", Some(&pod.containers)), ("initContainers", pod.init_containers.as_ref())]
    {
        for (idx, container) in containers.into_iter().flatten().enumerate() {
            let beyond = beyond(container, spec).into_iter();
            found.extend(
                beyond
                    .map(|(field, what)| (format!("{POD}.{list}[{idx}].resources.{field}"), what)),
            );
        }
    }
    found
}

fn node_of(node: &NodeSpec, spec: &ClusterSpec) -> Node {
    let labels = Some(node.labels(spec.profile));
    let name = Some(node.name.clone());
    Node { metadata: ObjectMeta { name, labels, ..ObjectMeta::default() }, ..Node::default() }
}

/// The topology keys without which a pod is not placed, or placed otherwise, and their fields.
fn topology_keys(pod: &PodSpec) -> Vec<(String, String)> {
    let spread = pod.topology_spread_constraints.iter().flatten().enumerate();
    let spread = spread.filter(|(_, each)| each.when_unsatisfiable == "DoNotSchedule");
    let mut keys: Vec<_> = spread
        .map(|(idx, each)| {
            (format!("topologySpreadConstraints[{idx}].topologyKey"), each.topology_key.clone())
        })
        .collect();
    let affinity = pod.affinity.as_ref();
    let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
    let near = near.map(|each| &each.required_during_scheduling_ignored_during_execution);
    let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let far = far.map(|each| &each.required_during_scheduling_ignored_during_execution);
    for (name, terms) in [("podAffinity", near), ("podAntiAffinity", far)] {
        for (idx, term) in terms.into_iter().flatten().flatten().enumerate() {
            let field = format!(
                "affinity.{name}.requiredDuringSchedulingIgnoredDuringExecution[{idx}].topologyKey"
            );
            keys.push((field, term.topology_key.clone()));
        }
    }
    keys
}

/// The resources of `container` that no node has at all, or not as much of.
fn beyond(container: &Container, spec: &ClusterSpec) -> Vec<(String, String)> {
    let Some(resources) = &container.resources else { return Vec::new() };
    let most = |amount: fn(&NodeSpec) -> u64| spec.nodes.iter().map(amount).max().unwrap_or(0);
    let is_beyond = |name: &str, quantity: &Quantity| match name {
        "cpu" => milli(quantity).is_some_and(|cpu| cpu > most(|node| node.cpu_milli)),
        "memory" => bytes(quantity).is_some_and(|memory| memory > most(|node| node.memory_bytes)),
        name => !RESOURCES.contains(&name),
    };
    // Limits stand for requests that are not made.
    let none = BTreeMap::new();
    let requests = resources.requests.as_ref().unwrap_or(&none);
    let limits = resources.limits.iter().flatten();
    let limits = limits.filter(|(name, _)| !requests.contains_key(*name));
    let wanted = requests.iter().map(|each| ("requests", each));
    wanted
        .chain(limits.map(|each| ("limits", each)))
        .filter(|(_, (name, quantity))| is_beyond(name, quantity))
        .map(|(list, (name, quantity))| {
            (format!("{list}.{name}"), format!("asks for {}, which no node has", quantity.0))
        })
        .collect()
}

/// The host of WordPress' database, where it is none of the stack, and `scenario` depends on it.
fn database(request: &RunRequest, scenario: &Scenario, target: &StackTarget) -> Option<String> {
    let (variable, host) = target.no_database.elsewhere.as_ref()?;
    // A plain name is one of the pod's own namespace; one that the stack makes holds nothing else.
    let namespace = &target.front.workload.namespace;
    let makes = |manifest: &Manifest| {
        manifest.object_ref.kind == "Namespace" && manifest.object_ref.name == **namespace
    };
    let is_plain = !host.contains(['.', ':']);
    if is_plain && request.stack.objects().iter().any(makes) {
        return None;
    }
    let manifest = request.stack.manifest(&target.front.workload.reference())?;
    let is_asked = scenario.aspects.contains(&Aspect::Traffic)
        || (!scenario.aspects.is_empty() && is_probed(manifest));
    if target.front.program != Program::WordPress || !is_asked || is_of_stack(request, host) {
        return None;
    }
    let container = format!("{POD}.containers[{}]", target.front.workload.container);
    let variables = format!("/{}/env", container.replace(['.', '['], "/").replace(']', ""));
    let variables = manifest.value.pointer(&variables).and_then(Value::as_array);
    let idx = variables.and_then(|all| all.iter().position(|each| each["name"] == **variable));
    let path = idx.map_or(container.clone(), |idx| format!("{container}.env[{idx}].value"));
    Some(format!("{}: {}", manifest.locate(&path), target.no_database.why))
}

/// Whether `host` is the address of a Service of the stack.
fn is_of_stack(request: &RunRequest, host: &str) -> bool {
    let objects = request.stack.objects().iter();
    let mut services = objects.filter(|manifest| manifest.object_ref.kind == "Service");
    services.any(|service| service.value.pointer("/spec/clusterIP").is_some_and(|ip| ip == host))
}

/// Whether readiness depends on what the front's programs answer.
fn is_probed(manifest: &Manifest) -> bool {
    let containers = manifest.value.pointer("/spec/template/spec/containers");
    let mut containers = containers.and_then(Value::as_array).into_iter().flatten();
    containers.any(|container| {
        ["readinessProbe", "livenessProbe", "startupProbe"]
            .iter()
            .any(|probe| container.get(probe).is_some())
    })
}
