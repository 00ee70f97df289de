//! A trial on the simulator: a cluster and a runtime of its own, and what the model lacks.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::base::Error;
use crate::engine::sim::{self, ClusterSpec, has_model};

use super::run::{Job, Judged, RunRequest, judge};
use super::scenario::{Aspect, Scenario};
use super::target::StackTarget;

/// Worker nodes of the simulated cluster, as in the kind configuration.
const N_WORKERS: usize = 3;

/// Runs one trial to its end.
///
/// # Errors
/// The runtime could not be built.
pub(super) fn run_trial(request: &RunRequest, job: &Job<'_>) -> Result<Judged, Error> {
    if let Some(unknown) = lacking(request, job.scenario) {
        return Ok(Judged::without_cluster(unknown));
    }
    let spec = cluster_spec(request);
    let run = sim::run(&spec, job.seed, async |engine| judge(request, job, engine).await)?;
    let virtual_ms = u64::try_from(run.virtual_time.as_millis()).unwrap_or(u64::MAX);
    Ok(Judged { virtual_ms, trace_hash: Some(run.trace_hash), ..run.value })
}

fn cluster_spec(request: &RunRequest) -> ClusterSpec {
    let mut spec = ClusterSpec::new(request.profile, N_WORKERS);
    spec.apps.clone_from(&request.apps);
    spec.images = request
        .stack
        .objects()
        .iter()
        .filter_map(|manifest| manifest.value.pointer("/spec/template/spec"))
        .flat_map(images_of)
        .collect();
    spec.custom_kinds = request.stack.custom_kinds();
    spec
}

/// The images that a pod template names.
fn images_of(pod: &Value) -> Vec<String> {
    ["containers", "initContainers"]
        .iter()
        .filter_map(|list| pod.get(list)?.as_array())
        .flatten()
        .filter_map(|container| container.get("image")?.as_str().map(str::to_owned))
        .collect()
}

/// What the model lacks for `scenario`, as a message.
fn lacking(request: &RunRequest, scenario: &Scenario) -> Option<String> {
    let target = request.target().ok()?;
    if !scenario.aspects.contains(&Aspect::Traffic) && !is_probed(request, &target) {
        return None;
    }
    let missing = images_without_model(request, &target);
    let first = missing.first()?;
    let repository = first.split('@').next().unwrap_or(first);
    let repository = match repository.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => repository,
    };
    Some(format!(
        "no program model for {}: what the pods answer is not known\n\
         add to seatrial.toml:\n\
         [[app]]\n\
         image = \"{repository}\"\n\
         port = 8080\n\
         start_ms = 1000\n\
         cpu_per_request_ms = 5\n\
         memory_mib = 64",
        missing.iter().cloned().collect::<Vec<_>>().join(", ")
    ))
}

fn images_without_model(request: &RunRequest, target: &StackTarget) -> BTreeSet<String> {
    let workloads = std::iter::once(&target.front.workload).chain(&target.database);
    workloads
        .flat_map(|workload| workload.containers.iter().map(|(_, image)| image))
        .filter(|image| !has_model(image, &request.apps))
        .cloned()
        .collect()
}

/// Whether readiness depends on what the front's programs answer.
fn is_probed(request: &RunRequest, target: &StackTarget) -> bool {
    let front = target.front.workload.reference();
    let manifest = request.stack.objects().iter().find(|m| m.object_ref == front);
    let containers = manifest
        .and_then(|manifest| manifest.value.pointer("/spec/template/spec/containers"))
        .and_then(Value::as_array);
    containers.into_iter().flatten().any(|container| {
        ["readinessProbe", "livenessProbe", "startupProbe"]
            .iter()
            .any(|probe| container.get(probe).is_some())
    })
}
