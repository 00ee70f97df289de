//! Metrics: what kubelets measure of containers, and metrics-server, which turns it into rates.
//! Owns: samples, points, PodMetrics and NodeMetrics documents.
//! Imports: base, sim::api (reads), sim::machines. Never: sim::controllers, sim::kubelet.
//! Time and errors: every number carries the instant of its measurement; what is not known is `None`.
//! Source: `kubernetes-sigs/metrics-server pkg/storage`, cAdvisor housekeeping. Proof: metrics/tests.

mod document;
mod points;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::Value;

use crate::base::{SimTime, millis, secs};

use super::api::{Api, ChangeType, Obj};
use super::context::Cx;
use super::machines::Machines;
use points::{Point, Points};

/// Shipped manifests set `--metric-resolution=15s` (`manifests/base/deployment.yaml`).
const RESOLUTION: Duration = secs(15);
/// cAdvisor measures a container every 10 s, up to 15 s when it is quiet
/// (`kl/cadvisor/cadvisor_linux.go:defaultHousekeepingInterval`, `maxHousekeepingInterval`).
const HOUSEKEEPING: (Duration, Duration) = (secs(10), secs(15));
/// Nodes that share a housekeeping phase; up to this many nodes each has its own. A bound on the
/// work for large clusters, not a rule.
const N_PHASES: usize = 8;

/// What is due at metrics-server and at the kubelets' cAdvisor.
#[derive(Clone, Debug)]
pub enum MetricsEvent {
    /// cAdvisor measures the containers on the nodes of a phase.
    Housekeeping(usize),
    /// metrics-server asks all kubelets.
    Scrape,
}

/// What metrics-server serves.
#[derive(Debug, Default)]
pub struct MetricsServer {
    pods: BTreeMap<String, BTreeMap<String, PodEntry>>,
    phases: BTreeMap<String, usize>,
    running: Running,
    scraped_at: SimTime,
}

/// The running pods by the phase of their node, kept up with the API's changes: a look at all pods
/// for each phase would grow with the square of the cluster.
#[derive(Debug, Default)]
struct Running {
    by_phase: [BTreeSet<(String, String)>; N_PHASES],
    revision: u64,
}

/// A pod whose containers are measured.
#[derive(Debug, Default)]
struct PodEntry {
    uid: String,
    node: String,
    containers: Vec<ContainerEntry>,
    is_listed: bool,
}

#[derive(Debug)]
struct ContainerEntry {
    name: String,
    /// The newest measurement of the kubelet.
    sample: Option<Point>,
    /// What metrics-server has stored.
    points: Points,
}

/// The use of one pod's containers as metrics-server serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    /// End of the measured window.
    pub timestamp: SimTime,
    /// Length of the measured window.
    pub window: Duration,
    /// Use by container.
    pub containers: Vec<ContainerUsage>,
}

/// The use of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// CPU in billionths of a core.
    pub cpu_nano: u64,
    /// Working set in bytes.
    pub memory_bytes: u64,
}

impl MetricsServer {
    /// Starts the measurements and the scrapes, each at a phase of its own.
    pub fn start(cx: &mut Cx<'_>) {
        let nodes: Vec<String> =
            cx.api.list::<Node>().filter_map(|n| n.metadata.name.clone()).collect();
        for node in &nodes {
            cx.metrics.phase_of(node);
        }
        for phase in 0..N_PHASES {
            let delay = cx.rng.between("cadvisor-phase", Duration::ZERO, HOUSEKEEPING.1);
            cx.queue.after(delay, MetricsEvent::Housekeeping(phase));
        }
        let delay = cx.rng.between("scrape-phase", millis(1), RESOLUTION);
        cx.queue.after(delay, MetricsEvent::Scrape);
    }

    /// Something is due.
    pub fn on_event(event: MetricsEvent, machines: &Machines, cx: &mut Cx<'_>) {
        match event {
            MetricsEvent::Housekeeping(phase) => {
                measure(phase, machines, cx);
                let delay = cx.rng.between("cadvisor-interval", HOUSEKEEPING.0, HOUSEKEEPING.1);
                cx.queue.after(delay, MetricsEvent::Housekeeping(phase));
            }
            MetricsEvent::Scrape => {
                scrape(machines, cx);
                cx.queue.after(RESOLUTION, MetricsEvent::Scrape);
            }
        }
    }

    /// The pod's use; `None` until all its containers have two points.
    pub fn usage(&self, namespace: &str, name: &str) -> Option<PodUsage> {
        self.pods.get(namespace)?.get(name)?.usage()
    }

    /// The `PodMetrics` document of a pod; `None` until all its containers have two points.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        let usage = self.usage(namespace, name)?;
        Some(document::pod(namespace, name, &usage))
    }

    /// The `PodMetrics` documents of a namespace, or of all.
    pub fn pods(&self, namespace: Option<&str>) -> Vec<Value> {
        self.entries()
            .filter(|(space, ..)| namespace.is_none_or(|wanted| wanted == *space))
            .filter_map(|(space, name, entry)| Some(document::pod(space, name, &entry.usage()?)))
            .collect()
    }

    /// The `NodeMetrics` documents: a node uses what its pods use.
    pub fn nodes(&self) -> Vec<Value> {
        let mut nodes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (.., entry) in self.entries() {
            let Some(usage) = entry.usage() else { continue };
            let total = nodes.entry(&entry.node).or_default();
            for container in usage.containers {
                total.0 += container.cpu_nano;
                total.1 += container.memory_bytes;
            }
        }
        let at = self.scraped_at;
        nodes
            .into_iter()
            .map(|(node, (cpu, memory))| document::node(node, at, RESOLUTION, cpu, memory))
            .collect()
    }

    fn entries(&self) -> impl Iterator<Item = (&str, &str, &PodEntry)> {
        self.pods.iter().flat_map(|(space, pods)| {
            pods.iter().map(move |(name, entry)| (space.as_str(), name.as_str(), entry))
        })
    }

    fn phase_of(&mut self, node: &str) -> usize {
        if let Some(&phase) = self.phases.get(node) {
            return phase;
        }
        let phase = self.phases.len() % N_PHASES;
        self.phases.insert(node.to_owned(), phase);
        phase
    }

    /// Brings the running pods up to date with the API.
    fn catch_up(&mut self, api: &Api) {
        match api.changes_since(self.running.revision) {
            Some(changes) => {
                for change in changes {
                    if let Obj::Pod(pod) = &change.object {
                        let runs = change.change_type != ChangeType::Deleted && is_running(pod);
                        self.set_running(pod, runs);
                    }
                }
            }
            None => {
                self.running = Running::default();
                for pod in api.list::<Pod>() {
                    self.set_running(pod, is_running(pod));
                }
            }
        }
        self.running.revision = api.revision();
    }

    fn set_running(&mut self, pod: &Pod, runs: bool) {
        let (meta, node) = (&pod.metadata, node_of(pod));
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else { return };
        if node.is_empty() {
            return;
        }
        let phase = self.phase_of(node);
        let key = (namespace.clone(), name.clone());
        if runs {
            self.running.by_phase[phase].insert(key);
        } else {
            self.running.by_phase[phase].remove(&key);
        }
    }

    /// The entry of a pod; a pod of another uid starts anew.
    fn entry(&mut self, pod: &Pod, node: &str) -> Option<&mut PodEntry> {
        let meta = &pod.metadata;
        let (namespace, name) = (meta.namespace.as_deref()?, meta.name.as_deref()?);
        let uid = meta.uid.as_deref().unwrap_or("");
        if self.pods.get(namespace).and_then(|p| p.get(name)).is_none_or(|e| e.uid != uid) {
            let containers = pod.spec.as_ref()?.containers.iter().map(|c| ContainerEntry {
                name: c.name.clone(),
                sample: None,
                points: Points::default(),
            });
            let entry = PodEntry {
                uid: uid.to_owned(),
                node: node.to_owned(),
                containers: containers.collect(),
                is_listed: true,
            };
            let names = self.pods.entry(namespace.to_owned()).or_default();
            names.insert(name.to_owned(), entry);
        }
        self.pods.get_mut(namespace)?.get_mut(name)
    }
}

impl PodEntry {
    /// `pkg/storage/pod.go:GetMetrics`: all stored containers must have two points.
    fn usage(&self) -> Option<PodUsage> {
        let mut usage: Option<PodUsage> = None;
        for container in &self.containers {
            let Some(last) = container.points.last() else { continue };
            let (cpu_nano, window) = container.points.rate()?;
            let measured = ContainerUsage {
                name: container.name.clone(),
                cpu_nano,
                memory_bytes: last.memory_bytes,
            };
            match &mut usage {
                Some(pod) => {
                    if last.at < pod.timestamp {
                        (pod.timestamp, pod.window) = (last.at, window);
                    }
                    pod.containers.push(measured);
                }
                None => {
                    usage =
                        Some(PodUsage { timestamp: last.at, window, containers: vec![measured] });
                }
            }
        }
        usage
    }
}

/// cAdvisor's housekeeping on the nodes of `phase`.
fn measure(phase: usize, machines: &Machines, cx: &mut Cx<'_>) {
    let (api, metrics) = (&*cx.api, &mut *cx.metrics);
    metrics.catch_up(api);
    let pods = std::mem::take(&mut metrics.running.by_phase[phase]);
    for (namespace, name) in &pods {
        let Some(pod) = api.get::<Pod>(namespace, name) else { continue };
        let Some(entry) = metrics.entry(pod, node_of(pod)) else { continue };
        for container in &mut entry.containers {
            let usage = machines.usage(&entry.uid, &container.name, cx.now);
            container.sample = usage.map(|usage| Point::new(cx.now, &usage));
        }
    }
    metrics.running.by_phase[phase] = pods;
}

/// One tick of metrics-server: the newest samples of all kubelets that answer.
fn scrape(machines: &Machines, cx: &mut Cx<'_>) {
    let (api, metrics) = (&*cx.api, &mut *cx.metrics);
    for entry in metrics.pods.values_mut().flat_map(BTreeMap::values_mut) {
        entry.is_listed = false;
    }
    let mut n_served = 0;
    for pod in api.list::<Pod>().filter(|pod| is_running(pod)) {
        let meta = &pod.metadata;
        let (Some(namespace), Some(name)) = (meta.namespace.as_deref(), meta.name.as_deref())
        else {
            continue;
        };
        let entry = metrics.pods.get_mut(namespace).and_then(|pods| pods.get_mut(name));
        let Some(entry) = entry.filter(|entry| meta.uid.as_deref() == Some(&entry.uid)) else {
            continue;
        };
        entry.is_listed = true;
        for container in &mut entry.containers {
            // A stopped container, or one on a node that does not answer, is not reported.
            let running = machines.usage(&entry.uid, &container.name, cx.now);
            let sample = container.sample.filter(|sample| {
                running.is_some_and(|running| running.started_at == sample.started_at)
            });
            container.points.store(sample, RESOLUTION);
        }
        n_served += u32::from(entry.usage().is_some());
    }
    for pods in metrics.pods.values_mut() {
        pods.retain(|_, entry| entry.is_listed);
    }
    metrics.scraped_at = cx.now;
    cx.trace.line(cx.now, "metrics", format_args!("scrape, {n_served} pods served"));
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("")
}
