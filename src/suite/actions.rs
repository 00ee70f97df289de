//! What scenarios do to a cluster, and the questions they ask of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, EvictParams, LogParams, Patch, PatchParams};
use kube::core::Status;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::base::ObjectRef;
use crate::k8s::{is_pod_active, killed_for_memory};
use crate::observe::{CauseClass, Moment, Verdict, What, container_field};
use crate::wait::{self, Scope};

use super::stop::Stop;
use super::target::{Workload, WorkloadKind};
use super::trial::Trial;

/// Annotation on a template that starts a rollout when it changes.
pub(super) const RESTART_ANNOTATION: &str = "seatrial.dev/rollout";

/// What an eviction of a pod with two budgets is answered with, besides status 500
/// (`pkg/registry/core/pod/storage/eviction.go`).
const TWO_BUDGETS: &str = "more than one PodDisruptionBudget";

/// A node without power.
#[derive(Debug)]
pub struct StoppedNode {
    name: String,
    down: Rc<Cell<bool>>,
}

/// A node that gets no new pods.
#[derive(Debug)]
pub struct CordonedNode {
    name: String,
    closed: Rc<Cell<bool>>,
}

/// A pod whose processes stand still.
#[derive(Debug)]
pub struct FrozenPod {
    node: String,
    container: String,
    frozen: Rc<Cell<bool>>,
}

/// A text no earlier request of the trial carried.
pub fn fresh_marker(trial: &Trial) -> String {
    format!("seatrial-{}-{}", trial.unique(), trial.now_ms())
}

/// The nodes that ordinary pods may run on.
///
/// # Errors
/// What the API answered.
pub async fn workers(trial: &Trial) -> Result<Vec<Arc<Node>>, Stop> {
    let nodes = Scope::all(Api::<Node>::all(trial.client())).list().await?;
    let open = |node: &Arc<Node>| {
        let spec = node.spec.clone().unwrap_or_default();
        let closed = spec.taints.iter().flatten().any(|taint| taint.effect != "PreferNoSchedule");
        !closed && spec.unschedulable != Some(true)
    };
    Ok(nodes.into_iter().filter(open).collect())
}

impl Trial {
    /// The pods of `workload`, terminating ones too.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn pods_of(&self, workload: &Workload) -> Result<Vec<Arc<Pod>>, Stop> {
        Ok(self.scope_of(workload).list().await?)
    }

    /// The pods of `workload` that have not ended and are not being deleted.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn live_pods_of(&self, workload: &Workload) -> Result<Vec<Arc<Pod>>, Stop> {
        let pods = self.pods_of(workload).await?;
        Ok(pods.into_iter().filter(|pod| is_pod_active(pod)).collect())
    }

    /// The scope of the pods of `workload`.
    pub fn scope_of(&self, workload: &Workload) -> Scope<Pod> {
        let api = Api::namespaced(self.client(), &workload.namespace);
        Scope::labelled(api, &workload.selector)
    }

    /// The Deployment behind `workload`.
    pub fn deployment_scope(&self, workload: &Workload) -> Scope<Deployment> {
        let api = Api::namespaced(self.client(), &workload.namespace);
        Scope::named(api, &workload.name)
    }

    /// Waits until `workload` runs its newest template everywhere.
    ///
    /// # Errors
    /// What blocks it.
    pub async fn rolled_out(
        &self,
        workload: &Workload,
        deadline: wait::Deadline,
    ) -> Result<(), Stop> {
        let ended = match workload.kind {
            WorkloadKind::Deployment => {
                let scope = self.deployment_scope(workload);
                wait::until(&scope, &wait::deployment_rolled_out(), deadline).await.map(drop)
            }
            WorkloadKind::StatefulSet => {
                let api: Api<StatefulSet> = Api::namespaced(self.client(), &workload.namespace);
                let scope = Scope::named(api, &workload.name);
                wait::until(&scope, &wait::stateful_set_ready(), deadline).await.map(drop)
            }
        };
        let Err(error) = ended else { return Ok(()) };
        let stop = Stop::from(error);
        let pods = self.pods_of(workload).await.unwrap_or_default();
        match pods.iter().find_map(|pod| killed_for_memory(pod)) {
            Some(container) if stop.verdict == Verdict::Failed => {
                let field = container_field(container, "resources.limits.memory");
                let class = CauseClass::OutOfMemory;
                Err(stop.because(self.cause_at(class, &workload.reference(), &field)))
            }
            _ => Err(stop),
        }
    }

    /// Applies a strategic merge patch to `workload`.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn patch(&self, workload: &Workload, patch: Value) -> Result<(), Stop> {
        let params = PatchParams::default();
        let patch = Patch::Strategic(patch);
        match workload.kind {
            WorkloadKind::Deployment => {
                let api: Api<Deployment> = Api::namespaced(self.client(), &workload.namespace);
                api.patch(&workload.name, &params, &patch).await?;
            }
            WorkloadKind::StatefulSet => {
                let api: Api<StatefulSet> = Api::namespaced(self.client(), &workload.namespace);
                api.patch(&workload.name, &params, &patch).await?;
            }
        }
        Ok(())
    }

    /// Starts a rollout that changes nothing but an annotation of the template.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn start_rollout(&self, workload: &Workload) -> Result<(), Stop> {
        let mark = self.unique().to_string();
        let annotations = json!({ RESTART_ANNOTATION: mark });
        let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        self.patch(workload, patch).await
    }

    /// Deletes a pod with its own grace period.
    ///
    /// # Errors
    /// What the API answered; a pod that is gone already is no error.
    pub async fn delete_pod(&self, pod: &Pod) -> Result<(), Stop> {
        let namespace = pod.namespace().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client(), &namespace);
        match api.delete(&pod.name_any(), &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes `pods` and waits until they are gone and their workload is whole again.
    ///
    /// # Errors
    /// What blocks it.
    pub async fn replace_pods(&self, workload: &Workload, pods: &[Arc<Pod>]) -> Result<(), Stop> {
        for pod in pods {
            self.delete_pod(pod).await?;
        }
        let uids = pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        let gone = wait::none_of("the deleted pods", uids);
        wait::until(&self.scope_of(workload), &gone, wait::POD_GONE).await?;
        self.rolled_out(workload, wait::POD_REPLACED).await?;
        wait::until(&self.scope_of(workload), &wait::pods_ready(), wait::POD_REPLACED).await?;
        Ok(())
    }

    /// Whether the log of `pod`'s container that serves users has a line with `marker`.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn logged(&self, pod: &Pod, marker: &str) -> Result<bool, Stop> {
        let container = self.target().front.container_in(pod);
        let params = LogParams {
            container: container.map(|container| container.name.clone()),
            ..LogParams::default()
        };
        let log = self.pods_api().logs(&pod.name_any(), &params).await?;
        Ok(log.contains(marker))
    }

    /// Cuts the power of `node`; it comes back when the trial ends, if not before.
    ///
    /// # Errors
    /// The engine cannot, or failed to.
    pub async fn stop_node(&self, node: &str) -> Result<StoppedNode, Stop> {
        let engine = self.engine_handle();
        let down = Rc::new(Cell::new(true));
        let stopped = StoppedNode { name: node.to_owned(), down: Rc::clone(&down) };
        let (name, undo) = (node.to_owned(), Arc::clone(&engine));
        self.defer(async move {
            match undo.nodes() {
                Some(nodes) if down.get() => Ok(nodes.start(&name).await?),
                _ => Ok(()),
            }
        });
        let nodes = engine.nodes().ok_or_else(|| Stop::ignored("the engine cannot stop nodes"))?;
        let object = ObjectRef::new("Node", "", node);
        let lost = Moment { at_ms: self.now_ms(), what: What::node_lost(), object };
        nodes.stop(node).await?;
        self.lost_nodes.borrow_mut().push(lost);
        Ok(stopped)
    }

    /// Boots a node again.
    ///
    /// # Errors
    /// The engine failed to.
    pub async fn start_node(&self, stopped: StoppedNode) -> Result<(), Stop> {
        if let Some(nodes) = self.engine().nodes() {
            nodes.start(&stopped.name).await?;
        }
        stopped.down.set(false);
        Ok(())
    }

    /// Closes `node` to new pods, as `kubectl cordon` does; it opens again when the trial ends, if not
    /// before.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn cordon(&self, node: &str) -> Result<CordonedNode, Stop> {
        let closed = Rc::new(Cell::new(true));
        let nodes: Api<Node> = Api::all(self.client());
        let cordoned = CordonedNode { name: node.to_owned(), closed: Rc::clone(&closed) };
        let (name, undo) = (node.to_owned(), nodes.clone());
        self.defer(async move {
            if closed.get() {
                undo.uncordon(&name).await?;
            }
            Ok(())
        });
        nodes.cordon(node).await?;
        Ok(cordoned)
    }

    /// Opens a node to new pods again.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn uncordon(&self, cordoned: CordonedNode) -> Result<(), Stop> {
        Api::<Node>::all(self.client()).uncordon(&cordoned.name).await?;
        cordoned.closed.set(false);
        Ok(())
    }

    /// Evicts `pod`, again and again while a budget refuses it, as `kubectl drain` does.
    ///
    /// # Errors
    /// It is refused for good: failed, with the reason of the budget, or of the two that select it. What
    /// else the API answered.
    pub async fn evict(&self, pod: &Pod) -> Result<(), Stop> {
        let namespace = pod.namespace().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client(), &namespace);
        let name = pod.name_any();
        let params = EvictParams::default();
        let expected = format!("Pod {name} is evicted");
        let evicted = wait::until_ok(&expected, wait::EVICTED, || async {
            match api.evict(&name, &params).await {
                Ok(_) => Ok(Ok(())),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(Ok(())),
                Err(kube::Error::Api(status)) if status.code == 429 => Err(refusal(&status)),
                Err(kube::Error::Api(status)) if status.message.contains(TWO_BUDGETS) => {
                    Ok(Err(Stop::failed(&expected, refusal(&status))))
                }
                Err(other) => Ok(Err(Stop::from(other))),
            }
        });
        evicted.await?
    }

    /// Freezes `container` of `pod`: its sockets stay open and nothing answers. It goes on when the
    /// trial ends, if not before.
    ///
    /// # Errors
    /// The engine cannot, or failed to.
    pub async fn freeze(&self, pod: &Pod, container: &str) -> Result<FrozenPod, Stop> {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let statuses =
            pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let status = statuses.into_iter().find(|status| status.name == container);
        let id = status.and_then(|status| status.container_id.clone());
        let container = id.ok_or_else(|| {
            Stop::errored(format!("{container} does not run in Pod {}", pod.name_any()))
        })?;
        let engine = self.engine_handle();
        let frozen = Rc::new(Cell::new(true));
        let pod = FrozenPod { node, container, frozen: Rc::clone(&frozen) };
        let (undo, node, container) =
            (Arc::clone(&engine), pod.node.clone(), pod.container.clone());
        self.defer(async move {
            match undo.containers() {
                Some(containers) if frozen.get() => {
                    Ok(containers.unpause(&node, &container).await?)
                }
                _ => Ok(()),
            }
        });
        let containers = engine.containers();
        let containers =
            containers.ok_or_else(|| Stop::ignored("the engine cannot freeze containers"))?;
        containers.pause(&pod.node, &pod.container).await?;
        Ok(pod)
    }

    /// Lets a frozen pod go on.
    ///
    /// # Errors
    /// The engine failed to.
    pub async fn thaw(&self, pod: FrozenPod) -> Result<(), Stop> {
        if let Some(containers) = self.engine().containers() {
            containers.unpause(&pod.node, &pod.container).await?;
        }
        pod.frozen.set(false);
        Ok(())
    }

    /// Node name of each pod that has one.
    pub fn placement(pods: &[Arc<Pod>]) -> BTreeMap<String, Vec<String>> {
        let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pod in pods {
            if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
                nodes.entry(node).or_default().push(pod.name_any());
            }
        }
        nodes
    }
}

/// A refused eviction: the message and the budget's own words.
fn refusal(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let told = causes.map(|cause| cause.message.clone());
    std::iter::once(status.message.clone()).chain(told).collect::<Vec<_>>().join(" ")
}
