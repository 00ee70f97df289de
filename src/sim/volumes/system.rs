//! The storage class of a kind cluster; Rook's own classes are the stack's business.

use std::collections::BTreeMap;

use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::driver::LOCAL_PATH;

/// kind's default class (`kind pkg/build/nodeimage/const_storage.go`).
pub(crate) fn standard_class() -> StorageClass {
    let mark = "storageclass.kubernetes.io/is-default-class".to_owned();
    StorageClass {
        metadata: ObjectMeta {
            name: Some("standard".to_owned()),
            annotations: Some(BTreeMap::from([(mark, "true".to_owned())])),
            ..ObjectMeta::default()
        },
        provisioner: LOCAL_PATH.to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        volume_binding_mode: Some("WaitForFirstConsumer".to_owned()),
        ..StorageClass::default()
    }
}
