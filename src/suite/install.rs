//! Installation of the front's program: WordPress, where its database is the stack's.

use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt as _};

use crate::base::ObjectRef;
use crate::observe::{Cause, CauseClass};
use crate::wait;

use super::blame::cause_of;
use super::discover::{has_selector, idle_service, objects_of};
use super::http::Door;
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
        let blame = |error| {
            let cause = self.idle_database();
            Stop::from(error).because(cause.unwrap_or_else(|| self.cause(CauseClass::AppError)))
        };
        let expected = "WordPress answers with its front page, or its installation";
        let is_installed = wait::until_ok(expected, self.answers(), || wordpress.is_installed());
        if is_installed.await.map_err(blame)? {
            return Ok(());
        }
        // Its database answers by now, whoever made it.
        if !self.has_database().await? {
            let why = &self.target().no_database.why;
            return Err(Stop::inconclusive(
                "WordPress is installed",
                format!(
                    "it is not, and what it would be installed in is not known as the stack's own: \
                     {why}"
                ),
            ));
        }
        let installed =
            wait::until_ok("WordPress can be installed", self.answers(), || wordpress.install());
        installed.await.map_err(blame)
    }

    /// That the Service which the front takes for its database selects nothing, if it does.
    pub(super) fn idle_database(&self) -> Option<Cause> {
        let services = &self.target().no_database.services;
        let found = idle_service(&objects_of(self.stack()), services)?;
        Some(cause_of(self.stack(), CauseClass::NoEndpoint, &found))
    }

    /// Whether the front's database is of the stack: a workload of it, what a Service of it selects,
    /// or what a controller made for an object of it.
    async fn has_database(&self) -> Result<bool, Stop> {
        let (target, stack) = (self.target(), self.stack());
        for service in &target.no_database.services {
            if let Some(manifest) = stack.manifest(service) {
                return Ok(has_selector(&manifest.value));
            }
            let namespace = &service.namespace;
            if !stack.objects().iter().any(|each| each.object_ref.namespace == *namespace) {
                continue;
            }
            let services: Api<Service> = Api::namespaced(self.client(), namespace);
            let Some(found) = services.get_opt(&service.name).await? else { continue };
            return Ok(found.owner_references().iter().any(|owner| {
                stack.manifest(&ObjectRef::new(&owner.kind, namespace, &owner.name)).is_some()
            }));
        }
        Ok(target.database.is_some())
    }
}
