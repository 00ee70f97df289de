//! Applying a stack: its objects in order, each refusal with file and line.

use kube::api::DynamicObject;
use kube::{Api, Client};

use super::Stack;
use super::applier::{Applier, ApplyError};
use super::manifest::Manifest;
use crate::base::Error;

impl Stack {
    /// Applies all objects in order; again does no harm.
    ///
    /// # Errors
    /// Usage where the API server refuses an object, environment where it does not answer.
    pub async fn apply(&self, client: &Client) -> Result<(), Error> {
        let mut applier = Applier::new(client.clone());
        for manifest in self.objects() {
            apply(manifest, &mut applier).await?;
        }
        Ok(())
    }

    /// Applies one object.
    ///
    /// # Errors
    /// As `apply`.
    pub async fn apply_one(&self, manifest: &Manifest, client: &Client) -> Result<(), Error> {
        apply(manifest, &mut Applier::new(client.clone())).await
    }

    /// Where an object of the stack is read and written.
    ///
    /// # Errors
    /// The cluster does not serve its kind.
    pub async fn api_of(
        &self,
        manifest: &Manifest,
        client: &Client,
    ) -> Result<Api<DynamicObject>, kube::Error> {
        Applier::new(client.clone()).api_of(&manifest.value).await
    }
}

async fn apply(manifest: &Manifest, applier: &mut Applier) -> Result<(), Error> {
    applier.apply(&manifest.value).await.map_err(|error| failure(manifest, &error))
}

fn failure(manifest: &Manifest, error: &ApplyError) -> Error {
    let place = format!("{}:{}", manifest.file.display(), manifest.line);
    let object = &manifest.object_ref;
    let reason = error.reason();
    if error.is_refusal() {
        // The API's own words (`plugin/namespace/lifecycle/admission.go`).
        let lacks_namespace = reason == format!("namespaces {:?} not found", &*object.namespace);
        let hint = match lacks_namespace {
            true => "; add a Namespace of this name to the manifests",
            false => "",
        };
        Error::usage(format!("{place}: {object}: refused: {reason}{hint}"))
    } else {
        Error::environment(format!("{place}: {object}: not applied: {reason}"))
    }
}
