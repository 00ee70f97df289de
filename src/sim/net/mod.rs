//! Net: the data plane: DNS, Services, endpoint propagation, the ingress controller, connections.
//! Owns: which pod gets which request when; keep-alive reuse, sync lags, retries, time-outs, TLS facts.
//! Imports: base, k8s, sim::api, sim::apps, sim::machines. Never: sim::kubelet, sim::controllers, sockets.
//! Time and errors: each lag is a named constant with its source; refused, reset, time-out, 502, 503, 504 stay distinct.
//! Source: pkg/proxy at v1.20.2, ingress-nginx controller-v1.15.1. Proof: tests/conformance net_*.

use std::time::Duration;

use bytes::Bytes;

use crate::base::{ObjectRef, SimTime};

use super::api::Change;
use super::apps::{DialError, Dialer};
use super::bootstrap::ClusterSpec;
use super::context::Cx;
use super::machines::{ExchangeId, Machines};

/// A call from outside, unique for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// One HTTP(S) request from a client outside the cluster.
#[derive(Clone, Debug)]
pub struct ClientCall {
    /// Address to connect to: a node's address.
    pub ip: String,
    /// Port: 80 or 443 of the ingress controller's node, or a node port.
    pub port: u16,
    /// Server name for TLS; `None` for plain HTTP.
    pub tls: Option<String>,
    /// The connection to reuse if it is still open; `None` opens a fresh one and closes it after.
    pub connection: Option<u64>,
    /// The request; its URI is origin-form and `Host` is set.
    pub request: http::Request<Bytes>,
    /// Time after which the client gives up.
    pub timeout: Duration,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub enum CallResult {
    /// A response arrived.
    Response {
        /// The response.
        response: http::Response<Bytes>,
        /// What was seen of TLS.
        tls: Option<TlsFacts>,
        /// Whether an open connection was reused.
        reused: bool,
        /// The pod behind it, and what the path knew of it.
        hop: Option<Hop>,
    },
    /// No response.
    Failed {
        /// How it failed.
        failure: CallFailure,
        /// The pod it was meant for, and its state.
        hop: Option<Hop>,
    },
}

/// How a call failed, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallFailure {
    /// Connection refused.
    Refused,
    /// Connection reset, or closed before the response.
    Reset,
    /// No answer to the connection attempt in time.
    ConnectTimeout,
    /// Connected, but no response in time.
    ResponseTimeout,
}

/// The pod at the end of a path, and its state when the request met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The pod.
    pub pod: ObjectRef,
    /// Its state.
    pub state: HopState,
}

/// State of a pod when a request met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HopState {
    /// Serving.
    Serving,
    /// Its process does not listen yet.
    NotListening,
    /// Its process has stopped listening, or has ended, after its deletion.
    Terminating,
    /// Its process has ended without a deletion.
    Crashed,
    /// Its node is lost.
    NodeLost,
}

/// Facts of a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The certificates presented, leaf first, in DER.
    pub chain: Vec<Bytes>,
    /// Whether the certificate is the controller's own fallback.
    pub fallback: bool,
}

/// What is due in the network.
#[derive(Clone, Debug)]
pub enum NetEvent {
    /// A process has answered an exchange.
    Response(ExchangeId, http::Response<Bytes>),
    /// A process ended before it answered.
    Cut(ExchangeId),
}

/// The network.
#[derive(Debug)]
pub struct Net {
    results: Vec<(CallId, CallResult)>,
}

impl Net {
    /// The network of a cluster.
    pub fn new(_spec: &ClusterSpec) -> Self {
        Net { results: Vec::new() }
    }

    /// Starts periodic work.
    pub fn start(&mut self, _cx: &mut Cx<'_>) {}

    /// A Service, EndpointSlice, Ingress, Secret or Node has changed at this instant.
    pub fn on_change(&mut self, _change: &Change, _cx: &mut Cx<'_>) {}

    /// Something is due.
    pub fn on_event(&mut self, _event: NetEvent, _machines: &mut Machines, _cx: &mut Cx<'_>) {}

    /// Starts a call from outside.
    pub fn call(
        &mut self,
        _call: ClientCall,
        _machines: &mut Machines,
        _cx: &mut Cx<'_>,
    ) -> CallId {
        CallId(0)
    }

    /// The results since the last time.
    pub fn take_results(&mut self) -> Vec<(CallId, CallResult)> {
        std::mem::take(&mut self.results)
    }

    /// The node is cut off.
    pub fn node_lost(&mut self, _node: &str, _cx: &mut Cx<'_>) {}

    /// The node is back.
    pub fn node_returned(&mut self, _node: &str, _cx: &mut Cx<'_>) {}
}

impl Dialer for Net {
    fn dial(
        &mut self,
        _now: SimTime,
        _node: &str,
        _namespace: &str,
        _host: &str,
        _port: u16,
    ) -> Result<(String, u16), DialError> {
        Err(DialError::UnknownHost)
    }
}
