//! Defaults of Services and endpoints (`pkg/apis/core/v1/defaults.go`,
//! `pkg/apis/discovery/v1/defaults.go`). `networking.k8s.io/v1` Ingress has none.

use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::set;
use crate::k8s::Profile;

/// Seconds a client stays with its endpoint under `ClientIP` affinity.
const CLIENT_IP_AFFINITY_SECONDS: i32 = 10_800;

/// `SetDefaults_Service`.
pub fn service(service: &mut Service, profile: Profile) {
    let spec = service.spec.get_or_insert_default();
    set(&mut spec.session_affinity, "None");
    match spec.session_affinity.as_deref() {
        Some("ClientIP") => {
            let config = spec.session_affinity_config.get_or_insert_default();
            let client_ip = config.client_ip.get_or_insert_default();
            client_ip.timeout_seconds.get_or_insert(CLIENT_IP_AFFINITY_SECONDS);
        }
        Some("None") => spec.session_affinity_config = None,
        _ => {}
    }
    set(&mut spec.type_, "ClusterIP");
    let type_ = spec.type_.clone().unwrap_or_default();
    for port in spec.ports.iter_mut().flatten() {
        set(&mut port.protocol, "TCP");
        let unset = match &port.target_port {
            None | Some(IntOrString::Int(0)) => true,
            Some(IntOrString::String(name)) => name.is_empty(),
            Some(IntOrString::Int(_)) => false,
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    let external = type_ == "NodePort" || type_ == "LoadBalancer";
    if external {
        set(&mut spec.external_traffic_policy, "Cluster");
    }
    if profile.at_least(22) && type_ != "ExternalName" {
        set(&mut spec.internal_traffic_policy, "Cluster");
    }
    if profile.at_least(24) && type_ == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

/// `SetDefaults_Endpoints`.
pub fn endpoints(endpoints: &mut Endpoints) {
    for subset in endpoints.subsets.iter_mut().flatten() {
        for port in subset.ports.iter_mut().flatten() {
            set(&mut port.protocol, "TCP");
        }
    }
}

/// `SetDefaults_EndpointPort`: name `""`, protocol TCP.
pub fn endpoint_slice(slice: &mut EndpointSlice) {
    for port in slice.ports.iter_mut().flatten() {
        port.name.get_or_insert_default();
        set(&mut port.protocol, "TCP");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_port_is_the_port() {
        let text = r#"{"spec":{"ports":[{"port":80},{"port":443,"targetPort":"https"}]}}"#;
        let mut object: Service = serde_json::from_str(text).expect("a service");
        service(&mut object, Profile::NEWEST);
        let spec = object.spec.expect("a spec");
        let ports = spec.ports.expect("ports");
        assert_eq!(ports[0].target_port, Some(IntOrString::Int(80)));
        assert_eq!(ports[1].target_port, Some(IntOrString::String("https".into())));
        assert_eq!(spec.type_.as_deref(), Some("ClusterIP"));
        assert_eq!(spec.external_traffic_policy, None);
    }
}
