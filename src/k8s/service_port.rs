//! Which port of a Service an Ingress means.

use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Whether ingress-nginx takes `port` for what an Ingress calls `named`: by number, target port or
/// name, all compared as text (`internal/ingress/controller/controller.go:serviceEndpoints`). Of
/// several it takes the first.
pub fn is_backend_port(port: &ServicePort, named: &IntOrString) -> bool {
    let named = text(named);
    port.port.to_string() == named
        || port.target_port.as_ref().is_some_and(|target| text(target) == named)
        || port.name.as_ref() == Some(&named)
}

/// Whether a port of a Service is for TCP, which it is unless it says otherwise.
pub fn is_tcp(port: &ServicePort) -> bool {
    port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
}

fn text(port: &IntOrString) -> String {
    match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(target_port: Option<IntOrString>) -> ServicePort {
        ServicePort { name: Some("web".into()), port: 8080, target_port, ..ServicePort::default() }
    }

    #[test]
    fn a_port_is_meant_by_number_target_port_or_name() {
        let name = |name: &str| IntOrString::String(name.into());
        let number = port(Some(IntOrString::Int(80)));
        for named in [IntOrString::Int(8080), IntOrString::Int(80), name("web"), name("80")] {
            assert!(is_backend_port(&number, &named), "{named:?}");
        }
        assert!(!is_backend_port(&number, &IntOrString::Int(8)));
        assert!(is_backend_port(&port(Some(name("http"))), &name("http")));
        assert!(!is_backend_port(&port(None), &name("http")));
    }
}
