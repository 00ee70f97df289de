//! Readiness gates: a condition on pods that the suite alone opens and closes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::k8s::{is_pod_ready, is_terminating, pod_condition};
use crate::suite::{Stop, Trial, Workload};
use crate::wait::Condition;

/// The condition type of the suite's gate.
const GATE: &str = "seatrial.dev/gate";

/// Adds the gate to the front's template: a rollout of pods that get ready only when told.
///
/// # Errors
/// What the API answered.
pub async fn close(trial: &Trial, workload: &Workload) -> Result<(), Stop> {
    let mut gates = original(trial, workload).as_array().cloned().unwrap_or_default();
    gates.push(json!({"conditionType": GATE}));
    patch(trial, workload, json!(gates)).await
}

/// Gives the template its own gates back.
///
/// # Errors
/// What the API answered.
pub async fn restore(trial: &Trial, workload: &Workload) -> Result<(), Stop> {
    patch(trial, workload, original(trial, workload)).await
}

fn original(trial: &Trial, workload: &Workload) -> Value {
    let reference = workload.reference();
    let manifest = trial.stack().objects().iter().find(|m| m.object_ref == reference);
    manifest
        .and_then(|manifest| manifest.value.pointer("/spec/template/spec/readinessGates"))
        .cloned()
        .unwrap_or(Value::Null)
}

async fn patch(trial: &Trial, workload: &Workload, gates: Value) -> Result<(), Stop> {
    let patch = json!({"spec": {"template": {"spec": {"readinessGates": gates}}}});
    trial.patch(workload, patch).await
}

/// Sets the gate of one pod.
///
/// # Errors
/// What the API answered.
pub async fn open(trial: &Trial, pod: &Pod) -> Result<(), Stop> {
    let patch = json!({"status": {"conditions": [{"type": GATE, "status": "True"}]}});
    let params = PatchParams::default();
    trial.pods_api().patch_status(&pod.name_any(), &params, &Patch::Strategic(patch)).await?;
    Ok(())
}

/// Whether the pod has the gate.
pub fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or(&[]);
    gates.iter().any(|gate| gate.condition_type == GATE)
}

/// `wanted` gated pods would be ready but for their gate.
pub fn n_held(wanted: usize) -> Condition<Pod> {
    let name = format!("{wanted} new pods wait at their gate");
    Condition::new(name, move |pods: &[Arc<Pod>]| {
        let n = pods.iter().filter(|pod| is_held(pod)).count();
        if n >= wanted { Ok(()) } else { Err(format!("{n} of {wanted} do")) }
    })
}

/// Whether the pod is up in all its containers and held back by its gate alone.
pub fn is_held(pod: &Pod) -> bool {
    let up = pod_condition(pod, "ContainersReady").is_some_and(|c| c.status == "True");
    is_gated(pod) && up && !is_pod_ready(pod) && !is_terminating(pod)
}
