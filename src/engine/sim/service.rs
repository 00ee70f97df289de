//! The control-plane waist: a tower service behind `kube::Client` that asks the simulated API server.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube::client::Body;
use tokio::sync::mpsc;
use tower::{BoxError, Service};

use super::bridge::{Bridge, Reply};
use crate::base::millis;

/// An API request takes 2 to 15 ms on a small healthy cluster (semantics 0.2).
const API_LATENCY: (Duration, Duration) = (millis(2), millis(15));

/// Bytes at once, or lines as they come.
type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;

/// Answers API requests from the world behind `bridge`.
#[derive(Clone)]
pub(super) struct ApiService {
    bridge: Arc<Bridge>,
}

impl ApiService {
    pub(super) fn new(bridge: Arc<Bridge>) -> Self {
        ApiService { bridge }
    }
}

impl Service<Request<Body>> for ApiService {
    type Response = Response<ReplyBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<ReplyBody>, BoxError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let bridge = Arc::clone(&self.bridge);
        Box::pin(answer(bridge, request))
    }
}

async fn answer(
    bridge: Arc<Bridge>,
    request: Request<Body>,
) -> Result<Response<ReplyBody>, BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (low, high) = API_LATENCY;
    let latency = bridge.act(|world| world.api().streams().between("api-latency", low, high));
    tokio::time::sleep(latency).await;
    Ok(match bridge.serve(&Request::from_parts(parts, body)) {
        Reply::Response(response) => response.map(|body| Full::new(body).boxed_unsync()),
        Reply::Watch(id, lines) => {
            let lines = WatchLines { id, lines, bridge };
            let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, json);
            response
        }
    })
}

/// The lines of an open watch; dropping it closes the watch.
struct WatchLines {
    id: u64,
    lines: mpsc::UnboundedReceiver<Bytes>,
    bridge: Arc<Bridge>,
}

impl Stream for WatchLines {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lines.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

impl Drop for WatchLines {
    fn drop(&mut self) {
        self.bridge.close_watch(self.id);
    }
}
