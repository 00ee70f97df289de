//! Plugins around classes and claims: `DefaultStorageClass`, `DefaultIngressClass`,
//! `StorageObjectInUseProtection`, `PersistentVolumeClaimResize`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::api::storage::v1::StorageClass;

use super::forbidden;
use crate::k8s::bytes;
use crate::sim::api::{Api, Kind, Obj, Status};

/// Keeps a claim while a pod uses it.
pub(super) const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume while a claim is bound to it.
pub(super) const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
/// Marks the default StorageClass.
const DEFAULT_STORAGE_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Marks the default IngressClass.
const DEFAULT_INGRESS_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// The annotation that named the ingress class before `ingressClassName`.
const OLD_INGRESS_CLASS: &str = "kubernetes.io/ingress.class";
/// The annotation that named the storage class before `storageClassName`.
const OLD_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// `plugin/pkg/admission/storage/storageobjectinuseprotection`.
pub(super) fn protect(object: &mut Obj, finalizer: &str) {
    let finalizers = object.meta_mut().finalizers.get_or_insert_default();
    if !finalizers.iter().any(|each| each == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
}

/// `plugin/pkg/admission/storage/storageclass/setdefault`: a claim that names no class gets the
/// default one (the newest, then the first by name); `""` means no class.
pub(super) fn default_storage_class(api: &Api, claim: &mut Arc<PersistentVolumeClaim>) {
    let named = claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_some())
        || annotated(claim.metadata.annotations.as_ref(), OLD_STORAGE_CLASS).is_some();
    if named {
        return;
    }
    let defaults = api.list::<StorageClass>().filter(|class| {
        annotated(class.metadata.annotations.as_ref(), DEFAULT_STORAGE_CLASS) == Some("true")
    });
    let newest = defaults.min_by_key(|class| {
        std::cmp::Reverse(class.metadata.creation_timestamp.as_ref().map(|time| time.0))
    });
    if let Some(class) = newest {
        let spec = Arc::make_mut(claim).spec.get_or_insert_default();
        spec.storage_class_name.clone_from(&class.metadata.name);
    }
}

/// `plugin/pkg/admission/network/defaultingressclass`.
pub(super) fn default_ingress_class(api: &Api, ingress: &mut Arc<Ingress>) -> Result<(), Status> {
    let named = ingress.spec.as_ref().is_some_and(|spec| spec.ingress_class_name.is_some())
        || annotated(ingress.metadata.annotations.as_ref(), OLD_INGRESS_CLASS).is_some();
    if named {
        return Ok(());
    }
    let mut defaults = api.list::<IngressClass>().filter(|class| {
        annotated(class.metadata.annotations.as_ref(), DEFAULT_INGRESS_CLASS) == Some("true")
    });
    let Some(class) = defaults.next() else { return Ok(()) };
    let count = 1 + defaults.count();
    if count > 1 {
        let name = ingress.metadata.name.as_deref().unwrap_or("");
        let why = format!("{count} default IngressClasses were found, only 1 allowed");
        return Err(forbidden(api, Kind::INGRESS, name, &why));
    }
    let spec = Arc::make_mut(ingress).spec.get_or_insert_default();
    spec.ingress_class_name.clone_from(&class.metadata.name);
    Ok(())
}

/// `plugin/pkg/admission/storage/persistentvolume/resize`: only a class that allows expansion.
pub(super) fn check_resize(
    api: &Api,
    claim: &PersistentVolumeClaim,
    old: &PersistentVolumeClaim,
) -> Result<(), Status> {
    if requested(claim) <= requested(old) {
        return Ok(());
    }
    let class = old.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    let expandable = class
        .and_then(|name| api.get::<StorageClass>("", name))
        .is_some_and(|class| class.allow_volume_expansion == Some(true));
    if expandable {
        return Ok(());
    }
    let name = claim.metadata.name.as_deref().unwrap_or("");
    let why = "only dynamically provisioned pvc can be resized and the storageclass that \
               provisions the pvc must support resize";
    Err(forbidden(api, Kind::PERSISTENT_VOLUME_CLAIM, name, why))
}

fn requested(claim: &PersistentVolumeClaim) -> u64 {
    let requests = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.resources.as_ref())
        .and_then(|resources| resources.requests.as_ref());
    requests.and_then(|requests| requests.get("storage")).and_then(bytes).unwrap_or(0)
}

fn annotated<'a>(annotations: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    annotations.and_then(|annotations| annotations.get(key)).map(String::as_str)
}
