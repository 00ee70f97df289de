//! Patience: a request that is no stream ends within a limit, whatever the network does.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use tokio::time::timeout;
use tower::{BoxError, Layer, Service};

/// Bytes at once, or a stream as it comes.
type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// Wraps the service of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct PatienceLayer {
    limit: Duration,
}

impl PatienceLayer {
    pub(super) fn new(limit: Duration) -> Self {
        PatienceLayer { limit }
    }
}

impl<S> Layer<S> for PatienceLayer {
    type Service = Patient<S>;

    fn layer(&self, inner: S) -> Patient<S> {
        Patient { inner, limit: self.limit }
    }
}

/// A service that gives up after a while.
#[derive(Clone, Debug)]
pub(super) struct Patient<S> {
    inner: S,
    limit: Duration,
}

impl<S, B> Service<Request<Body>> for Patient<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    type Response = Response<AnyBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<AnyBody>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = self.limit;
        let streams = is_stream(&request);
        let asked = format!("{} {}", request.method(), request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let whole = async {
                let response = answer.await?;
                if streams {
                    return Ok(response.map(http_body_util::BodyExt::boxed_unsync));
                }
                let (parts, body) = response.into_parts();
                let body = Full::new(body.collect().await?.to_bytes());
                let body = body.map_err(|never: Infallible| match never {}).boxed_unsync();
                Ok(Response::from_parts(parts, body))
            };
            timeout(limit, whole).await.unwrap_or_else(|_| {
                let seconds = limit.as_secs_f32();
                Err(format!("{asked}: no whole answer within {seconds} s").into())
            })
        })
    }
}

/// Watches, followed logs and upgraded connections last; only their beginning is waited for.
fn is_stream(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let lasts = |pair: &str| matches!(pair, "watch=true" | "watch=1" | "follow=true");
    request.headers().contains_key(http::header::UPGRADE) || query.split('&').any(lasts)
}
