//! Applying a stack: server-side apply, as `kubectl apply --server-side` does.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};

use crate::base::Error;

use super::load::Stack;
use super::manifest::Manifest;

/// Owner of the fields we apply.
const FIELD_MANAGER: &str = "seatrial";
/// A refusal that may pass (conflict, overload, a webhook that is coming up) is met this often at most.
const ATTEMPTS_MAX: u32 = 8;
/// First pause between attempts; it doubles.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

impl Stack {
    /// Applies all objects, in order.
    ///
    /// # Errors
    /// What the API server refused, with file and line.
    pub async fn apply(&self, client: &Client) -> Result<(), Error> {
        let mut known = BTreeMap::new();
        for manifest in self.objects() {
            apply(manifest, client, &mut known).await?;
        }
        Ok(())
    }

    /// Applies one object.
    ///
    /// # Errors
    /// What the API server refused, with file and line.
    pub async fn apply_one(&self, manifest: &Manifest, client: &Client) -> Result<(), Error> {
        apply(manifest, client, &mut BTreeMap::new()).await
    }
}

/// What discovery has said of a kind, by API version and kind.
type Known = BTreeMap<(String, String), (ApiResource, bool)>;

async fn apply(manifest: &Manifest, client: &Client, known: &mut Known) -> Result<(), Error> {
    let object: DynamicObject = serde_json::from_value(manifest.value.clone())
        .map_err(|error| refused(manifest, &error.to_string()))?;
    let mut pause = RETRY_PAUSE;
    for attempt in 1.. {
        let error = match attempt_one(manifest, &object, client, known).await {
            Ok(()) => break,
            Err(error) => error,
        };
        if attempt == ATTEMPTS_MAX || !may_pass(&error) {
            return Err(refused(manifest, &text(&error)));
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

async fn attempt_one(
    manifest: &Manifest,
    object: &DynamicObject,
    client: &Client,
    known: &mut Known,
) -> Result<(), kube::Error> {
    let kind = &manifest.object_ref.kind;
    let key = (manifest.api_version.clone(), kind.clone());
    let (resource, namespaced) = match known.get(&key) {
        Some(found) => found.clone(),
        None => {
            let gvk = GroupVersionKind::gvk(manifest.group(), manifest.version(), kind);
            let (resource, capabilities) = pinned_kind(client, &gvk).await?;
            let found = (resource, capabilities.scope == Scope::Namespaced);
            known.insert(key, found.clone());
            found
        }
    };
    let namespace = manifest.object_ref.namespace.as_str();
    let api: Api<DynamicObject> = match (namespaced, namespace) {
        (false, _) => Api::all_with(client.clone(), &resource),
        (true, "") => Api::default_namespaced_with(client.clone(), &resource),
        (true, namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&manifest.object_ref.name, &params, &Patch::Apply(object)).await.map(|_| ())
}

fn may_pass(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 409 | 429 | 500..))
}

fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn refused(manifest: &Manifest, why: &str) -> Error {
    Error::usage(format!(
        "{}:{}: the API server refused {}: {why}",
        manifest.file.display(),
        manifest.line,
        manifest.object_ref
    ))
}
