//! Applying: server-side apply with one field manager, retried where a retry can help.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};

use super::Stack;
use super::manifest::Manifest;
use crate::base::Error;

/// The field manager of everything that is applied.
const FIELD_MANAGER: &str = "seatrial";
/// Tries of one object.
const TRIES_MAX: u32 = 8;
/// Pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

impl Stack {
    /// Applies all objects in order; again does no harm.
    ///
    /// # Errors
    /// Usage where the API server refuses an object, environment where it does not answer.
    pub async fn apply(&self, client: &Client) -> Result<(), Error> {
        for manifest in self.objects() {
            self.apply_one(manifest, client).await?;
        }
        Ok(())
    }

    /// Applies one object.
    ///
    /// # Errors
    /// As `apply`.
    pub async fn apply_one(&self, manifest: &Manifest, client: &Client) -> Result<(), Error> {
        let api = api_of(manifest, client);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let name = &manifest.object_ref.name;
        let mut pause = FIRST_PAUSE;
        for n_tries in 1.. {
            let Err(error) = api.patch(name, &params, &Patch::Apply(&manifest.value)).await else {
                break;
            };
            if n_tries == TRIES_MAX || !is_retriable(&error) {
                return Err(failure(manifest, &error));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }
}

fn api_of(manifest: &Manifest, client: &Client) -> Api<DynamicObject> {
    let (group, version) =
        manifest.api_version.split_once('/').unwrap_or(("", &manifest.api_version));
    let gvk = GroupVersionKind::gvk(group, version, &manifest.object_ref.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &manifest.plural);
    let namespace = &manifest.object_ref.namespace;
    if namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

/// Conflict, overload, and errors of the server itself pass.
fn is_retriable(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 409 | 429 | 500..=599),
        _ => false,
    }
}

fn failure(manifest: &Manifest, error: &kube::Error) -> Error {
    let place = format!("{}:{}", manifest.file.display(), manifest.line);
    let object = &manifest.object_ref;
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) => {
            Error::usage(format!("{place}: {object}: refused: {}", status.message))
        }
        other => Error::environment(format!("{place}: {object}: not applied: {other}")),
    }
}
