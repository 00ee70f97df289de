//! All objects of a namespace, of every kind the cluster serves.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::discovery::{self, ApiGroup, Scope, verbs};
use kube::{Api, Client};

use crate::base::ObjectRef;
use crate::k8s::served::is_built_in_group;

use super::super::stop::Stop;

/// Lists under way at a time.
const N_AT_ONCE: usize = 8;
/// Ends the names of APIs that answer with measurements, not with objects.
const MEASUREMENTS: &str = "metrics.k8s.io";
/// Kinds that controllers make and take away on their own.
const PASSING_KINDS: [&str; 6] =
    ["Event", "Endpoints", "EndpointSlice", "Lease", "ControllerRevision", "PodMetrics"];
/// What every namespace is given: the default account, and the certificates to trust.
const IN_EVERY_NAMESPACE: [(&str, &str); 3] = [
    ("ServiceAccount", "default"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "openshift-service-ca.crt"),
];
/// Names the account of a token Secret (made for every account before 1.24).
const TOKEN_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// The namespaced kinds of a cluster.
#[derive(Debug)]
pub(super) struct Catalogue {
    resources: Vec<ApiResource>,
}

/// An object as it was listed.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) object: ObjectRef,
    pub(super) meta: ObjectMeta,
    resource: ApiResource,
}

impl Catalogue {
    /// Asks the cluster what it serves.
    ///
    /// # Errors
    /// What the API answered.
    pub(super) async fn read(client: &Client) -> Result<Catalogue, Stop> {
        let groups = client.list_api_groups().await?.groups.into_iter().map(|group| group.name);
        let groups = groups.filter(|group| !group.ends_with(MEASUREMENTS));
        let mut resources = Vec::new();
        for name in std::iter::once(ApiGroup::CORE_GROUP.to_owned()).chain(groups) {
            let group = match discovery::group(client, &name).await {
                Ok(group) => group,
                // Somebody's aggregated API that is out of order has no objects of the stack.
                Err(kube::Error::Api(status))
                    if matches!(status.code, 403 | 404 | 503) && !is_built_in_group(&name) =>
                {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for (resource, capabilities) in group.recommended_resources() {
                let namespaced = capabilities.scope == Scope::Namespaced;
                let can = |verb| capabilities.supports_operation(verb);
                if namespaced && can(verbs::LIST) && can(verbs::DELETE) {
                    resources.push(resource);
                }
            }
        }
        resources.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
        Ok(Catalogue { resources })
    }

    /// All objects in `namespace`, those that controllers make and take away left out.
    ///
    /// # Errors
    /// What the API answered.
    pub(super) async fn objects_in(
        &self,
        client: &Client,
        namespace: &str,
    ) -> Result<Vec<Found>, Stop> {
        let kinds = self.resources.iter().filter(|r| !PASSING_KINDS.contains(&r.kind.as_str()));
        let lists: Vec<Vec<Found>> = futures::stream::iter(kinds)
            .map(|resource| list(client, namespace, resource))
            .buffered(N_AT_ONCE)
            .try_collect()
            .await?;
        Ok(lists.into_iter().flatten().filter(|found| !found.is_made_by_controllers()).collect())
    }
}

async fn list(
    client: &Client,
    namespace: &str,
    resource: &ApiResource,
) -> Result<Vec<Found>, kube::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
    let listed = match api.list(&ListParams::default()).await {
        Ok(listed) => listed.items,
        // Kinds that are being removed, that have no list, or that this user may not see.
        Err(kube::Error::Api(status)) if matches!(status.code, 403..=405) => Vec::new(),
        Err(error) => return Err(error),
    };
    let found = listed.into_iter().map(|object| Found {
        object: ObjectRef::new(
            &resource.kind,
            namespace,
            object.metadata.name.clone().unwrap_or_default(),
        ),
        meta: object.metadata,
        resource: resource.clone(),
    });
    Ok(found.collect())
}

impl Found {
    /// Its uid.
    pub(super) fn uid(&self) -> String {
        self.meta.uid.clone().unwrap_or_default()
    }

    /// Where it is read and written.
    pub(super) fn api(&self, client: &Client) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &self.object.namespace, &self.resource)
    }

    fn is_made_by_controllers(&self) -> bool {
        let owned = self.meta.owner_references.as_ref().is_some_and(|owners| !owners.is_empty());
        let token = self.object.kind == "Secret"
            && self.meta.annotations.as_ref().is_some_and(|a| a.contains_key(TOKEN_ANNOTATION));
        let given = IN_EVERY_NAMESPACE
            .iter()
            .any(|(kind, name)| self.object.kind == *kind && self.object.name == *name);
        owned || token || given
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;

    use super::*;
    use crate::base::secs;
    use crate::engine::Engine as _;
    use crate::engine::sim::{self, ClusterSpec, SimEngine};
    use crate::k8s::Profile;
    use crate::stack::Applier;

    #[test]
    fn an_api_that_is_out_of_order_is_passed_over_unless_it_is_kubernetes_own() {
        let read = async |client: &Client, down: &'static str| {
            let client = client.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let client = client.clone();
                async move {
                    if !request.uri().path().starts_with(down) {
                        return client.send(request).await;
                    }
                    let status = StatusCode::SERVICE_UNAVAILABLE;
                    let text = r#"{"kind": "Status", "status": "Failure", "code": 503, "message": "", "reason": ""}"#;
                    let answer = Response::builder().status(status);
                    Ok(answer.body(Body::from(text.as_bytes().to_vec())).expect("a response"))
                }
            });
            Catalogue::read(&Client::new(service, "default")).await
        };
        let spec = ClusterSpec::new(Profile::NEWEST, 1);
        let ran = sim::run(&spec, 1, async |engine: Arc<SimEngine>| {
            let client = engine.client();
            let theirs = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "gizmos.example.com"},
                "spec": {
                    "group": "example.com", "scope": "Namespaced",
                    "names": {"kind": "Gizmo", "plural": "gizmos", "singular": "gizmo"},
                    "versions": [{
                        "name": "v1", "served": true, "storage": true,
                        "schema": {"openAPIV3Schema": {"type": "object"}},
                    }],
                },
            });
            Applier::new(client.clone()).apply(&theirs).await.expect("a definition");
            tokio::time::sleep(secs(10)).await;
            let whole = read(&client, "/nowhere").await.expect("all answer");
            let groups: Vec<&str> = whole.resources.iter().map(|r| r.group.as_str()).collect();
            assert!(["", "apps", "example.com"].iter().all(|it| groups.contains(it)), "{groups:?}");
            assert!(read(&client, "/apis/example.com/").await.is_ok());
            assert!(read(&client, "/apis/apps/").await.is_err());
        });
        ran.expect("a simulator");
    }
}
