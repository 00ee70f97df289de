//! Tcp: the transport of real networks: HTTP/1.1 over TCP and TLS, one connection under our own control.
//! Owns: `TcpTransport`, its kept connections, how a network's errors become a `Failure`.
//! Imports: load::transport. Never: kube, connection pools that retry or choose for us.
//! Time and errors: a call ends within its time-out; a request that may have been sent is never sent again.
//! Source: RFC 9112 9.3 (persistence), RFC 9110 9.2.2 (retries). Proof: tests.rs, against sockets on 127.0.0.1.

mod connect;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONNECTION, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::{Instant, timeout_at};

use self::connect::{Open, Sent};
use self::tls::Tls;
use super::transport::{Answer, Call, Connection, Failed, Failure, Target, Transport};

/// Sends requests over the network of this machine.
#[derive(Clone, Debug)]
pub struct TcpTransport {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tls: Tls,
    /// Open connections that carry no request right now.
    idle: Mutex<BTreeMap<(Target, u64), Open>>,
}

impl TcpTransport {
    /// A transport without any open connection. The process may open as many files from now on as it is
    /// allowed to at all: each connection is one, and the soft limit is often 1024.
    pub fn new() -> Self {
        static RAISED: Once = Once::new();
        RAISED.call_once(raise_file_limit);
        let idle = Mutex::new(BTreeMap::new());
        TcpTransport { shared: Arc::new(Shared { tls: Tls::new(), idle }) }
    }
}

fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it may not be raised it stays, and what cannot be sent for it says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

impl Default for TcpTransport {
    fn default() -> Self {
        TcpTransport::new()
    }
}

impl Transport for TcpTransport {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Answer, Failed>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let outcome = exchange(&shared, call).await;
            outcome.map_err(|failure| Failed { failure, backend: None })
        })
    }
}

async fn exchange(shared: &Shared, call: Call) -> Result<Answer, Failure> {
    let Call { target, connection, request, timeout } = call;
    let deadline = Instant::now() + timeout;
    let mut request = request.map(Full::new);
    let key = match connection {
        Connection::Kept(id) => (target, id),
        Connection::Fresh => {
            let close = HeaderValue::from_static("close");
            request.headers_mut().entry(CONNECTION).or_insert(close);
            let open = Open::connect(&target, &shared.tls, deadline).await?;
            return on_new(open, request, deadline).await.map(|(answer, _)| answer);
        }
    };
    if let Some(open) = shared.take(&key) {
        match send(open, request, deadline).await? {
            Exchanged::Answered(mut answer, open) => {
                answer.reused = true;
                shared.put(key, open);
                return Ok(answer);
            }
            // The server closed it while it was idle: nothing was sent, so another one is opened.
            Exchanged::Unsent(back) => request = back,
        }
    }
    let open = Open::connect(&key.0, &shared.tls, deadline).await?;
    let (answer, open) = on_new(open, request, deadline).await?;
    shared.put(key, open);
    Ok(answer)
}

/// What became of a request on one connection.
enum Exchanged {
    Answered(Answer, Open),
    Unsent(http::Request<Full<Bytes>>),
}

/// Sends a request on a connection just opened. The server may close even that one at once.
async fn on_new(
    open: Open,
    request: http::Request<Full<Bytes>>,
    deadline: Instant,
) -> Result<(Answer, Open), Failure> {
    match send(open, request, deadline).await? {
        Exchanged::Answered(answer, open) => Ok((answer, open)),
        Exchanged::Unsent(_) => Err(Failure::Reset),
    }
}

/// Sends a request and reads the whole response. Dropping the connection closes it, so none that
/// failed or timed out is used again.
async fn send(
    mut open: Open,
    request: http::Request<Full<Bytes>>,
    deadline: Instant,
) -> Result<Exchanged, Failure> {
    let response = async {
        match open.send(request).await? {
            Sent::Response(response) => {
                let (parts, body) = response.into_parts();
                // A body that breaks off is a response broken off: the user saw half a page.
                let body = body.collect().await.map_err(|_| Failure::Reset)?.to_bytes();
                Ok(Ok(http::Response::from_parts(parts, body)))
            }
            Sent::Not(request) => Ok(Err(request)),
        }
    };
    let in_time = timeout_at(deadline, response).await;
    match in_time.unwrap_or(Err(Failure::ResponseTimeout))? {
        Ok(response) => {
            let tls = open.tls_seen();
            Ok(Exchanged::Answered(Answer { response, tls, reused: false, backend: None }, open))
        }
        Err(request) => Ok(Exchanged::Unsent(request)),
    }
}

impl Shared {
    /// Takes a kept connection out for one request. A second call meanwhile finds none and opens
    /// another, as a client does that has two requests at once; the last one back is kept.
    fn take(&self, key: &(Target, u64)) -> Option<Open> {
        self.idle().remove(key)
    }

    fn put(&self, key: (Target, u64), open: Open) {
        let mut idle = self.idle();
        idle.retain(|_, open| !open.is_closed());
        idle.insert(key, open);
    }

    fn idle(&self) -> MutexGuard<'_, BTreeMap<(Target, u64), Open>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
