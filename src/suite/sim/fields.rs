//! The fields of a stack that the simulator does not act on, and which of them a scenario depends on.

use serde_json::Value;

use crate::engine::sim::description;
use crate::k8s::coverage::START;
use crate::stack::{Manifest, UnmodelledField};
use crate::suite::run::RunRequest;
use crate::suite::scenario::{Aspect, Scenario};

use super::bystanders::Bystanders;
use super::programs::programs;

/// What a security context denies a program.
const DENIALS: [&str; 5] =
    ["capabilities.drop[", "readOnlyRootFilesystem", "runAsGroup", "runAsNonRoot", "runAsUser"];

/// What the simulator does not act on.
pub(super) struct Unmodelled {
    /// The fields, and who tells.
    pub message: String,
    /// Among them is what may also bring what the manifests lack: replicas, autoscalers, ways in.
    pub may_add: bool,
}

/// The fields that matter to `scenario` and that the simulator does not act on.
pub(super) fn unmodelled(
    request: &RunRequest,
    scenario: &Scenario,
    bystanders: &Bystanders,
) -> Option<Unmodelled> {
    let matters = |field: &UnmodelledField| {
        if field.aspects.contains(&START) {
            return !scenario.aspects.is_empty()
                && !bystanders.contains(&field.object)
                && denied(request, field).is_none_or(|programs| !programs.all_do_without);
        }
        let is_own = |aspect: Aspect| {
            matches!(aspect, Aspect::Lifecycle | Aspect::Traffic)
                && bystanders.contains(&field.object)
        };
        let mut aspects = scenario.aspects.iter().filter(|aspect| !is_own(**aspect));
        aspects.any(|aspect| field.aspects.contains(&aspect.as_str()))
    };
    let fields: Vec<_> = request.stack.unmodelled().into_iter().filter(matters).collect();
    if fields.is_empty() {
        return None;
    }
    let lines = fields.iter().map(|field| {
        let path = if field.path.is_empty() { "the whole kind" } else { &field.path };
        format!("{}: {path} of {} ({})", field.location, field.object, field.aspects.join(", "))
    });
    let lines: Vec<_> = lines.collect();
    let mut manifests = fields.iter().filter_map(|field| request.stack.manifest(&field.object));
    let tells = match manifests.any(Manifest::is_custom) {
        true => "a cluster with the controllers of these kinds tells, --engine kubeconfig",
        false => "a real cluster tells, --engine kind",
    };
    let mut denials = fields.iter().filter_map(|field| denied(request, field));
    let hint = match denials.any(|programs| programs.all_are_described) {
        true => "\nsay in seatrial.toml which programs are `unprivileged`",
        false => "",
    };
    let message = format!(
        "the simulator does not act on what this depends on ({tells}):\n{}{hint}",
        lines.join("\n")
    );
    Some(Unmodelled { message, may_add: fields.iter().any(|field| may_add(request, field)) })
}

/// Whether it is an object that makes or changes others: a custom resource, or an admission hook.
fn may_add(request: &RunRequest, field: &UnmodelledField) -> bool {
    let manifest = request.stack.manifest(&field.object);
    manifest.is_some_and(|each| each.is_custom() || each.group() == "admissionregistration.k8s.io")
}

/// The programs that a security context denies something.
struct Denied {
    /// All are described in `seatrial.toml`.
    all_are_described: bool,
    /// All are described as doing without.
    all_do_without: bool,
}

/// Whom `field` denies something; `None` when it does nothing of the kind.
fn denied(request: &RunRequest, field: &UnmodelledField) -> Option<Denied> {
    let (of, what) = field.path.split_once("securityContext.")?;
    if !DENIALS.iter().any(|denial| what.starts_with(denial)) {
        return None;
    }
    let manifest = request.stack.manifest(&field.object)?;
    let programs = programs(manifest).into_iter().filter(|each| each.is_at(of));
    let apps: Vec<_> = programs.map(|each| description(each.image(), &request.apps)).collect();
    (!apps.is_empty()).then(|| Denied {
        all_are_described: apps.iter().all(Option::is_some),
        all_do_without: apps.iter().all(|app| app.is_some_and(|app| app.unprivileged)),
    })
}

/// Whether the security contexts of `pod` deny its programs something.
pub(super) fn denies(pod: &Value) -> bool {
    let own = pod.get("securityContext").into_iter();
    let lists = ["containers", "initContainers"].into_iter();
    let containers = lists.flat_map(|list| pod[list].as_array().into_iter().flatten());
    let contexts = own.chain(containers.filter_map(|each| each.get("securityContext")));
    let mut fields = contexts.filter_map(Value::as_object).flatten();
    fields.any(|(name, value)| match name.as_str() {
        "capabilities" => !value["drop"].is_null(),
        _ => *value != false && DENIALS.contains(&name.as_str()),
    })
}
