//! Defaults of storage kinds (`pkg/apis/core/v1/defaults.go`, `pkg/apis/storage/v1/defaults.go`).

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use super::set;

/// `SetDefaults_PersistentVolume`.
pub fn persistent_volume(volume: &mut PersistentVolume) {
    let spec = volume.spec.get_or_insert_default();
    set(&mut spec.persistent_volume_reclaim_policy, "Retain");
    set(&mut spec.volume_mode, "Filesystem");
    set(&mut volume.status.get_or_insert_default().phase, "Pending");
}

/// `SetDefaults_PersistentVolumeClaim`.
pub fn persistent_volume_claim(claim: &mut PersistentVolumeClaim) {
    set(&mut claim.spec.get_or_insert_default().volume_mode, "Filesystem");
    set(&mut claim.status.get_or_insert_default().phase, "Pending");
}

/// `SetDefaults_StorageClass`.
pub fn storage_class(class: &mut StorageClass) {
    set(&mut class.reclaim_policy, "Delete");
    set(&mut class.volume_binding_mode, "Immediate");
}
