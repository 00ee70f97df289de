//! Gathering on the simulator, with an engine that exports logs and whose Secrets may be out of reach.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::client::Body;
use tempfile::TempDir;

use super::*;
use crate::base::Error;
use crate::engine::sim::{self, SimEngine};
use crate::engine::{Capability, Engine, Fact, FrontDoor, NodeLifecycle, NodeLogs};
use crate::k8s::Profile;
use crate::load::Transport;
use crate::stack::Stack;
use crate::suite::judge::{Around, judge};
use crate::suite::run::{EngineChoice, Job, RunRequest};
use crate::suite::sim::cluster_spec;
use crate::suite::{Scenario, Start, Stop, Suite};

const STACK: &str = r"
apiVersion: v1
kind: Secret
metadata: {name: database, namespace: default}
stringData: {password: hunter2-long}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: wordpress:6.2.1-apache
        env: [{name: DB_PASS, value: swordfish}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80}]
";

static SUITES: &[Suite] = &[Suite {
    name: "stories",
    charter: "tests",
    scenarios: &[Scenario {
        name: "tells",
        claim: "a test",
        needs: &[],
        aspects: &[],
        start: Start::Empty,
        prepare: None,
        run: |trial| {
            Box::pin(async {
                trial.apply().await?;
                trial.await_ready().await?;
                Err(Stop::failed("no secret", "hunter2-long and swordfish"))
            })
        },
    }],
}];

/// The simulator, whose nodes tell a secret, and which may not show Secrets.
struct Telling {
    inner: Arc<SimEngine>,
    hides_secrets: bool,
    place: TempDir,
}

impl Engine for Telling {
    fn name(&self) -> &'static str {
        "telling"
    }
    fn kubernetes(&self) -> String {
        self.inner.kubernetes()
    }
    fn capabilities(&self) -> &[Capability] {
        self.inner.capabilities()
    }
    fn client(&self) -> kube::Client {
        let (inner, hides_secrets) = (self.inner.client(), self.hides_secrets);
        let answer = move |request: http::Request<Body>| {
            let inner = inner.clone();
            async move {
                if hides_secrets && request.method() == "GET" && is_of_secrets(&request) {
                    let answer = http::Response::new(Body::from(Vec::new()));
                    let (mut parts, body) = answer.into_parts();
                    parts.status = http::StatusCode::SERVICE_UNAVAILABLE;
                    return Ok(http::Response::from_parts(parts, body));
                }
                inner.send(request).await
            }
        };
        kube::Client::new(tower::service_fn(answer), "default")
    }
    fn transport(&self) -> Arc<dyn Transport> {
        self.inner.transport()
    }
    fn front_door(&self) -> FrontDoor {
        self.inner.front_door()
    }
    fn nodes(&self) -> Option<&dyn NodeLifecycle> {
        None
    }
    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }
    fn node_logs(&self) -> Option<&dyn NodeLogs> {
        Some(self)
    }
}

impl NodeLogs for Telling {
    fn place(&self) -> &Path {
        self.place.path()
    }
    fn export<'a>(&'a self, into: &'a Path) -> BoxFuture<'a, Result<(), Error>> {
        let exported = async move {
            assert!(into.starts_with(self.place()), "{}", into.display());
            let node = into.join("worker");
            fs::create_dir_all(&node).expect("a folder");
            fs::write(node.join("journal.log"), "hunter2-long\nswordfish\n").expect("a file");
            Ok(())
        };
        exported.boxed()
    }
}

fn is_of_secrets(request: &http::Request<Body>) -> bool {
    request.uri().path().contains("/secrets")
}

/// The files of the evidence, by name.
fn gathered(hides_secrets: bool) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join("stack.yaml");
    fs::write(&manifest, STACK).expect("a file");
    let stack = Stack::load(&manifest, &Profile::NEWEST);
    let request = RunRequest {
        engine: EngineChoice::Sim,
        engine_reason: "a test".into(),
        profile: Profile::NEWEST,
        manifests: "stack.yaml".into(),
        stack: Arc::new(stack.unwrap_or_else(|error| panic!("{error}"))),
        suites: SUITES,
        selection: Vec::new(),
        seed: 1,
        n_seeds: 1,
        jobs: 1,
        apps: Vec::new(),
    };
    let artifacts = Artifacts::new(folder.path(), When::OnFailure);
    let spec = cluster_spec(&request);
    let run = sim::run(&spec, 1, async |inner: Arc<SimEngine>| {
        let engine = Arc::new(Telling {
            inner,
            hides_secrets,
            place: tempfile::tempdir().expect("a folder"),
        });
        let job = Job { suite: &SUITES[0], scenario: &SUITES[0].scenarios[0], seed: 1 };
        let around = Around { artifacts: Some(&artifacts), ..Around::nothing() };
        judge(&request, &job, engine, around, async || Ok(())).await
    });
    let judged = run.expect("the runtime starts").value;
    assert_eq!(judged.verdict, Verdict::Failed, "{}", judged.message);
    let mut files = BTreeMap::new();
    read(&folder.path().join("artifacts/stories-tells"), "", &mut files);
    files
}

fn read(folder: &Path, name: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let last = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            read(&path, &format!("{name}{last}/"), files);
        } else {
            files.insert(format!("{name}{last}"), fs::read_to_string(&path).expect("a text"));
        }
    }
}

fn assert_clean(files: &BTreeMap<String, String>) {
    for (name, text) in files {
        for secret in ["hunter2-long", "swordfish", "aHVudGVyMi1sb25n"] {
            assert!(!text.contains(secret), "{name} tells {secret}:\n{text}");
        }
    }
}

#[test]
fn no_file_tells_a_secret() {
    let files = gathered(false);
    assert_clean(&files);
    assert!(files["objects.yaml"].contains("DB_PASS"), "{:?}", files.keys());
    assert_eq!(files["nodes/worker/journal.log"], "<redacted>\n<redacted>\n");
}

#[test]
fn without_the_secrets_nothing_that_may_tell_them_is_written() {
    let files = gathered(true);
    assert_clean(&files);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["verdict.txt", "withheld.txt"]);
    assert!(files["verdict.txt"].contains("<redacted> and <redacted>"), "the manifests tell them");
    assert!(files["withheld.txt"].contains("the Secrets could not be read"));
}
