//! An API server of pods that can be away, silent or deaf.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::BoxError;

use crate::wait::Scope;

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
}

#[derive(Clone, Default)]
pub(super) struct FakeApi(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    mood: Mood,
    is_deaf: bool,
    version: u64,
    n_lists: usize,
    pods: BTreeMap<String, Value>,
    watches: Vec<mpsc::UnboundedSender<Bytes>>,
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

    /// Ends all watches.
    pub(super) fn close_watches(&self) {
        self.lock().watches.clear();
    }

    pub(super) fn n_lists(&self) -> usize {
        self.lock().n_lists
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

    async fn serve(
        self,
        request: Request<Body>,
    ) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, BoxError> {
        let mood = self.lock().mood;
        match mood {
            Mood::Answers => {}
            Mood::Refuses => return Err("connection refused".into()),
            Mood::Silent => std::future::pending().await,
            Mood::Forbids => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "message": "not you", "reason": "Forbidden", "code": 403});
                let body = Full::new(Bytes::from(status.to_string())).boxed_unsync();
                return Ok(Response::builder().status(403).body(body)?);
            }
        }
        let mut inner = self.lock();
        if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            let (sender, lines) = mpsc::unbounded_channel();
            let since = since(&request);
            for pod in inner.pods.values().filter(|pod| version(pod) > since) {
                let _ = sender.send(line("MODIFIED", pod));
            }
            inner.watches.push(sender);
            let lines = futures::stream::unfold(lines, async |mut lines| {
                Some((lines.recv().await?, lines))
            });
            let frames = lines.map(|line| Ok(Frame::data(line)));
            return Ok(Response::new(StreamBody::new(frames).boxed_unsync()));
        }
        inner.n_lists += 1;
        let list = json!({"apiVersion": "v1", "kind": "PodList",
            "metadata": {"resourceVersion": inner.version.to_string()},
            "items": inner.pods.values().collect::<Vec<_>>()});
        Ok(Response::new(Full::new(Bytes::from(list.to_string())).boxed_unsync()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&self, what: &str, pod: &Value) {
        for watch in self.watches.iter().filter(|_| !self.is_deaf) {
            let _ = watch.send(line(what, pod));
        }
    }
}

fn line(what: &str, pod: &Value) -> Bytes {
    format!("{}\n", json!({"type": what, "object": pod})).into()
}

fn version(pod: &Value) -> u64 {
    pod["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The version from which a watch is wished for.
fn since(request: &Request<Body>) -> u64 {
    let mut pairs = request.uri().query().unwrap_or_default().split('&');
    let since = pairs.find_map(|pair| pair.strip_prefix("resourceVersion="));
    since.and_then(|text| text.parse().ok()).unwrap_or(0)
}
