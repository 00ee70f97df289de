//! Kinds that clusters serve in different versions, read as the newest.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use seatrial::engine::real::served::served;

use super::support::{Cluster, POLL, from_json};

/// The objects of a kind in the body's namespace, in the version that the cluster serves. The
/// versions of EndpointSlice, HorizontalPodAutoscaler and PodDisruptionBudget that are beyond v1
/// share the fields that bodies look at.
pub struct ServedApi<K> {
    api: Api<DynamicObject>,
    resource: ApiResource,
    kind: PhantomData<K>,
}

impl<K> ServedApi<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    /// Finds the version.
    pub async fn find(cluster: &Cluster) -> Result<Self, String> {
        let (group, kind) = (K::group(&()), K::kind(&()));
        let found = served(&cluster.client, &group, &kind).await;
        let resource = found
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("{kind} of {group} is not served"))?;
        let api = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
        Ok(ServedApi { api, resource, kind: PhantomData })
    }

    /// Creates an object from JSON.
    pub async fn create(&self, value: Value) -> Result<K, String> {
        let mut value = value;
        value["apiVersion"] = self.resource.api_version.clone().into();
        value["kind"] = self.resource.kind.clone().into();
        let object: DynamicObject = from_json(value)?;
        let made = self.api.create(&PostParams::default(), &object).await;
        as_newest(made.map_err(|error| error.to_string())?)
    }

    /// Merge-patches an object.
    pub async fn merge(&self, name: &str, patch: Value) -> Result<K, String> {
        let patched = self.api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        as_newest(patched.map_err(|error| error.to_string())?)
    }

    /// Lists objects by label selector.
    pub async fn list(&self, labels: &str) -> Result<Vec<K>, String> {
        let list = self.api.list(&ListParams::default().labels(labels)).await;
        let list = list.map_err(|error| error.to_string())?;
        list.items.into_iter().map(as_newest).collect()
    }

    /// Waits until `check` finds the named object as it should be.
    pub async fn until(
        &self,
        name: &str,
        within: Duration,
        what: &str,
        check: impl Fn(&K) -> bool,
    ) -> Result<K, String> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let found = self.api.get_opt(name).await.map_err(|error| error.to_string())?;
            let object = found.map(as_newest::<K>).transpose()?;
            if let Some(object) = object.as_ref().filter(|object| check(object)) {
                return Ok(object.clone());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(format!("{what}: not within {within:?}; last state {object:?}"));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The same fields under the newest version's name.
fn as_newest<K>(object: DynamicObject) -> Result<K, String>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let mut value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    value["apiVersion"] = K::api_version(&()).into();
    value["kind"] = K::kind(&()).into();
    from_json(value)
}
