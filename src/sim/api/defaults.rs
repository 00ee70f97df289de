//! Defaulting and what a kind's strategy does around a write (`pkg/apis/*/v1/defaults.go`,
//! `registry/*/strategy.go`).

use std::sync::Arc;

use super::object::Obj;
use super::store::Part;
use crate::k8s::{defaults, qos_class};
use crate::sim::profile::Profile;

/// Fills in the defaults of `object`'s kind.
pub fn apply(object: &mut Obj, profile: &Profile) {
    let profile = *profile;
    match object {
        Obj::Namespace(o) => defaults::namespace(Arc::make_mut(o), profile),
        Obj::Pod(o) => defaults::pod(Arc::make_mut(o)),
        Obj::Service(o) => defaults::service(Arc::make_mut(o), profile),
        Obj::Endpoints(o) => defaults::endpoints(Arc::make_mut(o)),
        Obj::EndpointSlice(o) => defaults::endpoint_slice(Arc::make_mut(o)),
        Obj::Secret(o) => defaults::secret(Arc::make_mut(o)),
        Obj::PersistentVolume(o) => defaults::persistent_volume(Arc::make_mut(o)),
        Obj::PersistentVolumeClaim(o) => defaults::persistent_volume_claim(Arc::make_mut(o)),
        Obj::StorageClass(o) => defaults::storage_class(Arc::make_mut(o)),
        Obj::Deployment(o) => defaults::deployment(Arc::make_mut(o)),
        Obj::ReplicaSet(o) => defaults::replica_set(Arc::make_mut(o)),
        Obj::StatefulSet(o) => defaults::stateful_set(Arc::make_mut(o), profile),
        Obj::DaemonSet(o) => defaults::daemon_set(Arc::make_mut(o), profile),
        Obj::Job(o) => defaults::job(Arc::make_mut(o), profile),
        Obj::CronJob(o) => defaults::cron_job(Arc::make_mut(o)),
        Obj::HorizontalPodAutoscaler(o) => defaults::autoscaler(Arc::make_mut(o)),
        _ => {}
    }
}

/// Calls `$body` for the kinds that have a status subresource, with the typed object as `$o`
/// and its stored counterpart as `$stored`.
macro_rules! with_status {
    ($object:expr, $stored:expr, |$o:ident, $s:ident| $body:expr, untyped |$u:ident, $us:ident| $untyped:expr) => {
        with_status!(@kinds $object, $stored, |$o, $s| $body, untyped |$u, $us| $untyped;
            Namespace Node Pod Service PersistentVolume PersistentVolumeClaim VolumeAttachment
            Deployment ReplicaSet StatefulSet DaemonSet Job CronJob HorizontalPodAutoscaler
            PodDisruptionBudget Ingress)
    };
    (@kinds $object:expr, $stored:expr, |$o:ident, $s:ident| $body:expr,
     untyped |$u:ident, $us:ident| $untyped:expr; $($kind:ident)+) => {
        match ($object, $stored) {
            $((Obj::$kind($o), Obj::$kind($s)) => { let $o = Arc::make_mut($o); $body })+
            (Obj::Other($u), Obj::Other($us)) => { let $u = Arc::make_mut($u); $untyped }
            _ => {}
        }
    };
}

/// What the kind's strategy does before a create: drops status, sets generation 1
/// (`registry/*/strategy.go:PrepareForCreate`).
pub fn prepare_for_create(object: &mut Obj, profile: Profile, has_status: bool) {
    let generation = has_generation(object, profile).then_some(1);
    object.meta_mut().generation = generation;
    match object {
        Obj::Namespace(o) => {
            // registry/core/namespace/strategy.go: one finalizer, phase Active.
            let namespace = Arc::make_mut(o);
            let finalizers =
                namespace.spec.get_or_insert_default().finalizers.get_or_insert_default();
            if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
                finalizers.push("kubernetes".to_owned());
            }
            let status = namespace.status.insert(Default::default());
            status.phase = Some("Active".to_owned());
        }
        // registry/core/node/strategy.go keeps the status of a node that registers itself.
        Obj::Node(_) => {}
        Obj::Pod(o) => {
            let pod = Arc::make_mut(o);
            let qos = pod.spec.as_ref().map(|spec| qos_class(spec).to_owned());
            let status = pod.status.insert(Default::default());
            status.phase = Some("Pending".to_owned());
            status.qos_class = qos;
        }
        Obj::Service(o) => {
            let service = Arc::make_mut(o);
            let status = service.status.insert(Default::default());
            status.load_balancer = Some(Default::default());
        }
        Obj::PersistentVolume(o) => {
            pending(&mut Arc::make_mut(o).status.insert(Default::default()).phase)
        }
        Obj::PersistentVolumeClaim(o) => {
            pending(&mut Arc::make_mut(o).status.insert(Default::default()).phase);
        }
        Obj::VolumeAttachment(o) => clear(&mut Arc::make_mut(o).status),
        Obj::Deployment(o) => clear(&mut Arc::make_mut(o).status),
        Obj::ReplicaSet(o) => clear(&mut Arc::make_mut(o).status),
        Obj::StatefulSet(o) => clear(&mut Arc::make_mut(o).status),
        Obj::DaemonSet(o) => clear(&mut Arc::make_mut(o).status),
        Obj::Job(o) => clear(&mut Arc::make_mut(o).status),
        Obj::CronJob(o) => clear(&mut Arc::make_mut(o).status),
        Obj::HorizontalPodAutoscaler(o) => clear(&mut Arc::make_mut(o).status),
        Obj::PodDisruptionBudget(o) => clear(&mut Arc::make_mut(o).status),
        Obj::Ingress(o) => clear(&mut Arc::make_mut(o).status),
        Obj::Other(o) if has_status && o.body.contains_key("status") => {
            Arc::make_mut(o).body.remove("status");
        }
        _ => {}
    }
}

/// A status that the server writes empty: every field of it is set by a controller later.
fn clear<T: Default>(status: &mut Option<T>) {
    *status = Some(T::default());
}

fn pending(phase: &mut Option<String>) {
    *phase = Some("Pending".to_owned());
}

/// What the kind's strategy does before an update: keeps the part not written, keeps immutable
/// metadata, bumps the generation when the spec changed (`registry/*/strategy.go:PrepareForUpdate`,
/// `registry/rest/update.go:BeforeUpdate`).
pub fn prepare_for_update(
    object: &mut Obj,
    stored: &Obj,
    part: Part,
    profile: Profile,
    has_status: bool,
) {
    keep_metadata(object, stored);
    match part {
        Part::Status => {
            keep_spec(object, stored);
            return;
        }
        Part::Finalize => keep_status(object, stored, has_status),
        Part::Main => {
            keep_status(object, stored, has_status);
            keep_finalizers(object, stored);
        }
    }
    if has_generation(stored, profile) && spec_changed(object, stored) {
        let meta = object.meta_mut();
        meta.generation = Some(meta.generation.unwrap_or(0) + 1);
    }
}

/// Metadata that no update may change; what a client left out comes from the stored object.
fn keep_metadata(object: &mut Obj, stored: &Obj) {
    let old = stored.meta();
    let meta = object.meta_mut();
    meta.resource_version.clone_from(&old.resource_version);
    meta.uid.clone_from(&old.uid);
    meta.creation_timestamp.clone_from(&old.creation_timestamp);
    meta.deletion_timestamp.clone_from(&old.deletion_timestamp);
    meta.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    meta.generation = old.generation;
    meta.self_link.clone_from(&old.self_link);
    if meta.generate_name.is_none() {
        meta.generate_name.clone_from(&old.generate_name);
    }
}

/// A write to the main resource leaves the status as it is.
fn keep_status(object: &mut Obj, stored: &Obj, has_status: bool) {
    with_status!(
        object,
        stored,
        |o, s| o.status.clone_from(&s.status),
        untyped | u,
        us | {
            if has_status && u.body.get("status") != us.body.get("status") {
                match us.body.get("status") {
                    Some(status) => u.body.insert("status".to_owned(), status.clone()),
                    None => u.body.remove("status"),
                };
            }
        }
    );
}

/// Only `/finalize` writes the finalizers of a namespace
/// (`registry/core/namespace/strategy.go:PrepareForUpdate`).
fn keep_finalizers(object: &mut Obj, stored: &Obj) {
    if let (Obj::Namespace(o), Obj::Namespace(s)) = (object, stored)
        && o.spec != s.spec
    {
        Arc::make_mut(o).spec.clone_from(&s.spec);
    }
}

/// A write to the status leaves the spec as it is, and some metadata of some kinds
/// (`registry/*/strategy.go:statusStrategy`).
fn keep_spec(object: &mut Obj, stored: &Obj) {
    match (&mut *object, stored) {
        (Obj::Pod(o), Obj::Pod(s)) => {
            Arc::make_mut(o).metadata.owner_references.clone_from(&s.metadata.owner_references);
        }
        (Obj::Deployment(o), Obj::Deployment(s)) => {
            Arc::make_mut(o).metadata.labels.clone_from(&s.metadata.labels);
        }
        _ => {}
    }
    with_status!(
        object,
        stored,
        |o, s| if o.spec != s.spec {
            o.spec.clone_from(&s.spec)
        },
        untyped | u,
        us | {
            let status = u.body.remove("status");
            u.body.clone_from(&us.body);
            match status {
                Some(status) => u.body.insert("status".to_owned(), status),
                None => u.body.remove("status"),
            };
            // registry/customresource: a status write changes nothing of the metadata but managedFields.
            let managed_fields = u.metadata.managed_fields.take();
            u.metadata.clone_from(&us.metadata);
            u.metadata.managed_fields = managed_fields;
        }
    );
}

/// Kinds with a generation (semantics 1.3). A pod's came with 1.34.
fn has_generation(object: &Obj, profile: Profile) -> bool {
    match object {
        Obj::Deployment(_)
        | Obj::ReplicaSet(_)
        | Obj::StatefulSet(_)
        | Obj::DaemonSet(_)
        | Obj::Job(_)
        | Obj::CronJob(_)
        | Obj::Ingress(_)
        | Obj::IngressClass(_)
        | Obj::PodDisruptionBudget(_)
        | Obj::EndpointSlice(_)
        | Obj::Other(_) => true,
        Obj::Pod(_) => profile.at_least(34),
        _ => false,
    }
}

/// Whether the part that the generation counts has changed.
fn spec_changed(object: &Obj, stored: &Obj) -> bool {
    match (object, stored) {
        // The rollback and pause annotations of old counted as spec, so all annotations do.
        (Obj::Deployment(o), Obj::Deployment(s)) => {
            o.spec != s.spec || o.metadata.annotations != s.metadata.annotations
        }
        (Obj::ReplicaSet(o), Obj::ReplicaSet(s)) => o.spec != s.spec,
        (Obj::StatefulSet(o), Obj::StatefulSet(s)) => o.spec != s.spec,
        (Obj::DaemonSet(o), Obj::DaemonSet(s)) => o.spec != s.spec,
        (Obj::Job(o), Obj::Job(s)) => o.spec != s.spec,
        (Obj::CronJob(o), Obj::CronJob(s)) => o.spec != s.spec,
        (Obj::Ingress(o), Obj::Ingress(s)) => o.spec != s.spec,
        (Obj::IngressClass(o), Obj::IngressClass(s)) => o.spec != s.spec,
        (Obj::PodDisruptionBudget(o), Obj::PodDisruptionBudget(s)) => o.spec != s.spec,
        (Obj::Pod(o), Obj::Pod(s)) => o.spec != s.spec,
        (Obj::EndpointSlice(o), Obj::EndpointSlice(s)) => {
            o.endpoints != s.endpoints
                || o.ports != s.ports
                || o.address_type != s.address_type
                || o.metadata.labels != s.metadata.labels
        }
        (Obj::Other(o), Obj::Other(s)) => {
            let differs = |key: &String| key != "status" && o.body.get(key) != s.body.get(key);
            o.body.keys().chain(s.body.keys()).any(differs)
        }
        _ => false,
    }
}
