//! The network as a whole: what it watches, and what is due in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::call::{CallId, CallResult, ClientCall};
use super::connections::Connections;
use super::dns::Dns;
use super::endpoints::Endpoints;
use super::exchange::Exchange;
use super::ingress::{IngressController, IngressEvent};
use super::proxy::{Proxies, Synced};
use crate::base::{ObjectRef, Streams};
use crate::sim::api::{Change, Kind};
use crate::sim::bootstrap::ClusterSpec;
use crate::sim::context::Cx;
use crate::sim::fact::{Fact, FactKind};
use crate::sim::machines::{ExchangeId, Machines};

/// What is due in the network.
#[derive(Clone, Debug)]
pub enum NetEvent {
    /// A process has answered an exchange.
    Response(ExchangeId, http::Response<Bytes>),
    /// A process ended before it answered.
    Cut(ExchangeId),
    /// A request arrives at the node it was sent to.
    Arrive(CallId),
    /// A request arrives at the upstream the ingress controller chose.
    Reach(ExchangeId),
    /// The ingress controller gives an upstream up.
    UpstreamTimeout(ExchangeId),
    /// A result arrives at the client.
    Deliver(CallId),
    /// The client gives up.
    Expire(CallId),
    /// For the ingress controller.
    Ingress(IngressEvent),
}

/// The network.
#[derive(Debug)]
pub struct Net {
    pub(super) node_by_ip: BTreeMap<String, Arc<str>>,
    pub(super) ingress_node: Option<Arc<str>>,
    pub(super) lost: BTreeSet<Arc<str>>,
    pub(super) endpoints: Endpoints,
    pub(super) proxies: Proxies,
    pub(super) synced: Vec<Synced>,
    pub(super) dns: Dns,
    pub(super) ingress: IngressController,
    pub(super) connections: Connections,
    pub(super) exchanges: BTreeMap<CallId, Exchange>,
    /// Randomness of connections between pods, which are made without a context.
    pub(super) dial_rng: Streams,
    pub(super) results: Vec<(CallId, CallResult)>,
    pub(super) last_call: u64,
}

impl Net {
    /// The network of a cluster.
    pub fn new(spec: &ClusterSpec) -> Self {
        let nodes = spec.nodes.iter().map(|node| (node.ip.clone(), Arc::from(node.name.as_str())));
        let ingress_node = spec.nodes.iter().find(|node| node.control_plane);
        Net {
            node_by_ip: nodes.collect(),
            ingress_node: ingress_node.map(|node| Arc::from(node.name.as_str())),
            lost: BTreeSet::new(),
            endpoints: Endpoints::default(),
            proxies: Proxies::new(spec.profile),
            synced: Vec::new(),
            dns: Dns::default(),
            ingress: IngressController::new(),
            connections: Connections::default(),
            exchanges: BTreeMap::new(),
            dial_rng: Streams::new(0),
            results: Vec::new(),
            last_call: 0,
        }
    }

    /// Starts periodic work.
    pub fn start(&mut self, cx: &mut Cx<'_>) {
        self.dial_rng = Streams::new(cx.rng.seed());
        self.proxies.seed(cx.rng.seed());
        self.ingress.start(cx);
    }

    /// A Service, EndpointSlice, Ingress, Secret or Node has changed at this instant.
    pub fn on_change(&mut self, change: &Change, cx: &mut Cx<'_>) {
        let kind = change.object.kind();
        let differs = matches!(kind, Kind::SERVICE | Kind::ENDPOINT_SLICE)
            && self.endpoints.on_change(change);
        self.ingress.on_change(change, differs, cx);
    }

    /// Something is due.
    pub fn on_event(&mut self, event: NetEvent, machines: &mut Machines, cx: &mut Cx<'_>) {
        match event {
            NetEvent::Response(exchange, response) => {
                self.on_response(exchange, response, machines, cx);
            }
            NetEvent::Cut(exchange) => self.on_cut(exchange, machines, cx),
            NetEvent::Arrive(call) => self.on_arrive(call, machines, cx),
            NetEvent::Reach(exchange) => self.on_reach(exchange, machines, cx),
            NetEvent::UpstreamTimeout(exchange) => self.on_upstream_timeout(exchange, machines, cx),
            NetEvent::Deliver(call) => self.on_deliver(call, cx),
            NetEvent::Expire(call) => self.on_expire(call, cx),
            NetEvent::Ingress(event) => self.ingress.on_event(&event, &self.endpoints, cx),
        }
        self.tell_synced(cx);
    }

    /// Starts a call from outside.
    pub fn call(&mut self, call: ClientCall, machines: &mut Machines, cx: &mut Cx<'_>) -> CallId {
        self.last_call += 1;
        let id = CallId(self.last_call);
        self.open(id, call, machines, cx);
        id
    }

    /// The results since the last time.
    pub fn take_results(&mut self) -> Vec<(CallId, CallResult)> {
        std::mem::take(&mut self.results)
    }

    /// The node is cut off.
    pub fn node_lost(&mut self, node: &str, _cx: &mut Cx<'_>) {
        self.lost.insert(Arc::from(node));
        self.lose_in_flight(node);
    }

    /// The node is back.
    pub fn node_returned(&mut self, node: &str, cx: &mut Cx<'_>) {
        self.lost.remove(node);
        self.proxies.restart(node, cx.now);
    }

    /// Whether the node is cut off.
    pub(super) fn is_lost(&self, node: Option<&str>) -> bool {
        node.is_some_and(|node| !self.lost.is_empty() && self.lost.contains(node))
    }

    /// Tells the timeline of proxy syncs, at the instants they took effect.
    fn tell_synced(&mut self, cx: &mut Cx<'_>) {
        for Synced { node, at } in self.synced.drain(..) {
            let object = ObjectRef::new("Node", "", &*node);
            cx.facts.push(Fact { at: at.min(cx.now), kind: FactKind::ProxySynced, object });
        }
    }
}
