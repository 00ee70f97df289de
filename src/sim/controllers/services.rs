//! Services and the pods behind them: what both endpoints controllers ask
//! (`pkg/controller/util/endpoint`, `pkg/api/v1/pod/util.go:FindPort`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::k8s;
use crate::sim::api::{Change, ChangeType, Obj, Objects};
use crate::sim::profile::Profile;

use super::owned::{is_finished, name, namespace, phase};
use super::work::Key;

/// Terminating pods stay in EndpointSlices, and finished ones go whatever their restart policy, from
/// this minor (semantics 6.2).
pub const TERMINATING_KEPT_SINCE: u8 = 22;

/// Services by namespace and one pair of their selector.
#[derive(Debug, Default)]
pub struct ServiceIndex {
    by_pair: BTreeMap<String, BTreeMap<(String, String), BTreeSet<String>>>,
}

impl ServiceIndex {
    /// Takes a change of a Service over.
    pub fn on_service(&mut self, change: &Change) {
        let pair = |object: &Obj| {
            let service = object.as_typed::<Service>()?;
            let (key, value) = selector(service)?.first_key_value()?;
            Some((key.clone(), value.clone()))
        };
        let pairs = self.by_pair.entry(change.object.namespace().to_owned()).or_default();
        let old = change.previous.as_ref().and_then(pair);
        if let Some(names) = old.and_then(|old| pairs.get_mut(&old)) {
            names.remove(change.object.name());
        }
        if change.change_type != ChangeType::Deleted
            && let Some(new) = pair(&change.object)
        {
            pairs.entry(new).or_default().insert(change.object.name().to_owned());
        }
    }

    /// The Services that a change of a pod concerns: those that select its labels now or did before.
    pub fn concerned(&self, change: &Change, pod: &Pod, cache: &Objects) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        let previous = match &change.previous {
            Some(Obj::Pod(previous)) => Some(previous),
            _ => None,
        };
        let is_update = change.change_type == ChangeType::Modified;
        if let Some(previous) = previous
            && is_update
            && !endpoint_changed(previous, pod)
        {
            return keys;
        }
        self.add_matching(pod, cache, &mut keys);
        if let Some(previous) = previous
            && previous.metadata.labels != pod.metadata.labels
        {
            self.add_matching(previous, cache, &mut keys);
        }
        keys
    }

    fn add_matching(&self, pod: &Pod, cache: &Objects, keys: &mut BTreeSet<Key>) {
        let space = namespace(&pod.metadata);
        let Some(pairs) = self.by_pair.get(space) else { return };
        for (key, value) in pod.metadata.labels.iter().flatten() {
            for service in pairs.get(&(key.clone(), value.clone())).into_iter().flatten() {
                let selects_it = cache
                    .get::<Service>(space, service)
                    .is_some_and(|service| selects(service, pod));
                if selects_it {
                    keys.insert(Key::new(space, &**service));
                }
            }
        }
    }
}

/// The selector of a Service whose endpoints follow its pods.
pub fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    let is_external = spec.type_.as_deref() == Some("ExternalName");
    spec.selector.as_ref().filter(|selector| !selector.is_empty() && !is_external)
}

/// Whether `service` selects `pod`.
pub fn selects(service: &Service, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector(service).zip(labels).is_some_and(|(wanted, has)| k8s::matches_labels(wanted, has))
}

/// The pods a Service selects.
pub fn selected_pods<'a>(
    service: &'a Service,
    cache: &'a Objects,
) -> impl Iterator<Item = &'a Arc<Pod>> {
    cache.list_in::<Pod>(namespace(&service.metadata)).filter(|pod| selects(service, pod))
}

/// Whether a Service shows pods before they are ready.
pub fn publishes_unready(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|s| s.publish_not_ready_addresses) == Some(true)
}

/// Whether a Service has no address of its own.
pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

/// The ports of a Service.
pub fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|s| s.ports.as_deref()).unwrap_or(&[])
}

/// The number behind a Service's port in `pod`; `None` when the pod has no port of that name.
pub fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(wanted)) => {
            let spec = pod.spec.as_ref()?;
            let declared = spec.containers.iter().flat_map(|c| c.ports.iter().flatten());
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            declared
                .filter(|p| p.protocol.as_deref().unwrap_or("TCP") == protocol)
                .find(|p| p.name.as_ref() == Some(wanted))
                .map(|p| p.container_port)
        }
    }
}

/// Whether a pod belongs among the endpoints at all (`ShouldPodBeInEndpoints`).
pub fn belongs(pod: &Pod, keep_terminating: bool, profile: Profile) -> bool {
    if ip(pod).is_none() || (k8s::is_terminating(pod) && !keep_terminating) {
        return false;
    }
    if profile.at_least(TERMINATING_KEPT_SINCE) {
        return !is_finished(pod);
    }
    let policy = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
    match policy {
        Some("Never") => !is_finished(pod),
        Some("OnFailure") => phase(pod) != "Succeeded",
        _ => true,
    }
}

/// The pod's address.
pub fn ip(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())
}

/// The name the pod has in its headless Service.
pub fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let in_domain = spec.subdomain.as_deref() == Some(name(&service.metadata));
    spec.hostname.clone().filter(|hostname| in_domain && !hostname.is_empty())
}

/// The node a pod is bound to.
pub fn node_name(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone().filter(|node| !node.is_empty())
}

/// A reference to the pod behind an endpoint.
pub fn target_ref(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// Whether an update of a pod matters to endpoints (`endpoint.podEndpointsChanged`).
fn endpoint_changed(old: &Pod, new: &Pod) -> bool {
    let names = |pod: &Pod| {
        let spec = pod.spec.as_ref()?;
        Some((spec.hostname.clone(), spec.subdomain.clone()))
    };
    k8s::is_pod_ready(old) != k8s::is_pod_ready(new)
        || k8s::is_terminating(old) != k8s::is_terminating(new)
        || ip(old) != ip(new)
        || is_finished(old) != is_finished(new)
        || node_name(old) != node_name(new)
        || old.metadata.labels != new.metadata.labels
        || names(old) != names(new)
}
