//! Claims of volumes that nothing in the simulated cluster makes.

use serde_json::Value;

use crate::base::ObjectRef;
use crate::engine::sim::has_driver;
use crate::stack::Manifest;
use crate::suite::run::RunRequest;

/// kind's own class, which is the default.
const STANDARD: &str = "standard";
/// The annotation that came before `spec.storageClassName`.
const ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The claims of `workload` for which there will be no volume: where they are written, and why.
pub(super) fn of(request: &RunRequest, workload: &Manifest) -> Vec<String> {
    let items = |pointer: &str| {
        workload.value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
    };
    let claimed = items("/spec/template/spec/volumes").filter_map(|volume| {
        let name = volume.pointer("/persistentVolumeClaim/claimName")?.as_str()?;
        let namespace = &workload.object_ref.namespace;
        let claim = ObjectRef::new("PersistentVolumeClaim", namespace, name);
        let claim = request.stack.manifest(&claim)?;
        lack(request, claim, &claim.value, "")
    });
    let templates = items("/spec/volumeClaimTemplates").enumerate().filter_map(|(idx, claim)| {
        lack(request, workload, claim, &format!("spec.volumeClaimTemplates[{idx}]."))
    });
    claimed.chain(templates).collect()
}

/// What is missing for `claim`, which is written in `manifest` below `at`.
fn lack(request: &RunRequest, manifest: &Manifest, claim: &Value, at: &str) -> Option<String> {
    let told = |path: &str, what: &str| {
        let path = format!("{at}{path}");
        Some(format!("{}: {path} of {} {what}", manifest.locate(&path), manifest.object_ref))
    };
    let volumes = || {
        let objects = request.stack.objects().iter();
        objects.filter(|each| each.object_ref.kind == "PersistentVolume")
    };
    if let Some(volume) = text(claim, "/spec/volumeName") {
        return match volumes().any(|each| each.object_ref.name == volume) {
            true => None,
            false => told("spec.volumeName", &format!("names the volume {volume}")),
        };
    }
    let annotations = claim.pointer("/metadata/annotations");
    let annotation = annotations.and_then(|all| all.get(ANNOTATION)).and_then(Value::as_str);
    let class = annotation.or_else(|| text(claim, "/spec/storageClassName"))?;
    let is_here = |volume: &Manifest| {
        text(&volume.value, "/spec/storageClassName").unwrap_or_default() == class
    };
    if volumes().any(is_here) {
        return None;
    }
    let path = match annotation {
        Some(_) => format!("metadata.annotations.{ANNOTATION}"),
        None => "spec.storageClassName".to_owned(),
    };
    if class.is_empty() {
        return told(&path, "asks for a volume that is there already");
    }
    let Some(definition) = request.stack.manifest(&ObjectRef::new("StorageClass", "", class))
    else {
        return (class != STANDARD)
            .then(|| told(&path, &format!("names {class}, a class that is not of the stack")))
            .flatten();
    };
    let provisioner = text(&definition.value, "/provisioner").unwrap_or_default();
    (!has_driver(provisioner)).then(|| {
        let at = definition.locate("provisioner");
        format!("{at}: provisioner of {} is {provisioner}", definition.object_ref)
    })
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}
