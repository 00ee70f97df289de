//! A trial on the simulator: a cluster and a runtime of its own, and what the model lacks.

mod bystanders;
mod claims;
mod cluster;
mod fields;
mod programs;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::base::{Error, ObjectRef};
use crate::engine::Engine;
use crate::engine::sim::{self, ClusterSpec, SimEngine};
use crate::observe::{CauseClass, Verdict};
use crate::stack::Manifest;

use super::artifacts::Artifacts;
use super::discover::NoTarget;
use super::judge::{Around, judge, without_target};
use super::run::{Job, Judged, RunRequest};
use super::target::{StackTarget, Workload};
use bystanders::Bystanders;

/// Worker nodes of the simulated cluster, as in the kind configuration.
const N_WORKERS: usize = 3;

/// Runs one trial to its end.
///
/// # Errors
/// The runtime could not be built.
pub(super) fn run_trial(
    request: &RunRequest,
    job: &Job<'_>,
    artifacts: Option<&Artifacts>,
) -> Result<Judged, Error> {
    if let Err(missing @ NoTarget::OtherDoor(..)) = request.target() {
        return Ok(Judged::from_stop(without_target(request, missing)));
    }
    let spec = cluster_spec(request);
    let bystanders = Bystanders::of(request);
    let unmodelled = fields::unmodelled(request, job.scenario, &bystanders);
    let may_add = unmodelled.as_ref().is_some_and(|unmodelled| unmodelled.may_add);
    let unapplied = programs::without_model(request)
        .or(unmodelled.map(|unmodelled| unmodelled.message))
        .or_else(|| cluster::lacks(request, job.scenario, &spec));
    // Where nothing else can bring what the manifests lack, that is judged all the same.
    if let (Some(unknown), true) = (&unapplied, may_add) {
        return Ok(Judged::without_cluster(unknown.clone()));
    }
    let run = sim::run(&spec, job.seed, async |engine: Arc<SimEngine>| {
        let cluster = Arc::clone(&engine) as Arc<dyn Engine>;
        let around = Around { artifacts, unapplied: unapplied.clone(), ..Around::nothing() };
        let mut judged = judge(request, job, cluster, around, async || Ok(())).await;
        judged.diagnosis.retain(|line| !bystanders.is_about(line));
        let commands = engine.unmodelled_commands().into_iter();
        let commands: BTreeSet<String> =
            commands.filter_map(|(pod, what)| (!bystanders.own(&pod)).then_some(what)).collect();
        let lacks = if !commands.is_empty() {
            let commands: Vec<String> = commands.into_iter().collect();
            format!(
                "does not follow what containers, hooks or probes run or read (a real cluster \
                 tells, --engine kind): {}",
                commands.join("; ")
            )
        } else if let Some(maker) = maker_missed(request, &judged) {
            format!("has no controller for {maker}, which may make what is missing")
        } else {
            return judged;
        };
        // What was expected and seen; more would hide what is to be done.
        let message: Vec<&str> = judged.message.lines().take(2).collect();
        let (verdict, message) = (judged.verdict, message.join("\n"));
        Judged::without_cluster(format!("the simulator {lacks}\nit saw: {verdict}: {message}"))
    })?;
    if unapplied.is_some() && run.value.verdict == Verdict::Unknown {
        // Nothing of the stack ran.
        return Ok(run.value);
    }
    let virtual_ms = u64::try_from(run.virtual_time.as_millis()).unwrap_or(u64::MAX);
    Ok(Judged { virtual_ms, trace_hash: Some(run.trace_hash), ..run.value })
}

/// The cluster that a stack is tried on.
pub(super) fn cluster_spec(request: &RunRequest) -> ClusterSpec {
    let mut spec = ClusterSpec::new(request.profile, N_WORKERS);
    spec.apps.clone_from(&request.apps);
    spec.images = request.stack.images();
    spec.custom_kinds = request.stack.custom_kinds();
    spec
}

/// The workloads that have to run.
fn workloads(target: &StackTarget) -> impl Iterator<Item = &Workload> {
    let front = &target.front.workload;
    let database = target.database.iter().filter(|database| !database.is(front));
    std::iter::once(front).chain(database)
}

/// A custom resource that names a Secret or ConfigMap for want of which `judged` is what it is, or an
/// annotation that asks for the certificate that is missing.
fn maker_missed(request: &RunRequest, judged: &Judged) -> Option<String> {
    let objects = request.stack.objects();
    let cause =
        |class: CauseClass| judged.causes.iter().find(move |each| each.class == class.as_str());
    let fallback = cause(CauseClass::FallbackCertificate);
    let stuck = cause(CauseClass::NeverReady);
    let wants = |manifest: &&Manifest| match manifest.object_ref.kind.as_str() {
        "Ingress" => fallback.is_some_and(|why| why.object.as_ref() == Some(&manifest.object_ref)),
        _ => stuck.is_some() && !manifest.is_custom(),
    };
    objects.iter().filter(wants).find_map(|manifest| {
        if let Some(annotation) = issuer(manifest) {
            return Some(format!("{annotation} of {}", manifest.object_ref));
        }
        let namespace = &manifest.object_ref.namespace;
        let is_here = |kind: &str, name: &str| {
            request.stack.manifest(&ObjectRef::new(kind, namespace, name)).is_some()
        };
        let mut names = BTreeSet::new();
        configuration(&manifest.value, &mut names);
        names.retain(|name| !is_here("Secret", name) && !is_here("ConfigMap", name));
        let mut custom = objects.iter().filter(|other| other.is_custom());
        let maker = custom.find(|other| {
            other.object_ref.namespace == *namespace
                && names.iter().any(|name| holds(&other.value, name))
        });
        maker.map(|maker| maker.object_ref.to_string())
    })
}

/// The annotation of an Ingress by which cert-manager makes its certificate
/// (<https://cert-manager.io/docs/usage/ingress>).
fn issuer(manifest: &Manifest) -> Option<&str> {
    let annotations = manifest.value.pointer("/metadata/annotations")?.as_object()?;
    let is_issuer = |key: &&String| {
        let name = key.strip_prefix("cert-manager.io/");
        name.is_some_and(|name| matches!(name, "issuer" | "cluster-issuer"))
            || *key == "kubernetes.io/tls-acme"
    };
    annotations.keys().find(is_issuer).map(String::as_str)
}

/// Collects the names of Secrets and ConfigMaps that `value` refers to.
fn configuration<'v>(value: &'v Value, names: &mut BTreeSet<&'v str>) {
    let Value::Object(map) = value else {
        value.as_array().into_iter().flatten().for_each(|item| configuration(item, names));
        return;
    };
    for (key, each) in map {
        let name = match key.as_str() {
            "secretName" => each.as_str(),
            "secret" | "secretRef" | "secretKeyRef" | "configMap" | "configMapRef"
            | "configMapKeyRef" => each["name"].as_str(),
            _ => None,
        };
        names.extend(name.filter(|name| !name.is_empty()));
        configuration(each, names);
    }
}

/// Whether `text` is somewhere in `value`.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(map) => map.values().any(|each| holds(each, text)),
        _ => false,
    }
}
