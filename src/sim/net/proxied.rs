//! A request through the ingress controller: its server, an upstream, and other upstreams after a failure.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, SERVER};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use super::call::{CallFailure, CallId, Hop, HopState};
use super::connections::{End, server_keeps};
use super::exchange::{Exchange, Path, call_of, hop};
use super::ingress::{self, Peer, Pooled, Settings};
use super::network::{Net, NetEvent};
use crate::base::SimTime;
use crate::sim::context::Cx;
use crate::sim::machines::{ConnectError, ContainerId, ExchangeId, Machines};

/// Round trip between the controller and a pod (estimate).
const UPSTREAM_ROUND_TRIP: (Duration, Duration) =
    (Duration::from_micros(100), Duration::from_micros(400));
/// Address that all clients outside share.
const CLIENT_IP: HeaderValue = HeaderValue::from_static("172.18.0.1");

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");

/// State of a request inside the controller.
#[derive(Debug)]
pub(super) struct Proxied {
    settings: Arc<Settings>,
    upstream: Arc<str>,
    /// Attempts so far; those on a kept connection that turned out closed do not count.
    tries: u32,
    peer: Option<Peer>,
    pooled: Option<Pooled>,
    container: Option<ContainerId>,
    one_way: Duration,
}

impl Proxied {
    /// Whether a process on `node` has the request.
    pub(super) fn is_sent_to(&self, node: &str) -> bool {
        let at = self.peer.as_ref().and_then(|peer| peer.node.as_deref());
        self.container.is_some() && at == Some(node)
    }
}

/// How an attempt failed, in the words of `proxy_next_upstream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    Error,
    Timeout,
    /// It answered, with this status.
    Status(StatusCode),
}

impl Net {
    /// A request arrives at the controller.
    pub(super) fn arrive_at_ingress(
        &mut self,
        id: CallId,
        machines: &mut Machines,
        cx: &mut Cx<'_>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        match exchange.kept.as_ref().map(|kept| (&kept.end, kept.server_closes())) {
            Some((End::Ingress { generation, certificate }, closes)) => {
                if *generation != self.ingress.generation || closes <= cx.now {
                    self.finish(id, Err(CallFailure::Reset), None, Duration::ZERO, cx);
                    return;
                }
                exchange.certificate.clone_from(certificate);
            }
            _ => {
                let names = exchange.call.tls.as_deref();
                exchange.certificate = names.map(|name| Arc::clone(self.ingress.certificate(name)));
            }
        }
        exchange.connected = true;
        match (exchange.call.port, exchange.call.tls.is_some()) {
            (443, false) => self.answer(id, ingress::page(StatusCode::BAD_REQUEST), None, cx),
            (80, true) => self.finish(id, Err(CallFailure::Reset), None, Duration::ZERO, cx),
            _ => match self.route(id) {
                Ok(proxied) => {
                    if let Some(exchange) = self.exchanges.get_mut(&id) {
                        forward_headers(exchange);
                        exchange.path = Path::Ingress(Box::new(proxied));
                    }
                    self.try_upstream(id, machines, cx);
                }
                Err(response) => self.answer(id, *response, None, cx),
            },
        }
    }

    /// The upstream for a request, or what nginx answers by itself.
    fn route(&self, id: CallId) -> Result<Proxied, Box<Response<Bytes>>> {
        let not_found = || Box::new(ingress::page(StatusCode::NOT_FOUND));
        let exchange = self.exchanges.get(&id).ok_or_else(not_found)?;
        let request = &exchange.call.request;
        let host = ingress::host_of(request);
        let path = request.uri().path();
        let servers = &self.ingress.servers;
        if path == "/healthz" && servers.named(&host).is_none() {
            return Err(Box::new(Response::new(Bytes::new())));
        }
        let server = servers.server(&host).ok_or_else(not_found)?;
        let location = server.location(path);
        let settings = location.map(|location| Arc::clone(&location.settings)).unwrap_or_default();
        let redirects = settings.force_ssl_redirect || (settings.ssl_redirect && server.has_tls);
        if redirects && exchange.call.tls.is_none() {
            let keep = settings.preserve_trailing_slash;
            return Err(Box::new(ingress::https_redirect(&host, request.uri(), keep)));
        }
        let size = u64::try_from(request.body().len()).unwrap_or(u64::MAX);
        if settings.body_size > 0 && size > settings.body_size {
            return Err(Box::new(ingress::page(StatusCode::PAYLOAD_TOO_LARGE)));
        }
        let upstream = location.and_then(|location| location.upstream.clone());
        Ok(Proxied {
            settings,
            upstream: upstream.ok_or_else(not_found)?,
            tries: 0,
            peer: None,
            pooled: None,
            container: None,
            one_way: Duration::ZERO,
        })
    }

    /// Chooses a peer and sends the request to it, over a kept connection if there is one.
    fn try_upstream(&mut self, id: CallId, machines: &Machines, cx: &mut Cx<'_>) {
        let lost = &self.lost;
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let number_before = exchange.attempt;
        let Path::Ingress(proxied) = &mut exchange.path else {
            return;
        };
        let upstream = self.ingress.upstreams.get_mut(&proxied.upstream);
        let Some(peer) = upstream.and_then(super::ingress::Upstream::next) else {
            let page = ingress::page(StatusCode::SERVICE_UNAVAILABLE);
            self.answer(id, page, None, cx);
            return;
        };
        let is_lost = peer.node.as_ref().is_some_and(|node| lost.contains(node));
        let is_open = |container| is_lost || machines.keeps_alive(container);
        proxied.pooled = self.ingress.pool.take(cx.now, &peer, is_open);
        proxied.container = None;
        proxied.tries += 1;
        let (low, high) = UPSTREAM_ROUND_TRIP;
        let round_trip = cx.rng.between("net-upstream-rtt", low, high);
        proxied.one_way = round_trip / 2;
        let handshake = if proxied.pooled.is_some() { Duration::ZERO } else { round_trip };
        let reaches = cx.now + handshake + proxied.one_way;
        proxied.peer = Some(peer);
        exchange.attempt = number_before.wrapping_add(1);
        cx.queue.at(reaches, NetEvent::Reach(exchange.id(id)));
    }

    /// The request reaches the address of the peer.
    pub(super) fn on_reach(
        &mut self,
        exchange: ExchangeId,
        machines: &mut Machines,
        cx: &mut Cx<'_>,
    ) {
        let id = call_of(exchange);
        let Some(current) = self.exchanges.get(&id).filter(|e| e.id(id) == exchange) else {
            return;
        };
        let Path::Ingress(proxied) = &current.path else {
            return;
        };
        let Some(peer) = proxied.peer.clone() else {
            return;
        };
        let (connect, read) = (proxied.settings.connect_timeout, proxied.settings.read_timeout);
        let lost = self.is_lost(peer.node.as_deref());
        match proxied.pooled {
            Some(_) if lost => self.give_up_after(exchange, read, cx),
            Some(Pooled { container, server_closes }) => {
                if server_closes > cx.now && machines.keeps_alive(container) {
                    self.submit_upstream(id, container, machines, cx);
                } else {
                    self.upstream_failed(id, Failed::Error, true, machines, cx);
                }
            }
            None if lost => self.give_up_after(exchange, connect, cx),
            None => match self.connect_upstream(&peer, machines, cx.now) {
                Ok(container) => self.submit_upstream(id, container, machines, cx),
                Err(ConnectError::Refused) => {
                    self.upstream_failed(id, Failed::Error, false, machines, cx);
                }
                Err(ConnectError::NoAnswer) => self.give_up_after(exchange, connect, cx),
            },
        }
    }

    fn connect_upstream(
        &mut self,
        peer: &Peer,
        machines: &Machines,
        now: SimTime,
    ) -> Result<ContainerId, ConnectError> {
        if self.endpoints.by_cluster_ip(&peer.ip).is_none() {
            return machines.connect(&peer.ip, peer.port);
        }
        let node = self.ingress_node.clone().unwrap_or_default();
        let dialled = self.dial_cluster_ip(now, &node, &peer.ip, peer.port);
        let (ip, port) = dialled.map_err(|error| match error {
            crate::sim::apps::DialError::Timeout => ConnectError::NoAnswer,
            _ => ConnectError::Refused,
        })?;
        machines.connect(&ip, port)
    }

    fn submit_upstream(
        &mut self,
        id: CallId,
        container: ContainerId,
        machines: &mut Machines,
        cx: &mut Cx<'_>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let (number, request) = (exchange.id(id), exchange.call.request.clone());
        let Path::Ingress(proxied) = &mut exchange.path else {
            return;
        };
        proxied.container = Some(container);
        let read = proxied.settings.read_timeout;
        exchange.hop = hop(proxied.peer.as_ref().and_then(|p| p.pod.as_ref()), HopState::Serving);
        // A client that gives up earlier makes the controller's own limit unobservable.
        if read < exchange.call.timeout {
            self.give_up_after(number, read, cx);
        }
        machines.submit(container, number, request, self, cx);
    }

    fn give_up_after(&mut self, exchange: ExchangeId, limit: Duration, cx: &mut Cx<'_>) {
        cx.queue.at(cx.now + limit, NetEvent::UpstreamTimeout(exchange));
    }

    /// The connect or read timeout of an attempt.
    pub(super) fn on_upstream_timeout(
        &mut self,
        exchange: ExchangeId,
        machines: &mut Machines,
        cx: &mut Cx<'_>,
    ) {
        let id = call_of(exchange);
        let Some(current) = self.exchanges.get(&id).filter(|e| e.id(id) == exchange) else {
            return;
        };
        if let (Path::Ingress(proxied), None) = (&current.path, &current.outcome) {
            let sent = proxied.container.is_some() || proxied.pooled.is_some();
            self.upstream_failed(id, Failed::Timeout, sent, machines, cx);
        }
    }

    /// The process at the other end is gone.
    pub(super) fn upstream_cut(&mut self, id: CallId, machines: &mut Machines, cx: &mut Cx<'_>) {
        let Some(Path::Ingress(proxied)) = self.exchanges.get(&id).map(|e| &e.path) else {
            return;
        };
        let node = proxied.peer.as_ref().and_then(|peer| peer.node.as_deref());
        if self.is_lost(node) {
            // No RST comes from a lost node: the read timeout decides.
            return;
        }
        self.upstream_failed(id, Failed::Error, true, machines, cx);
    }

    /// Tries the next upstream, or answers 502 or 504
    /// (`ngx_http_upstream.c:ngx_http_upstream_next`).
    fn upstream_failed(
        &mut self,
        id: CallId,
        failed: Failed,
        sent: bool,
        machines: &Machines,
        cx: &mut Cx<'_>,
    ) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let Path::Ingress(proxied) = &exchange.path else {
            return;
        };
        let peer = proxied.peer.as_ref();
        let (pod, node) = (peer.and_then(|p| p.pod.as_ref()), peer.and_then(|p| p.node.as_deref()));
        let hop = hop(pod, self.failed_state(pod, node, machines, cx));
        // A kept connection that proves closed does not use up a try.
        let free = proxied.pooled.is_some() && failed == Failed::Error;
        let again = may_retry(proxied, failed, sent, &exchange.call.request, self.n_peers(proxied));
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            exchange.hop.clone_from(&hop);
            if let (true, Path::Ingress(proxied)) = (free, &mut exchange.path) {
                proxied.tries -= 1;
            }
        }
        if again {
            self.try_upstream(id, machines, cx);
            return;
        }
        let status = match failed {
            Failed::Error => StatusCode::BAD_GATEWAY,
            Failed::Timeout => StatusCode::GATEWAY_TIMEOUT,
            // A status that is not tried elsewhere goes to the client as it is.
            Failed::Status(status) => status,
        };
        self.answer(id, ingress::page(status), hop, cx);
    }

    fn n_peers(&self, proxied: &Proxied) -> usize {
        self.ingress.upstreams.get(&proxied.upstream).map_or(0, ingress::Upstream::len)
    }

    /// A response of the upstream goes back to the client; the connection to the upstream is kept.
    /// One whose status is to be tried elsewhere goes back only when no try is left
    /// (`ngx_http_upstream.c:ngx_http_upstream_test_next`).
    pub(super) fn upstream_answered(
        &mut self,
        id: CallId,
        mut response: Response<Bytes>,
        machines: &Machines,
        cx: &mut Cx<'_>,
    ) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        let Path::Ingress(proxied) = &exchange.path else {
            return;
        };
        let failed = Failed::Status(response.status());
        if may_retry(proxied, failed, true, &exchange.call.request, self.n_peers(proxied)) {
            self.try_upstream(id, machines, cx);
            return;
        }
        let Some((peer, container)) = proxied.peer.as_ref().zip(proxied.container) else {
            return;
        };
        if let Some(keeps) = server_keeps(&response) {
            self.ingress.pool.put(cx.now, peer, container, keeps);
        }
        let hop = hop(peer.pod.as_ref(), HopState::Serving);
        let headers = response.headers_mut();
        for hidden in [CONNECTION, SERVER, HeaderName::from_static("keep-alive")] {
            headers.remove(hidden);
        }
        self.answer(id, response, hop, cx);
    }

    fn answer(
        &mut self,
        id: CallId,
        mut response: Response<Bytes>,
        hop: Option<Hop>,
        cx: &mut Cx<'_>,
    ) {
        let Some(exchange) = self.exchanges.get(&id) else {
            return;
        };
        if exchange.call.tls.is_some() {
            ingress::add_hsts(&mut response);
        }
        let extra = match &exchange.path {
            Path::Ingress(proxied) => proxied.one_way,
            _ => Duration::ZERO,
        };
        self.keep_ingress(id, cx.now);
        self.finish(id, Ok(response), hop, extra, cx);
    }
}

/// Whether `proxy_next_upstream` lets the request go to another peer: never a POST, LOCK or PATCH
/// once it was sent, unless `non_idempotent` is set.
fn may_retry(
    proxied: &Proxied,
    failed: Failed,
    sent: bool,
    request: &http::Request<Bytes>,
    n_peers: usize,
) -> bool {
    let retries = &proxied.settings.retries;
    let listed = match failed {
        Failed::Error => retries.on_error,
        Failed::Timeout => retries.on_timeout,
        Failed::Status(status) => retries.on_status.contains(&status.as_u16()),
    };
    let method = request.method();
    let repeatable =
        !(*method == Method::POST || *method == Method::PATCH) && method.as_str() != "LOCK";
    let limit = match retries.tries {
        0 => u32::try_from(n_peers).unwrap_or(u32::MAX),
        tries => tries,
    };
    let free = proxied.pooled.is_some() && failed == Failed::Error;
    listed && (!sent || repeatable || retries.non_idempotent) && (free || proxied.tries < limit)
}

/// What the controller tells the program about the client; what the client sent is replaced
/// (`use-forwarded-headers` false).
fn forward_headers(exchange: &mut Exchange) {
    let (port, scheme) = match exchange.call.tls {
        Some(_) => ("443", "https"),
        None => ("80", "http"),
    };
    let headers = exchange.call.request.headers_mut();
    if let Some(host) = headers.get(http::header::HOST).cloned() {
        headers.insert(X_FORWARDED_HOST, host);
    }
    headers.insert(X_REAL_IP, CLIENT_IP);
    headers.insert(X_FORWARDED_FOR, CLIENT_IP);
    headers.insert(X_FORWARDED_PORT, HeaderValue::from_static(port));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers.insert(X_FORWARDED_SCHEME, HeaderValue::from_static(scheme));
    headers.insert(X_SCHEME, HeaderValue::from_static(scheme));
}
