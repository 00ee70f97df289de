//! One pod as an endpoint (`endpointslice/utils.go:podToEndpoint`, `getEndpointPorts`).

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use crate::k8s;
use crate::sim::api::Objects;
use crate::sim::profile::Profile;

use super::super::services::{
    TERMINATING_KEPT_SINCE, belongs, hostname, node_name, ports, publishes_unready, selects,
    target_port, target_ref,
};

/// The label that names a node's zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// An endpoint and the ports it is reached at.
pub type Desired = (Vec<EndpointPort>, Endpoint);

/// The pod as an endpoint of `service` in the address family; `None` when it is not one.
pub fn desired(
    pod: &Pod,
    service: &Service,
    family: &str,
    cache: &Objects,
    profile: Profile,
) -> Option<Desired> {
    let keeps_terminating = profile.at_least(TERMINATING_KEPT_SINCE);
    let unready_too = publishes_unready(service);
    if !selects(service, pod) || !belongs(pod, unready_too || keeps_terminating, profile) {
        return None;
    }
    let is_ready = k8s::is_pod_ready(pod);
    let is_terminating = k8s::is_terminating(pod);
    let node = node_name(pod);
    let zone = node
        .as_deref()
        .and_then(|node| cache.get::<Node>("", node))
        .and_then(|node| node.metadata.labels.as_ref()?.get(ZONE_LABEL).cloned());
    let endpoint = Endpoint {
        addresses: vec![address(pod, family)?],
        conditions: Some(EndpointConditions {
            ready: Some(unready_too || (is_ready && !is_terminating)),
            serving: keeps_terminating.then_some(is_ready),
            terminating: keeps_terminating.then_some(is_terminating),
        }),
        hostname: hostname(pod, service),
        node_name: node,
        target_ref: Some(target_ref(pod)),
        zone,
        ..Endpoint::default()
    };
    Some((endpoint_ports(pod, service), endpoint))
}

/// The pod's address of a family.
fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    all.chain(&status.pod_ip).find(|ip| ip.contains(':') == (family == "IPv6")).cloned()
}

/// The ports of `service` that the pod has.
fn endpoint_ports(pod: &Pod, service: &Service) -> Vec<EndpointPort> {
    let resolved = ports(service).iter().filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target_port(pod, port)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
    });
    resolved.collect()
}
