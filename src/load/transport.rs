//! The data-plane waist: one HTTP(S) request as a client outside the cluster sends it.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::base::ObjectRef;

/// Where a request goes: an address, and TLS with this server name if any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Address to connect to.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Server name for TLS; `None` for plain HTTP.
    pub tls: Option<String>,
}

/// Which connection carries a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// A new one, closed afterwards.
    Fresh,
    /// The kept-alive one with this number; opened when it is not open.
    Kept(u64),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where it goes.
    pub target: Target,
    /// On which connection.
    pub connection: Connection,
    /// What is sent: origin-form URI, `Host` set.
    pub request: http::Request<Bytes>,
    /// Time after which the client gives up.
    pub timeout: Duration,
}

/// A response, of any status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The response.
    pub response: http::Response<Bytes>,
    /// What the TLS handshake showed.
    pub tls: Option<TlsSeen>,
    /// Whether an open connection was reused.
    pub reused: bool,
    /// Who answered, where the transport can know it.
    pub backend: Option<Backend>,
}

/// What a TLS handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSeen {
    /// Certificates presented, leaf first, in DER.
    pub chain: Vec<Bytes>,
}

/// No response.
#[derive(Clone, Debug)]
pub struct Failed {
    /// How it failed.
    pub failure: Failure,
    /// Whom the request was meant for, where the transport can know it.
    pub backend: Option<Backend>,
}

/// How a request failed, as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Connection refused.
    Refused,
    /// Connection reset, or closed before the response.
    Reset,
    /// No answer to the connection attempt in time.
    ConnectTimeout,
    /// Connected, but no response in time.
    ResponseTimeout,
    /// The TLS handshake failed.
    Tls(String),
    /// This machine lacked what it takes to send it, and which: that says nothing about the other end.
    NotSent(String),
}

/// What the transport knows of the other end; a real network tells nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The object that was to serve the request.
    pub object: ObjectRef,
    /// Its state when the request met it.
    pub state: BackendState,
}

/// State of a backend when a request met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendState {
    /// Serving.
    Serving,
    /// Started, but not listening yet.
    NotListening,
    /// Stopped listening after its deletion.
    Terminating,
    /// Ended without a deletion.
    Crashed,
    /// Its node is lost.
    NodeLost,
}

/// Sends requests. The same calls mean the same on every engine.
pub trait Transport: Send + Sync {
    /// Sends one request and waits for what becomes of it.
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, Failed>>;
}
