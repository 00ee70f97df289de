//! The table of nodes, sandboxes and containers, and questions about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::Machines;
use super::container::Container;
use super::files::VolumeTrees;
use super::nodes::{Node, Sandbox};
use super::types::{ConnectError, ContainerId, PodPeer, ProcessState, Usage};
use crate::base::{ObjectRef, SimTime};
use crate::sim::apps::{App, catalogue, configured_for};
use crate::sim::bootstrap::{ClusterSpec, NodeSpec};
use crate::sim::context::Cx;
use crate::sim::fact::FactKind;

impl Machines {
    /// Machines with the program models of `spec`.
    pub fn new(spec: &ClusterSpec) -> Self {
        Machines {
            profile: spec.profile,
            configured: spec.apps.clone(),
            nodes: BTreeMap::new(),
            sandboxes: BTreeMap::new(),
            by_ip: BTreeMap::new(),
            containers: BTreeMap::new(),
            next_id: 0,
            volumes: VolumeTrees::default(),
            peer_rng: None,
            unmodelled_commands: BTreeSet::new(),
        }
    }

    /// Adds a node.
    pub fn add_node(&mut self, node: &NodeSpec) {
        let index = self.nodes.len();
        let row = Node::new(&node.ip, node.cpu_milli, index);
        self.nodes.insert(Arc::from(node.name.as_str()), row);
    }

    /// The program model of `image`, if there is one.
    pub fn model(&self, image: &str) -> Option<Box<dyn App>> {
        #[cfg(test)]
        if let Some(app) = super::test_app::model(image) {
            return Some(app);
        }
        catalogue(image, &self.configured)
    }

    /// The image of a container whose program `seatrial.toml` describes.
    pub fn configured_image(&self, id: ContainerId) -> Option<String> {
        let image = &self.containers.get(&id)?.start.image;
        configured_for(image, &self.configured).map(|_| image.clone())
    }

    /// Gives a pod its network namespace and address.
    pub fn create_sandbox(&mut self, node: &str, pod_uid: &str, _cx: &mut Cx<'_>) -> String {
        let (by_ip, sandboxes) = (&self.by_ip, &self.sandboxes);
        let Some((name, row)) = self.nodes.get_key_value(node) else { return String::new() };
        let (name, mut row_host) = (Arc::clone(name), row.ip.clone());
        if let Some(row) = self.nodes.get_mut(node) {
            row_host = row.take_address(|ip| {
                by_ip.get(ip).is_none_or(|uids| {
                    uids.iter().all(|uid| sandboxes.get(uid).is_none_or(|s| s.removed))
                })
            });
        }
        // The address is this pod's alone; what was known of an earlier owner is dropped.
        for uid in self.by_ip.remove(&row_host).unwrap_or_default() {
            self.sandboxes.remove(&uid);
        }
        self.add_sandbox(name, pod_uid, row_host)
    }

    /// Gives a pod of the host network its sandbox: the node's own address.
    pub fn create_host_sandbox(&mut self, node: &str, pod_uid: &str) -> String {
        let Some((name, row)) = self.nodes.get_key_value(node) else { return String::new() };
        let (name, ip) = (Arc::clone(name), row.ip.clone());
        self.add_sandbox(name, pod_uid, ip)
    }

    fn add_sandbox(&mut self, node: Arc<str>, pod_uid: &str, ip: String) -> String {
        self.drop_sandbox(pod_uid);
        self.by_ip.entry(ip.clone()).or_default().push(pod_uid.to_owned());
        self.sandboxes.insert(pod_uid.to_owned(), Sandbox::new(node, ip.clone()));
        ip
    }

    fn drop_sandbox(&mut self, pod_uid: &str) {
        let Some(old) = self.sandboxes.remove(pod_uid) else { return };
        if let Some(uids) = self.by_ip.get_mut(&old.ip) {
            uids.retain(|uid| uid != pod_uid);
        }
        for id in old.containers.into_values().flatten() {
            self.containers.remove(&id);
        }
    }

    /// Tears a pod's network namespace down; connections to it get no answer from then on.
    pub fn remove_sandbox(&mut self, pod_uid: &str, cx: &mut Cx<'_>) {
        let Some(sandbox) = self.sandboxes.get_mut(pod_uid) else { return };
        sandbox.removed = true;
        let ids: Vec<ContainerId> =
            std::mem::take(&mut sandbox.containers).into_values().flatten().collect();
        for id in ids {
            self.kill(id, cx);
            self.containers.remove(&id);
        }
    }

    /// Removes what only lived as long as the pod: its emptyDirs, ConfigMap and Secret volumes.
    pub fn forget_pod_volumes(&mut self, pod_uid: &str) {
        for class in ["emptyDir", "configMap", "secret", "projected", "downwardAPI"] {
            self.volumes.remove_prefix(&format!("{class}/{pod_uid}/"));
        }
    }

    /// Replaces the content of a volume (ConfigMap and Secret volumes); paths are relative.
    pub fn fill_volume(&mut self, volume: &str, content: BTreeMap<String, Bytes>) {
        self.volumes.replace(volume, content);
    }

    /// Makes a filesystem of the ext family on a disk that has none: it begins with one folder,
    /// `lost+found` (`mke2fs(8)`).
    pub fn format_ext(&mut self, volume: &str) {
        self.volumes.begin(volume, "lost+found/");
    }

    /// State of the main process; `None` for an unknown container.
    pub fn state(&self, id: ContainerId) -> Option<&ProcessState> {
        self.containers.get(&id).map(|container| &container.state)
    }

    /// When the container was started.
    pub fn started_at(&self, id: ContainerId) -> Option<SimTime> {
        self.containers.get(&id).map(|container| container.started_at)
    }

    /// What the container has written to its output, oldest line first.
    pub fn logs(&self, pod_uid: &str, container: &str, previous: bool) -> Option<Vec<String>> {
        let instances = self.sandboxes.get(pod_uid)?.containers.get(container)?;
        let id = instances.iter().rev().nth(usize::from(previous))?;
        Some(self.containers.get(id)?.log.iter().cloned().collect())
    }

    /// CPU time used since the start, and the working set in bytes, at this instant; `None` when
    /// the container does not run or its node has no power.
    pub fn usage(&self, pod_uid: &str, container: &str, now: SimTime) -> Option<Usage> {
        let sandbox = self.sandboxes.get(pod_uid)?;
        if !self.nodes.get(&sandbox.node).is_some_and(|node| node.up) {
            return None;
        }
        let id = sandbox.containers.get(container)?.last()?;
        let container = self.containers.get(id)?;
        container.is_running().then(|| container.usage(now))
    }

    /// Connects to `ip:port` inside the pod network.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect(&self, ip: &str, port: u16) -> Result<ContainerId, ConnectError> {
        let uids = self.by_ip.get(ip).ok_or(ConnectError::NoAnswer)?;
        let mut answer = ConnectError::NoAnswer;
        for sandbox in uids.iter().filter_map(|uid| self.sandboxes.get(uid)) {
            if sandbox.removed || !self.nodes.get(&sandbox.node).is_some_and(|node| node.up) {
                continue;
            }
            answer = ConnectError::Refused;
            let open = sandbox
                .current()
                .find(|id| self.containers.get(id).is_some_and(|c| c.listening.contains(&port)));
            if let Some(id) = open {
                let full = self.containers.get(&id).is_some_and(Container::accept_queue_is_full);
                return if full { Err(ConnectError::NoAnswer) } else { Ok(id) };
            }
        }
        Err(answer)
    }

    /// Whether the container listens on `port`, so that a connection to its pod there succeeds.
    pub fn listens(&self, id: ContainerId, port: u16) -> bool {
        self.containers.get(&id).is_some_and(|container| container.listening.contains(&port))
    }

    /// The pod behind an address, or the last one that was; `None` for an address never handed out.
    pub fn peer(&self, ip: &str) -> Option<PodPeer> {
        let sandbox = self.by_ip.get(ip)?.iter().find_map(|uid| self.sandboxes.get(uid))?;
        let containers = || sandbox.current().filter_map(|id| self.containers.get(&id));
        Some(PodPeer {
            object: sandbox.pod.clone().unwrap_or_else(|| ObjectRef::new("Pod", "", "")),
            listening: containers().flat_map(|c| c.listening.iter().copied()).collect(),
            has_listened: sandbox.has_listened,
            stopping: sandbox.removed || containers().any(|c| c.stopping.is_some()),
            node_up: self.nodes.get(&sandbox.node).is_some_and(|node| node.up),
        })
    }

    /// The node a container runs on.
    pub fn node_of(&self, id: ContainerId) -> Option<&str> {
        self.containers.get(&id).map(|container| &*container.start.node)
    }

    /// Whether a kept-alive connection to the container is open for further requests.
    pub fn keeps_alive(&self, id: ContainerId) -> bool {
        self.containers.get(&id).is_some_and(|container| {
            container.takes_requests()
                && self.nodes.get(&container.start.node).is_some_and(|node| node.up)
        })
    }

    /// Commands of hooks and probes that were not understood, by pod; they are taken to succeed.
    pub fn unmodelled_commands(&self) -> &BTreeSet<(ObjectRef, String)> {
        &self.unmodelled_commands
    }

    /// The node's processes vanish without a word.
    pub fn power_off(&mut self, node: &str, cx: &mut Cx<'_>) {
        let Some(row) = self.nodes.get_mut(node) else { return };
        (row.up, row.demand, row.shares) = (false, 0, 0);
        let gone: Vec<String> = self
            .sandboxes
            .iter()
            .filter(|(_, sandbox)| *sandbox.node == *node && !sandbox.removed)
            .map(|(uid, _)| uid.clone())
            .collect();
        for id in gone.iter().flat_map(|uid| self.sandboxes[uid].current()) {
            if let Some(container) = self.containers.get_mut(&id) {
                power_cut(container, cx.now);
                self.volumes.unlock(id);
            }
        }
        cx.fact(FactKind::NodeLost, ObjectRef::new("Node", "", node));
    }

    /// The node is back, with no processes; volumes of the node keep their data.
    pub fn power_on(&mut self, node: &str, cx: &mut Cx<'_>) {
        let Some(row) = self.nodes.get_mut(node) else { return };
        row.up = true;
        // Network namespaces do not outlive a boot: their addresses answer nothing.
        for sandbox in self.sandboxes.values_mut().filter(|sandbox| *sandbox.node == *node) {
            sandbox.removed = true;
        }
        cx.fact(FactKind::NodeReturned, ObjectRef::new("Node", "", node));
    }
}

/// Nothing is told to anyone: neither the kubelet nor the other ends of connections notice.
fn power_cut(container: &mut Container, now: SimTime) {
    if container.is_running() {
        container.state = ProcessState::Exited { code: 255, oom_killed: false, at: now };
    }
    container.listening.clear();
    container.held_ports.clear();
    container.serving.clear();
    container.backlog.clear();
    container.cpu.clear(now);
    container.cpu_due = None;
    container.demand = 0;
}
