//! The store: objects by kind, namespace and name, one revision counter, and the changes it makes.

use std::collections::VecDeque;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::object::{Kind, Obj, Typed};
use super::objects::Objects;
use super::registry::Registry;
use super::status::Status;
use super::{admission, defaults, validation};
use crate::base::{SimTime, Streams};
use crate::sim::profile::Profile;

/// What a change did to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeType {
    /// The object is new.
    Added,
    /// It has a new state.
    Modified,
    /// It is gone; the change carries its last state with the revision of the deletion.
    Deleted,
}

/// One committed write.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision the write got.
    pub revision: u64,
    /// When it was committed.
    pub at: SimTime,
    /// What it did.
    pub change_type: ChangeType,
    /// The object after the write (for `Deleted`: before it).
    pub object: Obj,
    /// The object before the write.
    pub previous: Option<Obj>,
}

/// Changes kept for watches that start in the past (`cacher.go`: a window of events per resource).
const HISTORY_MAX: usize = 20_000;

/// The API server's state, and the only way to change it.
#[derive(Debug)]
pub struct Api {
    /// The current instant; the world sets it before it hands an event to a component.
    pub now: SimTime,
    /// Behaviour and served versions of the simulated minor.
    pub profile: Profile,
    /// Which resources exist.
    pub registry: Registry,
    /// Service addresses and ports handed out, quotas and the like.
    pub admission: admission::State,
    /// What recorders of Events remember.
    pub events: super::events::Correlator,
    streams: Streams,
    revision: u64,
    objects: Objects,
    history: VecDeque<Arc<Change>>,
    pending: Vec<Arc<Change>>,
}

/// Options of a deletion (`metav1.DeleteOptions`).
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Overrides the pod's own grace.
    pub grace_period_seconds: Option<i64>,
    /// Only delete the object with this uid.
    pub uid: Option<String>,
    /// `Background`, `Foreground` or `Orphan`; the kind's default when absent.
    pub propagation: Option<Propagation>,
}

/// What becomes of an object's dependents (`metav1.DeletionPropagation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Deleted after the owner is gone.
    Background,
    /// Deleted before the owner goes.
    Foreground,
    /// Left alone.
    Orphan,
}

/// What an accepted deletion did.
#[derive(Clone, Debug)]
pub enum Deletion {
    /// The object is gone.
    Removed(Obj),
    /// It is marked and still there (grace or finalizers).
    Marked(Obj),
}

impl Api {
    /// An empty store.
    pub fn new(profile: Profile, seed: u64) -> Self {
        Api {
            now: SimTime::ZERO,
            profile,
            registry: Registry::default(),
            admission: admission::State::default(),
            events: super::events::Correlator::default(),
            streams: Streams::new(seed),
            revision: 1,
            objects: Objects::default(),
            history: VecDeque::new(),
            pending: Vec::new(),
        }
    }

    /// The revision of the last write.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The objects as they are now.
    pub fn stored(&self) -> &Objects {
        &self.objects
    }

    /// The object of `kind` at `namespace` and `name`.
    pub fn object(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Obj> {
        self.objects.object(kind, namespace, name)
    }

    /// The `T` at `namespace` and `name` (empty namespace for cluster-scoped kinds).
    pub fn get<T: Typed>(&self, namespace: &str, name: &str) -> Option<&Arc<T>> {
        self.objects.get(namespace, name)
    }

    /// All `T`, ordered by namespace and name.
    pub fn list<T: Typed>(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.list()
    }

    /// Creates `object` as a POST does: name, uid, defaults, admission, validation.
    ///
    /// # Errors
    /// The `Status` the API server answers with.
    pub fn create<T: Typed>(&mut self, object: T) -> Result<Arc<T>, Status> {
        let created = self.create_object(T::wrap(Arc::new(object)), false)?;
        Ok(Arc::clone(T::peel(&created).unwrap_or_else(|| unreachable!("kind is kept"))))
    }

    /// Creates an object of any kind; with `dry_run` nothing is stored
    /// (`apiserver/pkg/registry/rest/create.go:BeforeCreate`).
    ///
    /// # Errors
    /// The `Status` the API server answers with.
    pub fn create_object(&mut self, mut object: Obj, dry_run: bool) -> Result<Obj, Status> {
        let kind = object.kind();
        let resource = self.resource_name(kind);
        let uid = self.streams.uuid("uid");
        let generated = object.meta().name.as_deref().unwrap_or("").is_empty();
        if generated {
            let base = object.meta().generate_name.clone().unwrap_or_default();
            if base.is_empty() {
                let kind_name = self.kind_name(kind);
                let cause = super::status::Cause {
                    reason: "FieldValueRequired",
                    field: "metadata.name".into(),
                    message: "Required value: name or generateName is required".into(),
                };
                return Err(Status::invalid(&kind_name, "", vec![cause]));
            }
            // apiserver/pkg/storage/names/generate.go: at most 58 characters, then 5 random ones.
            let base: String = base.chars().take(58).collect();
            let suffix = self.streams.name_suffix("generate-name", 5);
            object.meta_mut().name = Some(format!("{base}{suffix}"));
        }
        let now = Time(self.now.timestamp());
        let meta = object.meta_mut();
        meta.uid = Some(uid);
        meta.creation_timestamp = Some(now);
        meta.deletion_timestamp = None;
        meta.deletion_grace_period_seconds = None;
        meta.resource_version = None;
        defaults::apply(&mut object, &self.profile);
        let has_status = self.registry.resource(kind).has_status;
        defaults::prepare_for_create(&mut object, self.profile, has_status);
        admission::on_create(self, &mut object)?;
        validation::on_create(self, &object)?;
        admission::review(self, &object)?;
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        if let Some(existing) = self.object(kind, &namespace, &name) {
            let terminating = existing.meta().deletion_timestamp.is_some();
            let mut status = Status::already_exists(&resource, &name);
            if terminating {
                status.message = format!("object is being deleted: {}", status.message);
            }
            return Err(status);
        }
        if dry_run {
            return Ok(object);
        }
        admission::commit_write(self, &object, None);
        let created = self.commit(ChangeType::Added, object, None);
        admission::after_create(self, &created);
        Ok(created)
    }

    /// Replaces the spec part of an object as a PUT does. A resourceVersion in `object` must be
    /// the stored one.
    ///
    /// # Errors
    /// 404, 409 on a stale resourceVersion, 422 when validation refuses it.
    pub fn update<T: Typed>(&mut self, object: T) -> Result<Arc<T>, Status> {
        let updated = self.update_object(T::wrap(Arc::new(object)), Part::Main, false)?;
        Ok(Arc::clone(T::peel(&updated).unwrap_or_else(|| unreachable!("kind is kept"))))
    }

    /// Replaces the status of an object as a PUT to `/status` does.
    ///
    /// # Errors
    /// 404, 409 on a stale resourceVersion.
    pub fn update_status<T: Typed>(&mut self, object: T) -> Result<Arc<T>, Status> {
        let updated = self.update_object(T::wrap(Arc::new(object)), Part::Status, false)?;
        Ok(Arc::clone(T::peel(&updated).unwrap_or_else(|| unreachable!("kind is kept"))))
    }

    /// Changes the stored object in place, as a PATCH without resourceVersion does: never conflicts.
    /// `None` when there is no such object.
    ///
    /// # Errors
    /// 422 when validation refuses the result.
    pub fn patch<T: Typed>(
        &mut self,
        part: Part,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut T),
    ) -> Result<Option<Arc<T>>, Status> {
        let Some(stored) = self.get::<T>(namespace, name) else { return Ok(None) };
        let mut object = T::clone(stored);
        change(&mut object);
        let updated = self.update_object(T::wrap(Arc::new(object)), part, false)?;
        Ok(T::peel(&updated).map(Arc::clone))
    }

    /// Replaces an object or its status (`apiserver/pkg/registry/rest/update.go:BeforeUpdate`).
    ///
    /// # Errors
    /// 404, 409, 422 as the API server answers.
    pub fn update_object(
        &mut self,
        mut object: Obj,
        part: Part,
        dry_run: bool,
    ) -> Result<Obj, Status> {
        let kind = object.kind();
        let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
        let resource = self.resource_name(kind);
        let Some(stored) = self.object(kind, &namespace, &name).cloned() else {
            return Err(Status::not_found(&resource, &name));
        };
        if let Some(uid) = object.meta().uid.as_deref()
            && !uid.is_empty()
            && Some(uid) != stored.meta().uid.as_deref()
        {
            // storage/interfaces.go:Preconditions.Check comes before the resourceVersion.
            return Err(Status::other_uid(&resource, &name, uid, &stored));
        }
        if let Some(version) = object.meta().resource_version.as_deref()
            && !version.is_empty()
            && Some(version) != stored.meta().resource_version.as_deref()
        {
            return Err(Status::conflict(&resource, &name));
        }
        defaults::apply(&mut object, &self.profile);
        let has_status = self.registry.resource(kind).has_status;
        defaults::prepare_for_update(&mut object, &stored, part, self.profile, has_status);
        if part != Part::Status {
            admission::on_update(self, &mut object, &stored)?;
            validation::on_update(self, &object, &stored)?;
            admission::review(self, &object)?;
        }
        if object == stored || dry_run {
            // An update that changes nothing is not written (etcd3/store.go:GuaranteedUpdate).
            return Ok(object);
        }
        let finished = object.meta().deletion_timestamp.is_some()
            && !super::deletion::has_finalizers(&object)
            && object.meta().deletion_grace_period_seconds.unwrap_or(0) == 0;
        if finished && super::deletion::has_finalizers(&stored) {
            return Ok(self.remove(object));
        }
        admission::commit_write(self, &object, Some(&stored));
        Ok(self.commit(ChangeType::Modified, object, Some(stored)))
    }

    /// Deletes an object as a DELETE does: grace for pods, finalizers for all
    /// (`apiserver/pkg/registry/rest/delete.go:BeforeDelete`).
    ///
    /// # Errors
    /// 404, 409 when the uid differs.
    pub fn delete(
        &mut self,
        kind: Kind,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deletion, Status> {
        super::deletion::delete(self, kind, namespace, name, options)
    }

    /// Writes `object` under a new revision.
    pub(super) fn commit(
        &mut self,
        change_type: ChangeType,
        mut object: Obj,
        previous: Option<Obj>,
    ) -> Obj {
        self.revision += 1;
        object.meta_mut().resource_version = Some(self.revision.to_string());
        self.objects.insert(object.clone());
        self.publish(change_type, object.clone(), previous);
        object
    }

    /// Removes `object`, whose last state it is.
    pub(super) fn remove(&mut self, mut object: Obj) -> Obj {
        let previous = self.objects.remove(&object);
        admission::commit_delete(self, &object);
        self.revision += 1;
        object.meta_mut().resource_version = Some(self.revision.to_string());
        self.publish(ChangeType::Deleted, object.clone(), previous);
        object
    }

    fn publish(&mut self, change_type: ChangeType, object: Obj, previous: Option<Obj>) {
        let change = Arc::new(Change {
            revision: self.revision,
            at: self.now,
            change_type,
            object,
            previous,
        });
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(Arc::clone(&change));
        self.pending.push(change);
    }

    /// The changes since the last call, for delivery to watchers.
    pub fn take_pending(&mut self) -> Vec<Arc<Change>> {
        std::mem::take(&mut self.pending)
    }

    /// Changes after `revision`, oldest first; `None` when they are no longer all kept.
    pub fn changes_since(&self, revision: u64) -> Option<impl Iterator<Item = &Arc<Change>>> {
        let oldest = self.history.front().map_or(self.revision + 1, |c| c.revision);
        if revision + 1 < oldest && self.history.len() == HISTORY_MAX {
            return None;
        }
        let first = self.history.partition_point(|c| c.revision <= revision);
        Some(self.history.range(first..))
    }

    /// `pods`, `deployments.apps`: how messages name a resource.
    pub fn resource_name(&self, kind: Kind) -> String {
        let resource = self.registry.resource(kind);
        qualified(&resource.plural, &resource.group)
    }

    /// `Pod`, `Deployment.apps`: how validation messages name a kind.
    pub fn kind_name(&self, kind: Kind) -> String {
        let resource = self.registry.resource(kind);
        qualified(&resource.kind, &resource.group)
    }

    /// The API server's own randomness.
    pub fn streams(&mut self) -> &mut Streams {
        &mut self.streams
    }
}

/// Which part of an object a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status, and but the finalizers in a namespace's spec.
    Main,
    /// The finalizers in a namespace's spec (`/finalize`).
    Finalize,
    /// The status only.
    Status,
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}
