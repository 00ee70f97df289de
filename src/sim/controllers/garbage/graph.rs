//! Who owns whom, as the watches have shown it (`garbagecollector/graph_builder.go`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::sim::api::{Kind, Obj};

/// Held by an owner whose dependents go first.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Held by an owner whose dependents are to be left alone.
pub const ORPHAN: &str = "orphan";

/// An object in the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether its deletion waits for its dependents.
    pub deleting_dependents: bool,
    /// Its owners by uid, and whether it blocks their deletion.
    pub owners: BTreeMap<String, bool>,
}

/// The objects by uid, and the dependents of each owner.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: BTreeMap<String, Node>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

/// Whether the object carries `finalizer` and is being deleted.
pub fn is_deleting_with(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.deletion_timestamp.is_some()
        && meta.finalizers.iter().flatten().any(|held| held == finalizer)
}

/// Owner references.
pub fn owners(meta: &ObjectMeta) -> &[OwnerReference] {
    meta.owner_references.as_deref().unwrap_or(&[])
}

impl Graph {
    /// Adds an object or takes its new owners over; gives the uids of owners it no longer names.
    pub fn insert(&mut self, uid: &str, object: &Obj) -> Vec<String> {
        let meta = object.meta();
        let new: BTreeMap<String, bool> = owners(meta)
            .iter()
            .map(|owner| (owner.uid.clone(), owner.block_owner_deletion == Some(true)))
            .collect();
        let old = self.nodes.get(uid).map(|node| node.owners.clone()).unwrap_or_default();
        let lost: Vec<String> = old.keys().filter(|uid| !new.contains_key(*uid)).cloned().collect();
        for owner in &lost {
            self.remove_edge(owner, uid);
        }
        for owner in new.keys().filter(|owner| !old.contains_key(*owner)) {
            self.dependents.entry(owner.clone()).or_default().insert(uid.to_owned());
        }
        let node = Node {
            kind: object.kind(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            deleting_dependents: is_deleting_with(meta, FOREGROUND),
            owners: new,
        };
        self.nodes.insert(uid.to_owned(), node);
        lost
    }

    /// Removes an object that is gone; its dependents keep naming it.
    pub fn remove(&mut self, uid: &str) -> Option<Node> {
        let node = self.nodes.remove(uid)?;
        for owner in node.owners.keys() {
            self.remove_edge(owner, uid);
        }
        Some(node)
    }

    /// The object with this uid.
    pub fn node(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// The uids of the objects that name this one as owner.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &String> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// Those of them whose existence blocks its deletion.
    pub fn blocking(&self, uid: &str) -> impl Iterator<Item = &String> {
        self.dependents(uid).filter(move |dependent| {
            self.nodes.get(*dependent).is_some_and(|node| node.owners.get(uid) == Some(&true))
        })
    }

    fn remove_edge(&mut self, owner: &str, dependent: &str) {
        if let Some(set) = self.dependents.get_mut(owner) {
            set.remove(dependent);
            if set.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}
