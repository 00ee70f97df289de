//! Whether a cluster that exists has an add-on already, whoever installed it.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::AddOn;
use super::ready::service_available;
use super::rook::{self, CephCluster};
use super::which::is_ceph_driver;
use crate::base::Error;

/// The controller that IngressClasses of ingress-nginx name.
const NGINX_CONTROLLER: &str = "k8s.io/ingress-nginx";
/// The aggregated API that autoscalers read.
const METRICS_API: &str = "v1beta1.metrics.k8s.io";

/// An add-on, or what does its job, found in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Which.
    pub addon: AddOn,
    /// The object that shows it, as in `IngressClass nginx`.
    pub evidence: String,
    /// The image tag of its program, where that was found.
    pub version: Option<String>,
    /// Why it would not work now.
    pub trouble: Option<String>,
}

/// Looks for `addon` in the cluster behind `client`.
///
/// # Errors
/// Environment: the API does not answer, or refuses to say.
pub async fn present(client: &Client, addon: AddOn) -> Result<Option<Present>, Error> {
    let found = match addon {
        AddOn::IngressNginx => ingress(client).await,
        AddOn::MetricsServer => metrics(client).await,
        AddOn::RookCeph => ceph(client).await,
    };
    found.map_err(|error| {
        Error::environment(format!("cannot see whether the cluster has {addon}: {error}"))
    })
}

async fn ingress(client: &Client) -> Result<Option<Present>, kube::Error> {
    let classes: Vec<IngressClass> = list(client, "").await?;
    let is_nginx = |class: &&IngressClass| {
        let spec = class.spec.as_ref();
        spec.and_then(|spec| spec.controller.as_deref()) == Some(NGINX_CONTROLLER)
    };
    let class = classes.iter().find(is_nginx);
    let selector = "app.kubernetes.io/name=ingress-nginx,app.kubernetes.io/component=controller";
    let controllers: Vec<Deployment> = list(client, selector).await?;
    let controller = controllers.first();
    let evidence = match (class, controller) {
        (Some(class), _) => format!("IngressClass {}", class.name_any()),
        (None, Some(controller)) => describe(controller),
        (None, None) => return Ok(None),
    };
    let trouble = match class {
        None => Some(format!("no IngressClass has the controller {NGINX_CONTROLLER}")),
        Some(_) => controller.and_then(unavailable),
    };
    let version = controller.and_then(version);
    Ok(Some(Present { addon: AddOn::IngressNginx, evidence, version, trouble }))
}

async fn metrics(client: &Client) -> Result<Option<Present>, kube::Error> {
    let services: Api<APIService> = Api::all(client.clone());
    let Some(service) = services.get_opt(METRICS_API).await? else { return Ok(None) };
    let servers: Vec<Deployment> = list(client, "k8s-app=metrics-server").await?;
    let trouble = service_available(METRICS_API).check(&[Arc::new(service)]).err();
    Ok(Some(Present {
        addon: AddOn::MetricsServer,
        evidence: format!("APIService {METRICS_API}"),
        version: servers.first().and_then(version),
        trouble,
    }))
}

async fn ceph(client: &Client) -> Result<Option<Present>, kube::Error> {
    let clusters: Vec<CephCluster> = list(client, "").await?;
    if let Some(cluster) = clusters.into_iter().next() {
        let operators: Vec<Deployment> = list(client, "operator=rook").await?;
        let namespace = cluster.namespace().unwrap_or_default();
        let evidence = format!("CephCluster {namespace}/{}", cluster.name_any());
        let trouble = rook::cluster_ready().check(&[Arc::new(cluster)]).err();
        let version = operators.first().and_then(version);
        return Ok(Some(Present { addon: AddOn::RookCeph, evidence, version, trouble }));
    }
    // Without Rook, somebody may run Ceph's drivers against a Ceph elsewhere.
    let drivers: Vec<CSIDriver> = list(client, "").await?;
    let classes: Vec<StorageClass> = list(client, "").await?;
    let driver = drivers.iter().find(|driver| is_ceph_driver(&driver.name_any()));
    let class = classes.iter().find(|class| is_ceph_driver(&class.provisioner));
    let evidence = match (driver, class) {
        (Some(driver), _) => format!("CSIDriver {}", driver.name_any()),
        (None, Some(class)) => format!("StorageClass {}", class.name_any()),
        (None, None) => return Ok(None),
    };
    let trouble = driver.is_none().then(|| "no CSI driver of Ceph is registered".to_owned());
    Ok(Some(Present { addon: AddOn::RookCeph, evidence, version: None, trouble }))
}

/// All objects of a kind in all namespaces; none where the cluster does not know the kind.
async fn list<K>(client: &Client, selector: &str) -> Result<Vec<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::all(client.clone());
    match api.list(&ListParams::default().labels(selector)).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn describe(deployment: &Deployment) -> String {
    let namespace = deployment.namespace().unwrap_or_default();
    format!("Deployment {namespace}/{}", deployment.name_any())
}

fn unavailable(deployment: &Deployment) -> Option<String> {
    let available = deployment.status.as_ref().and_then(|status| status.available_replicas);
    (available.unwrap_or(0) == 0).then(|| format!("{} has no available pod", describe(deployment)))
}

/// The tag of the first container's image.
fn version(deployment: &Deployment) -> Option<String> {
    let pod = deployment.spec.template.spec.as_ref()?;
    let image = pod.containers.first()?.image.as_deref()?;
    let name = image.split('@').next()?.rsplit('/').next()?;
    name.split_once(':').map(|(_, tag)| tag.to_owned())
}
