//! A booted cluster: its nodes, system namespaces, classes and the add-ons that kind would get.

use std::collections::BTreeMap;

use super::profile::Profile;
use super::system_objects;
use super::world::World;

/// The cluster to simulate.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// The Kubernetes minor.
    pub profile: Profile,
    /// The nodes, control plane first.
    pub nodes: Vec<NodeSpec>,
    /// Program models for images that the catalogue does not know.
    pub apps: Vec<super::apps::GenericApp>,
    /// Images that registries have and every node already holds: those the stack names.
    pub images: Vec<String>,
    /// Custom resources that the cluster serves without a definition in the stack.
    pub custom_kinds: Vec<crate::k8s::CustomKind>,
    /// Keep the text of the trace, not only its hash.
    pub keep_trace: bool,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its internal address.
    pub ip: String,
    /// Whether it is a control-plane node (tainted, runs the ingress controller).
    pub control_plane: bool,
    /// Allocatable CPU, in thousandths of a core.
    pub cpu_milli: u64,
    /// Allocatable memory, in bytes.
    pub memory_bytes: u64,
}

/// CPU of a node, in thousandths of a core: what an 8-core machine gives to four kind nodes.
const NODE_CPU_MILLI: u64 = 8_000;
/// Memory of a node, in bytes.
const NODE_MEMORY_BYTES: u64 = 16 << 30;

impl ClusterSpec {
    /// One control-plane node and `n_workers` workers, named as kind names them.
    pub fn new(profile: Profile, n_workers: usize) -> Self {
        let control_plane = NodeSpec::new("seatrial-control-plane".into(), 1, true);
        let workers = (1..=n_workers).map(|n| {
            let suffix = if n == 1 { String::new() } else { n.to_string() };
            NodeSpec::new(format!("seatrial-worker{suffix}"), n + 1, false)
        });
        let nodes = std::iter::once(control_plane).chain(workers).collect();
        ClusterSpec {
            profile,
            nodes,
            apps: Vec::new(),
            images: Vec::new(),
            custom_kinds: Vec::new(),
            keep_trace: false,
        }
    }
}

impl NodeSpec {
    /// The labels of its Node: the kubelet's, kubeadm's and kind's own.
    pub fn labels(&self, profile: Profile) -> BTreeMap<String, String> {
        let mut labels = vec![
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", "amd64"),
        ];
        if self.control_plane {
            labels.push(("node-role.kubernetes.io/control-plane", ""));
            labels.push(("ingress-ready", "true"));
            // kubeadm dropped the old label in 1.24.
            if !profile.at_least(24) {
                labels.push(("node-role.kubernetes.io/master", ""));
            }
        }
        labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn new(name: String, index: usize, control_plane: bool) -> Self {
        NodeSpec {
            name,
            ip: format!("172.18.{}.{}", index / 250, index % 250 + 1),
            control_plane,
            cpu_milli: NODE_CPU_MILLI,
            memory_bytes: NODE_MEMORY_BYTES,
        }
    }
}

/// Brings the cluster up at the epoch.
pub(super) fn boot(world: &mut World, spec: &ClusterSpec) {
    system_objects::create(world.api(), spec);
    for node in &spec.nodes {
        world.add_node(node);
    }
    world.start_rooms();
}
