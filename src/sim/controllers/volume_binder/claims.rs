//! Claims: from Pending to Bound (`pv_controller.go:syncUnboundClaim`, `syncBoundClaim`, `bind`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod,
};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::k8s::{claim_class, claim_phase, claim_volume};
use crate::sim::api::events::{Note, record};
use crate::sim::api::{Objects, Part, Status};
use crate::sim::context::Cx;

use super::matching::{find, misfit, reference, refers_to};
use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, SELECTED_NODE, SOURCE, annotate, has_annotation};

/// Both names of the annotation that hands a claim to an external provisioner; the second since
/// 1.23 (semantics 8.1).
const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
const PROVISIONER_GA_SINCE: u8 = 23;
/// The wording of ExternalProvisioning changed (semantics 8.1, by memory).
const EXTERNAL_WORDING_SINCE: u8 = 28;
/// RetroactiveDefaultStorageClass, on by default (by memory of the feature gates).
const RETROACTIVE_CLASS_SINCE: u8 = 26;

/// `syncClaim`; `users` are the pods that mention the claim.
pub(super) fn sync(
    claim: &Arc<PersistentVolumeClaim>,
    users: &[Arc<Pod>],
    cache: &Objects,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    if has_annotation(&claim.metadata, BIND_COMPLETED) {
        return sync_bound(claim, cache, cx);
    }
    if claim_volume(claim).is_empty() {
        sync_unbound(claim, users, cache, cx)
    } else {
        sync_named(claim, cache, cx)
    }
}

fn sync_unbound(
    claim: &Arc<PersistentVolumeClaim>,
    users: &[Arc<Pod>],
    cache: &Objects,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    if give_default_class(claim, cache, cx)? {
        return Ok(());
    }
    let class_name = claim_class(claim);
    let class = cache.get::<StorageClass>("", class_name).cloned();
    let delays = class.as_ref().is_some_and(|class| delays_binding(class))
        && !has_annotation(&claim.metadata, SELECTED_NODE);
    if let Some(volume) = find(claim, cache, delays).cloned() {
        return bind(claim, &volume, cx);
    }
    if delays {
        record(cx.api, claim.as_ref(), waiting_for_consumer(users));
    } else if class_name.is_empty() {
        let text = "no persistent volumes available for this claim and no storage class is set";
        record(cx.api, claim.as_ref(), Note::normal(SOURCE, "FailedBinding", text));
    } else {
        provision(claim, class.as_deref(), cx)?;
    }
    set_phase(claim, "Pending", cx)
}

/// `emitEventForUnboundDelayBindingClaim`.
fn waiting_for_consumer(users: &[Arc<Pod>]) -> Note {
    let unscheduled = |pod: &&Arc<Pod>| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        node.unwrap_or("").is_empty()
    };
    let names: Vec<&str> =
        users.iter().filter(unscheduled).filter_map(|pod| pod.metadata.name.as_deref()).collect();
    match names.as_slice() {
        [] => Note::normal(
            SOURCE,
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        ),
        [one] => {
            let text = format!("waiting for pod {one} to be scheduled");
            Note::normal(SOURCE, "WaitForPodScheduled", text)
        }
        many => {
            let text = format!("waiting for pods {} to be scheduled", many.join(","));
            Note::normal(SOURCE, "WaitForPodScheduled", text)
        }
    }
}

pub(super) fn delays_binding(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// A claim without a class gets the default one when there is one (`assignDefaultStorageClass`).
fn give_default_class(
    claim: &PersistentVolumeClaim,
    cache: &Objects,
    cx: &mut Cx<'_>,
) -> Result<bool, Status> {
    let is_silent = claim.spec.as_ref().is_none_or(|spec| spec.storage_class_name.is_none());
    if !is_silent
        || !claim_class(claim).is_empty()
        || !cx.api.profile.at_least(RETROACTIVE_CLASS_SINCE)
    {
        return Ok(false);
    }
    let marks = "storageclass.kubernetes.io/is-default-class";
    let default = cache
        .list::<StorageClass>()
        .filter(|class| {
            let annotations = class.metadata.annotations.as_ref();
            annotations.and_then(|a| a.get(marks)).is_some_and(|value| value == "true")
        })
        // The newest wins, then the first by name (`GetDefaultClass`).
        .max_by_key(|class| {
            let meta = &class.metadata;
            (meta.creation_timestamp.clone().map(|t| t.0), std::cmp::Reverse(meta.name.clone()))
        });
    let Some(name) = default.and_then(|class| class.metadata.name.clone()) else {
        return Ok(false);
    };
    patch_claim(claim, cx, Part::Main, |claim| {
        claim.spec.get_or_insert_default().storage_class_name = Some(name);
    })?;
    Ok(true)
}

/// `provisionClaim`: every provisioner is an external one.
fn provision(
    claim: &PersistentVolumeClaim,
    class: Option<&StorageClass>,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let Some(class) = class else {
        let text = format!("storageclass.storage.k8s.io \"{}\" not found", claim_class(claim));
        record(cx.api, claim, Note::warning(SOURCE, "ProvisioningFailed", text));
        return Ok(());
    };
    let provisioner = class.provisioner.as_str();
    if provisioner == "kubernetes.io/no-provisioner" {
        let text = "no volume plugin matched name: kubernetes.io/no-provisioner";
        record(cx.api, claim, Note::warning(SOURCE, "ProvisioningFailed", text));
        return Ok(());
    }
    let n_names = if cx.api.profile.at_least(PROVISIONER_GA_SINCE) { 2 } else { 1 };
    if !PROVISIONER[..n_names].iter().all(|name| has_annotation(&claim.metadata, name)) {
        patch_claim(claim, cx, Part::Main, |claim| {
            for name in &PROVISIONER[..n_names] {
                annotate(&mut claim.metadata, name, provisioner);
            }
        })?;
    }
    let text = if cx.api.profile.at_least(EXTERNAL_WORDING_SINCE) {
        format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' \
             or manually by the system administrator. If volume creation is delayed, please verify \
             that the provisioner is running and correctly registered."
        )
    } else {
        format!(
            "waiting for a volume to be created, either by external provisioner \"{provisioner}\" \
             or manually created by system administrator"
        )
    };
    record(cx.api, claim, Note::normal(SOURCE, "ExternalProvisioning", text));
    Ok(())
}

/// The claim names a volume that it is not bound to yet.
fn sync_named(
    claim: &Arc<PersistentVolumeClaim>,
    cache: &Objects,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let Some(volume) = cache.get::<PersistentVolume>("", claim_volume(claim)).cloned() else {
        return set_phase(claim, "Pending", cx);
    };
    match reference(&volume) {
        None => match misfit(&volume, claim) {
            Some(why) => {
                let name = claim_volume(claim);
                let text = format!("Cannot bind to requested volume \"{name}\": {why}");
                record(cx.api, claim.as_ref(), Note::warning(SOURCE, "VolumeMismatch", text));
                set_phase(claim, "Pending", cx)
            }
            None => bind(claim, &volume, cx),
        },
        Some(reserved) if refers_to(reserved, claim) => bind(claim, &volume, cx),
        Some(_) => {
            let text =
                format!("volume \"{}\" already bound to a different claim.", claim_volume(claim));
            record(cx.api, claim.as_ref(), Note::warning(SOURCE, "FailedBinding", text));
            set_phase(claim, "Pending", cx)
        }
    }
}

/// The claim was bound before.
fn sync_bound(
    claim: &Arc<PersistentVolumeClaim>,
    cache: &Objects,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let name = claim_volume(claim);
    if name.is_empty() {
        let text =
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lose(claim, "ClaimLost", text, cx);
    }
    let Some(volume) = cache.get::<PersistentVolume>("", name).cloned() else {
        let text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return lose(claim, "ClaimLost", text, cx);
    };
    match reference(&volume) {
        None => bind(claim, &volume, cx),
        Some(reserved) if reserved.uid == claim.metadata.uid => bind(claim, &volume, cx),
        Some(_) => {
            let text = "Two claims are bound to the same volume, this one is bound incorrectly";
            lose(claim, "ClaimMisbound", text, cx)
        }
    }
}

fn lose(
    claim: &PersistentVolumeClaim,
    reason: &'static str,
    text: &str,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    if claim_phase(claim) != "Lost" {
        record(cx.api, claim, Note::warning(SOURCE, reason, text));
    }
    set_phase(claim, "Lost", cx)
}

/// The four writes of a binding; each is left out when it has been made before.
fn bind(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let is_new = reference(volume).is_none();
    if reference(volume).is_none_or(|reserved| reserved.uid != claim.metadata.uid) {
        // With the cached resourceVersion: a volume that has changed meanwhile is a conflict.
        let mut reserved = volume.clone();
        reserved.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            namespace: claim.metadata.namespace.clone(),
            name: claim.metadata.name.clone(),
            uid: claim.metadata.uid.clone(),
            resource_version: claim.metadata.resource_version.clone(),
            field_path: None,
        });
        if is_new {
            annotate(&mut reserved.metadata, BOUND_BY_CONTROLLER, "yes");
        }
        cx.api.update(reserved)?;
    }
    let name = volume.metadata.name.clone().unwrap_or_default();
    super::volumes::set_phase(&name, "Bound", None, cx)?;
    let was_named = !claim_volume(claim).is_empty();
    if !was_named || !has_annotation(&claim.metadata, BIND_COMPLETED) {
        patch_claim(claim, cx, Part::Main, |claim| {
            claim.spec.get_or_insert_default().volume_name = Some(name.clone());
            annotate(&mut claim.metadata, BIND_COMPLETED, "yes");
            if !was_named {
                annotate(&mut claim.metadata, BOUND_BY_CONTROLLER, "yes");
            }
        })?;
    }
    if claim_phase(claim) != "Bound" {
        let spec = volume.spec.clone().unwrap_or_default();
        patch_claim(claim, cx, Part::Status, |claim| {
            claim.status = Some(PersistentVolumeClaimStatus {
                phase: Some("Bound".to_owned()),
                access_modes: spec.access_modes,
                capacity: spec.capacity,
                ..claim.status.take().unwrap_or_default()
            });
        })?;
    }
    Ok(())
}

fn set_phase(claim: &PersistentVolumeClaim, phase: &str, cx: &mut Cx<'_>) -> Result<(), Status> {
    let now = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if now == Some(phase) {
        return Ok(());
    }
    patch_claim(claim, cx, Part::Status, |claim| {
        claim.status.get_or_insert_default().phase = Some(phase.to_owned());
    })
}

fn patch_claim(
    claim: &PersistentVolumeClaim,
    cx: &mut Cx<'_>,
    part: Part,
    change: impl FnOnce(&mut PersistentVolumeClaim),
) -> Result<(), Status> {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or("");
    let name = claim.metadata.name.as_deref().unwrap_or("");
    cx.api.patch::<PersistentVolumeClaim>(part, namespace, name, change)?;
    Ok(())
}
