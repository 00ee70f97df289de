//! Protection of claims and volumes in use (`ctl/volume/pvcprotection`, `pvprotection`).

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::k8s::volume_phase;
use crate::sim::api::{Part, Status, Typed};
use crate::sim::context::Cx;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// A claim keeps its finalizer while a pod that was given a node mentions it, completed or not.
pub(super) fn sync_claim(
    claim: &PersistentVolumeClaim,
    is_used: bool,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    sync::<PersistentVolumeClaim>(&claim.metadata, CLAIM_FINALIZER, is_used, cx)
}

/// A volume keeps its finalizer while it is bound.
pub(super) fn sync_volume(volume: &PersistentVolume, cx: &mut Cx<'_>) -> Result<(), Status> {
    let is_used = volume_phase(volume) == "Bound";
    sync::<PersistentVolume>(&volume.metadata, VOLUME_FINALIZER, is_used, cx)
}

fn sync<T: Typed>(
    meta: &ObjectMeta,
    finalizer: &str,
    is_used: bool,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let is_going = meta.deletion_timestamp.is_some();
    let has = meta.finalizers.as_ref().is_some_and(|all| all.iter().any(|f| f == finalizer));
    let namespace = meta.namespace.as_deref().unwrap_or("");
    let name = meta.name.as_deref().unwrap_or("");
    if is_going && has && !is_used {
        cx.api.patch::<T>(Part::Main, namespace, name, |object| {
            if let Some(all) = &mut object.meta_mut().finalizers {
                all.retain(|f| f != finalizer);
            }
        })?;
    } else if !is_going && !has {
        cx.api.patch::<T>(Part::Main, namespace, name, |object| {
            let all = object.meta_mut().finalizers.get_or_insert_default();
            if !all.iter().any(|f| f == finalizer) {
                all.push(finalizer.to_owned());
            }
        })?;
    }
    Ok(())
}
