//! Borrowing: a cluster that exists, with nothing taken away from it that is not ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PropagationPolicy};
use kube::discovery::{Discovery, verbs};
use kube::{Api, Client, ResourceExt as _};

use super::make::probe;
use super::{Provisioned, Wanted, Workshop, check_version, load, needed, objects, or_nothing};
use crate::addons::{self, AddOn, Plan, Setup};
use crate::base::{Error, secs};
use crate::engine::FrontDoor;
use crate::engine::host::{LEASE_LABEL, Lease, RemoveObjects, Thing};
use crate::engine::real::{Access, Given, RealCluster, find_front_door};
use crate::load::Target;
use crate::stack::Stack;
use crate::wait::{Deadline, until_ok};

/// Objects of a stack end with their pods.
const OBJECTS_GONE: Deadline =
    Deadline::new(secs(300), "pods end within their grace period, then their volumes go");
/// Removed by controllers after their owners, and not to be deleted one by one.
const DERIVED: [&str; 5] = ["Pod", "ReplicaSet", "EndpointSlice", "Endpoints", "Event"];

/// Takes the cluster of `access` into use.
pub(super) async fn borrow(
    wanted: &Wanted,
    access: &Access,
    install_addons: bool,
    stack: &Stack,
    workshop: &Workshop,
) -> Result<Provisioned, Error> {
    let client = access.client()?;
    let missing = missing(&client, stack).await?;
    if !missing.is_empty() && !install_addons {
        return Err(complaint(access, &missing));
    }
    let id = crate::engine::kind::fresh_name();
    let lease = Lease::take(&workshop.paths.leases(), &id, wanted.purpose)?;
    let heartbeat = lease.heartbeat();
    let engine = or_nothing(workshop, &lease, async {
        lease.will_make(Thing::Objects {
            kubeconfig: access.kubeconfig.as_ref().map_or_else(
                || std::env::var("KUBECONFIG").unwrap_or_default(),
                |path| path.display().to_string(),
            ),
            context: access.context.clone().unwrap_or_default(),
        })?;
        if !missing.is_empty() {
            let names = missing.keys().copied().collect();
            let setup = Setup {
                labels: BTreeMap::from([(LEASE_LABEL.to_owned(), id.clone())]),
                storage: addons::storage_of(objects(stack)),
                ..Setup::default()
            };
            let loaded = load(wanted, &names, &workshop.paths).await?;
            addons::install(&client, &Plan { addons: loaded, setup, probe: None }).await?;
        }
        let front_door = match needed(stack).contains(&AddOn::IngressNginx) {
            true => {
                let door = find_front_door(access, &client).await?;
                answers(&door.http).await?;
                door
            }
            // A stack without Ingress is reached through its node port.
            false => nowhere(),
        };
        // Nodes of a cluster that others use are neither stopped nor changed.
        let given = Given {
            name: "kubeconfig",
            front_door,
            capabilities: Vec::new(),
            nodes: None,
            containers: None,
            logs: None,
        };
        let engine = RealCluster::connect_with(access, client.clone(), given).await?;
        check_version(&engine, wanted.kubernetes)?;
        Ok(engine)
    })
    .await?;
    Ok(Provisioned {
        engine: Arc::new(engine),
        lease,
        _heartbeat: heartbeat,
        workshop: workshop.clone(),
        made: None,
    })
}

async fn answers(door: &Target) -> Result<(), Error> {
    let ask = probe(door.clone());
    let within = Deadline::new(secs(30), "a controller that runs answers at once");
    let expected = format!("the front door at {}:{} answers", door.host, door.port);
    until_ok(&expected, within, || ask())
        .await
        .map(drop)
        .map_err(|error| Error::environment(error.to_string()))
}

fn nowhere() -> FrontDoor {
    let target = Target { host: "127.0.0.1".to_owned(), port: 0, tls: None };
    FrontDoor { http: target.clone(), https: target }
}

/// The add-ons that the stack needs and the cluster lacks, with what needs each, and what was found.
async fn missing(client: &Client, stack: &Stack) -> Result<BTreeMap<AddOn, String>, Error> {
    let mut missing = BTreeMap::new();
    for (addon, by) in addons::needed(objects(stack)) {
        match addons::present(client, addon).await? {
            None => {
                missing.insert(addon, format!("{addon}, which {by} needs"));
            }
            Some(found) => {
                if let Some(trouble) = found.trouble {
                    return Err(Error::environment(format!(
                        "{addon} is in the cluster ({}), but would not work: {trouble}",
                        found.evidence
                    )));
                }
            }
        }
    }
    Ok(missing)
}

fn complaint(access: &Access, missing: &BTreeMap<AddOn, String>) -> Error {
    let lines: Vec<_> = missing.values().map(|line| format!("  {line}")).collect();
    Error::environment(format!(
        "the cluster of {access} lacks\n{}\ninstall them, or pass --install-addons to have it done \
         and undone by this run",
        lines.join("\n")
    ))
}

/// Deletes what carries the label of a lease, in any cluster and of any kind.
#[derive(Clone, Copy, Debug)]
pub struct Labelled;

impl RemoveObjects for Labelled {
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
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
