//! What a body needs of a cluster, and whether a cluster has it.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::ListParams;

use seatrial::engine::Capability;
use seatrial::engine::real::served::served;

use super::support::{Cluster, is_control_plane};

/// Something not every cluster has.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// This many workers that take pods, no more and no fewer.
    Workers(usize),
    /// A control-plane node that shows itself.
    ControlPlane,
    /// The engine can stop and start nodes.
    NodeStops,
    /// The engine can freeze containers.
    Freezing,
    /// Nodes may be cordoned.
    NodeChanges,
    /// A kind of Kubernetes' own in a version we know: group and kind.
    Served(&'static str, &'static str),
    /// ingress-nginx.
    Ingress,
    /// metrics-server.
    Metrics,
    /// A default StorageClass that waits for the first consumer.
    DefaultClass,
}

impl Need {
    /// Why the cluster does not meet it.
    pub async fn unmet(self, cluster: &Cluster) -> Result<Option<String>, String> {
        match self {
            Need::Workers(n) => {
                let found = workers(cluster).await?;
                Ok((found != n)
                    .then(|| format!("needs {n} workers that take pods; there are {found}")))
            }
            Need::ControlPlane => {
                let shown = nodes(cluster).await?.iter().any(is_control_plane);
                Ok((!shown).then(|| "no node is a control-plane node".into()))
            }
            Need::NodeStops => {
                let can = cluster.capabilities().contains(&Capability::NodeLifecycle);
                Ok((!can).then(|| "this engine cannot stop nodes".into()))
            }
            Need::Freezing => {
                let can = cluster.capabilities().contains(&Capability::ContainerPause);
                Ok((!can).then(|| "this engine cannot freeze containers".into()))
            }
            Need::NodeChanges => {
                let may = cluster.capabilities().contains(&Capability::NodeChanges);
                Ok((!may).then(|| "nodes of this engine may not be changed".into()))
            }
            Need::Served(group, kind) => {
                let found = served(&cluster.client, group, kind).await;
                let found = found.map_err(|error| error.to_string())?;
                Ok(found
                    .is_none()
                    .then(|| format!("not served by this version: {kind} of {group}")))
            }
            Need::Ingress => {
                let class = ingress_class(cluster).await?;
                Ok(class.is_none().then(|| "ingress-nginx is not installed".into()))
            }
            Need::Metrics => {
                let listed =
                    cluster.client.list_api_group_resources("metrics.k8s.io/v1beta1").await;
                Ok(listed.is_err().then(|| "metrics-server is not installed".into()))
            }
            Need::DefaultClass => {
                let class = default_class(cluster).await?;
                let mode = class.and_then(|class| class.volume_binding_mode);
                let waits = mode.as_deref() == Some("WaitForFirstConsumer");
                Ok((!waits).then(|| "no default class that waits for the first consumer".into()))
            }
        }
    }
}

/// The name of the class that ingress-nginx serves.
pub async fn ingress_class(cluster: &Cluster) -> Result<Option<String>, String> {
    let classes: Api<IngressClass> = Api::all(cluster.client.clone());
    let classes = classes.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    let is_nginx = |class: &IngressClass| {
        let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref());
        controller == Some("k8s.io/ingress-nginx")
    };
    Ok(classes.items.into_iter().find(is_nginx).and_then(|class| class.metadata.name))
}

async fn default_class(cluster: &Cluster) -> Result<Option<StorageClass>, String> {
    let classes: Api<StorageClass> = Api::all(cluster.client.clone());
    let classes = classes.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    let is_default = |class: &StorageClass| {
        let annotations = class.metadata.annotations.as_ref();
        let mark = annotations.and_then(|a| a.get("storageclass.kubernetes.io/is-default-class"));
        mark.is_some_and(|mark| mark == "true")
    };
    Ok(classes.items.into_iter().find(is_default))
}

async fn nodes(cluster: &Cluster) -> Result<Vec<Node>, String> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let list = nodes.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    Ok(list.items)
}

async fn workers(cluster: &Cluster) -> Result<usize, String> {
    let takes_pods = |node: &&Node| {
        let spec = node.spec.as_ref();
        let cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        let taints = spec.and_then(|spec| spec.taints.as_ref());
        !is_control_plane(node) && !cordoned && taints.is_none_or(Vec::is_empty)
    };
    Ok(nodes(cluster).await?.iter().filter(takes_pods).count())
}
