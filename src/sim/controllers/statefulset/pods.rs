//! The pods of a set and their claims (`stateful_set_utils.go`, `stateful_pod_control.go`).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::k8s;
use crate::sim::api::events::{self, Note};
use crate::sim::api::{DeleteOptions, Kind, Objects, Part, Status, Typed};
use crate::sim::context::Cx;

use super::super::owned::{controller_ref, is_namespace_terminating, name, namespace, phase};
use super::super::replicaset::pod_from_template;

/// The revision a pod was made from.
pub const REVISION_LABEL: &str = "controller-revision-hash";
/// The pod's own name, to select one pod.
const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
/// The pod's ordinal, from the minor below on.
const POD_INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";
/// PodIndexLabel is on from this minor (semantics 3.8).
const POD_INDEX_SINCE: u8 = 28;
/// persistentVolumeClaimRetentionPolicy is on from this minor (semantics 3.8).
const RETENTION_SINCE: u8 = 27;
/// The component in events.
const COMPONENT: &str = "statefulset-controller";

/// The ordinal in a pod's name, if it is a pod of the set called `set_name`.
pub fn ordinal(pod_name: &str, set_name: &str) -> Option<i32> {
    let digits = pod_name.strip_prefix(set_name)?.strip_prefix('-')?;
    digits.parse().ok().filter(|n: &i32| *n >= 0 && n.to_string() == digits)
}

/// The revision a pod was made from.
pub fn revision_of(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(REVISION_LABEL)).map_or("", String::as_str)
}

/// Running and Ready, terminating or not.
pub fn is_running_and_ready(pod: &Pod) -> bool {
    phase(pod) == "Running" && k8s::is_pod_ready(pod)
}

/// Running, Ready and not terminating.
pub fn is_healthy(pod: &Pod) -> bool {
    is_running_and_ready(pod) && !k8s::is_terminating(pod)
}

/// Creates the pod of an ordinal and, before it, the claims it lacks.
pub fn create(
    set: &StatefulSet,
    ordinal: i32,
    template: &PodTemplateSpec,
    revision: &str,
    cache: &Objects,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    create_claims(set, ordinal, cache, cx)?;
    let pod = new_pod(set, ordinal, template, revision, cx);
    let pod_name = name(&pod.metadata).to_owned();
    match cx.api.create(pod) {
        Ok(_) => {
            tell(set, &format!("create Pod {pod_name}"), None, cx);
            Ok(())
        }
        Err(status) if is_namespace_terminating(&status) => Ok(()),
        Err(status) => {
            tell(set, &format!("create Pod {pod_name}"), Some(&status), cx);
            Err(status)
        }
    }
}

/// Deletes a pod with its grace; a scaled-down pod may take its claims along.
pub fn delete(
    set: &StatefulSet,
    pod: &Pod,
    is_scale_down: bool,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let pod_name = name(&pod.metadata);
    if is_scale_down && deletes_claims(set, |policy| policy.when_scaled.as_deref(), cx) {
        let owner = OwnerReference {
            controller: None,
            block_owner_deletion: None,
            ..controller_ref(cx.api, pod)
        };
        let ordinal = ordinal(pod_name, name(&set.metadata)).unwrap_or(0);
        for template in set.spec.volume_claim_templates.iter().flatten() {
            let claim = claim_name(template, set, ordinal);
            let own = |claim: &mut PersistentVolumeClaim| {
                claim.metadata.owner_references.get_or_insert_default().push(owner.clone());
            };
            let space = namespace(&set.metadata);
            cx.api.patch::<PersistentVolumeClaim>(Part::Main, space, &claim, own)?;
        }
    }
    let options = DeleteOptions::default();
    match cx.api.delete(Kind::POD, namespace(&set.metadata), pod_name, &options) {
        Ok(_) => {
            tell(set, &format!("delete Pod {pod_name}"), None, cx);
            Ok(())
        }
        Err(status) if status.code == 404 => Ok(()),
        Err(status) => Err(status),
    }
}

fn tell(set: &StatefulSet, what: &str, failure: Option<&Status>, cx: &mut Cx<'_>) {
    let is_create = what.starts_with("create");
    let set_name = name(&set.metadata);
    let note = match failure {
        None => {
            let reason = if is_create { "SuccessfulCreate" } else { "SuccessfulDelete" };
            let message = format!("{what} in StatefulSet {set_name} successful");
            Note::normal(COMPONENT, reason, message)
        }
        Some(status) => {
            let reason = if is_create { "FailedCreate" } else { "FailedDelete" };
            let message =
                format!("{what} in StatefulSet {set_name} failed error: {}", status.message);
            Note::warning(COMPONENT, reason, message)
        }
    };
    events::record(cx.api, set, note);
}

/// `newStatefulSetPod`, `initIdentity`, `updateStorage`.
fn new_pod(
    set: &StatefulSet,
    ordinal: i32,
    template: &PodTemplateSpec,
    revision: &str,
    cx: &Cx<'_>,
) -> Pod {
    let mut pod = pod_from_template(template, controller_ref(cx.api, set));
    let pod_name = format!("{}-{ordinal}", name(&set.metadata));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME_LABEL.to_owned(), pod_name.clone());
    labels.insert(REVISION_LABEL.to_owned(), revision.to_owned());
    if cx.api.profile.at_least(POD_INDEX_SINCE) {
        labels.insert(POD_INDEX_LABEL.to_owned(), ordinal.to_string());
    }
    pod.metadata.name = Some(pod_name.clone());
    pod.metadata.namespace = set.metadata.namespace.clone();
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(pod_name);
    spec.subdomain = set.spec.service_name.clone().filter(|service| !service.is_empty());
    let claims = set.spec.volume_claim_templates.iter().flatten();
    let mut volumes: Vec<Volume> = claims
        .map(|template| Volume {
            name: name(&template.metadata).to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(template, set, ordinal),
                read_only: Some(false),
            }),
            ..Volume::default()
        })
        .collect();
    let others = spec.volumes.take().into_iter().flatten();
    let others: Vec<Volume> =
        others.filter(|volume| volumes.iter().all(|claim| claim.name != volume.name)).collect();
    volumes.extend(others);
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
    pod
}

/// `<template>-<set>-<ordinal>`.
fn claim_name(template: &PersistentVolumeClaim, set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", name(&template.metadata), name(&set.metadata))
}

fn create_claims(
    set: &StatefulSet,
    ordinal: i32,
    cache: &Objects,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let space = namespace(&set.metadata);
    let owned = deletes_claims(set, |policy| policy.when_deleted.as_deref(), cx);
    for template in set.spec.volume_claim_templates.iter().flatten() {
        let claim = claim_name(template, set, ordinal);
        if let Some(existing) = cache.get::<PersistentVolumeClaim>(space, &claim) {
            if existing.metadata.deletion_timestamp.is_some() {
                let message = format!("pvc {claim} is being deleted");
                return Err(Status::new(500, "InternalError", message));
            }
            continue;
        }
        let mut object = template.clone();
        object.status = None;
        let meta = object.meta_mut();
        meta.name = Some(claim.clone());
        meta.namespace = set.metadata.namespace.clone();
        meta.labels.get_or_insert_default().extend(selector_labels(set));
        if owned {
            let owner = controller_ref(cx.api, set);
            let owner = OwnerReference { controller: None, block_owner_deletion: None, ..owner };
            meta.owner_references = Some(vec![owner]);
        }
        match cx.api.create(object) {
            Err(status) if status.reason != "AlreadyExists" => {
                tell(set, &format!("create Claim {claim}"), Some(&status), cx);
                return Err(status);
            }
            Ok(_) => tell(set, &format!("create Claim {claim}"), None, cx),
            Err(_) => {}
        }
    }
    Ok(())
}

fn selector_labels(set: &StatefulSet) -> BTreeMap<String, String> {
    set.spec.selector.match_labels.clone().unwrap_or_default()
}

fn deletes_claims(
    set: &StatefulSet,
    when: impl Fn(
        &k8s_openapi::api::apps::v1::StatefulSetPersistentVolumeClaimRetentionPolicy,
    ) -> Option<&str>,
    cx: &Cx<'_>,
) -> bool {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    cx.api.profile.at_least(RETENTION_SINCE) && policy.and_then(when) == Some("Delete")
}
