//! Expansion of bound claims (`external-resizer`, `pkg/volume/util/resize_util.go`).

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::base::secs;
use crate::k8s::{bytes, claim_class, claim_phase, claim_volume};
use crate::sim::api::Part;
use crate::sim::api::events::{Note, record};
use crate::sim::context::Cx;

use super::VolumesEvent;
use super::attach::Attachments;
use super::driver::Driver;
use super::provision::driver_of;

/// The driver's ControllerExpandVolume.
const EXPAND_TIME: (Duration, Duration) = (secs(1), secs(3));
/// The kubelet grows a mounted filesystem within its volume loop, and looks again this often.
const NODE_EXPAND_TIME: Duration = secs(5);
/// Event source of the sidecar.
const SOURCE: &str = "external-resizer";

/// Claims being expanded, by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Expansions {
    running: BTreeSet<(String, String)>,
}

/// A step of an expansion.
#[derive(Clone, Debug)]
pub(super) struct ExpandStep {
    namespace: String,
    claim: String,
    is_on_node: bool,
}

impl Expansions {
    /// A claim has changed.
    pub(super) fn on_claim(&mut self, claim: &PersistentVolumeClaim, cx: &mut Cx<'_>) {
        let namespace = claim.metadata.namespace.clone().unwrap_or_default();
        let name = claim.metadata.name.clone().unwrap_or_default();
        let key = (namespace.clone(), name.clone());
        if !is_to_grow(claim) || self.running.contains(&key) {
            return;
        }
        let class = cx.api.get::<StorageClass>("", claim_class(claim));
        if class.is_none_or(|class| class.allow_volume_expansion != Some(true)) {
            return;
        }
        self.running.insert(key);
        let volume = claim_volume(claim);
        let text = format!("External resizer is resizing volume {volume}");
        record(cx.api, claim, Note::normal(SOURCE, "Resizing", text));
        set_condition(&namespace, &name, Some("Resizing"), None, cx);
        let delay = cx.rng.between("expand-time", EXPAND_TIME.0, EXPAND_TIME.1);
        let step = ExpandStep { namespace, claim: name, is_on_node: false };
        cx.queue.after(delay, VolumesEvent::expand(step));
    }

    /// Goes one step on.
    pub(super) fn step(&mut self, step: ExpandStep, attached: &Attachments, cx: &mut Cx<'_>) {
        let key = (step.namespace.clone(), step.claim.clone());
        let found = cx.api.get::<PersistentVolumeClaim>(&step.namespace, &step.claim).cloned();
        let Some(claim) = found.filter(|claim| is_to_grow(claim)) else {
            self.running.remove(&key);
            return;
        };
        let volume_name = claim_volume(&claim).to_owned();
        let Some(volume) = cx.api.get::<PersistentVolume>("", &volume_name).cloned() else {
            self.running.remove(&key);
            return;
        };
        let Some(size) = requested(&claim).cloned() else { return };
        if step.is_on_node {
            if !attached.is_staged(&volume_name, cx.now) {
                // Grown when a pod mounts it.
                cx.queue.after(NODE_EXPAND_TIME, VolumesEvent::expand(step));
                return;
            }
        } else {
            let grown = size.clone();
            // Refused only when the volume has gone.
            let _ = cx.api.patch::<PersistentVolume>(Part::Main, "", &volume_name, |volume| {
                let spec = volume.spec.get_or_insert_default();
                spec.capacity.get_or_insert_default().insert("storage".to_owned(), grown);
            });
            if driver_of(&volume) == Some(Driver::Rbd) {
                let text = "Require file system resize of volume on node";
                record(
                    cx.api,
                    claim.as_ref(),
                    Note::normal(SOURCE, "FileSystemResizeRequired", text),
                );
                let pending = Some("FileSystemResizePending");
                set_condition(&step.namespace, &step.claim, pending, None, cx);
                let step = ExpandStep { is_on_node: true, ..step };
                cx.queue.after(NODE_EXPAND_TIME, VolumesEvent::expand(step));
                return;
            }
        }
        set_condition(&step.namespace, &step.claim, None, Some(size), cx);
        self.running.remove(&key);
        let note = if step.is_on_node {
            let text = "MountVolume.NodeExpandVolume succeeded";
            Note::normal("kubelet", "FileSystemResizeSuccessful", text)
        } else {
            Note::normal(SOURCE, "VolumeResizeSuccessful", "Resize volume succeeded")
        };
        record(cx.api, claim.as_ref(), note);
    }
}

fn is_to_grow(claim: &PersistentVolumeClaim) -> bool {
    let has = claim.status.as_ref().and_then(|s| s.capacity.as_ref()?.get("storage"));
    let (Some(has), Some(wants)) = (has.and_then(bytes), requested(claim).and_then(bytes)) else {
        return false;
    };
    claim_phase(claim) == "Bound" && wants > has && claim.metadata.deletion_timestamp.is_none()
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

/// Replaces the resize conditions, and sets the capacity when it has been reached.
fn set_condition(
    namespace: &str,
    name: &str,
    condition: Option<&str>,
    capacity: Option<Quantity>,
    cx: &mut Cx<'_>,
) {
    let now = Time(cx.now.timestamp());
    // Refused only when the claim has gone.
    let _ = cx.api.patch::<PersistentVolumeClaim>(Part::Status, namespace, name, |claim| {
        let status = claim.status.get_or_insert_default();
        if let Some(size) = capacity {
            status.capacity.get_or_insert_default().insert("storage".to_owned(), size);
        }
        let mut conditions = status.conditions.take().unwrap_or_default();
        conditions.retain(|c| c.type_ != "Resizing" && c.type_ != "FileSystemResizePending");
        conditions.extend(condition.map(|kind| PersistentVolumeClaimCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(now),
            ..PersistentVolumeClaimCondition::default()
        }));
        status.conditions = (!conditions.is_empty()).then_some(conditions);
    });
}
