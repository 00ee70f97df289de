//! What a pod asks of a node, and what a node has (`scheduler/framework/types.go:Resource`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::k8s::{bytes, milli};
use crate::sim::profile::Profile;

/// CPU that scoring assumes of a container without a request (`scheduler/util/non_zero.go`).
pub const DEFAULT_MILLI_CPU: u64 = 100;
/// Memory that scoring assumes of a container without a request (`scheduler/util/non_zero.go`).
pub const DEFAULT_MEMORY: u64 = 200 * 1024 * 1024;

/// Amounts of resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes of ephemeral storage.
    pub ephemeral: u64,
    /// Extended resources and huge pages by name.
    pub extended: Vec<(String, u64)>,
}

impl Resources {
    /// The amounts of a resource list; names that the scheduler does not count are left out.
    pub fn of_list(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let mut amounts = Resources::default();
        for (name, quantity) in list.into_iter().flatten() {
            match name.as_str() {
                "cpu" => amounts.cpu = milli(quantity).unwrap_or(0),
                "memory" => amounts.memory = bytes(quantity).unwrap_or(0),
                "ephemeral-storage" => amounts.ephemeral = bytes(quantity).unwrap_or(0),
                "pods" => {}
                _ => amounts.extended.push((name.clone(), bytes(quantity).unwrap_or(0))),
            }
        }
        amounts
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Resources) {
        self.merge(other, |mine, theirs| mine.saturating_add(theirs));
    }

    /// Takes `other` away.
    pub fn subtract(&mut self, other: &Resources) {
        self.merge(other, |mine, theirs| mine.saturating_sub(theirs));
    }

    /// The larger of both, resource by resource.
    pub fn raise_to(&mut self, other: &Resources) {
        self.merge(other, u64::max);
    }

    /// The amount of an extended resource.
    pub fn extended(&self, name: &str) -> u64 {
        self.extended.iter().find(|(known, _)| known == name).map_or(0, |(_, amount)| *amount)
    }

    fn merge(&mut self, other: &Resources, join: impl Fn(u64, u64) -> u64) {
        self.cpu = join(self.cpu, other.cpu);
        self.memory = join(self.memory, other.memory);
        self.ephemeral = join(self.ephemeral, other.ephemeral);
        for (name, amount) in &other.extended {
            match self.extended.iter_mut().find(|(known, _)| known == name) {
                Some((_, mine)) => *mine = join(*mine, *amount),
                None => self.extended.push((name.clone(), join(0, *amount))),
            }
        }
    }
}

/// The request of a pod, as filters count it and as scores count it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodRequest {
    /// What the containers ask for.
    pub resources: Resources,
    /// CPU with the assumed request where a container has none.
    pub nonzero_cpu: u64,
    /// Memory with the assumed request where a container has none.
    pub nonzero_memory: u64,
}

/// The request of a pod: the larger of its containers' sum and its hungriest init step, plus overhead
/// (`component-helpers/resource/helpers.go:PodRequests`). Restartable init containers count beside the
/// containers from 1.29, pod-level requests replace the sum from 1.34.
pub fn pod_request(pod: &Pod, profile: Profile) -> PodRequest {
    let Some(spec) = &pod.spec else { return PodRequest::default() };
    let pod_level = spec.resources.as_ref().filter(|_| profile.at_least(34));
    let real = sum_containers(pod, profile, false);
    let scored = sum_containers(pod, profile, true);
    let mut request =
        PodRequest { nonzero_cpu: scored.cpu, nonzero_memory: scored.memory, resources: real };
    if let Some(level) = pod_level.and_then(|level| level.requests.as_ref()) {
        if let Some(cpu) = level.get("cpu").and_then(milli) {
            (request.resources.cpu, request.nonzero_cpu) = (cpu, cpu);
        }
        if let Some(memory) = level.get("memory").and_then(bytes) {
            (request.resources.memory, request.nonzero_memory) = (memory, memory);
        }
    }
    if let Some(overhead) = &spec.overhead {
        let overhead = Resources::of_list(Some(overhead));
        request.nonzero_cpu += overhead.cpu;
        request.nonzero_memory += overhead.memory;
        request.resources.add(&overhead);
    }
    request
}

fn sum_containers(pod: &Pod, profile: Profile, assume: bool) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&container_request(container, assume));
    }
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut request = container_request(container, assume);
        if profile.at_least(29) && container.restart_policy.as_deref() == Some("Always") {
            total.add(&request);
            sidecars.add(&request);
            request = sidecars.clone();
        } else {
            request.add(&sidecars);
        }
        peak.raise_to(&request);
    }
    total.raise_to(&peak);
    total
}

fn container_request(container: &Container, assume: bool) -> Resources {
    let requests =
        container.resources.as_ref().and_then(|r: &ResourceRequirements| r.requests.as_ref());
    let mut amounts = Resources::of_list(requests);
    let has = |name: &str| requests.is_some_and(|list| list.contains_key(name));
    if assume && !has("cpu") {
        amounts.cpu = DEFAULT_MILLI_CPU;
    }
    if assume && !has("memory") {
        amounts.memory = DEFAULT_MEMORY;
    }
    amounts
}
