//! Objects by kind, namespace and name: the store's table, and every component's cache of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::object::{Kind, Obj, Typed};
use super::store::{Change, ChangeType};

/// An ordered table of objects.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    table: BTreeMap<Kind, BTreeMap<String, BTreeMap<String, Obj>>>,
}

impl Objects {
    /// The object of `kind` at `namespace` (empty for cluster-scoped kinds) and `name`.
    pub fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Obj> {
        self.table.get(&kind)?.get(namespace)?.get(name)
    }

    /// All objects of `kind`, or those of one namespace, ordered by namespace and name.
    pub fn objects<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &'a Obj> + use<'a> {
        let (one, all) = match (self.table.get(&kind), namespace) {
            (Some(spaces), Some(ns)) => (spaces.get(ns), None),
            (Some(spaces), None) => (None, Some(spaces)),
            (None, _) => (None, None),
        };
        one.into_iter().chain(all.into_iter().flat_map(BTreeMap::values)).flat_map(BTreeMap::values)
    }

    /// The `T` at `namespace` and `name`.
    pub fn get<T: Typed>(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        T::peel(self.object(T::KIND, namespace, name)?)
    }

    /// All `T`, ordered by namespace and name.
    pub fn list<T: Typed>(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects(T::KIND, None).filter_map(T::peel)
    }

    /// All `T` of one namespace, ordered by name.
    pub fn list_in<T: Typed>(&self, namespace: &str) -> impl Iterator<Item = &Arc<T>> {
        self.objects(T::KIND, Some(namespace)).filter_map(T::peel)
    }

    /// Stores an object under its own key.
    pub fn insert(&mut self, object: Obj) -> Option<Obj> {
        let spaces = self.table.entry(object.kind()).or_default();
        let names = spaces.entry(object.namespace().to_owned()).or_default();
        names.insert(object.name().to_owned(), object)
    }

    /// Removes the object with the key of `object`.
    pub fn remove(&mut self, object: &Obj) -> Option<Obj> {
        self.table.get_mut(&object.kind())?.get_mut(object.namespace())?.remove(object.name())
    }

    /// Takes a change over, as an informer does.
    pub fn apply(&mut self, change: &Change) {
        match change.change_type {
            ChangeType::Added | ChangeType::Modified => self.insert(change.object.clone()),
            ChangeType::Deleted => self.remove(&change.object),
        };
    }
}
