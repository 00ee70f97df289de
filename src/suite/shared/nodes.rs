//! Nodes: as they were when the session began, and how to make them so again.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::engine::Engine;
use crate::wait::{self, NODE_BACK, Scope};

use super::super::stop::Stop;
use super::Ownership;

/// Taints that the node controller sets and removes by itself.
const CONTROLLERS_TAINTS: &str = "node.kubernetes.io/";
/// Taints of scenarios.
const OUR_TAINTS: &str = "seatrial.dev/";

/// What scenarios may change of a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NodeState {
    taints: Vec<Taint>,
    unschedulable: bool,
}

/// The nodes by name.
pub(super) type Nodes = BTreeMap<String, NodeState>;

/// The nodes now.
///
/// # Errors
/// What the API answered.
pub(super) async fn read(client: &Client) -> Result<Nodes, Stop> {
    let nodes = list(client).await?;
    Ok(nodes.iter().map(|node| (node.name_any(), state_of(node))).collect())
}

async fn list(client: &Client) -> Result<Vec<Arc<Node>>, kube::Error> {
    Scope::all(Api::<Node>::all(client.clone())).list().await
}

fn state_of(node: &Node) -> NodeState {
    let spec = node.spec.clone().unwrap_or_default();
    let taints = spec.taints.into_iter().flatten();
    NodeState {
        taints: taints.filter(|taint| !is_controllers(taint)).collect(),
        unschedulable: spec.unschedulable == Some(true),
    }
}

fn is_controllers(taint: &Taint) -> bool {
    taint.key.starts_with(CONTROLLERS_TAINTS)
}

/// Makes all nodes as they were in `before` and waits until they are Ready. Returns what had to be
/// mended. In somebody else's cluster only taints of scenarios are taken away, and nothing is awaited.
///
/// # Errors
/// A node is missing or does not get Ready.
pub(super) async fn restore(
    engine: &dyn Engine,
    client: &Client,
    before: &Nodes,
    ownership: Ownership,
) -> Result<Vec<String>, Stop> {
    let api: Api<Node> = Api::all(client.clone());
    let mut mended = Vec::new();
    let now = list(client).await?;
    for (name, wanted) in before {
        let Some(node) = now.iter().find(|node| node.name_any() == *name) else {
            if ownership == Ownership::Borrowed {
                continue;
            }
            return Err(Stop::errored(format!("Node {name} is no longer part of the cluster")));
        };
        let state = state_of(node);
        let wanted = match ownership {
            Ownership::Made => wanted.clone(),
            Ownership::Borrowed => NodeState {
                taints: without_ours(&state.taints),
                unschedulable: state.unschedulable,
            },
        };
        if state != wanted {
            let own = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
            let kept = own.filter(|taint| is_controllers(taint)).cloned();
            let taints: Vec<Taint> = wanted.taints.iter().cloned().chain(kept).collect();
            let spec = json!({"taints": taints, "unschedulable": wanted.unschedulable});
            let patch = Patch::Merge(json!({ "spec": spec }));
            api.patch(name, &PatchParams::default(), &patch).await?;
            mended.push(format!("taints of Node {name}"));
        }
        if ownership == Ownership::Borrowed {
            // Whether they are Ready is their owner's affair.
            continue;
        }
        let scope = Scope::named(api.clone(), name);
        if wait::node_ready(true).check(&scope.list().await?).is_err() {
            if let Some(nodes) = engine.nodes() {
                // Starting a node that runs already is refused by some engines; the wait decides.
                let _ = nodes.start(name).await;
            }
            wait::until(&scope, &wait::node_ready(true), NODE_BACK).await?;
            mended.push(format!("Node {name} was not Ready"));
        }
    }
    Ok(mended)
}

fn without_ours(taints: &[Taint]) -> Vec<Taint> {
    taints.iter().filter(|taint| !taint.key.starts_with(OUR_TAINTS)).cloned().collect()
}
