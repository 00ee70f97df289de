//! Volumes: Available, Bound, Released (`pv_controller.go:syncVolume`, `reclaimVolume`).

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PersistentVolumeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::k8s::{claim_volume, volume_phase};
use crate::sim::api::events::{Note, record};
use crate::sim::api::{Objects, Part, Status};
use crate::sim::context::Cx;

use super::matching::reference;
use super::{BOUND_BY_CONTROLLER, SOURCE, has_annotation};

/// Set by the provisioner that made a volume, and will delete it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// PersistentVolumeLastPhaseTransitionTime, on by default (by memory of the feature gates).
const TRANSITION_TIME_SINCE: u8 = 29;

/// `syncVolume`; true when the claim it is reserved for is to be looked at.
pub(super) fn sync(
    volume: &PersistentVolume,
    cache: &Objects,
    cx: &mut Cx<'_>,
) -> Result<bool, Status> {
    let name = volume.metadata.name.as_deref().unwrap_or("");
    let Some(reserved) = reference(volume) else {
        set_phase(name, "Available", None, cx)?;
        return Ok(false);
    };
    let uid = reserved.uid.as_deref().unwrap_or("");
    if uid.is_empty() {
        // Reserved by hand: free until that claim comes.
        set_phase(name, "Available", None, cx)?;
        return Ok(true);
    }
    let space = reserved.namespace.as_deref().unwrap_or("");
    let claim_name = reserved.name.as_deref().unwrap_or("");
    let cached = cache.get::<PersistentVolumeClaim>(space, claim_name);
    // A claim that the cache lacks is asked for at the API server: it may be newer than the cache.
    let found = cached.or_else(|| cx.api.get::<PersistentVolumeClaim>(space, claim_name)).cloned();
    let claim = found.filter(|claim| claim.metadata.uid.as_deref() == Some(uid));
    let Some(claim) = claim else {
        return release(volume, cx).map(|()| false);
    };
    if claim_volume(&claim).is_empty() {
        return Ok(true);
    }
    if claim_volume(&claim) == name {
        set_phase(name, "Bound", None, cx)?;
        return Ok(false);
    }
    let is_made_for_it = has_annotation(&volume.metadata, PROVISIONED_BY);
    if is_made_for_it && reclaim_policy(volume) == "Delete" {
        release(volume, cx)?;
    } else {
        unbind(volume, cx)?;
    }
    Ok(false)
}

/// The claim is gone. Retain keeps the volume as it is; Delete is the provisioner's work
/// (`sim::volumes`), and fails where there is none.
fn release(volume: &PersistentVolume, cx: &mut Cx<'_>) -> Result<(), Status> {
    let name = volume.metadata.name.as_deref().unwrap_or("");
    if !matches!(volume_phase(volume), "Released" | "Failed") {
        set_phase(name, "Released", None, cx)?;
    }
    let has_provisioner = has_annotation(&volume.metadata, PROVISIONED_BY);
    if reclaim_policy(volume) == "Delete" && !has_provisioner && volume_phase(volume) != "Failed" {
        let text = format!(
            "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin \
             matched"
        );
        record(cx.api, volume, Note::warning(SOURCE, "VolumeFailedDelete", text.clone()));
        set_phase(name, "Failed", Some(text), cx)?;
    }
    Ok(())
}

/// The claim is bound elsewhere: the reservation goes, or waits again if it was made by hand
/// (`unbindVolume`).
fn unbind(volume: &PersistentVolume, cx: &mut Cx<'_>) -> Result<(), Status> {
    let mut freed = volume.clone();
    let spec = freed.spec.get_or_insert_default();
    if has_annotation(&volume.metadata, BOUND_BY_CONTROLLER) {
        spec.claim_ref = None;
        freed.metadata.annotations.get_or_insert_default().remove(BOUND_BY_CONTROLLER);
    } else if let Some(reserved) = &mut spec.claim_ref {
        reserved.uid = None;
    }
    cx.api.update(freed)?;
    set_phase(volume.metadata.name.as_deref().unwrap_or(""), "Available", None, cx)
}

fn reclaim_policy(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref();
    spec.and_then(|s| s.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

/// Sets the phase unless it is that already.
pub(super) fn set_phase(
    name: &str,
    phase: &str,
    message: Option<String>,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    if cx.api.get::<PersistentVolume>("", name).is_none_or(|v| volume_phase(v) == phase) {
        return Ok(());
    }
    let stamp = cx.api.profile.at_least(TRANSITION_TIME_SINCE).then(|| Time(cx.now.timestamp()));
    cx.api.patch::<PersistentVolume>(Part::Status, "", name, |volume| {
        volume.status = Some(PersistentVolumeStatus {
            phase: Some(phase.to_owned()),
            message,
            last_phase_transition_time: stamp,
            ..PersistentVolumeStatus::default()
        });
    })?;
    Ok(())
}
