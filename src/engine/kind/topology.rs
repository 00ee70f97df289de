//! Topology: kind's own file format, checked, with what each cluster needs filled in.

mod check;

use std::path::Path;

use serde_yaml::{Mapping, Value};

use crate::base::Error;

use super::cluster::KindNode;
use super::ports::Ports;
use super::spec::ExtraMount;

/// The topology that ships with the product.
const STANDARD: &str = include_str!("../../../manifests/kind/cluster.yaml");
const API_VERSION: &str = "kind.x-k8s.io/v1alpha4";
const ADDRESS: &str = "127.0.0.1";
/// Label of the node where the ingress controller runs.
const INGRESS_LABEL: &str = "ingress-ready";

/// A cluster's nodes, as kind's configuration has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    document: Mapping,
    nodes: Vec<Mapping>,
}

impl Topology {
    /// The topology of `manifests/kind/cluster.yaml`.
    ///
    /// # Errors
    /// The file that ships with the product is broken.
    pub fn standard() -> Result<Topology, Error> {
        Topology::parse(STANDARD, "manifests/kind/cluster.yaml")
    }

    /// The topology in `file`.
    ///
    /// # Errors
    /// A usage error that names file, line and field.
    pub fn read(file: &Path) -> Result<Topology, Error> {
        let source = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Error::usage(format!("cannot read {source}: {error}")))?;
        Topology::parse(&text, &source)
    }

    /// The topology in `text`, which errors call `source`.
    ///
    /// # Errors
    /// A usage error that names file, line and field.
    pub fn parse(text: &str, source: &str) -> Result<Topology, Error> {
        let (document, nodes) = check::read(text, source)?;
        Ok(Topology { document, nodes })
    }

    /// Sets the number of workers: the last ones go, or plain ones are added.
    pub fn set_workers(&mut self, wanted: usize) {
        let mut left = wanted;
        self.nodes.retain(|node| {
            let keep = !is_worker(node) || left > 0;
            if is_worker(node) {
                left = left.saturating_sub(1);
            }
            keep
        });
        self.nodes.extend((0..left).map(|_| role("worker")));
    }

    /// Adds `mounts` to every node.
    pub fn mount(&mut self, mounts: &[ExtraMount]) {
        for node in &mut self.nodes {
            let mut all = sequence(node, "extraMounts");
            all.extend(mounts.iter().filter_map(|mount| serde_yaml::to_value(mount).ok()));
            if !all.is_empty() {
                node.insert("extraMounts".into(), Value::Sequence(all));
            }
        }
    }

    /// Whether every node names its image.
    pub fn names_all_images(&self) -> bool {
        self.nodes.iter().all(|node| node.get("image").is_some_and(|image| !image.is_null()))
    }

    /// The images that nodes name themselves.
    pub fn images(&self) -> Vec<String> {
        let named = self.nodes.iter().filter_map(|node| node.get("image")?.as_str());
        named.map(str::to_owned).collect()
    }

    /// The nodes of a cluster called `name`: kind numbers each role from its second node on.
    pub fn nodes(&self, name: &str) -> Vec<KindNode> {
        let (mut planes, mut workers) = (0, 0);
        let numbered = |role: &str, n: &mut usize| {
            *n += 1;
            let number = if *n == 1 { String::new() } else { n.to_string() };
            format!("{name}-{role}{number}")
        };
        self.nodes
            .iter()
            .map(|node| match is_worker(node) {
                true => KindNode { name: numbered("worker", &mut workers), worker: true },
                false => KindNode { name: numbered("control-plane", &mut planes), worker: false },
            })
            .collect()
    }

    /// Index of the node where the front door's ports arrive: the one that maps port 80, or is
    /// labelled for it, or the first control-plane.
    pub fn front_node(&self) -> usize {
        let maps = |node: &Mapping| mapping_of(node, 80).is_some();
        let labelled = |node: &Mapping| {
            node.get("labels").and_then(|labels| labels.get(INGRESS_LABEL)).is_some()
        };
        let position = |which: &dyn Fn(&Mapping) -> bool| self.nodes.iter().position(which);
        position(&maps)
            .or_else(|| position(&labelled))
            .or_else(|| position(&|node| !is_worker(node)))
            .unwrap_or(0)
    }

    /// The ports of this machine that it names, those of the front door excepted: these are picked
    /// free, whatever it says.
    pub fn host_ports(&self) -> Vec<u16> {
        let front = self.front_node();
        let mut ports = Vec::new();
        for (idx, node) in self.nodes.iter().enumerate() {
            for mapping in sequence(node, "extraPortMappings") {
                let number = |field: &str| mapping.get(field).and_then(Value::as_u64);
                let is_front_door =
                    idx == front && matches!(number("containerPort"), Some(80 | 443));
                let port = number("hostPort").filter(|port| *port > 0 && !is_front_door);
                ports.extend(port.and_then(|port| u16::try_from(port).ok()));
            }
        }
        ports
    }

    /// What tells this topology from another, whatever cluster it is made for.
    pub fn fingerprint(&self) -> Result<String, Error> {
        self.render(Ports { http: 0, https: 0 })
    }

    /// The file for one cluster.
    pub(super) fn render(&self, ports: Ports) -> Result<String, Error> {
        let mut nodes = self.nodes.clone();
        let front = self.front_node();
        if let Some(node) = nodes.get_mut(front) {
            let mut labels =
                node.get("labels").and_then(Value::as_mapping).cloned().unwrap_or_default();
            labels.insert(INGRESS_LABEL.into(), "true".into());
            node.insert("labels".into(), Value::Mapping(labels));
            open(node, 80, ports.http);
            open(node, 443, ports.https);
        }
        let mut document = self.document.clone();
        // The name is an argument; two places for it could disagree.
        document.remove("name");
        let nodes = nodes.into_iter().map(Value::Mapping).collect();
        document.insert("nodes".into(), Value::Sequence(nodes));
        serde_yaml::to_string(&document)
            .map_err(|error| Error::usage(format!("the topology cannot be written: {error}")))
    }
}

fn role(role: &str) -> Mapping {
    Mapping::from_iter([("role".into(), role.into())])
}

fn is_worker(node: &Mapping) -> bool {
    node.get("role").and_then(Value::as_str) == Some("worker")
}

fn sequence(node: &Mapping, field: &str) -> Vec<Value> {
    node.get(field).and_then(Value::as_sequence).cloned().unwrap_or_default()
}

/// Index of the node's mapping of `container_port`.
fn mapping_of(node: &Mapping, container_port: u64) -> Option<usize> {
    let mappings = node.get("extraPortMappings")?.as_sequence()?;
    mappings.iter().position(|mapping| {
        mapping.get("containerPort").and_then(Value::as_u64) == Some(container_port)
    })
}

/// Leads `host_port` on this machine alone to `container_port` of the node.
fn open(node: &mut Mapping, container_port: u64, host_port: u16) {
    let mut mappings = sequence(node, "extraPortMappings");
    let known = mapping_of(node, container_port).and_then(|idx| mappings.get_mut(idx));
    let mapping = match known {
        Some(mapping) => mapping,
        None => {
            mappings.push(Value::Mapping(Mapping::from_iter([
                ("containerPort".into(), container_port.into()),
                ("protocol".into(), "TCP".into()),
            ])));
            let last = mappings.len() - 1;
            &mut mappings[last]
        }
    };
    if let Value::Mapping(mapping) = mapping {
        mapping.insert("hostPort".into(), host_port.into());
        mapping.insert("listenAddress".into(), ADDRESS.into());
    }
    node.insert("extraPortMappings".into(), Value::Sequence(mappings));
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports { http: 31_080, https: 31_443 };

    fn head(rest: &str) -> String {
        format!("kind: Cluster\napiVersion: {API_VERSION}\n{rest}")
    }

    #[test]
    fn the_standard_one_gets_ports_and_one_and_three_nodes() {
        let topology = Topology::standard().expect("it is right");
        let names: Vec<_> = topology.nodes("st-x").into_iter().map(|node| node.name).collect();
        assert_eq!(names, ["st-x-control-plane", "st-x-worker", "st-x-worker2", "st-x-worker3"]);
        let text = topology.render(PORTS).expect("it can be written");
        let wanted = "nodes:\n- role: control-plane\n  labels:\n    ingress-ready: 'true'\n  \
                      extraPortMappings:\n  - containerPort: 80\n    protocol: TCP\n    \
                      hostPort: 31080\n    listenAddress: 127.0.0.1\n  - containerPort: 443\n    \
                      protocol: TCP\n    hostPort: 31443\n    listenAddress: 127.0.0.1\n\
                      - role: worker\n- role: worker\n- role: worker\n";
        assert!(text.ends_with(wanted), "{text}");
    }

    #[test]
    fn workers_are_dropped_from_the_end_or_added() {
        let text =
            head("nodes:\n- role: control-plane\n- {role: worker, image: 'a:1'}\n- role: worker\n");
        let mut topology = Topology::parse(&text, "t").expect("right");
        topology.set_workers(1);
        assert_eq!(topology.nodes("c").len(), 2);
        assert_eq!(topology.images(), ["a:1"]);
        topology.set_workers(4);
        assert_eq!(
            topology.nodes("c").last().map(|n| n.name.clone()).as_deref(),
            Some("c-worker4")
        );
        topology.set_workers(0);
        assert_eq!(topology.nodes("c").len(), 1);
    }

    #[test]
    fn what_the_user_wrote_stays() {
        let text = head(
            "name: theirs\nnetworking: {podSubnet: 10.9.0.0/16}\nnodes:\n- role: control-plane\n\
             - role: worker\n  labels: {zone: a}\n  extraPortMappings:\n  \
             - {containerPort: 80, hostPort: 80, listenAddress: 0.0.0.0}\n  - {containerPort: 9, hostPort: 99}\n",
        );
        let topology = Topology::parse(&text, "t").expect("right");
        assert_eq!(topology.front_node(), 1);
        assert_eq!(topology.host_ports(), [99]);
        let text = topology.render(PORTS).expect("it can be written");
        let back: Value = serde_yaml::from_str(&text).expect("YAML");
        assert!(back.get("name").is_none(), "{text}");
        assert_eq!(back["networking"]["podSubnet"], "10.9.0.0/16");
        assert_eq!(back["nodes"][1]["labels"]["zone"], "a");
        assert_eq!(back["nodes"][1]["labels"]["ingress-ready"], "true");
        let ports = &back["nodes"][1]["extraPortMappings"];
        assert_eq!(
            (&ports[0]["hostPort"], &ports[0]["listenAddress"]),
            (&31_080.into(), &"127.0.0.1".into())
        );
        assert_eq!(ports[1]["hostPort"], 99);
        assert_eq!(ports[2]["hostPort"], 31_443);
    }

    #[test]
    fn mounts_reach_every_node() {
        let mut topology = Topology::standard().expect("right");
        topology.mount(&[ExtraMount::host_to_container("/dev")]);
        let text = topology.render(PORTS).expect("it can be written");
        assert_eq!(text.matches("hostPath: /dev\n").count(), 4, "{text}");
        assert_eq!(text.matches("propagation: HostToContainer").count(), 4, "{text}");
    }
}
