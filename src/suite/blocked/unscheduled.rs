//! Why the scheduler finds no node, in its own words (`pkg/scheduler/framework/plugins/*`, their
//! `ErrReason`), and the rule that says so.

use serde_json::Value;

use super::{Blocked, claim_volume, of_container};

/// The rule that keeps most nodes from taking a pod of which `message` is told.
pub(super) fn why(message: &str, manifest: &Value) -> Option<Blocked> {
    if let Some(claim) = super::between(message, "persistentvolumeclaim \"", "\" not found") {
        let (n, _) = claim_volume(manifest)?;
        let field = format!("spec.template.spec.volumes[{n}].persistentVolumeClaim");
        let advice = format!("add PersistentVolumeClaim {claim} to the stack, or name another");
        return Some(Blocked::never_ready(field, advice));
    }
    let mut reasons = reasons(message);
    reasons.sort_by_key(|(n_nodes, _)| std::cmp::Reverse(*n_nodes));
    reasons.iter().find_map(|(_, reason)| rule(reason, manifest))
}

/// `0/4 nodes are available: 1 x, 3 y. preemption: ...`: how many nodes, and why not those.
fn reasons(message: &str) -> Vec<(u64, &str)> {
    let Some((_, list)) = message.split_once("nodes are available: ") else { return Vec::new() };
    let list = list.split_once(" preemption:").map_or(list, |(list, _)| list);
    let parts = list.trim_end_matches('.').split(", ");
    parts
        .filter_map(|part| part.split_once(' '))
        .filter_map(|(n, why)| Some((n.parse().ok()?, why)))
        .collect()
}

fn rule(reason: &str, manifest: &Value) -> Option<Blocked> {
    let spec = |field: &str| format!("spec.template.spec.{field}");
    let has = |field: &str| {
        let pointer = format!("/spec/template/spec/{}", field.replace('.', "/"));
        manifest.pointer(&pointer).is_some()
    };
    let at =
        |field: &str, advice: &str| has(field).then(|| Blocked::never_ready(spec(field), advice));
    if reason.contains("pod anti-affinity rules") || reason.contains("affinity/anti-affinity") {
        return at(
            "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution",
            "it leaves no node for a further pod, as a rollout needs it: prefer the rule \
             (preferredDuringSchedulingIgnoredDuringExecution), or let maxSurge be 0 and \
             maxUnavailable 1, or add nodes",
        );
    }
    if reason.contains("pod topology spread constraints") {
        let constraints = manifest.pointer("/spec/template/spec/topologySpreadConstraints")?;
        let mut constraints = constraints.as_array()?.iter();
        let n = constraints.position(|each| each["whenUnsatisfiable"] != "ScheduleAnyway")?;
        return Some(Blocked::never_ready(
            spec(&format!("topologySpreadConstraints[{n}]")),
            "it leaves no node for a further pod, as a rollout needs it: let whenUnsatisfiable be \
             ScheduleAnyway, or raise maxSkew, or let nodeTaintsPolicy be Honor where it is nodes \
             with taints that have fewer",
        ));
    }
    if reason.contains("free ports") {
        let containers = manifest.pointer("/spec/template/spec/containers")?.as_array()?;
        let field = containers.iter().enumerate().find_map(|(n, container)| {
            let mut ports = container.get("ports")?.as_array()?.iter();
            let m = ports.position(|port| port.get("hostPort").is_some())?;
            Some(format!("spec.template.spec.containers[{n}].ports[{m}].hostPort"))
        });
        let field = field.or_else(|| has("hostNetwork").then(|| spec("hostNetwork")))?;
        return Some(Blocked::never_ready(
            field,
            "two pods with the port do not fit on one node: leave the way in to a Service, or let \
             maxSurge be 0 and maxUnavailable 1, or add nodes",
        ));
    }
    if let Some(resource) = reason.strip_prefix("Insufficient ") {
        let field = of_container(manifest, &format!("/resources/requests/{resource}"))
            .or_else(|| of_container(manifest, &format!("/resources/limits/{resource}")))?;
        let advice = format!(
            "no node has so much {resource} left: request less, or let maxSurge be 0 and \
             maxUnavailable 1 if it is a rollout that lacks it, or add nodes"
        );
        return Some(Blocked::never_ready(field, advice));
    }
    // "didn't match PersistentVolume's node affinity" since 1.33, "had volume node affinity conflict" before.
    if reason.contains("PersistentVolume's node affinity")
        || reason.contains("volume node affinity")
    {
        let (n, _) = claim_volume(manifest)?;
        return Some(Blocked::never_ready(
            format!("spec.template.spec.volumes[{n}].persistentVolumeClaim"),
            "its volume keeps the pods on one node: use a ReadWriteMany claim of a storage class \
             that serves every node, or a StatefulSet with volumeClaimTemplates",
        ));
    }
    if reason.contains("node affinity/selector") {
        let advice = "no free node has what it asks for: let it name labels that nodes have";
        return at("nodeSelector", advice).or_else(|| at("affinity.nodeAffinity", advice));
    }
    if reason.contains("pod affinity rules") {
        return at("affinity.podAffinity", "no free node has the pods that it asks for");
    }
    None
}
