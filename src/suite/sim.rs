//! A trial on the simulator: a cluster and a runtime of its own, and what the model lacks.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::base::{Error, ObjectRef};
use crate::engine::Engine;
use crate::engine::sim::{self, ClusterSpec, SimEngine, has_model};
use crate::k8s::image_reference;
use crate::observe::CauseClass;
use crate::stack::{Manifest, UnmodelledField};

use super::artifacts::Artifacts;
use super::discover::target_port;
use super::judge::{Around, judge};
use super::run::{Job, Judged, RunRequest};
use super::scenario::{Aspect, Scenario};
use super::target::{Front, StackTarget};

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
    let lacks = without_model(request, job.scenario);
    if let Some(unknown) = lacks.or_else(|| unmodelled_fields(request, job.scenario)) {
        return Ok(Judged::without_cluster(unknown));
    }
    let spec = cluster_spec(request);
    let run = sim::run(&spec, job.seed, async |engine: Arc<SimEngine>| {
        let cluster = Arc::clone(&engine) as Arc<dyn Engine>;
        let around = Around { artifacts, ..Around::nothing() };
        let judged = judge(request, job, cluster, around, async || Ok(())).await;
        let commands = engine.unmodelled_commands();
        let lacks = if !commands.is_empty() {
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

/// The fields of the stack that matter to `scenario` and that the simulator does not act on.
fn unmodelled_fields(request: &RunRequest, scenario: &Scenario) -> Option<String> {
    let matters = |field: &UnmodelledField| {
        scenario.aspects.iter().any(|aspect| field.aspects.contains(&aspect.as_str()))
    };
    let fields: Vec<_> = request.stack.unmodelled().into_iter().filter(matters).collect();
    let lines = fields.iter().map(|field| {
        let path = if field.path.is_empty() { "the whole kind" } else { &field.path };
        let at = format!("{}:{}", field.location.file.display(), field.location.line);
        format!("{at}: {path} of {} ({})", field.object, field.aspects.join(", "))
    });
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then(|| {
        format!("the simulator does not act on what this depends on:\n{}", lines.join("\n"))
    })
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

/// The programs that `scenario` needs and that have no model, as a message.
fn without_model(request: &RunRequest, scenario: &Scenario) -> Option<String> {
    let target = request.target().ok()?;
    let endless = init_images_without_model(request, &target);
    if !endless.is_empty() {
        return Some(format!(
            "no program model for {}: whether and when these init containers end is not known",
            endless.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
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
    let port = declared_port(request, &target, first).unwrap_or(8080);
    Some(format!(
        "no program model for {}: what the pods answer is not known\n\
         add to seatrial.toml:\n\
         [[app]]\n\
         image = \"{repository}\"\n\
         port = {port}\n\
         start_ms = 1000\n\
         cpu_per_request_ms = 5\n\
         memory_mib = 64",
        missing.iter().cloned().collect::<Vec<_>>().join(", ")
    ))
}

/// The port that a container of `image` listens on, as far as it is told: where the front's Service
/// leads to, or the only one that is declared.
fn declared_port(request: &RunRequest, target: &StackTarget, image: &str) -> Option<u64> {
    let front = &target.front;
    let mut workloads = std::iter::once(&front.workload).chain(&target.database);
    workloads.find_map(|workload| {
        let manifest = request.stack.manifest(&workload.reference())?;
        let containers = manifest.value.pointer("/spec/template/spec/containers")?.as_array()?;
        let idx = containers.iter().position(|each| each["image"] == image)?;
        let ports = containers.get(idx)?["ports"].as_array().map_or(&[][..], Vec::as_slice);
        if workload.is(&front.workload) && idx == workload.container {
            return match served_port(request, front)? {
                IntOrString::Int(number) => u64::try_from(number).ok(),
                IntOrString::String(name) => {
                    ports.iter().find(|port| port["name"] == *name)?["containerPort"].as_u64()
                }
            };
        }
        match ports {
            [port] => port["containerPort"].as_u64(),
            _ => None,
        }
    })
}

/// Where the front's Service leads to in its pods.
fn served_port(request: &RunRequest, front: &Front) -> Option<IntOrString> {
    let service = ObjectRef::new("Service", &front.workload.namespace, &front.service);
    let ports = request.stack.manifest(&service)?.value.pointer("/spec/ports")?.as_array()?;
    let port = ports.iter().find(|port| port["port"].as_i64() == Some(front.port))?;
    Some(target_port(Some(port)))
}

fn images_without_model(request: &RunRequest, target: &StackTarget) -> BTreeSet<String> {
    let workloads = std::iter::once(&target.front.workload).chain(&target.database);
    workloads
        .flat_map(|workload| workload.containers.iter().map(|(_, image)| image))
        .filter(|image| can_run(image) && !has_model(image, &request.apps))
        .cloned()
        .collect()
}

/// An image without a valid name never runs, whatever is in it.
fn can_run(image: &str) -> bool {
    image_reference(image).is_ok()
}

/// The images of init containers that have no built-in model: what `seatrial.toml` describes are
/// servers, which do not end.
fn init_images_without_model(request: &RunRequest, target: &StackTarget) -> BTreeSet<String> {
    let workloads = std::iter::once(&target.front.workload).chain(&target.database);
    let references: Vec<_> = workloads.map(|workload| workload.reference()).collect();
    let manifests = request.stack.objects().iter();
    let containers = manifests
        .filter(|manifest| references.contains(&manifest.object_ref))
        .filter_map(|manifest| manifest.value.pointer("/spec/template/spec/initContainers"))
        .filter_map(Value::as_array)
        .flatten();
    containers
        // A sidecar need not end.
        .filter(|container| container["restartPolicy"] != "Always")
        .filter_map(|container| container["image"].as_str())
        .filter(|image| can_run(image) && !has_model(image, &[]))
        .map(str::to_owned)
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
