//! Addresses and node ports of Services (`pkg/registry/core/service`: ipallocator, portallocator,
//! `storage/alloc.go`).

use core::net::Ipv4Addr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use rand::RngExt as _;

use crate::k8s::validate::DEFAULT_NODE_PORTS;
use crate::sim::api::{Api, Cause, Kind, Status};

/// kind's service range: 10.96.0.0/16.
const SERVICE_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// Addresses in the range.
const SERVICE_NETWORK_SIZE: u32 = 1 << 16;
/// Low addresses left for static use: min(max(16, size/16), 256)
/// (`ipallocator:calculateRangeOffset`, 1.26 and newer).
const STATIC_BAND: u32 = 256;
/// Random draws before the scan for a free value.
const DRAWS_MAX: usize = 32;

/// What is handed out. A node port may be shared by ports of one Service that differ in protocol.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    addresses: BTreeSet<u32>,
    node_ports: BTreeSet<i32>,
}

impl Allocations {
    /// Books what `service` holds.
    pub(super) fn book(&mut self, service: &Service) {
        let Some(spec) = &service.spec else { return };
        self.addresses.extend(address(spec));
        self.node_ports.extend(node_ports(spec));
    }

    /// Frees what `service` held.
    pub(super) fn release(&mut self, service: &Service) {
        let Some(spec) = &service.spec else { return };
        if let Some(address) = address(spec) {
            self.addresses.remove(&address);
        }
        for port in node_ports(spec) {
            self.node_ports.remove(&port);
        }
    }
}

/// Gives a new Service its address and node ports.
pub(super) fn on_create(api: &mut Api, service: &mut Arc<Service>) -> Result<(), Status> {
    let service = Arc::make_mut(service);
    let name = service.metadata.name.clone().unwrap_or_default();
    let spec = service.spec.get_or_insert_default();
    let mut causes = Vec::new();
    allocate_address(api, spec, &mut causes);
    allocate_ports(api, spec, &BTreeSet::new(), &mut causes);
    refuse(api, &name, causes)
}

/// Keeps what the stored Service has where the new one does not say, drops what its type no longer
/// has, gives what it newly needs (`storage/storage.go:patchAllocatedValues`).
pub(super) fn on_update(
    api: &mut Api,
    service: &mut Arc<Service>,
    old: &Service,
) -> Result<(), Status> {
    let service = Arc::make_mut(service);
    let name = service.metadata.name.clone().unwrap_or_default();
    let spec = service.spec.get_or_insert_default();
    let Some(old) = &old.spec else { return Ok(()) };
    keep_allocated(spec, old);
    let held: BTreeSet<i32> = node_ports(old).collect();
    let mut causes = Vec::new();
    if address(spec).is_none() || address(spec) != address(old) {
        allocate_address(api, spec, &mut causes);
    }
    allocate_ports(api, spec, &held, &mut causes);
    refuse(api, &name, causes)
}

fn keep_allocated(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_address(spec) && needs_address(old) {
        if spec.cluster_ip.as_deref().unwrap_or("").is_empty() {
            spec.cluster_ip.clone_from(&old.cluster_ip);
        }
        if spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
            spec.cluster_ips = spec.cluster_ip.clone().map(|address| vec![address]);
        }
        if spec.ip_families.is_none() {
            spec.ip_families.clone_from(&old.ip_families);
        }
        if spec.ip_family_policy.is_none() {
            spec.ip_family_policy.clone_from(&old.ip_family_policy);
        }
    } else if !needs_address(spec) {
        spec.cluster_ip = None;
        spec.cluster_ips = None;
        spec.ip_families = None;
        spec.ip_family_policy = None;
    }
    if needs_node_ports(spec) && needs_node_ports(old) {
        let by_name: BTreeMap<Option<&str>, i32> = (old.ports.iter().flatten())
            .filter_map(|port| Some((port.name.as_deref(), port.node_port?)))
            .collect();
        for port in spec.ports.iter_mut().flatten() {
            if port.node_port.unwrap_or(0) == 0 {
                port.node_port = by_name.get(&port.name.as_deref()).copied();
            }
        }
    } else if needs_node_ports(old) && !needs_node_ports(spec) {
        // What the old type had is dropped unless the client changed it (dropTypeDependentFields).
        let held: BTreeSet<i32> = node_ports(old).collect();
        for port in spec.ports.iter_mut().flatten() {
            if port.node_port.is_some_and(|port| held.contains(&port)) {
                port.node_port = None;
            }
        }
        if spec.external_traffic_policy == old.external_traffic_policy {
            spec.external_traffic_policy = None;
        }
    }
}

fn allocate_address(api: &mut Api, spec: &mut ServiceSpec, causes: &mut Vec<Cause>) {
    if !needs_address(spec) {
        return;
    }
    match spec.cluster_ip.as_deref().unwrap_or("") {
        "None" => {}
        "" => {
            let Some(address) = free_address(api) else {
                causes.push(invalid("spec.clusterIPs", "[]", "range is full"));
                return;
            };
            spec.cluster_ip = Some(Ipv4Addr::from(address).to_string());
        }
        text => {
            let range =
                u32::from(SERVICE_NETWORK)..u32::from(SERVICE_NETWORK) + SERVICE_NETWORK_SIZE;
            let why = match text.parse::<Ipv4Addr>().map(u32::from) {
                Ok(address) if api.admission.services.addresses.contains(&address) => {
                    "failed to allocate IP: provided IP is already allocated".to_owned()
                }
                Ok(address) if !range.contains(&address) => format!(
                    "failed to allocate IP {text}: the provided IP ({text}) is not in the valid \
                     range. The range of valid IPs is {SERVICE_NETWORK}/16"
                ),
                // Validation refuses what is no address.
                _ => String::new(),
            };
            if !why.is_empty() {
                causes.push(invalid("spec.clusterIPs", &format!("[]string{{\"{text}\"}}"), &why));
            }
        }
    }
    if spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
        spec.cluster_ips = spec.cluster_ip.clone().map(|address| vec![address]);
    }
    // IPv6DualStack is on by default from 1.21.
    if api.profile.at_least(21) {
        spec.ip_families.get_or_insert_with(|| vec!["IPv4".to_owned()]);
        spec.ip_family_policy.get_or_insert_with(|| "SingleStack".to_owned());
    }
}

/// A random free address; from 1.26 above the static band while there is one.
fn free_address(api: &mut Api) -> Option<u32> {
    let base = u32::from(SERVICE_NETWORK);
    let low = if api.profile.at_least(26) { STATIC_BAND } else { 1 };
    let last = SERVICE_NETWORK_SIZE - 2;
    for _ in 0..DRAWS_MAX {
        let drawn = base + api.streams().stream("service-address").random_range(low..=last);
        if !api.admission.services.addresses.contains(&drawn) {
            return Some(drawn);
        }
    }
    let taken = &api.admission.services.addresses;
    (low..=last).chain(1..low).map(|idx| base + idx).find(|address| !taken.contains(address))
}

fn allocate_ports(
    api: &mut Api,
    spec: &mut ServiceSpec,
    held: &BTreeSet<i32>,
    causes: &mut Vec<Cause>,
) {
    if !needs_node_ports(spec) {
        return;
    }
    let mut own: BTreeSet<i32> = BTreeSet::new();
    for (idx, port) in spec.ports.iter_mut().flatten().enumerate() {
        let Some(wanted) = port.node_port.filter(|&port| port != 0) else { continue };
        let field = format!("spec.ports[{idx}].nodePort");
        if !DEFAULT_NODE_PORTS.contains(&wanted) {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                DEFAULT_NODE_PORTS.start(),
                DEFAULT_NODE_PORTS.end()
            );
            causes.push(invalid(&field, &wanted.to_string(), &why));
        } else if api.admission.services.node_ports.contains(&wanted)
            && !held.contains(&wanted)
            && !own.contains(&wanted)
        {
            causes.push(invalid(&field, &wanted.to_string(), "provided port is already allocated"));
        }
        own.insert(wanted);
    }
    for port in spec.ports.iter_mut().flatten() {
        if port.node_port.unwrap_or(0) == 0 {
            port.node_port = free_node_port(api, &own);
            own.extend(port.node_port);
        }
    }
}

fn free_node_port(api: &mut Api, own: &BTreeSet<i32>) -> Option<i32> {
    let free = |api: &Api, port: &i32| {
        !api.admission.services.node_ports.contains(port) && !own.contains(port)
    };
    for _ in 0..DRAWS_MAX {
        let drawn = api.streams().stream("node-port").random_range(DEFAULT_NODE_PORTS);
        if free(api, &drawn) {
            return Some(drawn);
        }
    }
    DEFAULT_NODE_PORTS.into_iter().find(|port| free(api, port))
}

fn address(spec: &ServiceSpec) -> Option<u32> {
    spec.cluster_ip.as_deref()?.parse::<Ipv4Addr>().ok().map(u32::from)
}

fn node_ports(spec: &ServiceSpec) -> impl Iterator<Item = i32> {
    spec.ports.iter().flatten().filter_map(|port| port.node_port).filter(|&port| port != 0)
}

fn needs_address(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() != Some("ExternalName")
}

fn needs_node_ports(spec: &ServiceSpec) -> bool {
    match spec.type_.as_deref() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.allocate_load_balancer_node_ports != Some(false),
        _ => false,
    }
}

fn invalid(field: &str, value: &str, why: &str) -> Cause {
    Cause {
        reason: "FieldValueInvalid",
        field: field.to_owned(),
        message: format!("Invalid value: {value}: {why}"),
    }
}

fn refuse(api: &Api, name: &str, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&api.kind_name(Kind::SERVICE), name, causes))
}
