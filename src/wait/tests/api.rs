//! An API server of pods that can be away, silent or deaf.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tower::BoxError;

use crate::base::millis;
use crate::wait::Scope;

type Reply = UnsyncBoxBody<Bytes, io::Error>;

/// How it takes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Answers,
    /// Nobody listens.
    Refuses,
    /// It takes them, and that is all.
    Silent,
    Forbids,
    /// It lists, and lets nobody watch.
    ForbidsWatches,
    /// It lists, and ends every watch as soon as it is open.
    EndsWatches,
}

#[derive(Clone, Default)]
pub(super) struct FakeApi(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    mood: Mood,
    is_deaf: bool,
    version: u64,
    n_lists: usize,
    n_watches: usize,
    pods: BTreeMap<String, Value>,
    /// What has happened, by version, for watches that are resumed.
    history: Vec<(u64, Bytes)>,
    /// Watches from before this version are refused.
    forgotten: u64,
    watches: Vec<mpsc::UnboundedSender<io::Result<Bytes>>>,
}

impl FakeApi {
    /// The scope of all its pods.
    pub(super) fn pods(&self) -> Scope<Pod> {
        let api = self.clone();
        let service = tower::service_fn(move |request| api.clone().serve(request));
        Scope::all(Api::namespaced(Client::new(service, "default"), "default"))
    }

    /// From now on; where nobody listens, watches end.
    pub(super) fn set(&self, mood: Mood) {
        let mut inner = self.lock();
        inner.mood = mood;
        if mood == Mood::Refuses {
            inner.watches.clear();
        }
    }

    /// Watches that are open tell of nothing any more.
    pub(super) fn deafen(&self) {
        self.lock().is_deaf = true;
    }

    /// Ends all watches as a connection does that was dead for a while: with an error.
    pub(super) fn reset_watches(&self) {
        let mut inner = self.lock();
        inner.is_deaf = false;
        for watch in inner.watches.drain(..) {
            let _ = watch.send(Err(io::ErrorKind::ConnectionReset.into()));
        }
    }

    /// Ends all watches; the versions told so far are too old to watch from.
    pub(super) fn forget(&self) {
        let mut inner = self.lock();
        inner.is_deaf = false;
        inner.forgotten = inner.version;
        inner.watches.clear();
    }

    /// Ends all watches.
    pub(super) fn close_watches(&self) {
        self.lock().watches.clear();
    }

    pub(super) fn n_lists(&self) -> usize {
        self.lock().n_lists
    }

    pub(super) fn n_watches(&self) -> usize {
        self.lock().n_watches
    }

    pub(super) fn put(&self, name: &str) {
        let mut inner = self.lock();
        inner.version += 1;
        let version = inner.version.to_string();
        let meta = json!({"name": name, "namespace": "default", "uid": name,
            "resourceVersion": version});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta});
        inner.pods.insert(name.to_owned(), pod.clone());
        inner.tell("MODIFIED", &pod);
    }

    pub(super) fn remove(&self, name: &str) {
        let mut inner = self.lock();
        inner.version += 1;
        let version = inner.version.to_string();
        if let Some(mut pod) = inner.pods.remove(name) {
            pod["metadata"]["resourceVersion"] = version.into();
            inner.tell("DELETED", &pod);
        }
    }

    async fn serve(self, request: Request<Body>) -> Result<Response<Reply>, BoxError> {
        // Whoever asks without a pause gets through time all the same.
        sleep(millis(1)).await;
        let mood = self.lock().mood;
        match mood {
            Mood::Answers | Mood::ForbidsWatches | Mood::EndsWatches => {}
            Mood::Refuses => return Err("connection refused".into()),
            Mood::Silent => std::future::pending().await,
            Mood::Forbids => return Ok(answer(403, &refusal(403, "Forbidden", "not you"))),
        }
        let mut inner = self.lock();
        if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            inner.n_watches += 1;
            if mood == Mood::ForbidsWatches {
                return Ok(answer(403, &refusal(403, "Forbidden", "no watches")));
            }
            let (sender, lines) = mpsc::unbounded_channel();
            let since = since(&request);
            if since < inner.forgotten {
                let _ = sender.send(Ok(line("ERROR", &refusal(410, "Expired", "too old"))));
            } else if mood != Mood::EndsWatches {
                for (_, line) in inner.history.iter().filter(|(version, _)| *version > since) {
                    let _ = sender.send(Ok(line.clone()));
                }
                inner.watches.push(sender);
            }
            let lines = futures::stream::unfold(lines, async |mut lines| {
                Some((lines.recv().await?, lines))
            });
            let frames = lines.map(|line| line.map(Frame::data));
            return Ok(Response::new(StreamBody::new(frames).boxed_unsync()));
        }
        inner.n_lists += 1;
        let list = json!({"apiVersion": "v1", "kind": "PodList",
            "metadata": {"resourceVersion": inner.version.to_string()},
            "items": inner.pods.values().collect::<Vec<_>>()});
        Ok(answer(200, &list))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&mut self, what: &str, pod: &Value) {
        let line = line(what, pod);
        for watch in self.watches.iter().filter(|_| !self.is_deaf) {
            let _ = watch.send(Ok(line.clone()));
        }
        self.history.push((self.version, line));
    }
}

fn answer(code: u16, value: &Value) -> Response<Reply> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

fn refusal(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": reason, "code": code})
}

fn line(what: &str, pod: &Value) -> Bytes {
    format!("{}\n", json!({"type": what, "object": pod})).into()
}

/// The version from which a watch is wished for.
fn since(request: &Request<Body>) -> u64 {
    let mut pairs = request.uri().query().unwrap_or_default().split('&');
    let since = pairs.find_map(|pair| pair.strip_prefix("resourceVersion="));
    since.and_then(|text| text.parse().ok()).unwrap_or(0)
}
