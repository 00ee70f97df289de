//! Nodes that stop reporting: conditions, taints, evictions
//! (`ctl/nodelifecycle/node_lifecycle_controller.go`).

mod evictions;
mod health;
mod taints;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;

use crate::base::{millis, secs};
use crate::sim::api::events::{Note, record};
use crate::sim::api::{Change, ChangeType, Obj, Objects, Status};
use crate::sim::context::Cx;

use super::{Controller, Key, Work};
use evictions::Evictions;
pub(super) use evictions::mark_disrupted;
use health::{Health, Readiness, mark_pods_not_ready};
use taints::{no_execute, no_execute_key, set_no_execute, sync_no_schedule};
use zones::Zones;

/// `--node-monitor-period`.
const MONITOR_PERIOD: Duration = secs(5);
/// Period of the passes that set NoExecute taints (`nodeEvictionPeriod`).
const TAINT_PASS: Duration = millis(100);
/// Its event source (`NewNodeLifecycleController`).
const SOURCE: &str = "node-controller";

/// The controller. A key without namespace is a node, or the monitor when it has no name either;
/// the others are pods.
#[derive(Debug, Default)]
pub(super) struct NodeLifecycle {
    health: Health,
    evictions: Evictions,
    zones: Zones,
    /// What each node was found to be at the last pass.
    known: BTreeMap<String, Readiness>,
}

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-lifecycle"
    }

    fn start(&mut self, work: &mut Work, cx: &mut Cx<'_>) {
        let phase = cx.rng.between("node-monitor-phase", Duration::ZERO, MONITOR_PERIOD);
        work.add_after(Key::new("", ""), phase, cx);
    }

    fn on_change(&mut self, change: &Change, cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        match &change.object {
            Obj::Pod(pod) => self.evictions.on_pod(pod, change.change_type, work, cx),
            Obj::Node(node) => {
                let is_gone = change.change_type == ChangeType::Deleted;
                let name = node.metadata.name.as_deref().unwrap_or("");
                self.evictions.on_node(node, is_gone, cache, work, cx);
                if is_gone {
                    self.health.forget(name);
                    self.known.remove(name);
                } else {
                    work.add(Key::new("", name), cx);
                }
            }
            _ => {}
        }
    }

    fn reconcile(
        &mut self,
        key: &Key,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        if !key.namespace.is_empty() {
            return self.evictions.reconcile(key, work, cx);
        }
        if key.name.is_empty() {
            self.monitor(cache, work, cx);
            work.add_after(key.clone(), MONITOR_PERIOD, cx);
            return Ok(());
        }
        let Some(node) = cache.get::<Node>("", &key.name).cloned() else { return Ok(()) };
        sync_no_schedule(&node, cx)?;
        self.taint(&node, work, cx)
    }
}

impl NodeLifecycle {
    /// `monitorNodeHealth`.
    fn monitor(&mut self, cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        let nodes: Vec<Arc<Node>> = cache.list::<Node>().cloned().collect();
        for node in &nodes {
            let name = node.metadata.name.as_deref().unwrap_or("");
            let observed = health::readiness(node);
            let current = self.health.check(node, cache, cx);
            let before = self.known.insert(name.to_owned(), current);
            let was_ready = observed == Readiness::Ready || before == Some(Readiness::Ready);
            if current != Readiness::Ready && was_ready {
                let text = format!("Node {name} status is now: NodeNotReady");
                record(cx.api, node.as_ref(), Note::normal(SOURCE, "NodeNotReady", text));
                mark_pods_not_ready(name, cache, cx);
            }
        }
        let readiness = nodes.iter().map(|node| {
            let name = node.metadata.name.as_deref().unwrap_or("");
            let known = self.known.get(name).copied().unwrap_or(Readiness::Unknown);
            (zones::zone_of(node), known)
        });
        if self.zones.update(readiness) {
            self.health.restart(cx.now);
        }
        for node in &nodes {
            let name = node.metadata.name.as_deref().unwrap_or("");
            let wanted = self.known.get(name).copied().and_then(no_execute_key);
            if no_execute(node) != wanted {
                work.add_after(Key::new("", name), TAINT_PASS, cx);
            }
        }
    }

    /// Gives the node the NoExecute taint of its state: removed and exchanged at once, added at the
    /// pace of its zone.
    fn taint(&mut self, node: &Arc<Node>, work: &mut Work, cx: &mut Cx<'_>) -> Result<(), Status> {
        let name = node.metadata.name.as_deref().unwrap_or("");
        let Some(known) = self.known.get(name).copied() else { return Ok(()) };
        let has = no_execute(node);
        let wanted = no_execute_key(known).filter(|_| !self.zones.all_are_down());
        if has == wanted {
            return Ok(());
        }
        if has.is_some() || wanted.is_none() {
            return set_no_execute(name, wanted, cx);
        }
        match self.zones.admit(&zones::zone_of(node), cx.now) {
            zones::Admission::Now => set_no_execute(name, wanted, cx),
            zones::Admission::At(due) => {
                work.add_after(Key::new("", name), due - cx.now, cx);
                Ok(())
            }
            // Looked at again by the monitor.
            zones::Admission::Stopped => Ok(()),
        }
    }
}
