//! Default-on admission (`pkg/kubeapiserver/options/plugins.go`): namespaces, service accounts,
//! default tolerations, default classes, addresses and ports of Services, protection finalizers.

use super::object::Obj;
use super::status::Status;
use super::store::Api;

/// What admission remembers between requests: allocated addresses and node ports.
#[derive(Debug, Default)]
pub struct State {}

/// Mutates and checks an object about to be created.
///
/// # Errors
/// 403, 404 or 422 as the plugins answer.
pub fn on_create(_api: &mut Api, _object: &mut Obj) -> Result<(), Status> {
    Ok(())
}

/// Mutates and checks an object about to be replaced.
///
/// # Errors
/// 403, 404 or 422 as the plugins answer.
pub fn on_update(_api: &mut Api, _object: &mut Obj, _stored: &Obj) -> Result<(), Status> {
    Ok(())
}

/// Books what a created object holds (cluster IP, node ports).
pub fn commit_create(_api: &mut Api, _object: &Obj) {}

/// Frees what a removed object held.
pub fn commit_delete(_api: &mut Api, _object: &Obj) {}
