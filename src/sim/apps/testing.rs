//! A container without a cluster, for tests of program models.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::model::{App, AppCx, DialError, Files, Launch, Peers, Work};
use crate::base::{SimTime, Streams, secs};
use crate::sim::machines::ContainerStart;

/// A container of `image` without settings.
pub(in crate::sim) fn start(image: &str) -> ContainerStart {
    ContainerStart {
        node: Arc::from("node"),
        namespace: "default".into(),
        pod: "pod".into(),
        pod_uid: "uid".into(),
        pod_ip: "10.244.1.2".into(),
        container: "c".into(),
        image: image.into(),
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        mounts: Vec::new(),
        cpu_limit_milli: None,
        cpu_request_milli: 0,
        memory_limit_bytes: None,
    }
}

/// Files in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub files: BTreeMap<String, Bytes>,
    /// Another program holds all locks.
    pub is_locked: bool,
}

impl Files for Disk {
    fn read(&self, path: &str) -> Option<Bytes> {
        self.files.get(path).cloned()
    }

    fn write(&mut self, path: &str, content: Bytes) -> bool {
        self.files.insert(path.to_owned(), content);
        true
    }

    fn list(&self, prefix: &str) -> Vec<String> {
        self.files.keys().filter(|path| path.starts_with(prefix)).cloned().collect()
    }

    fn remove(&mut self, path: &str) {
        self.files.remove(path);
    }

    fn lock(&mut self, _path: &str) -> bool {
        !self.is_locked
    }
}

/// No peer at all.
pub(super) struct Nobody;

impl Peers for Nobody {
    fn query(&mut self, _: &str, _: u16, _: &[u8]) -> Result<(Bytes, Duration), DialError> {
        Err(DialError::Refused)
    }
}

/// One program that runs in a container of its own.
pub(super) struct Bench {
    pub start: ContainerStart,
    pub disk: Disk,
    pub rng: Streams,
    pub now: SimTime,
    pub notes: Vec<String>,
}

impl Bench {
    pub(super) fn new(image: &str) -> Self {
        let now = SimTime::ZERO + secs(100);
        let (start, disk, rng) = (start(image), Disk::default(), Streams::new(1));
        Bench { start, disk, rng, now, notes: Vec::new() }
    }

    pub(super) fn env(mut self, pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.start.env.extend(pairs);
        self
    }

    pub(super) fn with<T>(
        &mut self,
        peers: &mut dyn Peers,
        run: impl FnOnce(&mut AppCx<'_>) -> T,
    ) -> T {
        let (start, files, notes) = (&self.start, &mut self.disk, &mut self.notes);
        run(&mut AppCx { now: self.now, rng: &mut self.rng, start, files, peers, notes })
    }

    pub(super) fn launch(&mut self, app: &mut dyn App) -> Launch {
        self.with(&mut Nobody, |cx| app.launch(cx))
    }

    pub(super) fn query(&mut self, app: &mut dyn App, query: &[u8]) -> Bytes {
        self.with(&mut Nobody, |cx| app.query(query, cx).1)
    }

    pub(super) fn work(
        &mut self,
        app: &mut dyn App,
        peers: &mut dyn Peers,
        request: &http::Request<Bytes>,
    ) -> Work {
        self.with(peers, |cx| app.http(80, request, cx))
    }

    pub(super) fn get(&mut self, app: &mut dyn App, path: &str) -> http::Response<Bytes> {
        let request = http::Request::get(path).body(Bytes::new()).expect("a request");
        let work = self.work(app, &mut Nobody, &request);
        work.response.expect("an answer")
    }
}
