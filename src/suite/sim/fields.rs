//! The fields of a stack that the simulator does not act on, and which of them a scenario depends on.

use crate::engine::sim::{GenericApp, description};
use crate::k8s::coverage::START;
use crate::stack::{Manifest, UnmodelledField};
use crate::suite::run::RunRequest;
use crate::suite::scenario::{Aspect, Scenario};

use super::bystanders::Bystanders;
use super::programs::{Program, programs};

/// How paths of a workload's pod begin.
const POD: &str = "spec.template.spec.";
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
        if is_settled(request, field) {
            return false;
        }
        if field.aspects.contains(&START) {
            return !scenario.aspects.is_empty() && !bystanders.contains(&field.object);
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
    let is_unsaid = |field: &UnmodelledField| {
        denied(&field.path).is_some_and(|of| concerned(request, field, of, |_| true))
    };
    let hint = match fields.iter().any(is_unsaid) {
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

/// Whether descriptions of the programs that `field` concerns say that it changes nothing.
fn is_settled(request: &RunRequest, field: &UnmodelledField) -> bool {
    let path = field.path.as_str();
    if let Some(of) = denied(path) {
        return concerned(request, field, of, |app| app.unprivileged);
    }
    // A description is about the program as it is started there, and that writes no files.
    let of = match path.strip_suffix("workingDir") {
        Some(container) => container,
        None if path.contains("].emptyDir.") => POD,
        None => return false,
    };
    concerned(request, field, of, |_| true)
}

/// The container or pod whose security context denies something by the field at `path`, as the
/// beginning of paths below it.
fn denied(path: &str) -> Option<&str> {
    let (of, what) = path.split_once("securityContext.")?;
    DENIALS.iter().any(|denial| what.starts_with(denial)).then_some(of)
}

/// Whether all programs below `of`, in the object of `field`, are described, and as `holds` asks.
fn concerned(
    request: &RunRequest,
    field: &UnmodelledField,
    of: &str,
    holds: impl Fn(&GenericApp) -> bool,
) -> bool {
    let programs = request.stack.manifest(&field.object).map(programs).unwrap_or_default();
    let mut programs = programs.iter().filter(|each| each.is_at(of)).peekable();
    let described = |image| description(image, &request.apps);
    programs.peek().is_some() && programs.all(|each| described(each.image()).is_some_and(&holds))
}

/// Whether one of `fields` denies `program` something.
pub(super) fn is_denied(fields: &[UnmodelledField], program: &Program<'_>) -> bool {
    fields.iter().any(|field| {
        field.object == program.manifest.object_ref
            && denied(&field.path).is_some_and(|of| program.is_at(of))
    })
}
