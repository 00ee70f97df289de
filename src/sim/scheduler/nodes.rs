//! The nodes, in the order in which a search visits them (`internal/cache/node_tree.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use super::class::Classes;
use super::node_info::NodeInfo;

/// A node, by its place in the table.
pub type NodeIdx = usize;

/// All nodes of which something is known.
#[derive(Debug, Default)]
pub struct Nodes {
    infos: Vec<NodeInfo>,
    by_name: BTreeMap<String, NodeIdx>,
    order: Vec<NodeIdx>,
    arrivals: Vec<NodeIdx>,
    stale: bool,
    /// On how many nodes each image is, by image number.
    image_nodes: Vec<u64>,
}

impl Nodes {
    /// The node at `idx`.
    pub fn get(&self, idx: NodeIdx) -> &NodeInfo {
        &self.infos[idx]
    }

    /// The node at `idx`, to change.
    pub fn get_mut(&mut self, idx: NodeIdx) -> &mut NodeInfo {
        &mut self.infos[idx]
    }

    /// The node called `name`; pods may be known before their node.
    pub fn idx(&mut self, name: &str) -> NodeIdx {
        if let Some(&idx) = self.by_name.get(name) {
            return idx;
        }
        self.infos.push(NodeInfo::new(name));
        self.by_name.insert(name.to_owned(), self.infos.len() - 1);
        self.infos.len() - 1
    }

    /// Takes a node object over.
    pub fn set(&mut self, node: &Arc<Node>, classes: &mut Classes) -> NodeIdx {
        let idx = self.idx(node.metadata.name.as_deref().unwrap_or(""));
        self.count_images(idx, false);
        let info = &mut self.infos[idx];
        match &info.node {
            None => {
                self.arrivals.push(idx);
                self.stale = true;
            }
            Some(old) if zone(old) != zone(node) => self.stale = true,
            Some(_) => {}
        }
        info.set_node(node, classes);
        self.count_images(idx, true);
        idx
    }

    /// Forgets a node object; its pods stay counted until they go.
    pub fn unset(&mut self, name: &str) {
        let idx = self.idx(name);
        self.count_images(idx, false);
        self.infos[idx].node = None;
        self.infos[idx].images.clear();
        self.arrivals.retain(|&known| known != idx);
        self.stale = true;
    }

    /// Brings order and topology values up to date before a search.
    pub fn prepare(&mut self, classes: &mut Classes) {
        let n_keys = classes.keys.len();
        for info in &mut self.infos {
            if info.topology.len() != n_keys
                && let Some(node) = &info.node
            {
                info.topology = classes.keys.values_of(node.metadata.labels.as_ref());
            }
        }
        if std::mem::take(&mut self.stale) {
            self.order = self.interleaved();
        }
    }

    /// The nodes in search order.
    pub fn order(&self) -> &[NodeIdx] {
        &self.order
    }

    /// All nodes that exist, in search order.
    pub fn iter(&self) -> impl Iterator<Item = &NodeInfo> {
        self.order.iter().map(|&idx| &self.infos[idx])
    }

    /// On how many nodes an image is.
    pub fn n_with_image(&self, image: u32) -> u64 {
        usize::try_from(image).ok().and_then(|at| self.image_nodes.get(at)).copied().unwrap_or(0)
    }

    fn count_images(&mut self, idx: NodeIdx, here: bool) {
        for &(image, _) in &self.infos[idx].images {
            let at = usize::try_from(image).unwrap_or(0);
            if self.image_nodes.len() <= at {
                self.image_nodes.resize(at + 1, 0);
            }
            self.image_nodes[at] = if here {
                self.image_nodes[at] + 1
            } else {
                self.image_nodes[at].saturating_sub(1)
            };
        }
    }

    /// One node of each zone in turn, zones and nodes in order of arrival (`node_tree.go:list`).
    fn interleaved(&self) -> Vec<NodeIdx> {
        let mut zones: Vec<(String, Vec<NodeIdx>)> = Vec::new();
        for &idx in &self.arrivals {
            let name = self.infos[idx].node.as_ref().map(zone).unwrap_or_default();
            match zones.iter_mut().find(|(known, _)| *known == name) {
                Some((_, members)) => members.push(idx),
                None => zones.push((name, vec![idx])),
            }
        }
        let longest = zones.iter().map(|(_, members)| members.len()).max().unwrap_or(0);
        (0..longest)
            .flat_map(|round| zones.iter().filter_map(move |(_, members)| members.get(round)))
            .copied()
            .collect()
    }
}

/// Region and zone of a node (`component-helpers/node/topology/helpers.go:GetZoneKey`).
fn zone(node: &Arc<Node>) -> String {
    let label = |stable: &str, beta: &str| {
        let labels = node.metadata.labels.as_ref();
        let value = labels.and_then(|l| l.get(stable).or_else(|| l.get(beta)));
        value.map_or("", String::as_str)
    };
    let region = label("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
    let zone = label("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
    if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}
