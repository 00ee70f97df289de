//! One call on its way: from the client to a node, and its result back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use k8s_openapi::api::core::v1::Pod;

use super::call::{CallFailure, CallId, CallResult, ClientCall, Hop, HopState, TlsFacts};
use super::connections::{End, Kept, Target, server_keeps};
use super::endpoints::Key;
use super::ingress::Certificate;
use super::network::{Net, NetEvent};
use super::proxied::Proxied;
use crate::base::{ObjectRef, SimTime};
use crate::sim::context::Cx;
use crate::sim::machines::{ContainerId, ExchangeId, Machines};

/// Round trip between a client and a node, or between nodes, on one network (estimate).
const ROUND_TRIP: (Duration, Duration) = (Duration::from_micros(200), Duration::from_micros(1_000));

/// A call that has no result yet.
#[derive(Debug)]
pub(super) struct Exchange {
    pub call: ClientCall,
    pub kept: Option<Kept>,
    pub reused: bool,
    pub connected: bool,
    pub one_way: Duration,
    pub attempt: u8,
    pub path: Path,
    pub certificate: Option<Arc<Certificate>>,
    pub hop: Option<Hop>,
    /// What is on its way back to the client.
    pub outcome: Option<Result<Response<Bytes>, CallFailure>>,
}

/// How a call goes on from its node.
#[derive(Debug)]
pub(super) enum Path {
    /// Not decided yet.
    Open,
    /// Straight to a process, through kube-proxy.
    Direct { container: ContainerId, pod: Option<Key>, node: Option<Arc<str>> },
    /// Through the ingress controller.
    Ingress(Box<Proxied>),
}

impl Exchange {
    /// The number of the exchange with a process: a retry gets another one, so a late answer is known.
    pub(super) fn id(&self, call: CallId) -> ExchangeId {
        ExchangeId(call.0 << 8 | u64::from(self.attempt))
    }
}

/// The call an exchange belongs to.
pub(super) fn call_of(exchange: ExchangeId) -> CallId {
    CallId(exchange.0 >> 8)
}

fn target(call: &ClientCall) -> Target<'_> {
    Target { ip: &call.ip, port: call.port, tls: call.tls.as_deref() }
}

impl Net {
    /// Sends a call off: over an open connection if it has one, else after the handshakes.
    pub(super) fn open(
        &mut self,
        id: CallId,
        call: ClientCall,
        machines: &Machines,
        cx: &mut Cx<'_>,
    ) {
        let kept = call.connection.and_then(|n| self.connections.take(cx.now, n, target(&call)));
        let kept = kept.filter(|kept| self.seems_open(kept, machines));
        let round_trip = cx.rng.between("net-rtt", ROUND_TRIP.0, ROUND_TRIP.1);
        let one_way = round_trip / 2;
        let handshakes = match (&kept, &call.tls) {
            (Some(_), _) => Duration::ZERO,
            (None, None) => round_trip,
            (None, Some(_)) => round_trip * 2,
        };
        cx.queue.at(cx.now + handshakes + one_way, NetEvent::Arrive(id));
        cx.queue.at(cx.now + call.timeout, NetEvent::Expire(id));
        let exchange = Exchange {
            call,
            reused: kept.is_some(),
            connected: kept.is_some(),
            kept,
            one_way,
            attempt: 0,
            path: Path::Open,
            certificate: None,
            hop: None,
            outcome: None,
        };
        self.exchanges.insert(id, exchange);
    }

    /// Whether the client has not been told that the connection is closed. A lost node tells nothing.
    fn seems_open(&self, kept: &Kept, machines: &Machines) -> bool {
        match &kept.end {
            End::Pod { container, node, .. } => {
                self.is_lost(node.as_deref()) || machines.keeps_alive(*container)
            }
            End::Ingress { generation, .. } => {
                self.is_lost(self.ingress_node.as_deref()) || *generation == self.ingress.generation
            }
        }
    }

    /// A request arrives at the node it was sent to; a node that is not there answers nothing.
    pub(super) fn on_arrive(&mut self, id: CallId, machines: &mut Machines, cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let Some(node) = self.node_by_ip.get(&exchange.call.ip).map(Arc::clone) else {
            return;
        };
        if self.is_lost(Some(&node)) {
            return;
        }
        let port = exchange.call.port;
        if matches!(port, 80 | 443) && self.ingress_node.as_ref() == Some(&node) {
            self.arrive_at_ingress(id, machines, cx);
        } else {
            self.arrive_at_proxy(id, &node, machines, cx);
        }
    }

    /// A process has answered.
    pub(super) fn on_response(
        &mut self,
        exchange: ExchangeId,
        response: Response<Bytes>,
        machines: &Machines,
        cx: &mut Cx<'_>,
    ) {
        let id = call_of(exchange);
        match self.exchanges.get(&id).filter(|e| e.id(id) == exchange).map(|e| &e.path) {
            Some(Path::Direct { pod, .. }) => {
                let hop = hop(pod.as_ref(), HopState::Serving);
                self.keep_direct(id, &response, cx.now);
                self.finish(id, Ok(response), hop, Duration::ZERO, cx);
            }
            Some(Path::Ingress(_)) => self.upstream_answered(id, response, machines, cx),
            Some(Path::Open) | None => {}
        }
    }

    /// A process ended before it answered.
    pub(super) fn on_cut(
        &mut self,
        exchange: ExchangeId,
        machines: &mut Machines,
        cx: &mut Cx<'_>,
    ) {
        let id = call_of(exchange);
        let Some(current) = self.exchanges.get(&id).filter(|e| e.id(id) == exchange) else {
            return;
        };
        match &current.path {
            Path::Direct { pod, node, .. } => {
                let state = self.failed_state(pod.as_ref(), node.as_deref(), machines, cx);
                // A lost node sends no RST: the client waits.
                if state != HopState::NodeLost {
                    let hop = hop(pod.as_ref(), state);
                    self.finish(id, Err(CallFailure::Reset), hop, Duration::ZERO, cx);
                }
            }
            Path::Ingress(_) => self.upstream_cut(id, machines, cx),
            Path::Open => {}
        }
    }

    /// Requests that pods of `node` were working on get no answer, and this is why.
    pub(super) fn lose_in_flight(&mut self, node: &str) {
        for exchange in self.exchanges.values_mut().filter(|exchange| exchange.outcome.is_none()) {
            let is_there = match &exchange.path {
                Path::Direct { node: at, .. } => at.as_deref() == Some(node),
                Path::Ingress(proxied) => proxied.is_sent_to(node),
                Path::Open => false,
            };
            if let Some(hop) = exchange.hop.as_mut().filter(|_| is_there) {
                hop.state = HopState::NodeLost;
            }
        }
    }

    /// Sends a result on its way to the client, `extra` after this instant and the way back.
    pub(super) fn finish(
        &mut self,
        id: CallId,
        outcome: Result<Response<Bytes>, CallFailure>,
        hop: Option<Hop>,
        extra: Duration,
        cx: &mut Cx<'_>,
    ) {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.outcome = Some(outcome);
            exchange.hop = hop;
            cx.queue.at(cx.now + extra + exchange.one_way, NetEvent::Deliver(id));
        }
    }

    /// A result arrives at the client.
    pub(super) fn on_deliver(&mut self, id: CallId, cx: &mut Cx<'_>) {
        let Some(exchange) = self.exchanges.remove(&id) else {
            return;
        };
        let failure = match exchange.outcome {
            Some(Ok(response)) => {
                let status = response.status().as_u16();
                let pod = exchange.hop.as_ref().map_or("-", |hop| hop.pod.name.as_str());
                cx.trace.line(cx.now, "net", format_args!("call {} {status} {pod}", id.0));
                let tls = exchange.certificate.map(|certificate| TlsFacts {
                    chain: certificate.chain.clone(),
                    fallback: certificate.fallback,
                });
                let (reused, hop) = (exchange.reused, exchange.hop);
                self.results.push((id, CallResult::Response { response, tls, reused, hop }));
                return;
            }
            Some(Err(failure)) => failure,
            None => CallFailure::ResponseTimeout,
        };
        self.fail(id, failure, exchange.hop, cx);
    }

    /// The client gives up, if it still waits.
    pub(super) fn on_expire(&mut self, id: CallId, cx: &mut Cx<'_>) {
        if let Some(exchange) = self.exchanges.remove(&id) {
            let failure = if exchange.connected {
                CallFailure::ResponseTimeout
            } else {
                CallFailure::ConnectTimeout
            };
            self.fail(id, failure, exchange.hop, cx);
        }
    }

    fn fail(&mut self, id: CallId, failure: CallFailure, hop: Option<Hop>, cx: &mut Cx<'_>) {
        let pod = hop.as_ref().map_or("-", |hop| hop.pod.name.as_str());
        cx.trace.line(cx.now, "net", format_args!("call {} {failure:?} {pod}", id.0));
        self.results.push((id, CallResult::Failed { failure, hop }));
    }

    /// Keeps a client's connection to a process open, if both sides do.
    fn keep_direct(&mut self, id: CallId, response: &Response<Bytes>, now: SimTime) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if let (Some(number), Path::Direct { container, pod, node }) =
            (exchange.call.connection, &exchange.path)
        {
            let end = End::Pod { container: *container, pod: pod.clone(), node: node.clone() };
            let n_before = exchange.kept.as_ref().map_or(0, Kept::n_requests);
            let keeps = server_keeps(response);
            self.connections.put(now, number, target(&exchange.call), n_before, end, keeps);
        }
    }

    /// Keeps a client's connection to the ingress controller open.
    pub(super) fn keep_ingress(&mut self, id: CallId, now: SimTime) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if let Some(number) = exchange.call.connection {
            let end = End::Ingress {
                generation: self.ingress.generation,
                certificate: exchange.certificate.clone(),
            };
            let n_before = exchange.kept.as_ref().map_or(0, Kept::n_requests);
            self.connections.put(now, number, target(&exchange.call), n_before, end, None);
        }
    }

    /// Why a pod did not take or finish a request: read from its object for the explanation alone,
    /// no decision of the data path rests on it.
    pub(super) fn failed_state(
        &self,
        pod: Option<&Key>,
        node: Option<&str>,
        machines: &Machines,
        cx: &Cx<'_>,
    ) -> HopState {
        if self.is_lost(node) {
            return HopState::NodeLost;
        }
        let Some(pod) = pod.and_then(|(namespace, name)| cx.api.get::<Pod>(namespace, name)) else {
            return HopState::Terminating;
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return HopState::Terminating;
        }
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        match ip.and_then(|ip| machines.peer(ip)) {
            // It hangs, or has closed an idle connection.
            Some(peer) if !peer.listening.is_empty() => HopState::Serving,
            Some(peer) if peer.has_listened => HopState::Crashed,
            _ => HopState::NotListening,
        }
    }
}

/// The hop to `pod`, if the endpoint is a pod.
pub(super) fn hop(pod: Option<&Key>, state: HopState) -> Option<Hop> {
    let (namespace, name) = pod?;
    Some(Hop { pod: ObjectRef::new("Pod", &**namespace, &**name), state })
}
