//! Quality of service class of a pod (`pkg/apis/core/v1/helper/qos/qos.go`).

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::milli;

/// `Guaranteed` (every container's CPU and memory limits equal its requests), `BestEffort`
/// (none has any), else `Burstable`.
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    if containers().all(is_best_effort) {
        "BestEffort"
    } else if containers().all(is_guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// The resources that count for the class.
const COMPUTE: [&str; 2] = ["cpu", "memory"];

fn amounts(container: &Container, name: &str) -> (u64, u64) {
    let amount = |list: Option<&std::collections::BTreeMap<String, _>>| {
        list.and_then(|list| list.get(name)).and_then(milli).unwrap_or(0)
    };
    match &container.resources {
        Some(resources) => (amount(resources.requests.as_ref()), amount(resources.limits.as_ref())),
        None => (0, 0),
    }
}

fn is_best_effort(container: &Container) -> bool {
    COMPUTE.iter().all(|name| amounts(container, name) == (0, 0))
}

fn is_guaranteed(container: &Container) -> bool {
    COMPUTE.iter().all(|name| {
        let (request, limit) = amounts(container, name);
        limit > 0 && (request == 0 || request == limit)
    })
}
