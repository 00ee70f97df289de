//! Default-on admission (`pkg/kubeapiserver/options/plugins.go`): namespaces, service accounts,
//! default tolerations, default classes, addresses and ports of Services, protection finalizers.

mod classes;
pub(super) mod definition;
mod ingress;
mod namespace;
mod pod;
mod service;

use super::object::{Kind, Obj};
use super::status::Status;
use super::store::Api;

/// What admission remembers between requests: allocated addresses and node ports.
#[derive(Debug, Default)]
pub struct State {
    services: service::Allocations,
}

/// Mutates and checks an object about to be created.
///
/// # Errors
/// 403, 404 or 422 as the plugins answer.
pub fn on_create(api: &mut Api, object: &mut Obj) -> Result<(), Status> {
    namespace::check(api, object)?;
    match object {
        Obj::Pod(pod) => pod::admit(api, pod),
        Obj::Service(service) => service::on_create(api, service),
        Obj::PersistentVolumeClaim(claim) => {
            classes::default_storage_class(api, claim);
            classes::protect(object, classes::CLAIM_FINALIZER);
            Ok(())
        }
        Obj::PersistentVolume(_) => {
            classes::protect(object, classes::VOLUME_FINALIZER);
            Ok(())
        }
        Obj::Ingress(ingress) => classes::default_ingress_class(api, ingress),
        _ => Ok(()),
    }
}

/// Mutates and checks an object about to be replaced.
///
/// # Errors
/// 403, 404 or 422 as the plugins answer.
pub fn on_update(api: &mut Api, object: &mut Obj, stored: &Obj) -> Result<(), Status> {
    match (object, stored) {
        (Obj::Service(service), Obj::Service(old)) => service::on_update(api, service, old),
        (Obj::PersistentVolumeClaim(claim), Obj::PersistentVolumeClaim(old)) => {
            classes::check_resize(api, claim, old)
        }
        _ => Ok(()),
    }
}

/// Asks the webhooks about a valid object about to be created or replaced; they come last.
///
/// # Errors
/// 400 as the webhook of ingress-nginx answers.
pub fn review(api: &Api, object: &Obj) -> Result<(), Status> {
    match object {
        Obj::Ingress(ingress) => ingress::review(api, ingress),
        _ => Ok(()),
    }
}

/// Books what an object about to be written holds (cluster IP, node ports), and frees what its
/// former state held beyond that.
pub fn commit_write(api: &mut Api, object: &Obj, stored: Option<&Obj>) {
    if let Obj::Service(service) = object {
        if let Some(Obj::Service(old)) = stored {
            api.admission.services.release(old);
        }
        api.admission.services.book(service);
    }
}

/// What the server itself does once an object is there: a new namespace gets its service account,
/// a new definition its resource.
pub fn after_create(api: &mut Api, object: &Obj) {
    match object {
        Obj::Namespace(namespace) => {
            namespace::create_default_account(api, namespace);
        }
        Obj::Other(other) if definition::is_definition(api, other) => {
            definition::register(api, other);
        }
        _ => {}
    }
}

/// Frees what a removed object held.
pub fn commit_delete(api: &mut Api, object: &Obj) {
    if let Obj::Service(service) = object {
        api.admission.services.release(service);
    }
}

/// 403 as a plugin answers: `pods "x" is forbidden: why`.
fn forbidden(api: &Api, kind: Kind, name: &str, why: &str) -> Status {
    let resource = api.resource_name(kind);
    Status::new(403, "Forbidden", format!("{resource} \"{name}\" is forbidden: {why}"))
}
