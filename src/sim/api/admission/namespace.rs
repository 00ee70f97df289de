//! `NamespaceLifecycle`: objects are created only in a namespace that exists and stays
//! (`apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go`).

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::forbidden;
use crate::sim::api::{Api, Cause, Obj, Status};

/// The service account that every namespace has.
pub(super) const DEFAULT_ACCOUNT: &str = "default";

/// Refuses what lies in no namespace, in an unknown one or in one that goes. Kinds of the whole
/// cluster lose a namespace they name (`registry/rest/create.go:BeforeCreate`).
pub(super) fn check(api: &Api, object: &mut Obj) -> Result<(), Status> {
    let kind = object.kind();
    if !api.registry.resource(kind).namespaced {
        if !object.namespace().is_empty() {
            object.meta_mut().namespace = None;
        }
        return Ok(());
    }
    let name = object.namespace();
    if name.is_empty() {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    let Some(namespace) = api.get::<Namespace>("", name) else {
        return Err(Status::not_found("namespaces", name));
    };
    if namespace.metadata.deletion_timestamp.is_none() {
        return Ok(());
    }
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = forbidden(api, kind, object.name(), &why);
    status.causes.push(Cause {
        reason: "NamespaceTerminating",
        field: "metadata.namespace".to_owned(),
        message: format!("namespace {name} is being terminated"),
    });
    Err(status)
}

/// `pkg/controller/serviceaccount/serviceaccounts_controller.go`, without its lag of milliseconds.
pub(super) fn create_default_account(api: &mut Api, namespace: &Namespace) {
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(DEFAULT_ACCOUNT.to_owned()),
            namespace: namespace.metadata.name.clone(),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    // Refused only if the account is there already or the namespace is going.
    let _ = api.create(account);
}
