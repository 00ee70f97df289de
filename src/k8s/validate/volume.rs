//! Volumes of a pod (`pkg/apis/core/validation/validation.go:ValidateVolumes`).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Volume;

use super::{Errors, Path, quoted, text};

/// Checks the volumes of a pod spec at `path` and returns their names.
pub(super) fn volumes<'a>(
    volumes: &'a [Volume],
    path: &Path<'_>,
    errors: &mut Errors,
) -> BTreeSet<&'a str> {
    let list = path.field("volumes");
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (idx, volume) in volumes.iter().enumerate() {
        let at = list.index(idx);
        if volume.name.is_empty() {
            errors.required(&at.field("name"), "");
        } else {
            let why = text::label_1123(&volume.name);
            if why.is_empty() && !names.insert(&volume.name) {
                errors.duplicate(&at.field("name"), quoted(&volume.name));
            }
            errors.refused(&at.field("name"), &volume.name, why);
        }
        source(volume, &at, errors);
    }
    names
}

/// `validateVolumeSource`: one source, with its required fields.
fn source(volume: &Volume, path: &Path<'_>, errors: &mut Errors) {
    let sources = [
        ("emptyDir", volume.empty_dir.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("secret", volume.secret.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("persistentVolumeClaim", volume.persistent_volume_claim.is_some()),
        ("projected", volume.projected.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("csi", volume.csi.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("cephfs", volume.cephfs.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("image", volume.image.is_some()),
    ];
    let set = sources.iter().filter(|(_, set)| *set).map(|(field, _)| *field);
    for field in set.skip(1) {
        errors.forbidden(&path.field(field), "may not specify more than 1 volume type");
    }
    if let Some(claim) = &volume.persistent_volume_claim
        && claim.claim_name.is_empty()
    {
        errors.required(&path.field("persistentVolumeClaim.claimName"), "");
    }
    if let Some(secret) = &volume.secret
        && secret.secret_name.as_deref().unwrap_or("").is_empty()
    {
        errors.required(&path.field("secret.secretName"), "");
    }
    if let Some(map) = &volume.config_map
        && map.name.is_empty()
    {
        errors.required(&path.field("configMap.name"), "");
    }
    if let Some(host) = &volume.host_path {
        if host.path.is_empty() {
            errors.required(&path.field("hostPath.path"), "");
        } else if host.path.split('/').any(|part| part == "..") {
            let why = "must not contain '..'";
            errors.invalid(&path.field("hostPath.path"), quoted(&host.path), why);
        }
    }
}
