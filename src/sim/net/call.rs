//! Calls from outside the cluster and what becomes of them.

use std::time::Duration;

use bytes::Bytes;

use crate::base::ObjectRef;

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
