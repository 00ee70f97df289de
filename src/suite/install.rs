//! Installation of the front's program: WordPress, where its database is the stack's.

use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::base::ObjectRef;
use crate::observe::CauseClass;
use crate::wait;

use super::http::Door;
use super::setup::ANSWERS;
use super::stop::Stop;
use super::trial::Trial;
use super::wordpress::WordPress;

impl Trial {
    /// Installs WordPress, in a database of the stack alone: what is written into another stays there,
    /// and it may be somebody's.
    ///
    /// # Errors
    /// It cannot be installed, or is not and may not be.
    pub(super) async fn install(&self, door: &Door) -> Result<(), Stop> {
        let wordpress = WordPress::new(self, door.clone());
        let blame = |error| Stop::from(error).because(self.cause(CauseClass::AppError));
        if self.has_database().await? {
            let installed =
                wait::until_ok("WordPress can be installed", ANSWERS, || wordpress.install());
            return installed.await.map_err(blame);
        }
        let expected = "WordPress is installed";
        let is_installed = wait::until_ok(expected, ANSWERS, || wordpress.is_installed());
        if is_installed.await.map_err(blame)? {
            return Ok(());
        }
        let why = &self.target().no_database.why;
        Err(Stop::inconclusive(
            expected,
            format!(
                "it is not, and what it would be installed in is not known as the stack's own: {why}"
            ),
        ))
    }

    /// Whether the front's database is of the stack: a workload of it, what a Service of it selects,
    /// or what a controller made for an object of it.
    async fn has_database(&self) -> Result<bool, Stop> {
        let (target, stack) = (self.target(), self.stack());
        let Some(service) = &target.no_database.service else {
            return Ok(target.database.is_some());
        };
        if let Some(manifest) = stack.manifest(service) {
            let selector = manifest.value.pointer("/spec/selector").and_then(Value::as_object);
            return Ok(selector.is_some_and(|selector| !selector.is_empty()));
        }
        let namespace = &service.namespace;
        if !stack.objects().iter().any(|each| each.object_ref.namespace == *namespace) {
            return Ok(false);
        }
        let services: Api<Service> = Api::namespaced(self.client(), namespace);
        let found = services.get_opt(&service.name).await?;
        let owners = found.iter().flat_map(|found| found.owner_references());
        let mut owners = owners.map(|owner| ObjectRef::new(&owner.kind, namespace, &owner.name));
        Ok(owners.any(|owner| stack.manifest(&owner).is_some()))
    }
}
