//! Which volume fits a claim (`ctl/volume/persistentvolume/index.go:findMatchingVolume`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::k8s::{bytes, claim_class, matches_selector, volume_phase};
use crate::sim::api::Objects;

/// The best volume for `claim`: one that is reserved for it, else the smallest that fits.
pub(super) fn find<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &'a Objects,
    delays_binding: bool,
) -> Option<&'a Arc<PersistentVolume>> {
    let mut smallest: Option<(u64, &Arc<PersistentVolume>)> = None;
    for volume in volumes.list::<PersistentVolume>() {
        if volume.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let reserved = reference(volume);
        if let Some(reserved) = reserved {
            if refers_to(reserved, claim) && misfit(volume, claim).is_none() {
                return Some(volume);
            }
            continue;
        }
        // With delayed binding the scheduler chooses among unreserved volumes.
        if delays_binding || volume_phase(volume) != "Available" || !fits(volume, claim) {
            continue;
        }
        let size = capacity(volume);
        if smallest.is_none_or(|(least, _)| size < least) {
            smallest = Some((size, volume));
        }
    }
    smallest.map(|(_, volume)| volume)
}

/// Why a volume that the claim names cannot serve it (`pv_controller.go:checkVolumeSatisfyClaim`).
pub(super) fn misfit(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Option<&'static str> {
    if capacity(volume) < requested(claim) {
        return Some("requested PV is too small");
    }
    if volume_class(volume) != claim_class(claim) {
        return Some("storageClassName does not match");
    }
    if mode(volume.spec.as_ref().and_then(|s| s.volume_mode.as_deref()))
        != mode(claim.spec.as_ref().and_then(|s| s.volume_mode.as_deref()))
    {
        return Some("incompatible volumeMode");
    }
    has_modes(volume, claim).then_some(()).map_or(Some("incompatible accessMode"), |()| None)
}

/// Whether `reserved` points at `claim`; a reservation by hand carries no uid.
pub(super) fn refers_to(reserved: &ObjectReference, claim: &PersistentVolumeClaim) -> bool {
    let meta = &claim.metadata;
    let same_uid =
        reserved.uid.as_deref().is_none_or(|uid| uid.is_empty()) || reserved.uid == meta.uid;
    reserved.name == meta.name && reserved.namespace == meta.namespace && same_uid
}

/// The claim a volume is reserved for.
pub(super) fn reference(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

fn fits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let empty = BTreeMap::new();
    let labels = volume.metadata.labels.as_ref().unwrap_or(&empty);
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    misfit(volume, claim).is_none() && selector.is_none_or(|s| matches_selector(s, labels))
}

fn has_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let offered = volume.spec.as_ref().and_then(|s| s.access_modes.as_deref()).unwrap_or(&[]);
    let wanted = claim.spec.as_ref().and_then(|s| s.access_modes.as_deref()).unwrap_or(&[]);
    wanted.iter().all(|mode| offered.contains(mode))
}

fn volume_class(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or("")
}

fn mode(mode: Option<&str>) -> &str {
    mode.unwrap_or("Filesystem")
}

fn capacity(volume: &PersistentVolume) -> u64 {
    storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

fn requested(claim: &PersistentVolumeClaim) -> u64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    storage(resources.and_then(|resources| resources.requests.as_ref()))
}

fn storage(list: Option<&BTreeMap<String, Quantity>>) -> u64 {
    list.and_then(|list| list.get("storage")).and_then(bytes).unwrap_or(0)
}
