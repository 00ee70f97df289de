//! Owners and owned pods: what the workload controllers have in common.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::base::SimTime;
use crate::k8s;
use crate::sim::api::{Api, Kind, Status, Typed};

/// A reference to `owner` as its controller (`metav1.NewControllerRef`).
pub fn controller_ref<T: Typed>(api: &Api, owner: &T) -> OwnerReference {
    OwnerReference {
        api_version: group_version(api, T::KIND),
        kind: api.registry.resource(T::KIND).kind.clone(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// `v1`, `apps/v1`: how references name the version of a kind.
pub fn group_version(api: &Api, kind: Kind) -> String {
    let resource = api.registry.resource(kind);
    if resource.group.is_empty() {
        resource.version.clone()
    } else {
        format!("{}/{}", resource.group, resource.version)
    }
}

/// The controlling owner, if it is of `kind` in the apps group.
pub fn apps_owner<'a>(meta: &'a ObjectMeta, kind: &str) -> Option<&'a OwnerReference> {
    k8s::controller_of(meta)
        .filter(|owner| owner.kind == kind && owner.api_version.starts_with("apps/"))
}

/// The uid, or nothing.
pub fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or("")
}

/// The name, or nothing.
pub fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or("")
}

/// The namespace, or nothing.
pub fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or("")
}

/// The phase; empty before the pod has one.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("")
}

/// Whether the pod has come to its end by itself.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither finished nor being deleted (`controller_utils.go:IsPodActive`).
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !k8s::is_terminating(pod)
}

/// Since when the pod is Ready.
pub fn ready_since(pod: &Pod) -> Option<SimTime> {
    let condition = k8s::pod_condition(pod, "Ready").filter(|c| c.status == "True")?;
    let since = condition.last_transition_time.as_ref();
    Some(since.map_or(SimTime::ZERO, |time| SimTime::from_timestamp(time.0)))
}

/// A count as `omitempty` shows it.
pub fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// A length as Kubernetes counts.
pub fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// Whether a creation was refused because the namespace is going away
/// (`corev1.NamespaceTerminatingCause`): no reason to try again.
pub fn is_namespace_terminating(status: &Status) -> bool {
    status.code == 403 && status.message.contains("because it is being terminated")
}
