//! Services (`pkg/apis/core/validation/validation.go:ValidateService`).

use core::net::IpAddr;
use core::ops::RangeInclusive;
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta::{labels, metadata};
use super::{Errors, NameRule, Path, quoted, text};
use crate::k8s::Profile;

/// Node ports, unless the API server is told otherwise
/// (`pkg/kubeapiserver/options/options.go:DefaultServiceNodePortRange`).
pub const DEFAULT_NODE_PORTS: RangeInclusive<i32> = 30_000..=32_767;

/// `ValidateService`.
pub fn service(service: &Service, profile: Profile, errors: &mut Errors) {
    metadata(&service.metadata, NameRule::of("", "Service", profile), true, errors);
    let root = Path::root("spec");
    let Some(spec) = &service.spec else { return };
    let type_ = spec.type_.as_deref().unwrap_or("");
    let list = root.field("ports");
    let ports = spec.ports.as_deref().unwrap_or(&[]);
    let headless = spec.cluster_ip.as_deref() == Some("None");
    if ports.is_empty() && !headless && type_ != "ExternalName" {
        errors.required(&list, "");
    }
    by_type(spec, type_, &root, errors);
    check_ports(ports, type_, &list, errors);
    if let Some(pods) = &spec.selector {
        labels(pods, &root.field("selector"), errors);
    }
    let affinities = ["ClientIP", "None"];
    let affinity = spec.session_affinity.as_deref();
    errors.one_of(&root.field("sessionAffinity"), affinity, &affinities);
    if let Some(address) = spec.cluster_ip.as_deref().filter(|a| !a.is_empty() && *a != "None")
        && address.parse::<IpAddr>().is_err()
    {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        let list = root.field("clusterIPs");
        errors.invalid(&list.index(0), quoted(address), why);
    }
    for (idx, address) in spec.external_ips.iter().flatten().enumerate() {
        if address.parse::<IpAddr>().is_err() {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            let list = root.field("externalIPs");
            errors.invalid(&list.index(idx), quoted(address), why);
        }
    }
}

fn by_type(spec: &ServiceSpec, type_: &str, root: &Path<'_>, errors: &mut Errors) {
    let headless = spec.cluster_ip.as_deref() == Some("None");
    match type_ {
        "ClusterIP" => {}
        "NodePort" | "LoadBalancer" => {
            if headless {
                let why = format!("may not be set to 'None' for {type_} services");
                let list = root.field("clusterIPs");
                errors.invalid(&list.index(0), "\"None\"", &why);
            }
            let policies = ["Cluster", "Local"];
            let policy = spec.external_traffic_policy.as_deref();
            errors.one_of(&root.field("externalTrafficPolicy"), policy, &policies);
        }
        "ExternalName" => {
            let name = spec.external_name.as_deref().unwrap_or("");
            // A trailing dot marks a name that is fully qualified.
            let bare = name.strip_suffix('.').unwrap_or(name);
            if bare.is_empty() {
                errors.required(&root.field("externalName"), "");
            } else {
                errors.refused(&root.field("externalName"), bare, text::subdomain_1123(bare));
            }
            if spec.cluster_ip.as_deref().is_some_and(|address| !address.is_empty()) {
                let why = "may not be set when type is 'ExternalName'";
                errors.forbidden(&root.field("clusterIPs"), why);
            }
        }
        other => {
            let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
            errors.not_supported(&root.field("type"), other, &types);
        }
    }
    let external = matches!(type_, "NodePort" | "LoadBalancer");
    let reachable = external || spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    if !reachable && spec.external_traffic_policy.as_deref().is_some_and(|p| !p.is_empty()) {
        let policy = spec.external_traffic_policy.as_deref().unwrap_or("");
        let why = "may only be set for externally-accessible services";
        errors.invalid(&root.field("externalTrafficPolicy"), quoted(policy), why);
    }
}

fn check_ports(ports: &[ServicePort], type_: &str, list: &Path<'_>, errors: &mut Errors) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut numbers: BTreeSet<(i32, &str)> = BTreeSet::new();
    let mut node_ports: BTreeSet<(i32, &str)> = BTreeSet::new();
    for (idx, port) in ports.iter().enumerate() {
        let at = list.index(idx);
        let name = port.name.as_deref().unwrap_or("");
        if name.is_empty() && ports.len() > 1 {
            errors.required(&at.field("name"), "");
        } else if !name.is_empty() {
            errors.refused(&at.field("name"), name, text::label_1123(name));
            if !names.insert(name) {
                errors.duplicate(&at.field("name"), quoted(name));
            }
        }
        errors.port(&at.field("port"), port.port);
        let protocol = port.protocol.as_deref().unwrap_or("");
        errors.one_of(&at.field("protocol"), Some(protocol), &["SCTP", "TCP", "UDP"]);
        match &port.target_port {
            Some(IntOrString::Int(number)) => errors.port(&at.field("targetPort"), *number),
            Some(IntOrString::String(name)) => {
                errors.refused(&at.field("targetPort"), name, text::port_name(name));
            }
            None => {}
        }
        let node_port = port.node_port.unwrap_or(0);
        if node_port != 0 && matches!(type_, "ClusterIP" | "ExternalName") {
            let why = format!("may not be used when `type` is '{type_}'");
            errors.forbidden(&at.field("nodePort"), &why);
        } else if node_port != 0 && !node_ports.insert((node_port, protocol)) {
            errors.duplicate(&at.field("nodePort"), node_port);
        }
        if !numbers.insert((port.port, protocol)) {
            errors.duplicate(&at, go_port(port));
        }
    }
}

/// The part of `core.ServicePort` that a duplicate shows, in Go syntax.
fn go_port(port: &ServicePort) -> String {
    format!(
        "core.ServicePort{{Name:\"\", Protocol:{:?}, AppProtocol:(*string)(nil), Port:{}, \
         TargetPort:intstr.IntOrString{{Type:0, IntVal:0, StrVal:\"\"}}, NodePort:0}}",
        port.protocol.as_deref().unwrap_or(""),
        port.port
    )
}
