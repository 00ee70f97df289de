//! Storage daemons (OSDs): brought up node by node, and found on nodes of their own.
//!
//! All nodes of a kind cluster see the `/dev` of the host. Rook's job that prepares a node's disks
//! reports all disks of this Ceph that it sees, and the operator starts what is reported on the node
//! that reports it, unless it has been started. Of two jobs at the same time one would get the disks of
//! both, and pools that keep each copy on another host would wait for a host for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::document::Document;
use super::tweak::{Setup, is_external};
use crate::base::secs;
use crate::stack::Applier;
use crate::wait::{self, Condition, Deadline, Scope, WaitError, doing};

/// Label of the daemons' Deployments and pods.
const DAEMONS: &str = "app=rook-ceph-osd";
/// Where a CephCluster names the nodes whose disks it takes.
const NODES: &str = "/spec/storage/nodes";
/// The first daemon runs.
const FIRST: Deadline =
    Deadline::new(secs(900), "monitors, a storage daemon and image pulls of several GB");
/// One more does.
const NEXT: Deadline = Deadline::new(
    secs(600),
    "an image pull of over 1 GB, a job that prepares the disk, its daemon",
);
/// Daemons that run are seen where they are.
const APART: Deadline =
    Deadline::new(secs(30), "a daemon that was started anew leaves a pod behind");

/// What is applied of `documents` before anything is waited for: of a CephCluster with disks on several
/// nodes the first one.
pub(super) fn begun(documents: &[Document], setup: &Setup) -> Vec<Document> {
    let begin = |document: &Document| stages(document, setup).swap_remove(0);
    documents.iter().map(begin).collect()
}

/// What `document` is one after the other; at the end it is what it shall be.
fn stages(document: &Document, setup: &Setup) -> Vec<Document> {
    let is_ours = document.kind() == "CephCluster" && !is_external(document);
    let nodes = document.value.pointer(NODES).and_then(Value::as_array);
    let mut stages = Vec::new();
    if let Some(nodes) = nodes
        && is_ours
        && setup.devices.len() > 1
    {
        // Without the nodes before it: their jobs would run again beside that of this one. What runs on a
        // node is not taken away with its entry.
        stages.extend(nodes.iter().map(|node| {
            let mut stage = document.clone();
            stage.value["spec"]["storage"]["nodes"] = json!([node]);
            stage
        }));
    }
    stages.push(document.clone());
    stages
}

/// Waits for the daemon of each node of `cluster`, then gives it the next node, until it has all.
///
/// # Errors
/// What is unmet, or which node has several daemons.
pub(super) async fn one_by_one(
    client: &Client,
    cluster: &Document,
    setup: &Setup,
) -> Result<(), WaitError> {
    for (n_before, stage) in stages(cluster, setup).iter().enumerate().skip(1) {
        let deadline = if n_before == 1 { FIRST } else { NEXT };
        run(client, cluster.namespace(), n_before, deadline).await?;
        let name = stage.value.pointer(NODES).map(names).unwrap_or_default();
        let what = format!("{} takes the disks of {name}", cluster.object_ref());
        let applied =
            doing(&*what, async { Applier::new(client.clone()).apply(&stage.value).await });
        applied.await.map_err(|error| WaitError {
            unmet: format!("not applied: {}", error.reason()),
            ..WaitError::api(&what, &error.error)
        })?;
    }
    Ok(())
}

fn names(nodes: &Value) -> String {
    let nodes = nodes.as_array().into_iter().flatten();
    let names: Vec<_> = nodes.filter_map(|node| node["name"].as_str()).collect();
    names.join(", ")
}

/// Waits until `wanted` daemons run, on as many nodes.
///
/// # Errors
/// What is unmet, or which node has several.
pub(super) async fn run(
    client: &Client,
    namespace: &str,
    wanted: usize,
    deadline: Deadline,
) -> Result<(), WaitError> {
    let daemons: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    wait::until(&Scope::labelled(daemons, DAEMONS), &daemons_run(wanted), deadline).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    match wanted {
        // Disks of the user's own, or none to be mixed up with.
        0 | 1 => Ok(()),
        _ => wait::until(&Scope::labelled(pods, DAEMONS), &apart(), APART).await.map(drop),
    }
}

/// At least `wanted` storage daemons run: a cluster without any is Ready all the same.
fn daemons_run(wanted: usize) -> Condition<Deployment> {
    let name = format!("{wanted} storage daemons (OSDs) run");
    Condition::new(name, move |daemons: &[Arc<Deployment>]| {
        let runs = |daemon: &&Arc<Deployment>| {
            daemon.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0) > 0
        };
        let running = daemons.iter().filter(runs).count();
        if running >= wanted {
            return Ok(());
        }
        Err(format!("{running} of {wanted} run, {} exist", daemons.len()))
    })
}

/// No node has two of the daemons.
fn apart() -> Condition<Pod> {
    Condition::new("each storage daemon (OSD) has a node of its own", |pods: &[Arc<Pod>]| {
        let mut on = BTreeMap::<&str, Vec<String>>::new();
        for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
                on.entry(node).or_default().push(pod.name_any());
            }
        }
        match on.iter().find(|(_, pods)| pods.len() > 1) {
            None => Ok(()),
            Some((node, pods)) => Err(format!(
                "node {node} has {}: Rook took disks of several nodes for disks of this one, and pools \
                 with copies on different hosts cannot be made; make the cluster anew",
                pods.join(", ")
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::PathBuf;
    use std::time::Duration;

    use k8s_openapi::api::core::v1::Node;
    use kube::api::{DynamicObject, ListParams, PostParams};

    use super::super::tests::{on_sim, plan};
    use super::super::{AddOn, Plan, install};
    use super::*;
    use crate::base::Error;

    const CLUSTER: &str = "\
{apiVersion: ceph.rook.io/v1, kind: CephCluster, metadata: {name: rook-ceph, namespace: rook-ceph}, \
 spec: {cephVersion: {image: x}, storage: {useAllDevices: false}}}";

    /// A plan for Ceph on all workers of the cluster.
    async fn plan_for(client: &Client) -> (Plan, Vec<String>) {
        let nodes = Api::<Node>::all(client.clone());
        let nodes = nodes.list(&ListParams::default()).await.expect("listed");
        let is_worker =
            |node: &&Node| !node.labels().contains_key("node-role.kubernetes.io/control-plane");
        let names: Vec<_> = nodes.iter().filter(is_worker).map(|node| node.name_any()).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        let mut plan = plan(AddOn::RookCeph, CLUSTER, None);
        let device = |(n, name): (usize, &String)| (name.clone(), format!("/dev/loop{n}").into());
        plan.setup.devices = names.iter().enumerate().map(device).collect::<BTreeMap<_, PathBuf>>();
        (plan, names)
    }

    fn storage_nodes(cluster: &DynamicObject) -> Vec<String> {
        let nodes = cluster.data.pointer(NODES).and_then(Value::as_array);
        let names = nodes.into_iter().flatten().filter_map(|node| node["name"].as_str());
        names.map(str::to_owned).collect()
    }

    /// Rook as far as it matters here.
    #[derive(Default)]
    struct Rook {
        /// The nodes that the cluster had, at each change.
        seen: RefCell<Vec<Vec<String>>>,
        /// The nodes whose disk was prepared.
        prepared: RefCell<Vec<String>>,
        /// Whether a disk is started where another one is.
        strays: bool,
    }

    impl Rook {
        /// Installs `plan` while the operator works.
        async fn install(&self, client: &Client, plan: &Plan) -> Result<(), Error> {
            tokio::select! {
                installed = install(client, plan) => installed.map(drop),
                () = self.operate(client) => unreachable!("it goes on"),
            }
        }

        /// Prepares the disks of all nodes of the cluster, and starts them where they are reported
        /// first: on the first of these nodes.
        async fn operate(&self, client: &Client) {
            let api = clusters(client).await;
            loop {
                let nodes = storage_nodes(&api.get("rook-ceph").await.expect("it is there"));
                // The simulator's own cluster has none.
                if !nodes.is_empty() && self.seen.borrow().last() != Some(&nodes) {
                    self.seen.borrow_mut().push(nodes.clone());
                }
                for node in &nodes {
                    let prepared = self.prepared.borrow().clone();
                    if !prepared.contains(node) {
                        let stray = if self.strays { prepared.first() } else { None };
                        start(client, prepared.len(), stray.unwrap_or(&nodes[0])).await;
                        self.prepared.borrow_mut().push(node.clone());
                    }
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    async fn clusters(client: &Client) -> Api<DynamicObject> {
        let cluster = Document::all_in("cluster.yaml", CLUSTER).expect("a cluster").remove(0);
        Applier::new(client.clone()).api_of(&cluster.value).await.expect("known")
    }

    async fn start(client: &Client, id: usize, node: &str) {
        let name = format!("rook-ceph-osd-{id}");
        let labels = json!({"app": "rook-ceph-osd", "osd": name});
        let daemon = json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"nodeSelector": {"kubernetes.io/hostname": node},
                    "containers": [{"name": "osd", "image": "nginx:1.27"}]}}}});
        let daemon = serde_json::from_value(daemon).expect("a Deployment");
        let daemons: Api<Deployment> = Api::namespaced(client.clone(), "rook-ceph");
        daemons.create(&PostParams::default(), &daemon).await.expect("made");
    }

    #[test]
    fn one_node_after_the_other_gets_its_daemon() {
        on_sim(async |client: Client| {
            let (plan, names) = plan_for(&client).await;
            let rook = Rook::default();
            let installed = rook.install(&client, &plan).await;
            installed.unwrap_or_else(|error| panic!("{error}"));
            let stages: Vec<_> = names.iter().map(|name| vec![name.clone()]).collect();
            assert_eq!(rook.seen.borrow()[..3], stages);
            let cluster = clusters(&client).await.get("rook-ceph").await.expect("it is there");
            assert_eq!(storage_nodes(&cluster), names, "at the end it has all nodes");

            let again = rook.install(&client, &plan).await;
            again.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(*rook.prepared.borrow(), names, "nothing is started twice");
        });
    }

    #[test]
    fn two_daemons_on_a_node_are_named() {
        let (error, first) = on_sim(async |client: Client| {
            let (plan, names) = plan_for(&client).await;
            let rook = Rook { strays: true, ..Rook::default() };
            let error = rook.install(&client, &plan).await.expect_err("two on a node");
            (error.to_string(), names[0].clone())
        });
        let wanted = format!("seen: node {first} has rook-ceph-osd-0-");
        assert!(error.contains(&wanted) && error.contains(", rook-ceph-osd-1-"), "{error}");
        assert!(error.contains("each storage daemon (OSD) has a node of its own"), "{error}");
    }

    #[test]
    fn a_cluster_elsewhere_or_with_one_disk_is_applied_as_it_is() {
        let external = CLUSTER.replace("storage:", "external: {enable: true}, storage:");
        let named = CLUSTER.replace("storage: {", "storage: {nodes: [{name: a}, {name: b}], ");
        let one = Setup { devices: [("a".into(), "/dev/loop0".into())].into(), ..Setup::default() };
        let two = [("a".into(), "/dev/loop0".into()), ("b".into(), "/dev/loop1".into())];
        let two = Setup { devices: two.into(), ..Setup::default() };
        let n_stages = |text: &str, setup: &Setup| {
            let document = Document::all_in("cluster.yaml", text).expect("a cluster").remove(0);
            stages(&document, setup).len()
        };
        assert_eq!(n_stages(&external, &two), 1);
        assert_eq!(n_stages(&named, &one), 1);
        assert_eq!(n_stages(&named, &Setup::default()), 1, "disks of the user's own");
        assert_eq!(n_stages(&named, &two), 3);
    }

    #[test]
    fn storage_daemons_are_counted() {
        let daemon = |available: i32| {
            let value = json!({"metadata": {"name": "osd"}, "status": {"availableReplicas": available},
                "spec": {"selector": {}, "template": {}}});
            Arc::new(serde_json::from_value::<Deployment>(value).expect("a Deployment"))
        };
        let seen = daemons_run(3).check(&[daemon(1), daemon(0), daemon(1)]);
        assert_eq!(seen, Err("2 of 3 run, 3 exist".to_owned()));
        assert_eq!(daemons_run(2).check(&[daemon(1), daemon(0), daemon(1)]), Ok(()));
        assert!(daemons_run(1).check(&[]).is_err());
    }
}
