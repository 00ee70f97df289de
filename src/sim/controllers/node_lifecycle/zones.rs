//! How fast nodes of a zone are tainted (`handleDisruption`, `ComputeZoneState`).

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;

use crate::base::{SimTime, secs};

use super::health::Readiness;

/// `--node-eviction-rate` 0.1: a node every 10 s.
const PACE: Duration = secs(10);
/// `--secondary-node-eviction-rate` 0.01: in a large zone that is partly down.
const SLOW_PACE: Duration = secs(100);
/// `--large-cluster-size-threshold`: smaller zones that are partly down are left alone.
const LARGE_ZONE: usize = 50;
/// `--unhealthy-zone-threshold`: 55 % not ready, and more than two.
const UNHEALTHY_PERCENT: usize = 55;
const UNHEALTHY_MORE_THAN: usize = 2;

/// The state of all zones.
#[derive(Debug, Default)]
pub(super) struct Zones {
    zones: BTreeMap<String, Zone>,
    all_down: bool,
}

#[derive(Debug, Default)]
struct Zone {
    n_nodes: usize,
    n_down: usize,
    /// When the limiter lets the next node pass.
    free_at: SimTime,
}

/// Whether a node may be tainted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Now,
    At(SimTime),
    Stopped,
}

/// The zone a node is in; one without labels for all others.
pub(super) fn zone_of(node: &Node) -> String {
    let labels = node.metadata.labels.as_ref();
    let label = |name| labels.and_then(|labels| labels.get(name)).map_or("", String::as_str);
    let region = label("topology.kubernetes.io/region");
    let zone = label("topology.kubernetes.io/zone");
    format!("{region}:{zone}")
}

impl Zones {
    /// Counts the nodes; true when a disruption of all zones has just ended.
    pub(super) fn update(&mut self, nodes: impl Iterator<Item = (String, Readiness)>) -> bool {
        for zone in self.zones.values_mut() {
            (zone.n_nodes, zone.n_down) = (0, 0);
        }
        for (name, readiness) in nodes {
            let zone = self.zones.entry(name).or_default();
            zone.n_nodes += 1;
            zone.n_down += usize::from(readiness != Readiness::Ready);
        }
        self.zones.retain(|_, zone| zone.n_nodes > 0);
        let was_down = self.all_down;
        self.all_down =
            !self.zones.is_empty() && self.zones.values().all(|zone| zone.n_down == zone.n_nodes);
        was_down && !self.all_down
    }

    /// Whether no node of any zone is ready: then the fault is taken to be on this side.
    pub(super) fn all_are_down(&self) -> bool {
        self.all_down
    }

    /// Asks the limiter of the zone.
    pub(super) fn admit(&mut self, zone: &str, now: SimTime) -> Admission {
        let zone = self.zones.entry(zone.to_owned()).or_default();
        let Some(pace) = zone.pace() else { return Admission::Stopped };
        if now < zone.free_at {
            return Admission::At(zone.free_at);
        }
        zone.free_at = now + pace;
        Admission::Now
    }
}

impl Zone {
    /// The time between two nodes; `None` when none is tainted.
    fn pace(&self) -> Option<Duration> {
        let is_partial = self.n_down > UNHEALTHY_MORE_THAN
            && self.n_down < self.n_nodes
            && self.n_down * 100 >= self.n_nodes * UNHEALTHY_PERCENT;
        match (is_partial, self.n_nodes > LARGE_ZONE) {
            (false, _) => Some(PACE),
            (true, true) => Some(SLOW_PACE),
            (true, false) => None,
        }
    }
}
