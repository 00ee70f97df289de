//! A node as the scheduler sees it, with the sums over its pods (`framework/types.go:NodeInfo`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::k8s::bytes;

use super::class::{Classes, HostPort, PodClass};
use super::resources::Resources;
use super::terms::ClassId;

/// A pod in the scheduler's cache.
pub type PodId = usize;

/// How many pods of one class a node has.
#[derive(Clone, Debug)]
pub struct Group {
    /// The class.
    pub class: ClassId,
    /// All its pods here.
    pub all: u32,
    /// Those that are not being deleted.
    pub live: u32,
}

/// A node and what is on it.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Its name.
    pub name: Arc<str>,
    /// The object; none while only pods of it are known.
    pub node: Option<Arc<Node>>,
    /// Its value for each topology key.
    pub topology: Vec<Option<u32>>,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// What pods may use.
    pub allocatable: Resources,
    /// How many pods it may have.
    pub max_pods: u64,
    /// What its pods ask for.
    pub requested: Resources,
    /// CPU as scores count it.
    pub nonzero_cpu: u64,
    /// Memory as scores count it.
    pub nonzero_memory: u64,
    /// Its pods by class.
    pub groups: Vec<Group>,
    /// Its pods.
    pub pods: Vec<PodId>,
    /// Host ports in use.
    pub ports: Vec<HostPort>,
    /// Images it has, with their sizes, ordered by number.
    pub images: Vec<(u32, u64)>,
}

impl NodeInfo {
    /// A node of which only the name is known.
    pub fn new(name: &str) -> Self {
        NodeInfo {
            name: Arc::from(name),
            node: None,
            topology: Vec::new(),
            taints: Vec::new(),
            unschedulable: false,
            allocatable: Resources::default(),
            max_pods: 0,
            requested: Resources::default(),
            nonzero_cpu: 0,
            nonzero_memory: 0,
            groups: Vec::new(),
            pods: Vec::new(),
            ports: Vec::new(),
            images: Vec::new(),
        }
    }

    /// Takes the object over.
    pub fn set_node(&mut self, node: &Arc<Node>, classes: &mut Classes) {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let allocatable = status.and_then(|s| s.allocatable.as_ref());
        self.taints = spec.and_then(|s| s.taints.clone()).unwrap_or_default();
        self.unschedulable = spec.and_then(|s| s.unschedulable).unwrap_or(false);
        self.allocatable = Resources::of_list(allocatable);
        self.max_pods = allocatable.and_then(|a| a.get("pods")).and_then(bytes).unwrap_or(0);
        self.topology = classes.keys.values_of(node.metadata.labels.as_ref());
        self.images.clear();
        for image in status.and_then(|s| s.images.as_ref()).into_iter().flatten() {
            let size = u64::try_from(image.size_bytes.unwrap_or(0)).unwrap_or(0);
            for name in image.names.iter().flatten() {
                self.images.push((classes.image_id(name), size));
            }
        }
        self.images.sort_unstable();
        self.node = Some(Arc::clone(node));
    }

    /// Counts a pod in.
    pub fn add_pod(&mut self, pod: PodId, class_id: ClassId, live: bool, class: &PodClass) {
        self.requested.add(&class.request.resources);
        self.nonzero_cpu += class.request.nonzero_cpu;
        self.nonzero_memory += class.request.nonzero_memory;
        self.ports.extend(class.ports.iter().cloned());
        self.pods.push(pod);
        let n_live = u32::from(live);
        match self.groups.iter_mut().find(|group| group.class == class_id) {
            Some(group) => {
                group.all += 1;
                group.live += n_live;
            }
            None => self.groups.push(Group { class: class_id, all: 1, live: n_live }),
        }
    }

    /// Counts a pod out.
    pub fn remove_pod(&mut self, pod: PodId, class_id: ClassId, live: bool, class: &PodClass) {
        let Some(at) = self.pods.iter().position(|&known| known == pod) else { return };
        self.pods.swap_remove(at);
        self.requested.subtract(&class.request.resources);
        self.nonzero_cpu -= class.request.nonzero_cpu;
        self.nonzero_memory -= class.request.nonzero_memory;
        for port in &class.ports {
            if let Some(at) = self.ports.iter().position(|known| known == port) {
                self.ports.swap_remove(at);
            }
        }
        if let Some(at) = self.groups.iter().position(|group| group.class == class_id) {
            let group = &mut self.groups[at];
            group.all -= 1;
            group.live -= u32::from(live);
            if group.all == 0 {
                self.groups.swap_remove(at);
            }
        }
    }

    /// A pod here is being deleted now.
    pub fn mark_terminating(&mut self, class_id: ClassId) {
        if let Some(group) = self.groups.iter_mut().find(|group| group.class == class_id) {
            group.live = group.live.saturating_sub(1);
        }
    }

    /// The size of an image, if the node has it.
    pub fn image_size(&self, image: u32) -> Option<u64> {
        let at = self.images.binary_search_by_key(&image, |(id, _)| *id).ok()?;
        Some(self.images[at].1)
    }
}
