//! Claims, volumes and classes (`pkg/apis/core/validation/validation.go`,
//! `pkg/apis/storage/validation/validation.go`).

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
};
use k8s_openapi::api::storage::v1::StorageClass;

use super::meta::{metadata, selector};
use super::{Errors, NameRule, Path, quoted, text};
use crate::k8s::bytes;

/// Access modes a claim or volume can have.
const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// `ValidatePersistentVolumeClaim`.
pub fn persistent_volume_claim(claim: &PersistentVolumeClaim, errors: &mut Errors) {
    metadata(&claim.metadata, NameRule::Subdomain, true, errors);
    let empty = PersistentVolumeClaimSpec::default();
    claim_spec(claim.spec.as_ref().unwrap_or(&empty), &Path::root("spec"), errors);
}

/// `ValidatePersistentVolumeClaimSpec`.
pub(super) fn claim_spec(spec: &PersistentVolumeClaimSpec, path: &Path<'_>, errors: &mut Errors) {
    access_modes(spec.access_modes.as_deref().unwrap_or(&[]), path, errors);
    if let Some(labels) = &spec.selector {
        selector(labels, &path.field("selector"), errors);
    }
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let at = path.field("resources");
    match requests.and_then(|requests| requests.get("storage")) {
        None => errors.required(&at.key("storage"), ""),
        Some(size) if bytes(size).is_none_or(|bytes| bytes == 0) => {
            let list = at.field("requests");
            errors.invalid(&list.key("storage"), quoted(&size.0), "must be greater than zero");
        }
        Some(_) => {}
    }
    if let Some(class) = spec.storage_class_name.as_deref().filter(|class| !class.is_empty()) {
        errors.refused(&path.field("storageClassName"), class, text::subdomain_1123(class));
    }
    let modes = ["Block", "Filesystem"];
    errors.one_of(&path.field("volumeMode"), spec.volume_mode.as_deref(), &modes);
}

fn access_modes(modes: &[String], path: &Path<'_>, errors: &mut Errors) {
    let at = path.field("accessModes");
    if modes.is_empty() {
        errors.required(&at, "at least 1 access mode is required");
    }
    for mode in modes {
        errors.one_of(&at, Some(mode), &ACCESS_MODES);
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        errors.forbidden(&at, "may not use ReadWriteOncePod with other access modes");
    }
}

/// `ValidatePersistentVolume`.
pub fn persistent_volume(volume: &PersistentVolume, errors: &mut Errors) {
    metadata(&volume.metadata, NameRule::Subdomain, false, errors);
    let root = Path::root("spec");
    let Some(spec) = &volume.spec else {
        errors.required(&root.field("accessModes"), "");
        errors.required(&root.field("capacity"), "");
        return;
    };
    access_modes(spec.access_modes.as_deref().unwrap_or(&[]), &root, errors);
    let at = root.field("capacity");
    match spec.capacity.as_ref().filter(|capacity| !capacity.is_empty()) {
        None => errors.required(&at, ""),
        Some(capacity) if !capacity.contains_key("storage") || capacity.len() > 1 => {
            errors.not_supported(&at, "", &["storage"]);
        }
        Some(_) => {}
    }
    let n_sources = [
        spec.csi.is_some(),
        spec.host_path.is_some(),
        spec.nfs.is_some(),
        spec.local.is_some(),
        spec.rbd.is_some(),
        spec.cephfs.is_some(),
        spec.iscsi.is_some(),
        spec.fc.is_some(),
        spec.aws_elastic_block_store.is_some(),
        spec.gce_persistent_disk.is_some(),
        spec.azure_disk.is_some(),
        spec.azure_file.is_some(),
        spec.vsphere_volume.is_some(),
        spec.cinder.is_some(),
        spec.flex_volume.is_some(),
        spec.portworx_volume.is_some(),
        spec.glusterfs.is_some(),
        spec.flocker.is_some(),
        spec.photon_persistent_disk.is_some(),
        spec.quobyte.is_some(),
        spec.scale_io.is_some(),
        spec.storageos.is_some(),
    ]
    .iter()
    .filter(|set| **set)
    .count();
    if n_sources == 0 {
        errors.required(&root, "must specify a volume type");
    } else if n_sources > 1 {
        errors.forbidden(&root, "may not specify more than 1 volume type");
    }
    if spec.local.is_some() && spec.node_affinity.is_none() {
        errors.required(&root.field("nodeAffinity"), "Local volume requires node affinity");
    }
    let policies = ["Delete", "Recycle", "Retain"];
    let policy = spec.persistent_volume_reclaim_policy.as_deref();
    errors.one_of(&root.field("persistentVolumeReclaimPolicy"), policy, &policies);
    let modes = ["Block", "Filesystem"];
    errors.one_of(&root.field("volumeMode"), spec.volume_mode.as_deref(), &modes);
}

/// `ValidateStorageClass`.
pub fn storage_class(class: &StorageClass, errors: &mut Errors) {
    metadata(&class.metadata, NameRule::Subdomain, false, errors);
    let provisioner = &class.provisioner;
    if provisioner.is_empty() {
        errors.required(&Path::root("provisioner"), "");
    } else {
        let why = text::qualified_name(&provisioner.to_lowercase());
        errors.refused(&Path::root("provisioner"), provisioner, why);
    }
    for key in class.parameters.iter().flatten().map(|(key, _)| key) {
        if key.is_empty() {
            errors.invalid(&Path::root("parameters"), "\"\"", "field cannot be empty");
        }
    }
    let policies = ["Delete", "Retain"];
    errors.one_of(&Path::root("reclaimPolicy"), class.reclaim_policy.as_deref(), &policies);
    let modes = ["Immediate", "WaitForFirstConsumer"];
    let mode = class.volume_binding_mode.as_deref();
    errors.one_of(&Path::root("volumeBindingMode"), mode, &modes);
}
