//! Questions about claims, volumes and the pods that use them.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};

/// The claims of a pod: the name of each volume with the name of its claim. A generic ephemeral
/// volume has a claim of its own, `<pod>-<volume>`.
pub fn pod_claims(pod: &Pod) -> impl Iterator<Item = (&str, String)> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or("");
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(move |volume| {
        let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => source.claim_name.clone(),
            (None, Some(_)) => format!("{pod_name}-{}", volume.name),
            (None, None) => return None,
        };
        Some((volume.name.as_str(), claim))
    })
}

/// The storage class a claim asks for; empty for none. The old annotation wins
/// (`component-helpers/storage/volume/helpers.go:GetPersistentVolumeClaimClass`).
pub fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    let annotations = claim.metadata.annotations.as_ref();
    let old = annotations.and_then(|a| a.get("volume.beta.kubernetes.io/storage-class"));
    let spec = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    old.or(spec).map_or("", String::as_str)
}

/// The phase of a claim; `Pending` before it has one.
pub fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// The volume a claim names; empty for none.
pub fn claim_volume(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("")
}

/// The phase of a volume; `Pending` before it has one.
pub fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}
