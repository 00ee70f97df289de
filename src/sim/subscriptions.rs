//! Who hears of a change, and after which lag: watches keep their order per kind and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::base::{SimTime, Streams, millis};

use super::api::{Change, Kind, Obj};
use super::event::{Event, Subscriber};
use super::queue::Queue;

/// Write to watch event at a client: 1 to 20 ms on a small healthy cluster (semantics 0.2).
const WATCH_LAG_MS: (u64, u64) = (1, 20);
/// The same for a kubelet, which also decodes and dispatches: 5 to 50 ms (semantics 0.2).
const KUBELET_WATCH_LAG_MS: (u64, u64) = (5, 50);

/// Kinds kube-scheduler watches (`scheduler/eventhandlers.go:addAllEventHandlers`).
const SCHEDULER_KINDS: &[Kind] = &[
    Kind::POD,
    Kind::NODE,
    Kind::SERVICE,
    Kind::REPLICA_SET,
    Kind::STATEFUL_SET,
    Kind::PERSISTENT_VOLUME,
    Kind::PERSISTENT_VOLUME_CLAIM,
    Kind::STORAGE_CLASS,
    Kind::CSI_NODE,
    Kind::PRIORITY_CLASS,
    Kind::NAMESPACE,
    Kind::PDB,
];
/// Kinds kube-proxy, CoreDNS and ingress-nginx watch.
const NET_KINDS: &[Kind] = &[
    Kind::SERVICE,
    Kind::ENDPOINT_SLICE,
    Kind::INGRESS,
    Kind::INGRESS_CLASS,
    Kind::SECRET,
    Kind::CONFIG_MAP,
    Kind::NODE,
];
/// Kinds the provisioners and the attach/detach controller watch, besides custom resources.
const VOLUMES_KINDS: &[Kind] = &[
    Kind::POD,
    Kind::NODE,
    Kind::PERSISTENT_VOLUME,
    Kind::PERSISTENT_VOLUME_CLAIM,
    Kind::STORAGE_CLASS,
    Kind::VOLUME_ATTACHMENT,
    Kind::CSI_NODE,
];

/// The last delivery of each watch, so that order is kept.
#[derive(Debug, Default)]
pub struct Subscriptions {
    last_due: BTreeMap<(Subscriber, Kind), SimTime>,
}

impl Subscriptions {
    /// Schedules the delivery of `change` to everyone inside the cluster who watches its kind.
    pub fn publish(&mut self, change: &Arc<Change>, queue: &mut Queue, rng: &mut Streams) {
        let kind = change.object.kind();
        if NET_KINDS.contains(&kind) {
            queue.at(change.at, Event::Deliver(Subscriber::Net, Arc::clone(change)));
        }
        if kind != Kind::EVENT {
            self.deliver(Subscriber::Controllers, kind, WATCH_LAG_MS, change, queue, rng);
        }
        if SCHEDULER_KINDS.contains(&kind) {
            self.deliver(Subscriber::Scheduler, kind, WATCH_LAG_MS, change, queue, rng);
        }
        if VOLUMES_KINDS.contains(&kind) || kind.0 >= Kind::TYPED {
            self.deliver(Subscriber::Volumes, kind, WATCH_LAG_MS, change, queue, rng);
        }
        if let Obj::Pod(pod) = &change.object
            && let Some(node) = bound_node(pod)
        {
            let to = Subscriber::Kubelet(Arc::from(node));
            self.deliver(to, kind, KUBELET_WATCH_LAG_MS, change, queue, rng);
        }
    }

    fn deliver(
        &mut self,
        to: Subscriber,
        kind: Kind,
        (low, high): (u64, u64),
        change: &Arc<Change>,
        queue: &mut Queue,
        rng: &mut Streams,
    ) {
        let lagged = change.at + rng.between("watch-lag", millis(low), millis(high));
        let last = self.last_due.entry((to.clone(), kind)).or_default();
        *last = lagged.max(*last);
        queue.at(*last, Event::Deliver(to, Arc::clone(change)));
    }
}

fn bound_node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}
