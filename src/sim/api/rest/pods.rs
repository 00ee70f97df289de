//! Subresources of pods: binding, eviction, log (`registry/core/pod/storage`).

use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::answer::{json as respond, text};
use super::call::Call;
use crate::k8s::{is_pod_ready, is_terminating, matches_selector};
use crate::sim::api::status::Cause;
use crate::sim::api::{Api, DeleteOptions, Part, Status, Typed as _};
use crate::sim::machines::Machines;

type Reply = Result<http::Response<Bytes>, Status>;

fn pod_of(api: &Api, call: &Call<'_>) -> Result<Arc<Pod>, Status> {
    let stored = call.stored(api)?;
    Pod::peel(&stored).cloned().ok_or_else(|| Status::bad_request("not a pod"))
}

/// POST of `/binding` (`storage.go:setPodHostAndAnnotations`).
pub(super) fn bind(api: &mut Api, call: &Call<'_>) -> Reply {
    let body = call.body_value()?;
    let pod = pod_of(api, call)?;
    let name = call.object_name();
    let node = body["target"]["name"].as_str().unwrap_or("");
    if node.is_empty() {
        let message = format!("Binding \"{name}\" is invalid: target.name: Required value");
        return Err(Status::new(422, "Invalid", message));
    }
    let conflict = |detail: String| {
        let message = format!("Operation cannot be fulfilled on pods/binding \"{name}\": {detail}");
        Status::new(409, "Conflict", message)
    };
    if is_terminating(&pod) {
        return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let bound = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("");
    if !bound.is_empty() {
        return Err(conflict(format!("pod {name} is already assigned to node \"{bound}\"")));
    }
    if !call.dry_run {
        let now = Time(api.now.timestamp());
        let mut pod = Pod::clone(&pod);
        pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
        let pairs = body["metadata"]["annotations"].as_object().into_iter().flatten();
        for (key, value) in pairs {
            let value = value.as_str().unwrap_or("").to_owned();
            pod.metadata.annotations.get_or_insert_default().insert(key.clone(), value);
        }
        let status = mark_scheduled(pod.status.take().unwrap_or_default(), now);
        api.update(pod)?;
        api.patch::<Pod>(Part::Status, call.space(), name, |pod| pod.status = Some(status))?;
    }
    Ok(respond(
        201,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        }),
    ))
}

fn mark_scheduled(mut status: PodStatus, now: Time) -> PodStatus {
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != "PodScheduled");
    conditions.push(PodCondition {
        type_: "PodScheduled".into(),
        status: "True".into(),
        last_transition_time: Some(now),
        ..PodCondition::default()
    });
    status
}

/// POST of `/eviction` (`storage/eviction.go:Create`; semantics 9.4).
pub(super) fn evict(api: &mut Api, call: &Call<'_>) -> Reply {
    let body = if call.body.is_empty() { Value::Null } else { call.body_value()? };
    let pod = pod_of(api, call)?;
    if !skips_budget(&pod) {
        spend_budget(api, call, &pod)?;
    }
    let options = &body["deleteOptions"];
    if !call.dry_run && !options["dryRun"].is_array() {
        let options = DeleteOptions {
            grace_period_seconds: options["gracePeriodSeconds"].as_i64(),
            uid: options["preconditions"]["uid"].as_str().map(str::to_owned),
            propagation: None,
        };
        api.delete(call.kind, call.space(), call.object_name(), &options)?;
    }
    Ok(respond(
        201,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        }),
    ))
}

/// Pods that count for no budget (`eviction.go:canIgnorePDB`).
fn skips_budget(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("");
    is_terminating(pod) || matches!(phase, "Pending" | "Succeeded" | "Failed")
}

fn spend_budget(api: &mut Api, call: &Call<'_>, pod: &Pod) -> Result<(), Status> {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let selects = |budget: &PodDisruptionBudget| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| matches_selector(selector, &labels))
    };
    let budgets: Vec<Arc<PodDisruptionBudget>> = api
        .stored()
        .list_in::<PodDisruptionBudget>(call.space())
        .filter(|budget| selects(budget))
        .cloned()
        .collect();
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction \
                           subresource does not support.";
            return Err(Status::new(500, "InternalError", message));
        }
    };
    let status = budget.status.clone().unwrap_or_default();
    let always = budget.spec.as_ref().and_then(|s| s.unhealthy_pod_eviction_policy.as_deref());
    let current = status.current_healthy.unwrap_or(0);
    let desired = status.desired_healthy.unwrap_or(0);
    let serves = current >= desired && desired > 0;
    let always_allows = always == Some("AlwaysAllow") && api.profile.at_least(27);
    if !is_pod_ready(pod) && (serves || always_allows) {
        return Ok(());
    }
    let name = budget.metadata.name.as_deref().unwrap_or("");
    if status.observed_generation.unwrap_or(0) < budget.metadata.generation.unwrap_or(0) {
        let detail =
            format!("The disruption budget {name} is still being processed by the server.");
        return Err(would_violate(&detail, Some(10)));
    }
    if status.disruptions_allowed.unwrap_or(0) <= 0 {
        let detail = format!(
            "The disruption budget {name} needs {desired} healthy pods and has {current} \
             currently"
        );
        return Err(would_violate(&detail, None));
    }
    if call.dry_run {
        return Ok(());
    }
    // The server books the eviction before it deletes, until the controller has seen it.
    let now = Time(api.now.timestamp());
    let pod_name = call.object_name().to_owned();
    api.patch::<PodDisruptionBudget>(Part::Status, call.space(), name, |budget| {
        let status = budget.status.get_or_insert_default();
        status.disruptions_allowed = status.disruptions_allowed.map(|n| n - 1);
        status.disrupted_pods.get_or_insert_default().insert(pod_name, now);
    })?;
    Ok(())
}

fn would_violate(detail: &str, retry_after_seconds: Option<u32>) -> Status {
    let cause =
        Cause { reason: "DisruptionBudget", field: String::new(), message: detail.to_owned() };
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let status = Status::new(429, "TooManyRequests", message);
    Status { causes: vec![cause], retry_after_seconds, ..status }
}

/// GET of `/log` (`registry/core/pod/strategy.go:LogLocation`).
pub(super) fn log(api: &Api, machines: &Machines, call: &Call<'_>) -> Reply {
    let pod = pod_of(api, call)?;
    let name = call.object_name();
    let container = container_of(&pod, name, call.query.get("container"))?;
    let is_bound = pod.spec.as_ref().is_some_and(|s| s.node_name.is_some());
    if !is_bound {
        return Ok(text(200, Bytes::new()));
    }
    let previous = call.query.flag("previous");
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    let Some(lines) = machines.logs(uid, &container, previous) else {
        let message = if previous {
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found")
        } else {
            let reason = waiting_reason(&pod, &container);
            format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}")
        };
        return Err(Status::bad_request(message));
    };
    let n_skipped = call.query.get("tailLines").map_or(Ok(0), |n| match n.parse::<usize>() {
        Ok(n) => Ok(lines.len().saturating_sub(n)),
        Err(_) => Err(Status::bad_request(format!("invalid tailLines: {n}"))),
    })?;
    let mut output = String::new();
    for line in lines.iter().skip(n_skipped) {
        output.push_str(line);
        output.push('\n');
    }
    let mut output = output.into_bytes();
    if let Some(limit) = call.query.number("limitBytes").and_then(|n| usize::try_from(n).ok()) {
        output.truncate(limit);
    }
    Ok(text(200, output))
}

fn container_of(pod: &Pod, name: &str, asked: Option<&str>) -> Result<String, Status> {
    let spec = pod.spec.clone().unwrap_or_default();
    let names: Vec<String> = spec.containers.iter().map(|c| c.name.clone()).collect();
    let init: Vec<String> = spec.init_containers.iter().flatten().map(|c| c.name.clone()).collect();
    match (asked, names.as_slice()) {
        (Some(asked), _) if names.iter().chain(&init).any(|n| n == asked) => Ok(asked.to_owned()),
        (Some(asked), _) => {
            Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")))
        }
        (None, [one]) => Ok(one.clone()),
        (None, many) => {
            let mut message = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                many.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}

fn waiting_reason(pod: &Pod, container: &str) -> String {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let status = statuses.into_iter().flatten().find(|status| status.name == container);
    let waiting = status.and_then(|s| s.state.as_ref()).and_then(|state| state.waiting.as_ref());
    waiting.and_then(|w| w.reason.clone()).unwrap_or_else(|| "ContainerCreating".to_owned())
}
