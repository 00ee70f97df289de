//! Questions about pods.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition};

/// The pod's condition of `condition_type`.
pub fn pod_condition<'a>(pod: &'a Pod, condition_type: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == condition_type)
}

/// Whether the pod's `Ready` condition is true.
pub fn is_pod_ready(pod: &Pod) -> bool {
    pod_condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Whether the pod is being deleted.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod has ended for good: evicted ones stay in the list as `Failed`.
pub fn has_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether the pod counts as a replica (`pkg/controller/controller_utils.go:IsPodActive`).
pub fn is_pod_active(pod: &Pod) -> bool {
    !has_finished(pod) && !is_terminating(pod)
}

/// The ids of the containers of `pod` that the kernel killed for their memory limit: of those that
/// have ended, and of the last ones before those that run (reason `OOMKilled`, which a kubelet has
/// from the runtime: `pkg/kubelet/kuberuntime/kuberuntime_container.go`).
pub fn memory_kills(pod: &Pod) -> impl Iterator<Item = &str> {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.flat_map(kills_of).filter_map(|end| end.container_id.as_deref())
}

/// The number, in the pod's spec, of the first container of `pod` that was killed so.
pub fn killed_for_memory(pod: &Pod) -> Option<usize> {
    let statuses = pod.status.as_ref()?.container_statuses.iter().flatten();
    let mut killed = statuses.filter(|container| kills_of(container).next().is_some());
    let name = &killed.next()?.name;
    pod.spec.as_ref()?.containers.iter().position(|container| container.name == *name)
}

fn kills_of(container: &ContainerStatus) -> impl Iterator<Item = &ContainerStateTerminated> {
    let states = [&container.state, &container.last_state];
    let ends = states.into_iter().filter_map(|state| state.as_ref()?.terminated.as_ref());
    ends.filter(|end| end.reason.as_deref() == Some("OOMKilled"))
}
