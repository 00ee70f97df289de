//! All kubelets: who gets which change and event; boots and power cuts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::agent::{Agent, Desk};
use super::image::Published;
use super::worker::Worker;
use super::{KubeletEvent, PodEvent, node};
use crate::base::secs;
use crate::sim::api::{Change, ChangeType};
use crate::sim::bootstrap::{ClusterSpec, NodeSpec};
use crate::sim::context::Cx;
use crate::sim::event::Event;
use crate::sim::machines::Machines;
use crate::sim::profile::Profile;
use crate::sim::volumes::Volumes;

/// From power on to a running kubelet: boot of a container node, containerd, kubelet
/// (semantics 10.4, estimate).
const BOOT_TIME: (Duration, Duration) = (secs(4), secs(9));

/// The kubelets of all nodes.
#[derive(Debug)]
pub struct Kubelets {
    profile: Profile,
    published: Arc<Published>,
    single_node: bool,
    agents: BTreeMap<Arc<str>, Agent>,
    next_key: u64,
}

impl Kubelets {
    /// The kubelets of a cluster.
    pub fn new(spec: &ClusterSpec) -> Self {
        Kubelets {
            profile: spec.profile,
            published: Arc::new(Published::new(&spec.images)),
            single_node: spec.nodes.len() == 1,
            agents: BTreeMap::new(),
            next_key: 0,
        }
    }

    /// Registers a node: creates its Node object and Lease and starts heartbeats.
    pub fn add_node(&mut self, node: &NodeSpec, cx: &mut Cx<'_>) {
        let mut agent = Agent::new(node, self.profile, &self.published, cx.rng);
        let index = self.agents.len();
        node::register(&mut agent, index, self.single_node, cx);
        self.agents.insert(Arc::clone(&agent.name), agent);
    }

    /// A change of a pod bound to `node` arrives.
    pub fn on_change(
        &mut self,
        node: &str,
        change: &Change,
        machines: &mut Machines,
        cx: &mut Cx<'_>,
    ) {
        let Some(agent) = self.agents.get_mut(node).filter(|agent| agent.up) else { return };
        let Some(pod) = change.object.as_typed::<Pod>() else { return };
        let uid = pod.metadata.uid.as_deref().unwrap_or("");
        let deleted = change.change_type == ChangeType::Deleted;
        if let Some(&key) = agent.by_uid.get(uid) {
            let mut desk = Desk { agent, machines, volumes: None, cx };
            with_worker(&mut desk, key, |worker, desk| {
                worker.on_change(pod, change.revision, deleted, desk);
            });
        } else if !deleted && !has_ended(pod) {
            self.next_key += 1;
            let mut desk = Desk { agent, machines, volumes: None, cx };
            add_pod(&mut desk, self.next_key, pod, change.revision);
        }
    }

    /// Something is due at the kubelet of `node`.
    pub fn on_event(
        &mut self,
        node: &str,
        event: KubeletEvent,
        machines: &mut Machines,
        volumes: &mut Volumes,
        cx: &mut Cx<'_>,
    ) {
        let Some(agent) = self.agents.get_mut(node) else { return };
        match event {
            KubeletEvent::Boot(epoch) if epoch == agent.epoch => {
                self.boot(node, machines, cx);
                return;
            }
            _ if !agent.up => return,
            KubeletEvent::Heartbeat(epoch) => {
                if epoch == agent.epoch {
                    node::heartbeat(agent, cx);
                }
                return;
            }
            _ => {}
        }
        let mut desk = Desk { agent, machines, volumes: Some(volumes), cx };
        match event {
            KubeletEvent::ContainerExited(id) => {
                let Some((key, idx)) = desk.agent.by_container.remove(&id) else { return };
                with_worker(&mut desk, key, |worker, desk| worker.on_exit(idx, id, desk));
            }
            KubeletEvent::LocalAnswer { token, status } => {
                let Some((key, purpose)) = desk.agent.calls.remove(&token) else { return };
                with_worker(&mut desk, key, |worker, desk| {
                    worker.on_answer(purpose, status, desk);
                });
            }
            KubeletEvent::Pod(key, event) => {
                with_worker(&mut desk, key, |worker, desk| on_pod_event(worker, event, desk));
            }
            KubeletEvent::Heartbeat(_) | KubeletEvent::Boot(_) => {}
        }
    }

    /// The node loses power: its kubelet does nothing until it returns.
    pub fn power_off(&mut self, node: &str, _cx: &mut Cx<'_>) {
        let Some(agent) = self.agents.get_mut(node) else { return };
        agent.up = false;
        agent.epoch += 1;
        agent.workers.clear();
        agent.by_uid.clear();
        agent.by_container.clear();
        agent.calls.clear();
    }

    /// The node boots: the kubelet re-lists its pods and starts them again.
    pub fn power_on(&mut self, node: &str, _machines: &mut Machines, cx: &mut Cx<'_>) {
        let Some(agent) = self.agents.get_mut(node).filter(|agent| !agent.up) else { return };
        agent.epoch += 1;
        let delay = cx.rng.between("kubelet", BOOT_TIME.0, BOOT_TIME.1);
        let event = KubeletEvent::Boot(agent.epoch);
        cx.queue.after(delay, Event::Kubelet(Arc::clone(&agent.name), event));
    }

    fn boot(&mut self, node: &str, machines: &mut Machines, cx: &mut Cx<'_>) {
        let Some(agent) = self.agents.get_mut(node) else { return };
        agent.up = true;
        agent.booted_at = Some(cx.now);
        node::report_boot(agent, cx);
        let revision = cx.api.revision();
        let bound = |pod: &&Arc<Pod>| {
            pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
        };
        let pods: Vec<Arc<Pod>> = cx.api.list::<Pod>().filter(bound).cloned().collect();
        for pod in pods.iter().filter(|pod| !has_ended(pod)) {
            self.next_key += 1;
            let mut desk = Desk { agent, machines, volumes: None, cx };
            add_pod(&mut desk, self.next_key, pod, revision);
        }
    }
}

fn on_pod_event(worker: &mut Worker, event: PodEvent, desk: &mut Desk<'_, '_>) {
    match event {
        PodEvent::Sync => worker.on_sync(desk),
        PodEvent::Task(number) => worker.on_task(number, desk),
        PodEvent::Status => worker.on_status_due(desk),
        PodEvent::Probe(probe) => worker.on_probe(probe, desk),
        PodEvent::ProbeEnd(probe, ok) => worker.on_probe_end(probe, ok, desk),
        PodEvent::Hook(idx, run, ok) => worker.on_hook(idx, run, ok, desk),
        PodEvent::Grace(idx, run) => worker.on_grace(idx, run, desk),
        PodEvent::Terminate => worker.on_terminate(desk),
        PodEvent::Teardown => worker.on_teardown(desk),
        PodEvent::Reclaim => worker.on_reclaim(desk),
    }
}

fn add_pod(desk: &mut Desk<'_, '_>, key: u64, pod: &Arc<Pod>, revision: u64) {
    let mut worker = Box::new(Worker::new(key, pod, revision));
    desk.agent.by_uid.insert(worker.uid.clone(), key);
    worker.on_added(desk);
    desk.agent.workers.insert(key, worker);
}

/// Lends the worker of `key` out, beside the agent it belongs to.
fn with_worker(desk: &mut Desk<'_, '_>, key: u64, f: impl FnOnce(&mut Worker, &mut Desk<'_, '_>)) {
    let Some(mut worker) = desk.agent.workers.remove(&key) else { return };
    f(&mut worker, desk);
    if worker.is_gone {
        desk.agent.by_uid.remove(&worker.uid);
    } else {
        desk.agent.workers.insert(key, worker);
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
