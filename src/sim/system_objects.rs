//! What a freshly made cluster holds besides its nodes: what the API server, kubeadm and kind create,
//! then ingress-nginx and Rook as the add-ons leave them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::api::{Api, Kind, Obj};
use super::bootstrap::ClusterSpec;
use crate::k8s::{CustomKind, rook};

/// Namespaces of a kind cluster with the add-ons, in the order they appear.
const NAMESPACES: [&str; 6] =
    ["default", "kube-system", "kube-public", "kube-node-lease", "ingress-nginx", "rook-ceph"];
/// The first address of the service range (`kubernetes.default`).
const API_SERVICE_IP: &str = "10.96.0.1";
/// Where kubeadm puts kube-dns.
const DNS_SERVICE_IP: &str = "10.96.0.10";
/// The port of the API server on the control-plane node.
const API_PORT: u16 = 6443;
/// `pkg/apis/scheduling/v1/helpers.go:SystemPriorityClasses`.
const SYSTEM_PRIORITY_CLASSES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
/// Rook's CSI drivers carry the namespace of its operator (addons D).
const CSI_DRIVERS: [&str; 2] = ["rook-ceph.cephfs.csi.ceph.com", "rook-ceph.rbd.csi.ceph.com"];
/// Secrets that Rook creates for its CSI drivers.
const CSI_SECRETS: [&str; 4] = [
    "rook-csi-cephfs-provisioner",
    "rook-csi-cephfs-node",
    "rook-csi-rbd-provisioner",
    "rook-csi-rbd-node",
];
/// Creates them all.
pub(super) fn create(api: &mut Api, spec: &ClusterSpec) {
    for name in NAMESPACES {
        put(api, Kind::NAMESPACE, json!({"metadata": {"name": name}}));
    }
    for (name, value) in SYSTEM_PRIORITY_CLASSES {
        put(api, Kind::PRIORITY_CLASS, json!({"metadata": {"name": name}, "value": value}));
    }
    create_services(api, spec);
    create_classes(api);
    create_rook(api);
    create_definitions(api, &spec.custom_kinds);
}

/// The definitions of custom kinds, as if somebody had installed them before.
fn create_definitions(api: &mut Api, kinds: &[CustomKind]) {
    let Some(definition) = api.registry.by_kind("apiextensions.k8s.io", "CustomResourceDefinition")
    else {
        return;
    };
    let mut versions: BTreeMap<CustomKind, Vec<&str>> = BTreeMap::new();
    for kind in kinds {
        let any_version = CustomKind { version: String::new(), ..kind.clone() };
        versions.entry(any_version).or_default().push(&kind.version);
    }
    for (kind, versions) in versions {
        // What is served stays as it is.
        if api.registry.by_kind(&kind.group, &kind.kind).is_some() {
            continue;
        }
        let object = Obj::from_json(definition, custom_definition(&kind, &versions))
            .unwrap_or_else(|error| unreachable!("boot definition of {}: {error}", kind.kind));
        // Of a kind that no definition can have, the stack is told when it is applied.
        let _ = api.create_object(object, false);
    }
}

/// A definition that takes any content.
fn custom_definition(kind: &CustomKind, versions: &[&str]) -> Value {
    let served = versions.iter().map(|version| {
        json!({
            "name": version, "served": true, "storage": versions.last() == Some(version),
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }},
        })
    });
    json!({
        "metadata": {"name": format!("{}.{}", kind.plural, kind.group)},
        "spec": {
            "group": kind.group,
            "names": {
                "kind": kind.kind, "listKind": format!("{}List", kind.kind),
                "plural": kind.plural, "singular": kind.kind.to_lowercase(),
            },
            "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
            "versions": served.collect::<Vec<_>>(),
        },
    })
}

/// `kubernetes` with its endpoints (`pkg/controlplane/controller/kubernetesservice`) and kube-dns.
fn create_services(api: &mut Api, spec: &ClusterSpec) {
    put(
        api,
        Kind::SERVICE,
        json!({
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "clusterIP": API_SERVICE_IP,
                "ports": [{"name": "https", "port": 443, "targetPort": API_PORT}],
            },
        }),
    );
    let port = json!({"name": "https", "port": API_PORT, "protocol": "TCP"});
    if let Some(node) = spec.nodes.iter().find(|node| node.control_plane) {
        put(
            api,
            Kind::ENDPOINTS,
            json!({
                "metadata": {"name": "kubernetes", "namespace": "default"},
                "subsets": [{"addresses": [{"ip": node.ip}], "ports": [port.clone()]}],
            }),
        );
        put(
            api,
            Kind::ENDPOINT_SLICE,
            json!({
                "metadata": {
                    "name": "kubernetes", "namespace": "default",
                    "labels": {"kubernetes.io/service-name": "kubernetes"},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [node.ip], "conditions": {"ready": true}}],
                "ports": [port],
            }),
        );
    }
    put(
        api,
        Kind::SERVICE,
        json!({
            "metadata": {
                "name": "kube-dns", "namespace": "kube-system",
                "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
            },
            "spec": {
                "clusterIP": DNS_SERVICE_IP,
                "selector": {"k8s-app": "kube-dns"},
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        }),
    );
}

/// ingress-nginx's class, which is not the default one (addons B), and kind's storage class.
fn create_classes(api: &mut Api) {
    api.create(super::volumes::standard_class())
        .unwrap_or_else(|status| unreachable!("boot: {}", status.message));
    put(
        api,
        Kind::INGRESS_CLASS,
        json!({"metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}}),
    );
}

/// Rook with a healthy Ceph cluster; filesystems and pools are the stack's own business.
fn create_rook(api: &mut Api) {
    let Some(definition) = api.registry.by_kind("apiextensions.k8s.io", "CustomResourceDefinition")
    else {
        return;
    };
    for (kind, plural) in rook::KINDS {
        put(api, definition, rook_definition(kind, plural));
    }
    for name in CSI_DRIVERS {
        let spec = json!({
            "attachRequired": true, "podInfoOnMount": false, "fsGroupPolicy": "File",
        });
        put(api, Kind::CSI_DRIVER, json!({"metadata": {"name": name}, "spec": spec}));
    }
    for name in CSI_SECRETS {
        put(
            api,
            Kind::SECRET,
            json!({
                "metadata": {"name": name, "namespace": "rook-ceph"}, "type": "kubernetes.io/rook",
            }),
        );
    }
    let Some(cluster) = api.registry.by_kind(rook::GROUP, "CephCluster") else { return };
    put(
        api,
        cluster,
        json!({
            "metadata": {"name": "rook-ceph", "namespace": "rook-ceph"},
            "spec": {"dataDirHostPath": "/var/lib/rook", "mon": {"count": 3}},
        }),
    );
    set_cluster_ready(api, cluster);
}

fn set_cluster_ready(api: &mut Api, cluster: Kind) {
    let Some(Obj::Other(stored)) = api.object(cluster, "rook-ceph", "rook-ceph").cloned() else {
        return;
    };
    let mut ready = stored.as_ref().clone();
    let status = json!({
        "phase": "Ready", "state": "Created", "message": "Cluster created successfully",
        "ceph": {"health": "HEALTH_OK"},
    });
    ready.body.insert("status".to_owned(), status);
    let written = api.update_object(Obj::Other(ready.into()), super::api::Part::Status, false);
    written.unwrap_or_else(|status| unreachable!("boot: {}", status.message));
}

fn rook_definition(kind: &str, plural: &str) -> Value {
    json!({
        "metadata": {"name": format!("{plural}.{}", rook::GROUP)},
        "spec": {
            "group": rook::GROUP,
            "names": {
                "kind": kind, "listKind": format!("{kind}List"),
                "plural": plural, "singular": kind.to_lowercase(),
            },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            }],
        },
    })
}

fn put(api: &mut Api, kind: Kind, value: Value) {
    let object = Obj::from_json(kind, value)
        .unwrap_or_else(|error| unreachable!("boot object of kind {}: {error}", kind.0));
    api.create_object(object, false)
        .unwrap_or_else(|status| unreachable!("boot: {}", status.message));
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};

    use super::*;
    use crate::sim::World;
    use crate::sim::profile::Profile;

    fn world(seed: u64) -> World {
        World::new(&ClusterSpec::new(Profile::NEWEST, 3), seed)
    }

    fn put_pod(world: &mut World, namespace: &str) -> Result<Obj, crate::sim::api::Status> {
        let value = json!({
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"containers": [{"name": "web", "image": "nginx"}]},
        });
        let pod = Obj::from_json(Kind::POD, value).expect("a pod");
        world.api().create_object(pod, false)
    }

    #[test]
    fn every_profile_boots() {
        for minor in 20..=37 {
            let profile: Profile = format!("1.{minor}").parse().expect("a profile");
            let mut world = World::new(&ClusterSpec::new(profile, 1), 1);
            assert!(world.api().get::<ServiceAccount>("rook-ceph", "default").is_some());
        }
    }

    #[test]
    fn a_pod_gets_its_account_and_tolerations() {
        let mut world = world(1);
        let created = put_pod(&mut world, "default").expect("created");
        let pod = created.as_typed::<Pod>().expect("a pod");
        let spec = pod.spec.as_ref().expect("a spec");
        assert_eq!(spec.service_account_name.as_deref(), Some("default"));
        assert_eq!(spec.tolerations.as_ref().map(Vec::len), Some(2));
        assert_eq!(spec.priority, Some(0));
        let status = pod.status.as_ref().expect("a status");
        assert_eq!(status.phase.as_deref(), Some("Pending"));
        assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    }

    #[test]
    fn an_unknown_namespace_is_not_found() {
        let status = put_pod(&mut world(1), "nowhere").expect_err("refused");
        assert_eq!(
            (status.code, status.message.as_str()),
            (404, "namespaces \"nowhere\" not found")
        );
    }

    #[test]
    fn services_get_addresses_by_seed() {
        let address = |seed| {
            let mut world = world(seed);
            let value = json!({
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"type": "NodePort", "ports": [{"port": 80}]},
            });
            let service = Obj::from_json(Kind::SERVICE, value).expect("a service");
            let created = world.api().create_object(service, false).expect("created");
            let spec = created.as_typed::<Service>().and_then(|s| s.spec.clone()).expect("a spec");
            let port = spec.ports.as_ref().and_then(|ports| ports[0].node_port).expect("a port");
            assert!((30_000..=32_767).contains(&port));
            (spec.cluster_ip.expect("an address"), port)
        };
        assert_eq!(address(7), address(7));
        assert_ne!(address(7), address(8));
    }

    #[test]
    fn a_taken_node_port_is_refused_and_free_again_after_deletion() {
        let mut world = world(1);
        let service = |name: &str| {
            let value = json!({
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
            });
            Obj::from_json(Kind::SERVICE, value).expect("a service")
        };
        let api = world.api();
        api.create_object(service("a"), false).expect("created");
        let status = api.create_object(service("b"), false).expect_err("refused");
        assert_eq!(status.code, 422);
        assert!(status.message.ends_with("provided port is already allocated"), "{status:?}");
        let options = Default::default();
        api.delete(Kind::SERVICE, "default", "a", &options).expect("deleted");
        api.create_object(service("b"), false).expect("created");
    }

    #[test]
    fn the_ceph_cluster_is_ready() {
        let mut world = world(1);
        let api = world.api();
        let kind = api.registry.by_kind("ceph.rook.io", "CephCluster").expect("registered");
        let Some(Obj::Other(cluster)) = api.object(kind, "rook-ceph", "rook-ceph") else {
            panic!("no cluster");
        };
        assert_eq!(cluster.body["status"]["phase"], "Ready");
    }
}
