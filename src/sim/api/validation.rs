//! Validation with the API server's messages: the checks of `k8s::validate`, by kind.

use super::object::Obj;
use super::status::{Cause, Status};
use super::store::Api;
use crate::k8s::validate::{self, Errors, NameRule};

/// Checks an object about to be created.
///
/// # Errors
/// 422 with a cause per field.
pub fn on_create(api: &Api, object: &Obj) -> Result<(), Status> {
    let mut errors = Errors::default();
    check(api, object, &mut errors);
    refuse(api, object, errors)
}

/// Checks an object about to be replaced.
///
/// # Errors
/// 422 with a cause per field.
pub fn on_update(api: &Api, object: &Obj, stored: &Obj) -> Result<(), Status> {
    let mut errors = Errors::default();
    let profile = api.profile;
    validate::metadata_update(object.meta(), stored.meta(), &mut errors);
    let found = &mut errors;
    match (object, stored) {
        (Obj::Pod(new), Obj::Pod(old)) => validate::pod_update(new, old, profile, found),
        (Obj::Deployment(new), Obj::Deployment(old)) => {
            validate::deployment_update(new, old, found);
        }
        (Obj::ReplicaSet(new), Obj::ReplicaSet(old)) => {
            validate::replica_set_update(new, old, found);
        }
        (Obj::DaemonSet(new), Obj::DaemonSet(old)) => validate::daemon_set_update(new, old, found),
        (Obj::StatefulSet(new), Obj::StatefulSet(old)) => {
            validate::stateful_set_update(new, old, profile, found);
        }
        (Obj::Service(new), Obj::Service(old)) => validate::service_update(new, old, found),
        (Obj::PersistentVolumeClaim(new), Obj::PersistentVolumeClaim(old)) => {
            validate::claim_update(new, old, found);
        }
        (Obj::Secret(new), Obj::Secret(old)) => validate::secret_update(new, old, found),
        (Obj::ConfigMap(new), Obj::ConfigMap(old)) => {
            validate::config_map_update(new, old, found);
        }
        (Obj::StorageClass(new), Obj::StorageClass(old)) => {
            validate::storage_class_update(new, old, found);
        }
        _ => {}
    }
    if is_changed(object, stored) {
        check(api, object, &mut errors);
    }
    refuse(api, object, errors)
}

/// Whether the update touches what creation checks. Pods change metadata far more often than their
/// spec, which the update rules above cover.
fn is_changed(object: &Obj, stored: &Obj) -> bool {
    match (object, stored) {
        (Obj::Pod(new), Obj::Pod(old)) => {
            new.spec != old.spec
                || new.metadata.labels != old.metadata.labels
                || new.metadata.annotations != old.metadata.annotations
        }
        _ => true,
    }
}

fn check(api: &Api, object: &Obj, errors: &mut Errors) {
    let profile = api.profile;
    match object {
        Obj::Pod(o) => validate::pod(o, profile, errors),
        Obj::Deployment(o) => validate::deployment(o, profile, errors),
        Obj::ReplicaSet(o) => validate::replica_set(o, profile, errors),
        Obj::StatefulSet(o) => validate::stateful_set(o, profile, errors),
        Obj::DaemonSet(o) => validate::daemon_set(o, profile, errors),
        Obj::Job(o) => validate::job(o, profile, errors),
        Obj::CronJob(o) => validate::cron_job(o, profile, errors),
        Obj::Service(o) => validate::service(o, profile, errors),
        Obj::HorizontalPodAutoscaler(o) => validate::autoscaler(o, profile, errors),
        Obj::PodDisruptionBudget(o) => validate::disruption_budget(o, errors),
        Obj::Ingress(o) => validate::ingress(o, profile, errors),
        Obj::IngressClass(o) => validate::ingress_class(o, errors),
        Obj::PersistentVolume(o) => validate::persistent_volume(o, errors),
        Obj::PersistentVolumeClaim(o) => validate::persistent_volume_claim(o, errors),
        Obj::StorageClass(o) => validate::storage_class(o, errors),
        other => {
            let resource = api.registry.resource(other.kind());
            let rule = NameRule::of(&resource.group, &resource.kind, profile);
            validate::metadata(other.meta(), rule, resource.namespaced, errors);
            match other {
                Obj::ConfigMap(o) => validate::config_map(o, errors),
                Obj::Secret(o) => validate::secret(o, errors),
                _ => {}
            }
        }
    }
}

fn refuse(api: &Api, object: &Obj, errors: Errors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let causes = errors
        .into_vec()
        .into_iter()
        .map(|error| Cause { reason: error.reason, field: error.field, message: error.message })
        .collect();
    Err(Status::invalid(&api.kind_name(object.kind()), object.name(), causes))
}
