//! The entrance: where ingress-nginx of a cluster that somebody else made answers.

use k8s_openapi::api::core::v1::{Node, Pod, Service, ServiceSpec};
use kube::api::ListParams;
use kube::{Api, Client};

use super::access::Access;
use crate::base::Error;
use crate::engine::FrontDoor;
use crate::k8s::is_pod_ready;
use crate::load::Target;

/// Upstream's labels of the controller, on its pods and its Service.
const CONTROLLER: &str =
    "app.kubernetes.io/name=ingress-nginx,app.kubernetes.io/component=controller";
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// Finds the front door: the address of a load balancer, else ports of the controller's node, else
/// node ports.
///
/// # Errors
/// An environment error if there is no controller, or none that can be reached from outside.
pub async fn find_front_door(access: &Access, client: &Client) -> Result<FrontDoor, Error> {
    let trouble = |error| access.trouble("look for ingress-nginx", &error);
    let params = ListParams::default().labels(CONTROLLER);
    let services: Api<Service> = Api::all(client.clone());
    let services = services.list(&params).await.map_err(trouble)?.items;
    let pods: Api<Pod> = Api::all(client.clone());
    let pods = pods.list(&params).await.map_err(trouble)?.items;
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await.map_err(trouble)?.items;
    front_door(&services, &pods, &nodes).ok_or_else(|| {
        let found = match (services.len(), pods.len()) {
            (0, 0) => "there is no ingress-nginx controller".to_owned(),
            (_, 0) => "the ingress-nginx controller has no pod".to_owned(),
            (_, n) => format!(
                "{n} controller pods, none ready with a host port, and no Service \
                               with a load balancer's address or node ports"
            ),
        };
        Error::environment(format!(
            "no way in from outside the cluster: {found} (labels {CONTROLLER})\n\
             cluster: {access}\n\
             install ingress-nginx, or look at it: {}",
            access.kubectl(&format!("get pods,services -A -l {CONTROLLER}"))
        ))
    })
}

fn front_door(services: &[Service], pods: &[Pod], nodes: &[Node]) -> Option<FrontDoor> {
    let specs = || services.iter().filter_map(|each| Some((each, each.spec.as_ref()?)));
    let balanced = specs().find_map(|(service, _)| {
        let status = service.status.as_ref()?.load_balancer.as_ref()?;
        let entry = status.ingress.as_ref()?.first()?;
        let host = entry.ip.as_ref().or(entry.hostname.as_ref())?;
        Some(door(host, HTTP, HTTPS))
    });
    let ready = || pods.iter().filter(|pod| is_pod_ready(pod));
    let on_host = || {
        ready().find_map(|pod| {
            let ports = (host_port(pod, HTTP)?, host_port(pod, HTTPS)?);
            Some(door(&outer_address(pod, nodes)?, ports.0, ports.1))
        })
    };
    let by_node_port = || {
        let host = outer_address(ready().next()?, nodes)?;
        specs().find_map(|(_, spec)| {
            Some(door(&host, node_port(spec, HTTP)?, node_port(spec, HTTPS)?))
        })
    };
    balanced.or_else(on_host).or_else(by_node_port)
}

fn door(host: &str, http: u16, https: u16) -> FrontDoor {
    FrontDoor {
        http: Target { host: host.to_owned(), port: http, tls: None },
        https: Target { host: host.to_owned(), port: https, tls: Some(host.to_owned()) },
    }
}

/// The port of the node that leads to `port` of the pod.
fn host_port(pod: &Pod, port: u16) -> Option<u16> {
    let spec = pod.spec.as_ref()?;
    let ports = spec.containers.iter().flat_map(|each| each.ports.iter().flatten());
    let mut ports = ports.filter(|each| each.container_port == i32::from(port));
    let given = ports.find_map(|each| each.host_port).and_then(|port| u16::try_from(port).ok());
    given.or_else(|| spec.host_network.unwrap_or(false).then_some(port))
}

fn node_port(spec: &ServiceSpec, port: u16) -> Option<u16> {
    let ports = spec.ports.as_ref()?;
    let given = ports.iter().find(|each| each.port == i32::from(port))?.node_port?;
    u16::try_from(given).ok()
}

/// The address of a pod's node: the external one where it has one.
fn outer_address(pod: &Pod, nodes: &[Node]) -> Option<String> {
    let name = pod.spec.as_ref()?.node_name.as_ref();
    let node = nodes.iter().find(|node| node.metadata.name.as_ref() == name)?;
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let of = |kind: &str| addresses.iter().find(|each| each.type_ == kind);
    of("ExternalIP").or_else(|| of("InternalIP")).map(|each| each.address.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    fn read<K: DeserializeOwned>(value: Value) -> Vec<K> {
        vec![serde_json::from_value(value).expect("an object")]
    }

    fn node() -> Vec<Node> {
        read(json!({"metadata": {"name": "n"}, "status": {"addresses": [
            {"type": "InternalIP", "address": "172.18.0.2"}, {"type": "Hostname", "address": "n"},
        ]}}))
    }

    fn pod(host_port: Value) -> Vec<Pod> {
        read(json!({
            "spec": {"nodeName": "n", "containers": [{"name": "controller", "ports": [
                {"containerPort": 80, "hostPort": host_port}, {"containerPort": 443, "hostPort": 8443},
            ]}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
    }

    fn service(address: Value) -> Vec<Service> {
        read(json!({
            "spec": {"ports": [{"port": 80, "nodePort": 30080}, {"port": 443, "nodePort": 30443}]},
            "status": {"loadBalancer": {"ingress": address}},
        }))
    }

    #[test]
    fn the_widest_way_in_is_taken() {
        let balanced = service(json!([{"ip": "192.0.2.7"}]));
        assert_eq!(
            front_door(&balanced, &pod(json!(8080)), &node()),
            Some(door("192.0.2.7", 80, 443))
        );
        let plain = service(json!([]));
        let on_host = Some(door("172.18.0.2", 8080, 8443));
        assert_eq!(front_door(&plain, &pod(json!(8080)), &node()), on_host);
        let by_node_port = Some(door("172.18.0.2", 30080, 30443));
        assert_eq!(front_door(&plain, &pod(Value::Null), &node()), by_node_port);
        assert_eq!(front_door(&[], &pod(Value::Null), &node()), None);
    }
}
