//! What removing has to do inside of clusters: our objects go from those of others, and mounts are let
//! go of before a cluster of ours does.

use std::path::Path;

use futures::future::BoxFuture;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams};
use kube::discovery::{Discovery, verbs};
use kube::{Api, Client, ResourceExt as _};

use super::{Tell, Workshop};
use crate::addons;
use crate::base::{Error, secs};
use crate::engine::host::signals::{Signals, Urgency};
use crate::engine::host::{InClusters, LEASE_LABEL};
use crate::engine::real::Access;
use crate::wait::{Deadline, until_ok};

/// Objects of a stack end with their pods.
const OBJECTS_GONE: Deadline =
    Deadline::new(secs(300), "pods end within their grace period, then their volumes go");
/// Removed by controllers after their owners, and not to be deleted one by one.
const DERIVED: [&str; 5] = ["Pod", "ReplicaSet", "EndpointSlice", "Endpoints", "Event"];

/// Talks to clusters with their kubeconfigs.
pub struct Inside {
    tell: Tell,
    signals: Option<Signals>,
}

impl Inside {
    /// For what is removed from `workshop`'s machine.
    pub fn new(workshop: &Workshop) -> Self {
        Inside { tell: workshop.tell.clone(), signals: workshop.signals.clone() }
    }
}

impl InClusters for Inside {
    fn remove<'a>(
        &'a self,
        lease: &'a str,
        kubeconfig: &'a str,
        context: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let access = Access {
                kubeconfig: (!kubeconfig.is_empty()).then(|| kubeconfig.into()),
                context: Some(context.to_owned()),
            };
            let client = access.client()?;
            let gone = until_ok("objects with our label are gone", OBJECTS_GONE, || {
                delete_labelled(&client, lease)
            });
            gone.await.map_err(|error| Error::environment(error.to_string()))
        })
    }

    fn before_delete<'a>(&'a self, kubeconfig: &'a Path) -> BoxFuture<'a, ()> {
        let access = Access { kubeconfig: Some(kubeconfig.to_owned()), context: None };
        Box::pin(async move {
            // A cluster that cannot be reached any more has nothing that could be asked to let go.
            let Ok(client) = access.client() else { return };
            let in_a_hurry = async {
                match &self.signals {
                    Some(signals) => signals.until(Urgency::Hurry).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = in_a_hurry => {}
                let_go = addons::before_delete(&client) => {
                    if let Err(mounted) = let_go {
                        (self.tell)(&mounted.to_string());
                    }
                }
            }
        })
    }
}

/// Deletes once; `Err` names what is still there.
async fn delete_labelled(client: &Client, lease: &str) -> Result<(), String> {
    let text = |error: kube::Error| error.to_string();
    let discovery = Discovery::new(client.clone()).run().await.map_err(text)?;
    let params = ListParams::default().labels(&format!("{LEASE_LABEL}={lease}"));
    let mut left = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let deletable = capabilities.supports_operation(verbs::LIST)
                && capabilities.supports_operation(verbs::DELETE);
            if !deletable || DERIVED.contains(&resource.kind.as_str()) {
                continue;
            }
            let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            let found = match all.list(&params).await {
                Ok(list) => list.items,
                // An aggregated API that is down cannot hold anything of ours.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405 | 503) => continue,
                Err(error) => return Err(text(error)),
            };
            for object in found {
                left.push(format!("{} {}", resource.kind, object.name_any()));
                delete_one(client, &resource, &object).await.map_err(text)?;
            }
        }
    }
    if left.is_empty() { Ok(()) } else { Err(format!("still there: {}", left.join(", "))) }
}

async fn delete_one(
    client: &Client,
    resource: &ApiResource,
    object: &DynamicObject,
) -> Result<(), kube::Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let api: Api<DynamicObject> = match object.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    // An owner is gone last, so that what it owns, such as a pod that still ends, is waited for.
    let params = DeleteParams::foreground();
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
