//! Applying: server-side apply with one field manager, retried where a retry can help.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};

use super::Stack;
use super::manifest::Manifest;
use crate::base::Error;
use crate::k8s::CustomKind;

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
        let mut known = Known::new();
        for manifest in self.objects() {
            apply(manifest, client, &mut known).await?;
        }
        Ok(())
    }

    /// Applies one object.
    ///
    /// # Errors
    /// As `apply`.
    pub async fn apply_one(&self, manifest: &Manifest, client: &Client) -> Result<(), Error> {
        apply(manifest, client, &mut Known::new()).await
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
        api_of(manifest, client, &mut Known::new()).await
    }
}

/// What discovery said of custom kinds: the resource, and whether it is namespaced.
type Known = BTreeMap<CustomKind, (ApiResource, bool)>;

async fn apply(manifest: &Manifest, client: &Client, known: &mut Known) -> Result<(), Error> {
    let mut pause = FIRST_PAUSE;
    for n_tries in 1.. {
        let error = match apply_once(manifest, client, known).await {
            Ok(()) => break,
            Err(error) => error,
        };
        if n_tries == TRIES_MAX || !is_retriable(&error) {
            return Err(failure(manifest, &error));
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

async fn apply_once(
    manifest: &Manifest,
    client: &Client,
    known: &mut Known,
) -> Result<(), kube::Error> {
    let api = api_of(manifest, client, known).await?;
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&manifest.object_ref.name, &params, &Patch::Apply(&manifest.value)).await.map(|_| ())
}

async fn api_of(
    manifest: &Manifest,
    client: &Client,
    known: &mut Known,
) -> Result<Api<DynamicObject>, kube::Error> {
    let (group, version) =
        manifest.api_version.split_once('/').unwrap_or(("", &manifest.api_version));
    let gvk = GroupVersionKind::gvk(group, version, &manifest.object_ref.kind);
    let (resource, namespaced) = match &manifest.custom_kind {
        // Of custom kinds only the cluster knows the plural and the scope.
        Some(kind) => match known.get(kind) {
            Some(found) => found.clone(),
            None => {
                let (resource, capabilities) = pinned_kind(client, &gvk).await?;
                let found = (resource, capabilities.scope == Scope::Namespaced);
                known.insert(kind.clone(), found.clone());
                found
            }
        },
        None => {
            let namespaced = !manifest.object_ref.namespace.is_empty();
            (ApiResource::from_gvk_with_plural(&gvk, &manifest.plural), namespaced)
        }
    };
    Ok(match (namespaced, manifest.object_ref.namespace.as_str()) {
        (false, _) => Api::all_with(client.clone(), &resource),
        (true, "") => Api::namespaced_with(client.clone(), "default", &resource),
        (true, namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
    })
}

/// Conflict, overload and errors of the server itself pass, and a definition just applied takes a
/// moment to be served.
fn is_retriable(error: &kube::Error) -> bool {
    match error {
        kube::Error::Discovery(_) => true,
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
