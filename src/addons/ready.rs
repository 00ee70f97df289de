//! When an add-on is ready: not when its objects exist, but when what it is for works.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::{BoxFuture, try_join_all};
use http::Request;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Secret};
use k8s_openapi::api::storage::v1::CSINode;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

use super::AddOn;
use super::document::Document;
use super::osds;
use super::rook::{self, CephCluster, CephFilesystem, Driver};
use super::tweak::{Setup, is_external};
use crate::base::{Error, secs};
use crate::wait::{self, Condition, Deadline, Scope, WaitError};

/// Pods of an add-on run.
const PODS_RUN: Deadline = Deadline::new(secs(300), "image pulls, start, first probes after 20 s");
/// What a running controller does next.
const SET_UP: Deadline =
    Deadline::new(secs(120), "certificates are made and written by a job or the controller");
/// Metrics are there.
const METRICS: Deadline =
    Deadline::new(secs(180), "two scrapes of 15 s, and a discovery period of 60 s");
/// The front door answers.
const DOOR: Deadline = Deadline::new(secs(60), "nginx loads its configuration, kube-proxy follows");
/// A Ceph cluster, from nothing.
const CEPH: Deadline =
    Deadline::new(secs(900), "monitors, storage daemons and image pulls of several GB");
/// What Rook makes once the cluster is up.
const AFTER_CEPH: Deadline =
    Deadline::new(secs(300), "Rook makes keys, then the CSI drivers start");

/// Sends an HTTP request for a host that nobody has to the front door: the status it was answered
/// with, or what was seen instead.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<u16, String>> + Send + Sync>;

/// Waits until `addon`, applied as `documents`, is ready.
///
/// # Errors
/// What is unmet.
pub(super) async fn await_ready(
    client: &Client,
    addon: AddOn,
    documents: &[Document],
    setup: &Setup,
    probe: Option<&Probe>,
) -> Result<(), WaitError> {
    // Rook's images are by far the largest.
    let deadline = if addon == AddOn::RookCeph { CEPH } else { PODS_RUN };
    // Several at once: each waits for images of its own.
    try_join_all(documents.iter().filter(|each| each.kind() == "Deployment").map(|deployment| {
        deployment_ready(client, deployment.namespace(), deployment.name(), deadline)
    }))
    .await?;
    match addon {
        AddOn::IngressNginx => ingress_ready(client, documents, probe).await,
        AddOn::MetricsServer => metrics_ready(client, documents).await,
        AddOn::RookCeph => ceph_ready(client, documents, setup).await,
    }
}

async fn deployment_ready(
    client: &Client,
    namespace: &str,
    name: &str,
    deadline: Deadline,
) -> Result<(), WaitError> {
    let scope = Scope::named(Api::<Deployment>::namespaced(client.clone(), namespace), name);
    let condition =
        renamed(&format!("Deployment {name} is rolled out"), wait::deployment_rolled_out());
    wait::until(&scope, &condition, deadline).await.map(|_| ())
}

/// A refused webhook refuses every Ingress of the cluster, so it is part of being ready.
async fn ingress_ready(
    client: &Client,
    documents: &[Document],
    probe: Option<&Probe>,
) -> Result<(), WaitError> {
    for webhook in documents.iter().filter(|d| d.kind() == "ValidatingWebhookConfiguration") {
        if !names_authority(&webhook.value) {
            // Then it is made in the cluster, and its key kept in a Secret of the same name.
            let namespace = AddOn::IngressNginx.namespace();
            secret_exists(client, namespace, webhook.name(), SET_UP).await?;
        }
        let scope = Scope::named(Api::all(client.clone()), webhook.name());
        wait::until(&scope, &authority_set(webhook.name()), SET_UP).await?;
        for (namespace, service) in webhook_services(&webhook.value) {
            let api: Api<Endpoints> = Api::namespaced(client.clone(), &namespace);
            wait::until(&Scope::named(api, &service), &has_endpoint(&service), SET_UP).await?;
        }
    }
    let Some(probe) = probe else { return Ok(()) };
    wait::until_ok("the front door answers 404 for an unknown host", DOOR, || async {
        match probe().await? {
            404 => Ok(()),
            status => Err(format!("it answers {status}")),
        }
    })
    .await
}

/// The webhook's authority is set, so that the API server can trust its certificate.
fn authority_set(name: &str) -> Condition<ValidatingWebhookConfiguration> {
    let name = format!("ValidatingWebhookConfiguration {name} has its caBundle");
    Condition::new(name, |objects: &[Arc<ValidatingWebhookConfiguration>]| {
        let Some(configuration) = objects.first() else { return Err("it does not exist".into()) };
        let empty = configuration.webhooks.iter().flatten().find(|webhook| {
            webhook.client_config.ca_bundle.as_ref().is_none_or(|bundle| bundle.0.is_empty())
        });
        match empty {
            Some(webhook) => Err(format!("webhook {} has none", webhook.name)),
            None => Ok(()),
        }
    })
}

/// Whether a webhook configuration comes with its authority.
fn names_authority(configuration: &Value) -> bool {
    let webhooks = configuration["webhooks"].as_array();
    let has = |webhook: &Value| {
        webhook["clientConfig"]["caBundle"].as_str().is_some_and(|bundle| !bundle.is_empty())
    };
    webhooks.is_some_and(|webhooks| webhooks.iter().all(has))
}

/// The services behind a webhook configuration, as namespace and name.
fn webhook_services(configuration: &Value) -> BTreeSet<(String, String)> {
    let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
    webhooks
        .filter_map(|webhook| {
            let service = webhook.pointer("/clientConfig/service")?;
            Some((service["namespace"].as_str()?.to_owned(), service["name"].as_str()?.to_owned()))
        })
        .collect()
}

/// Endpoints, because every minor from 1.20 on serves them in the same version.
fn has_endpoint(service: &str) -> Condition<Endpoints> {
    let name = format!("Service {service} has a ready endpoint");
    Condition::new(name, |objects: &[Arc<Endpoints>]| {
        let subsets = objects.iter().filter_map(|object| object.subsets.as_ref()).flatten();
        let n_ready: usize =
            subsets.map(|subset| subset.addresses.as_ref().map_or(0, Vec::len)).sum();
        if n_ready > 0 { Ok(()) } else { Err("it has none".into()) }
    })
}

async fn secret_exists(
    client: &Client,
    namespace: &str,
    name: &str,
    deadline: Deadline,
) -> Result<(), WaitError> {
    let scope = Scope::named(Api::<Secret>::namespaced(client.clone(), namespace), name);
    let condition = renamed(&format!("Secret {namespace}/{name} exists"), wait::exists());
    let found = wait::until(&scope, &condition, deadline).await.map(|_| ());
    found.map_err(|mut error| {
        // What is in it is nobody's business.
        error.last_object = None;
        error
    })
}

async fn metrics_ready(client: &Client, documents: &[Document]) -> Result<(), WaitError> {
    for service in documents.iter().filter(|document| document.kind() == "APIService") {
        let scope = Scope::named(Api::<APIService>::all(client.clone()), service.name());
        wait::until(&scope, &service_available(service.name()), METRICS).await?;
    }
    wait::until_ok("there are metrics of all nodes", METRICS, || async {
        let nodes = Scope::all(Api::<Node>::all(client.clone())).list().await;
        let nodes = nodes.map_err(|error| format!("the nodes cannot be listed: {error}"))?;
        let measured = measured_nodes(client).await?;
        let missing: Vec<_> = nodes
            .iter()
            .map(|node| node.name_any())
            .filter(|name| !measured.contains(name))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("there are none of {}", missing.join(", ")))
        }
    })
    .await
}

/// The API server reaches what is behind an aggregated API.
pub(super) fn service_available(name: &str) -> Condition<APIService> {
    Condition::new(format!("APIService {name} is Available"), |objects: &[Arc<APIService>]| {
        let Some(service) = objects.first() else { return Err("it does not exist".into()) };
        let conditions = service.status.iter().filter_map(|status| status.conditions.as_ref());
        let available = conditions.flatten().find(|condition| condition.type_ == "Available");
        match available {
            Some(condition) if condition.status == "True" => Ok(()),
            Some(condition) => Err(format!(
                "{}: {}",
                condition.reason.as_deref().unwrap_or("no reason"),
                condition.message.as_deref().unwrap_or("")
            )),
            None => Err("it has no condition Available yet".into()),
        }
    })
}

/// The nodes that the metrics API knows values of.
async fn measured_nodes(client: &Client) -> Result<BTreeSet<String>, String> {
    let request = Request::get("/apis/metrics.k8s.io/v1beta1/nodes").body(Vec::new());
    let request = request.map_err(|error| error.to_string())?;
    let list: Value =
        client.request(request).await.map_err(|error| format!("the metrics API: {error}"))?;
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items.filter_map(|item| Some(item["metadata"]["name"].as_str()?.to_owned())).collect())
}

async fn ceph_ready(
    client: &Client,
    documents: &[Document],
    setup: &Setup,
) -> Result<(), WaitError> {
    for cluster in documents.iter().filter(|document| document.kind() == "CephCluster") {
        let namespace = cluster.namespace();
        let scope =
            Scope::named(Api::<CephCluster>::namespaced(client.clone(), namespace), cluster.name());
        if let Err(mut error) = osds::one_by_one(client, cluster, setup).await {
            // The operator says there why it does not get as far as daemons.
            if let Ok(clusters) = scope.list().await
                && let Err(why) = rook::cluster_ready().check(&clusters)
            {
                error.unmet = format!("{}; {why}", error.unmet);
            }
            return Err(error);
        }
        wait::until(&scope, &rook::cluster_ready(), CEPH).await?;
        if !is_external(cluster) {
            osds::run(client, namespace, setup.devices.len(), CEPH).await?;
        }
    }
    for (namespace, name) in &setup.storage.secrets {
        secret_exists(client, namespace, name, AFTER_CEPH).await?;
    }
    let has_drivers =
        documents.iter().any(|d| d.is("CustomResourceDefinition", "drivers.csi.ceph.io"));
    if has_drivers {
        drivers_ready(client).await?;
    }
    Ok(())
}

/// The pods of each CSI driver, and its registration with the kubelets.
async fn drivers_ready(client: &Client) -> Result<(), WaitError> {
    let namespace = AddOn::RookCeph.namespace();
    let scope = Scope::all(Api::<Driver>::namespaced(client.clone(), namespace));
    let exists = renamed("CSI drivers are declared", wait::exists());
    let drivers = wait::until(&scope, &exists, AFTER_CEPH).await?;
    try_join_all(drivers.iter().map(|driver| async {
        let driver = driver.name_any();
        let controller = format!("{driver}-ctrlplugin");
        deployment_ready(client, namespace, &controller, AFTER_CEPH).await?;
        let sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
        let scope = Scope::named(sets, &format!("{driver}-nodeplugin"));
        let sets = wait::until(&scope, &rook::node_plugin_ready(), AFTER_CEPH).await?;
        let wanted = sets
            .first()
            .and_then(|set| set.status.as_ref())
            .map_or(0, |status| usize::try_from(status.desired_number_scheduled).unwrap_or(0));
        let nodes = Scope::all(Api::<CSINode>::all(client.clone()));
        wait::until(&nodes, &registered(&driver, wanted), AFTER_CEPH).await
    }))
    .await
    .map(|_| ())
}

fn registered(driver: &str, wanted: usize) -> Condition<CSINode> {
    let driver = driver.to_owned();
    let name = format!("CSI driver {driver} is registered on {wanted} nodes");
    Condition::new(name, move |nodes: &[Arc<CSINode>]| {
        let has = |node: &&Arc<CSINode>| node.spec.drivers.iter().any(|each| each.name == driver);
        let found = nodes.iter().filter(has).count();
        if found >= wanted { Ok(()) } else { Err(format!("it is on {found}")) }
    })
}

/// Waits until a CephFilesystem of the stack serves: it is Ready, and so are its metadata servers.
///
/// # Errors
/// Environment: what is unmet, and why.
pub async fn filesystem_ready(client: &Client, namespace: &str, name: &str) -> Result<(), Error> {
    let api: Api<CephFilesystem> = Api::namespaced(client.clone(), namespace);
    let ready = async {
        wait::until(&Scope::named(api, name), &rook::filesystem_ready(), CEPH).await?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let selector = format!("app=rook-ceph-mds,rook_file_system={name}");
        let scope = Scope::labelled(pods, selector);
        // Where the daemons are elsewhere there are no pods.
        wait::until(&scope, &none_unready(), AFTER_CEPH).await
    };
    match ready.await {
        Ok(_) => Ok(()),
        Err(error) => Err(super::diagnose::explained(client, AddOn::RookCeph, error).await),
    }
}

fn none_unready() -> Condition<Pod> {
    Condition::new("the metadata servers are Ready", |pods: &[Arc<Pod>]| {
        if pods.is_empty() { Ok(()) } else { wait::pods_ready().check(pods) }
    })
}

/// The same condition with the object in its name.
fn renamed<K: wait::Object>(name: &str, condition: Condition<K>) -> Condition<K> {
    Condition::new(name, move |objects: &[Arc<K>]| condition.check(objects))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed<K: serde::de::DeserializeOwned>(value: Value) -> [Arc<K>; 1] {
        [Arc::new(serde_json::from_value(value).expect("an object"))]
    }

    #[test]
    fn a_webhook_without_authority_is_not_ready() {
        let webhook = |bundle: &str| {
            parsed::<ValidatingWebhookConfiguration>(
                json!({"metadata": {"name": "v"}, "webhooks": [{
                "name": "validate", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"caBundle": bundle}}]}),
            )
        };
        let condition = authority_set("v");
        assert_eq!(condition.check(&webhook("")), Err("webhook validate has none".into()));
        assert_eq!(condition.check(&webhook("Y2E=")), Ok(()));
        assert!(condition.check(&[]).is_err());
        let value = |webhook: &[Arc<ValidatingWebhookConfiguration>; 1]| {
            serde_json::to_value(&*webhook[0]).expect("an object")
        };
        assert!(
            names_authority(&value(&webhook("Y2E="))) && !names_authority(&value(&webhook("")))
        );
    }

    #[test]
    fn services_of_webhooks_are_found() {
        let service =
            |name: &str| json!({"clientConfig": {"service": {"namespace": "n", "name": name}}});
        let value = json!({"webhooks": [service("a"), {"clientConfig": {"url": "https://x"}}, service("a")]});
        assert_eq!(webhook_services(&value), BTreeSet::from([("n".to_owned(), "a".to_owned())]));
    }

    #[test]
    fn only_ready_addresses_count() {
        let endpoints = |key: &str| {
            parsed::<Endpoints>(
                json!({"metadata": {"name": "s"}, "subsets": [{key: [{"ip": "10.0.0.1"}]}]}),
            )
        };
        let condition = has_endpoint("s");
        assert!(condition.check(&endpoints("notReadyAddresses")).is_err());
        assert_eq!(condition.check(&endpoints("addresses")), Ok(()));
    }

    #[test]
    fn an_unavailable_api_says_why() {
        let service = |status: &str| {
            parsed::<APIService>(json!({"metadata": {"name": "m"}, "status": {"conditions": [{
                "type": "Available", "status": status, "reason": "MissingEndpoints",
                "message": "no addresses"}]}}))
        };
        let condition = service_available("m");
        assert_eq!(condition.check(&service("True")), Ok(()));
        let unmet = condition.check(&service("False")).expect_err("unavailable");
        assert_eq!(unmet, "MissingEndpoints: no addresses");
    }

    #[test]
    fn a_driver_must_be_on_all_nodes_of_its_daemon_set() {
        let node = |driver: &str| {
            let value = json!({"metadata": {"name": "n"},
                "spec": {"drivers": [{"name": driver, "nodeID": "n"}]}});
            parsed::<CSINode>(value)[0].clone()
        };
        let nodes = [node("rook-ceph.cephfs.csi.ceph.com"), node("other")];
        let condition = registered("rook-ceph.cephfs.csi.ceph.com", 2);
        assert_eq!(condition.check(&nodes), Err("it is on 1".into()));
        assert_eq!(registered("rook-ceph.cephfs.csi.ceph.com", 1).check(&nodes), Ok(()));
    }
}
