//! Readiness: what must hold before a cluster is used. kind's own `--wait` looks at control-planes
//! alone, and a time-out of it is no failure.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Node, ServiceAccount};
use kube::{Api, ResourceExt as _};

use crate::base::{Error, secs};
use crate::wait::{self, Condition, Deadline, Scope, WaitError, exists, until};

use super::cluster::KindCluster;
use super::container::Containers;
use super::image::ImageName;
use super::images::ImagePlan;

/// All nodes are Ready.
const NODES_READY: Deadline =
    Deadline::new(secs(240), "the pod network starts on each node after it joined");
/// The cluster's DNS answers.
const DNS_READY: Deadline = Deadline::new(secs(180), "CoreDNS starts once a node is Ready");
/// The default ServiceAccount is there.
const ACCOUNT_MADE: Deadline =
    Deadline::new(secs(60), "its controller starts with the control-plane");
/// Kubelets name loaded images.
const IMAGES_REPORTED: Deadline =
    Deadline::new(secs(90), "a kubelet lists images every 30 s and posts its status every 10 s");
/// A kubelet names this many images at most (`--node-status-max-images`).
const MAX_REPORTED: usize = 50;

/// A client of `cluster`.
///
/// # Errors
/// Its kubeconfig cannot be used.
pub(super) fn client(cluster: &KindCluster) -> Result<kube::Client, Error> {
    cluster.access().client()
}

/// Waits for all nodes, the cluster's DNS and the default ServiceAccount.
///
/// # Errors
/// What was unmet at its deadline.
pub(super) async fn nodes(client: &kube::Client, cluster: &KindCluster) -> Result<(), Error> {
    let nodes = Scope::all(Api::<Node>::all(client.clone()));
    let dns: Scope<Endpoints> =
        Scope::named(Api::namespaced(client.clone(), "kube-system"), "kube-dns");
    let account: Scope<ServiceAccount> =
        Scope::named(Api::namespaced(client.clone(), "default"), "default");
    let ready = all_ready(cluster.node_names());
    let (serves, made) = (dns_serves(), exists());
    let failed = |error: WaitError| Error::environment(error.to_string());
    let (ready, dns, account) = tokio::join!(
        until(&nodes, &ready, NODES_READY),
        until(&dns, &serves, DNS_READY),
        wait::doing("default ServiceAccount", until(&account, &made, ACCOUNT_MADE)),
    );
    // Nodes first: the others fail because of them.
    ready.map_err(failed)?;
    dns.map_err(failed)?;
    account.map(drop).map_err(failed)
}

/// Waits until all nodes name the loaded images: the scheduler prefers nodes that do. Where a
/// kubelet's list is cut short or late, its runtime is asked.
///
/// # Errors
/// A node has no such image.
pub(super) async fn images(
    client: &kube::Client,
    cluster: &KindCluster,
    plan: &ImagePlan,
    containers: &Containers,
) -> Result<(), Error> {
    if plan.loaded.is_empty() {
        return Ok(());
    }
    let scope = Scope::all(Api::<Node>::all(client.clone()));
    let condition = images_named(plan.loaded.clone());
    let nodes = match until(&scope, &condition, IMAGES_REPORTED).await {
        Ok(nodes) => nodes,
        Err(error) if error.is_timeout() => scope
            .list()
            .await
            .map_err(|error| Error::environment(format!("nodes cannot be listed: {error}")))?,
        Err(error) => return Err(Error::environment(error.to_string())),
    };
    for node in &cluster.nodes {
        let seen = nodes.iter().find(|seen| seen.name_any() == node.name);
        let named = seen.map(|seen| reported(seen)).unwrap_or_default();
        let unnamed: Vec<_> = plan.loaded.iter().filter(|image| !has(&named, image)).collect();
        if unnamed.is_empty() {
            continue;
        }
        let command = ["ctr", "--namespace=k8s.io", "images", "ls", "--quiet"];
        let listed = containers.exec(&node.name, &command).await?.stdout;
        let held: BTreeSet<String> = listed.lines().map(|line| line.trim().to_owned()).collect();
        if let Some(absent) = unnamed.iter().find(|image| !has(&held, image)) {
            return Err(Error::environment(format!(
                "{} was loaded, but node {} does not have it",
                absent, node.name
            )));
        }
    }
    Ok(())
}

fn all_ready(names: Vec<String>) -> Condition<Node> {
    Condition::new(format!("all {} nodes are Ready", names.len()), move |nodes: &[Arc<Node>]| {
        let ready: BTreeSet<_> =
            nodes.iter().filter(|node| is_ready(node)).map(|node| node.name_any()).collect();
        let others: Vec<_> = names.iter().filter(|name| !ready.contains(*name)).cloned().collect();
        if others.is_empty() { Ok(()) } else { Err(format!("not Ready: {}", others.join(", "))) }
    })
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Endpoints are served by every minor; EndpointSlices by their version's name only.
fn dns_serves() -> Condition<Endpoints> {
    Condition::new("the cluster's DNS answers", |objects: &[Arc<Endpoints>]| {
        let subsets = objects.iter().flat_map(|endpoints| endpoints.subsets.iter().flatten());
        let ready = subsets.filter_map(|subset| subset.addresses.as_ref()).flatten().count();
        if ready > 0 { Ok(()) } else { Err("Service kube-dns has no ready endpoint".into()) }
    })
}

/// Every node names all of `images`, or as many as it may.
fn images_named(images: Vec<ImageName>) -> Condition<Node> {
    Condition::new("all nodes report the loaded images", move |nodes: &[Arc<Node>]| {
        for node in nodes {
            if n_reported(node) >= MAX_REPORTED {
                continue;
            }
            let named = reported(node);
            if let Some(image) = images.iter().find(|image| !has(&named, image)) {
                return Err(format!("node {} does not report {image}", node.name_any()));
            }
        }
        Ok(())
    })
}

fn n_reported(node: &Node) -> usize {
    node.status.as_ref().and_then(|status| status.images.as_ref()).map_or(0, Vec::len)
}

fn reported(node: &Node) -> BTreeSet<String> {
    let images = node.status.as_ref().and_then(|status| status.images.as_ref());
    images.into_iter().flatten().flat_map(|image| image.names.clone().unwrap_or_default()).collect()
}

fn has(names: &BTreeSet<String>, image: &ImageName) -> bool {
    names.contains(&image.asked_for())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, ready: &str, images: &[&str]) -> Arc<Node> {
        let images: Vec<_> = images.iter().map(|name| json!({"names": [name]})).collect();
        let status = json!({"conditions": [{"type": "Ready", "status": ready}], "images": images});
        let node = json!({"metadata": {"name": name}, "status": status});
        Arc::new(serde_json::from_value(node).expect("a node"))
    }

    #[test]
    fn every_expected_node_must_be_ready() {
        let condition = all_ready(vec!["a".into(), "b".into()]);
        let unmet = condition.check(&[node("a", "True", &[])]).expect_err("b is not there");
        assert_eq!(unmet, "not Ready: b");
        let nodes = [node("a", "True", &[]), node("b", "Unknown", &[])];
        assert_eq!(condition.check(&nodes).expect_err("b is not"), "not Ready: b");
        let nodes = [node("a", "True", &[]), node("b", "True", &[]), node("c", "False", &[])];
        assert!(condition.check(&nodes).is_ok(), "a node that was not asked for does not matter");
    }

    #[test]
    fn images_count_by_their_full_name_and_long_lists_are_believed() {
        let image = ImageName::parse("wordpress:6").expect("a name");
        let condition = images_named(vec![image]);
        let full = "docker.io/library/wordpress:6";
        assert!(condition.check(&[node("a", "True", &[full])]).is_ok());
        let unmet = condition.check(&[node("a", "True", &[full]), node("b", "True", &["x:1"])]);
        assert_eq!(unmet, Err(format!("node b does not report {full}")));
        let many: Vec<String> = (0..MAX_REPORTED).map(|n| format!("a.b/c:{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(condition.check(&[node("a", "True", &many)]).is_ok());
    }

    #[test]
    fn dns_needs_an_address_that_is_ready() {
        let endpoints = |subsets: serde_json::Value| -> Arc<Endpoints> {
            let object = json!({"metadata": {"name": "kube-dns"}, "subsets": subsets});
            Arc::new(serde_json::from_value(object).expect("endpoints"))
        };
        let condition = dns_serves();
        assert!(condition.check(&[]).is_err());
        let unready = json!([{"notReadyAddresses": [{"ip": "10.0.0.1"}]}]);
        assert!(condition.check(&[endpoints(unready)]).is_err());
        assert!(
            condition.check(&[endpoints(json!([{"addresses": [{"ip": "10.0.0.1"}]}]))]).is_ok()
        );
    }
}
