//! A look through a cluster for objects with the label of a lease, and their deletion.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume, Service};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
};
use kube::core::GroupVersion;
use kube::discovery::{ApiCapabilities, Scope, pinned_group, verbs};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::base::secs;
use crate::engine::host::LEASE_LABEL;
use crate::k8s::served::is_built_in_group;
use crate::suite::shared::was_provisioned;
use crate::wait::{Deadline, WaitError, until_ok};

/// Objects of a stack end with their pods.
const OBJECTS_GONE: Deadline =
    Deadline::new(secs(300), "pods end within their grace period, then their volumes go");
/// How long objects of custom kinds hold back all others: what is to take their finalizers away may be
/// among those.
const CUSTOM_GONE: Duration = secs(60);
/// Groups and kinds that controllers copy our label to, or own; they go after their owners.
const OWNED: [(&str, &str); 3] =
    [("", "Pod"), ("apps", "ReplicaSet"), ("discovery.k8s.io", "EndpointSlice")];
/// Expire by themselves, are many, and carry nobody's labels.
const EVENT: &str = "Event";
/// Ends the names of APIs that answer with measurements, not with objects.
const MEASUREMENTS: &str = "metrics.k8s.io";
/// Namespaces asked at a time.
const N_AT_ONCE: usize = 8;

/// Deletes what carries the label of `lease` until nothing does. Returns what could not be looked
/// through, and why.
pub(super) async fn remove_labelled(
    client: &Client,
    lease: &str,
) -> Result<Vec<String>, WaitError> {
    let begun = Instant::now();
    until_ok("objects with our label are gone", OBJECTS_GONE, || async {
        let mut pass = Pass::new(client, lease);
        pass.run(begun.elapsed() < CUSTOM_GONE).await?;
        if pass.left.is_empty() { Ok(pass.unseen) } else { Err(pass.left.join(", ")) }
    })
    .await
}

/// One look through a cluster.
struct Pass<'a> {
    client: &'a Client,
    lease: &'a str,
    labelled: ListParams,
    /// What is still there, and what could not be found out.
    left: Vec<String>,
    /// What nobody may tell us, and why.
    unseen: Vec<String>,
}

/// Why there is no answer.
enum Blank {
    /// There is nothing that could be ours.
    Nothing,
    /// This user may not see it, or an API that is not Kubernetes' own is out of order: neither
    /// mends itself while we wait.
    Unseen(String),
    /// Another try may do.
    Unknown(String),
}

impl Blank {
    /// Of asking for something in `group`.
    fn of(group: &str, error: &kube::Error) -> Blank {
        let kube::Error::Api(status) = error else { return Blank::Unknown(error.to_string()) };
        match status.code {
            404 | 405 => Blank::Nothing,
            403 => Blank::Unseen("forbidden".to_owned()),
            503 if !is_built_in_group(group) => Blank::Unseen("out of order".to_owned()),
            code => Blank::Unknown(format!("{} ({code})", status.message)),
        }
    }
}

impl<'a> Pass<'a> {
    fn new(client: &'a Client, lease: &'a str) -> Self {
        let labelled = ListParams::default().labels(&format!("{LEASE_LABEL}={lease}"));
        Pass { client, lease, labelled, left: Vec::new(), unseen: Vec::new() }
    }

    /// Deletes what is found; what goes wrong with one kind keeps no other from being looked for.
    /// With `custom_first`, nothing else is deleted while there are objects of custom kinds.
    async fn run(&mut self, custom_first: bool) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        let versions = versions(self.client).await;
        for version in
            versions.map_err(|error| format!("the API groups cannot be listed: {error}"))?
        {
            if custom_first && is_built_in_group(&version.group) && !self.left.is_empty() {
                break;
            }
            let group = match pinned_group(self.client, &version).await {
                Ok(group) => group,
                Err(error) => {
                    self.note(&version.api_version(), Blank::of(&version.group, &error));
                    continue;
                }
            };
            for (resource, capabilities) in group.recommended_resources() {
                let can = |verb| capabilities.supports_operation(verb);
                // All versions of a kind show the same objects.
                let is_new = seen.insert((resource.group.clone(), resource.plural.clone()));
                if is_new && can(verbs::LIST) && can(verbs::DELETE) && resource.kind != EVENT {
                    self.delete_all(&resource, &capabilities).await;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, what: &str, blank: Blank) {
        match blank {
            Blank::Nothing => {}
            Blank::Unseen(why) => self.unseen.push(format!("{what} ({why})")),
            Blank::Unknown(why) => self.left.push(format!("{what}: {why}")),
        }
    }

    async fn delete_all(&mut self, resource: &ApiResource, capabilities: &ApiCapabilities) {
        let what = match resource.group.as_str() {
            "" => resource.plural.clone(),
            group => format!("{}.{group}", resource.plural),
        };
        let found = match self.list(resource, capabilities).await {
            Ok(found) => found,
            Err(blank) => return self.note(&what, blank),
        };
        for object in found {
            let name = format!("{} {}", resource.kind, object.name_any());
            match self.delete(resource, &object).await {
                Ok(true) => self.left.push(format!("still there: {name}")),
                Ok(false) => {}
                Err(error) => self.left.push(format!("{name} is not deleted: {error}")),
            }
        }
    }

    /// Objects with our label; where this user may not see those of all namespaces, those of each
    /// namespace in which they may.
    async fn list(
        &self,
        resource: &ApiResource,
        capabilities: &ApiCapabilities,
    ) -> Result<Vec<DynamicObject>, Blank> {
        let all: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let error = match all.list(&self.labelled).await {
            Ok(list) => return Ok(list.items),
            Err(error) => error,
        };
        let blank = Blank::of(&resource.group, &error);
        let is_forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403);
        if !is_forbidden || capabilities.scope != Scope::Namespaced {
            return Err(blank);
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespaces = namespaces.list(&ListParams::default()).await.map_err(|error| {
            Blank::Unknown(format!("neither all nor the namespaces can be listed: {error}"))
        })?;
        let lists: Vec<Option<Vec<DynamicObject>>> = futures::stream::iter(namespaces.items)
            .map(|namespace| self.list_in(resource, namespace.name_any()))
            .buffered(N_AT_ONCE)
            .try_collect()
            .await?;
        // Who may list none of a kind in a namespace has made none there.
        match lists.iter().all(Option::is_none) {
            true => Err(blank),
            false => Ok(lists.into_iter().flatten().flatten().collect()),
        }
    }

    /// `None` where it is forbidden.
    async fn list_in(
        &self,
        resource: &ApiResource,
        namespace: String,
    ) -> Result<Option<Vec<DynamicObject>>, Blank> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &namespace, resource);
        match api.list(&self.labelled).await {
            Ok(list) => Ok(Some(list.items)),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            Err(error) => Err(Blank::of(&resource.group, &error)),
        }
    }

    /// Whether the object is to be waited for, which has been told to go.
    async fn delete(
        &self,
        resource: &ApiResource,
        object: &DynamicObject,
    ) -> Result<bool, kube::Error> {
        if self.is_derived(resource, object).await? {
            return Ok(false);
        }
        if object.metadata.deletion_timestamp.is_some() || is_provisioners(resource, object) {
            return Ok(true);
        }
        if resource.group.is_empty() && resource.kind == "PersistentVolumeClaim" {
            self.release_volume(object).await?;
        }
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        };
        // An owner is gone last, so that what it owns, such as a pod that still ends, is waited for.
        // Another object that has the name by now may not be ours.
        let params = DeleteParams::foreground()
            .preconditions(Preconditions { uid: object.uid(), resource_version: None });
        match api.delete(&object.name_any(), &params).await {
            Ok(_) => Ok(true),
            // The next look tells.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Lets the provisioner delete the data of our claim's volume with the claim, which a class may tell
    /// it to keep, and gives the volume our label, so that it is waited for.
    async fn release_volume(&self, claim: &DynamicObject) -> Result<(), kube::Error> {
        let name = claim.data.pointer("/spec/volumeName").and_then(Value::as_str);
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let Some(volume) = volumes.get_opt(name.unwrap_or_default()).await? else { return Ok(()) };
        let of = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.clone());
        let is_older = volume.creation_timestamp() < claim.creation_timestamp();
        if of.is_none() || of != claim.uid() || is_older || !was_provisioned(&volume) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({
            "metadata": {"labels": { LEASE_LABEL: self.lease }},
            "spec": {"persistentVolumeReclaimPolicy": "Delete"},
        }));
        let name = volume.metadata.name.unwrap_or_default();
        volumes.patch(&name, &PatchParams::default(), &patch).await.map(drop)
    }

    /// Whether a controller made the object, and removes it after what it made it for.
    async fn is_derived(
        &self,
        resource: &ApiResource,
        object: &DynamicObject,
    ) -> Result<bool, kube::Error> {
        let kind = (resource.group.as_str(), resource.kind.as_str());
        if OWNED.contains(&kind) {
            let mut owners = object.owner_references().iter();
            return Ok(owners.any(|owner| owner.controller == Some(true)));
        }
        if kind != ("", "Endpoints") {
            return Ok(false);
        }
        // These name no owner: they are the controller's if a Service of their name selects pods.
        let namespace = object.namespace().unwrap_or_default();
        let services: Api<Service> = Api::namespaced(self.client.clone(), &namespace);
        let service = services.get_opt(&object.name_any()).await?;
        let selector = service.and_then(|service| service.spec?.selector);
        Ok(selector.is_some_and(|selector| !selector.is_empty()))
    }
}

/// Whether the object is a volume whose provisioner deletes the data, then the object; of an object
/// that is deleted before, it keeps the data (KEP-2644).
fn is_provisioners(resource: &ApiResource, object: &DynamicObject) -> bool {
    let field = |path| object.data.pointer(path).and_then(Value::as_str);
    resource.group.is_empty()
        && resource.kind == "PersistentVolume"
        && field("/spec/persistentVolumeReclaimPolicy") == Some("Delete")
        && matches!(field("/status/phase"), Some("Bound" | "Released"))
}

/// All versions of all groups that may have objects of ours, the preferred one of a group first; custom
/// groups before those of Kubernetes.
async fn versions(client: &Client) -> Result<Vec<GroupVersion>, kube::Error> {
    let mut groups = client.list_api_groups().await?.groups;
    groups.sort_by_key(|group| is_built_in_group(&group.name));
    let groups = groups.into_iter().filter(|group| !group.name.ends_with(MEASUREMENTS));
    let mut versions: Vec<GroupVersion> = groups
        .flat_map(|group| {
            let versions = group.versions.into_iter();
            versions.map(move |each| GroupVersion::gv(&group.name, &each.version))
        })
        .collect();
    // Last, because namespaces are here and take everything in them with them.
    versions.push(GroupVersion::gv("", "v1"));
    Ok(versions)
}

#[cfg(test)]
mod tests;
