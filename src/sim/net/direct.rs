//! A node port: kube-proxy chooses an endpoint, the connection ends at the pod's process.

use std::time::Duration;

use super::call::{CallFailure, CallId, HopState};
use super::connections::End;
use super::endpoints::Backend;
use super::exchange::{Path, hop};
use super::network::Net;
use super::proxy::{NoEndpoint, PortRef, Wish};
use crate::sim::context::Cx;
use crate::sim::machines::{ConnectError, ContainerId, Machines};

/// Address that all clients outside share.
const CLIENT_IP: &str = "172.18.0.1";

impl Net {
    /// A request meets the rules of a node.
    pub(super) fn arrive_at_proxy(
        &mut self,
        id: CallId,
        node: &str,
        machines: &mut Machines,
        cx: &mut Cx<'_>,
    ) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        // TLS on a plain port: the server answers what is no handshake.
        let is_tls = exchange.call.tls.is_some();
        if let Some(kept) = &exchange.kept {
            let closed = kept.server_closes() <= cx.now;
            if let End::Pod { container, pod, node } = kept.end.clone() {
                let path = Path::Direct { container, pod, node };
                self.go_on_kept(id, container, path, closed, machines, cx);
            }
            return;
        }
        let port = exchange.call.port;
        let Some(service) = self.endpoints.by_node_port(port) else {
            self.finish(id, Err(CallFailure::Refused), None, Duration::ZERO, cx);
            return;
        };
        let wish = Wish { service, port: PortRef::Node(port), client: CLIENT_IP };
        let (endpoints, synced) = (&self.endpoints, &mut self.synced);
        match self.proxies.pick(cx.now, node, wish, endpoints, cx.rng, synced) {
            Ok(_) if is_tls => {
                self.finish(id, Err(CallFailure::Reset), None, Duration::ZERO, cx);
            }
            Ok(backend) => self.connect_direct(id, backend, machines, cx),
            Err(NoEndpoint::Rejected) => {
                self.finish(id, Err(CallFailure::Refused), None, Duration::ZERO, cx);
            }
            Err(NoEndpoint::Dropped) => {}
        }
    }

    /// A request on an open connection: it stays with its pod, whatever the rules say now. The
    /// server may have closed it while the request was on its way.
    fn go_on_kept(
        &mut self,
        id: CallId,
        container: ContainerId,
        path: Path,
        closed: bool,
        machines: &mut Machines,
        cx: &mut Cx<'_>,
    ) {
        let Path::Direct { pod, node, .. } = &path else {
            return;
        };
        if self.is_lost(node.as_deref()) {
            let lost = hop(pod.as_ref(), HopState::NodeLost);
            if let Some(exchange) = self.exchanges.get_mut(&id) {
                exchange.hop = lost;
            }
        } else if closed || !machines.keeps_alive(container) {
            let state = self.failed_state(pod.as_ref(), node.as_deref(), machines, cx);
            let hop = hop(pod.as_ref(), state);
            self.finish(id, Err(CallFailure::Reset), hop, Duration::ZERO, cx);
        } else {
            self.submit_direct(id, container, path, machines, cx);
        }
    }

    fn connect_direct(
        &mut self,
        id: CallId,
        backend: Backend,
        machines: &mut Machines,
        cx: &mut Cx<'_>,
    ) {
        let Backend { ip, port, pod, node, .. } = backend;
        let lost = self.is_lost(node.as_deref());
        let connected =
            if lost { Err(ConnectError::NoAnswer) } else { machines.connect(&ip, port) };
        match connected {
            Ok(container) => {
                let path = Path::Direct { container, pod, node };
                self.submit_direct(id, container, path, machines, cx);
            }
            Err(error) => {
                let state = self.failed_state(pod.as_ref(), node.as_deref(), machines, cx);
                let hop = hop(pod.as_ref(), state);
                if error == ConnectError::Refused {
                    self.finish(id, Err(CallFailure::Refused), hop, Duration::ZERO, cx);
                } else if let Some(exchange) = self.exchanges.get_mut(&id) {
                    exchange.hop = hop;
                }
            }
        }
    }

    fn submit_direct(
        &mut self,
        id: CallId,
        container: ContainerId,
        path: Path,
        machines: &mut Machines,
        cx: &mut Cx<'_>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        exchange.connected = true;
        if let Path::Direct { pod, .. } = &path {
            exchange.hop = hop(pod.as_ref(), HopState::Serving);
        }
        exchange.path = path;
        let number = exchange.id(id);
        let request = std::mem::take(&mut exchange.call.request);
        machines.submit(container, number, request, self, cx);
    }
}
