//! The pods the scheduler knows: waiting, assumed on a node, or assigned.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::node_info::PodId;
use super::nodes::NodeIdx;
use super::terms::ClassId;

/// Where a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On no node.
    Waiting,
    /// A node is chosen, the binding is not yet seen.
    Assumed(NodeIdx),
    /// Bound.
    Assigned(NodeIdx),
}

/// A known pod.
#[derive(Clone, Debug)]
pub struct PodEntry {
    /// The last state seen.
    pub pod: Arc<Pod>,
    /// Its class.
    pub class: ClassId,
    /// Where it is.
    pub place: Place,
    /// Whether it is counted as not being deleted.
    pub live: bool,
}

/// All known pods.
#[derive(Debug, Default)]
pub struct Pods {
    slots: Vec<Option<PodEntry>>,
    by_name: BTreeMap<String, BTreeMap<String, PodId>>,
}

impl Pods {
    /// The pod with number `id`, while it is known.
    pub fn get(&self, id: PodId) -> Option<&PodEntry> {
        self.slots.get(id)?.as_ref()
    }

    /// The same, to change.
    pub fn get_mut(&mut self, id: PodId) -> Option<&mut PodEntry> {
        self.slots.get_mut(id)?.as_mut()
    }

    /// The number of a pod by name.
    pub fn find(&self, pod: &Pod) -> Option<PodId> {
        let (namespace, name) = key(pod);
        self.by_name.get(namespace)?.get(name).copied()
    }

    /// Adds a pod; numbers are never used again.
    pub fn add(&mut self, entry: PodEntry) -> PodId {
        let id = self.slots.len();
        let (namespace, name) = key(&entry.pod);
        let names = match self.by_name.get_mut(namespace) {
            Some(names) => names,
            None => self.by_name.entry(namespace.to_owned()).or_default(),
        };
        names.insert(name.to_owned(), id);
        self.slots.push(Some(entry));
        id
    }

    /// Forgets a pod.
    pub fn remove(&mut self, id: PodId) -> Option<PodEntry> {
        let entry = self.slots.get_mut(id)?.take()?;
        let (namespace, name) = key(&entry.pod);
        if let Some(names) = self.by_name.get_mut(namespace) {
            names.remove(name);
        }
        Some(entry)
    }
}

/// Namespace and name.
pub fn key(pod: &Pod) -> (&str, &str) {
    let meta = &pod.metadata;
    (meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""))
}
