//! The shared cluster on the simulator: its clock and its API are all that a real one adds to.

mod borrowed;

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::base::secs;
use crate::engine::sim::{self, SimEngine};
use crate::k8s::Profile;
use crate::stack::{Applier, Stack};
use crate::suite::run::EngineChoice;
use crate::suite::select::select;
use crate::suite::sim::cluster_spec;
use crate::suite::{Session, Suite, When};
use crate::suites;
use crate::wait::Scope;

fn request() -> RunRequest {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/wordpress");
    let stack = Stack::load(&folder, &Profile::NEWEST).unwrap_or_else(|error| panic!("{error}"));
    RunRequest {
        engine: EngineChoice::Kind,
        engine_reason: "a test".into(),
        profile: Profile::NEWEST,
        manifests: "manifests/wordpress".into(),
        stack: Arc::new(stack),
        suites: suites::all(),
        selection: Vec::new(),
        seed: 1,
        n_seeds: 1,
        jobs: 1,
        apps: Vec::new(),
    }
}

fn options(ownership: Ownership) -> SharedOptions {
    SharedOptions { lease: "test-1".into(), ownership, interrupt: None, artifacts: None }
}

/// Runs `body` on a simulated cluster.
fn on_a_cluster<T>(seed: u64, body: impl AsyncFnOnce(Arc<SimEngine>) -> T) -> T {
    sim::run(&cluster_spec(&request()), seed, body).expect("the runtime starts").value
}

async fn open(engine: &Arc<SimEngine>, options: SharedOptions) -> Result<SharedCluster, Error> {
    SharedCluster::open(Arc::clone(engine) as Arc<dyn Engine>, request(), options).await
}

/// Runs the scenarios in `wanted` one after the other.
async fn run(cluster: &mut SharedCluster, wanted: &[&str]) -> Vec<ScenarioOutcome> {
    let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    let mut outcomes = Vec::new();
    for (suite, scenario) in select(suites::all(), &wanted).expect("known names") {
        outcomes.push(cluster.run_job(&Job { suite, scenario, seed: 1 }).await);
    }
    outcomes
}

fn assert_passed(outcomes: &[ScenarioOutcome], resets: &[String]) {
    let bad = outcomes.iter().filter(|outcome| outcome.verdict != Verdict::Passed);
    let bad: Vec<String> = bad
        .map(|o| {
            let diagnosis = o.diagnosis.join("\n  ");
            format!("{}: {}: {}\n  {diagnosis}", o.full_name(), o.verdict, o.message)
        })
        .collect();
    assert!(bad.is_empty(), "{}\nresets: {resets:#?}", bad.join("\n"));
}

async fn exists<K: crate::wait::Object>(api: Api<K>, name: &str) -> bool {
    api.get_opt(name).await.expect("the API answers").is_some()
}

/// Seeds of the long run, unless `SEATRIAL_SHARED_SEEDS` says otherwise.
const N_SEEDS: u64 = 1;

#[test]
fn all_scenarios_pass_one_after_the_other_on_one_cluster() {
    let n_seeds = std::env::var("SEATRIAL_SHARED_SEEDS").ok().and_then(|n| n.parse().ok());
    for seed in 1..=n_seeds.unwrap_or(N_SEEDS) {
        all_on_one_cluster(seed);
    }
}

fn all_on_one_cluster(seed: u64) {
    let (outcomes, resets) = on_a_cluster(seed, async |engine| {
        let mut cluster = open(&engine, options(Ownership::Made)).await.expect("it opens");
        let outcomes = run(&mut cluster, &[]).await;
        (outcomes, cluster.resets().to_vec())
    });
    assert_eq!(outcomes.len(), 24);
    assert_passed(&outcomes, &resets);
    assert!(outcomes.iter().all(|outcome| outcome.virtual_ms > 0));
    let n_rebuilt = resets.iter().filter(|reset| reset.starts_with("rebuilt")).count();
    // Two scenarios want an empty cluster, and the autoscaler holds replicas after one more.
    assert!((3..=4).contains(&n_rebuilt), "{n_rebuilt} rebuilds: {resets:#?}");
}

#[test]
fn a_replica_that_ends_does_not_hold_the_next_trial_up_for_its_pre_stop_hook() {
    on_a_cluster(4, async |engine| {
        let mut cluster = open(&engine, options(Ownership::Made)).await.expect("it opens");
        assert_passed(&run(&mut cluster, &["https::serves"]).await, cluster.resets());
        let api: Api<Pod> = Api::namespaced(engine.client(), "wordpress");
        let pods = Scope::all(api.clone()).list().await.expect("pods");
        let replica = pods.iter().map(|pod| pod.name_any()).find(|name| name != "mysql-0");
        let params = DeleteParams::default();
        api.delete(&replica.expect("a replica"), &params).await.expect("deleted");
        let started = Instant::now();
        assert_passed(&run(&mut cluster, &["https::certificate"]).await, cluster.resets());
        // The hook sleeps for 20 s.
        assert!(started.elapsed() < secs(20), "{:?}", started.elapsed());
    });
}

#[test]
fn what_is_left_between_two_trials_is_found_and_cleaned() {
    on_a_cluster(2, async |engine| {
        let mut cluster = open(&engine, options(Ownership::Made)).await.expect("it opens");
        let before = run(&mut cluster, &["https::serves"]).await;
        assert_passed(&before, cluster.resets());
        assert!(cluster.resets().is_empty(), "{:?}", cluster.resets());
        let client = engine.client();
        let worker = plant(&client).await;

        let after = run(&mut cluster, &["https::redirect"]).await;
        assert_passed(&after, cluster.resets());
        let resets = cluster.resets().join("\n");
        for trace in [
            format!("taints of Node {worker}"),
            "ConfigMap wordpress/planted is left over".to_owned(),
            "ConfigMap default/planted is left over".to_owned(),
            "StatefulSet wordpress/mysql was changed at /spec/replicas".to_owned(),
            "Ingress wordpress/wordpress was changed at /metadata/annotations".to_owned(),
            "Service wordpress/wordpress was changed at /spec/".to_owned(),
        ] {
            assert!(resets.contains(&trace), "{trace}\nis not in\n{resets}");
        }
        for namespace in ["wordpress", "default"] {
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            assert!(!exists(maps, "planted").await, "{namespace}");
        }
        let node = Api::<Node>::all(client.clone()).get(&worker).await.expect("a node");
        assert_eq!(node.spec.and_then(|spec| spec.taints).unwrap_or_default(), []);
        assert!(!resets.contains("rebuilt"), "mending is enough:\n{resets}");
        let again = run(&mut cluster, &["https::certificate"]).await;
        assert_passed(&again, cluster.resets());
        assert_eq!(cluster.resets().join("\n"), resets, "everything was mended the first time");
    });
}

/// Leaves things behind as a careless scenario would; returns the worker with a taint.
async fn plant(client: &Client) -> String {
    let params = PatchParams::default();
    for namespace in ["wordpress", "default"] {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let mut map = ConfigMap::default();
        map.metadata.name = Some("planted".into());
        maps.create(&PostParams::default(), &map).await.expect("created");
    }
    let patches: [(&str, &str, &str, Value); 3] = [
        ("apps/v1", "StatefulSet", "mysql", json!({"spec": {"replicas": 2}})),
        (
            "networking.k8s.io/v1",
            "Ingress",
            "wordpress",
            json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/ssl-redirect": "false"}}}),
        ),
        ("v1", "Service", "wordpress", json!({"spec": {"sessionAffinity": "ClientIP"}})),
    ];
    for (version, kind, name, patch) in patches {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let gvk = kube::api::GroupVersionKind::gvk(group, version, kind);
        let resource = kube::api::ApiResource::from_gvk(&gvk);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "wordpress", &resource);
        api.patch(name, &params, &Patch::Merge(patch)).await.expect("patched");
    }
    let nodes: Api<Node> = Api::all(client.clone());
    let all = Scope::all(nodes.clone()).list().await.expect("nodes");
    let open = |node: &&Arc<Node>| node.spec.as_ref().is_some_and(|spec| spec.taints.is_none());
    let worker = all.iter().find(open).expect("a worker").name_any();
    let taint = json!({"key": "example.com/forgotten", "effect": "NoSchedule"});
    let patch = Patch::Merge(json!({"spec": {"taints": [taint]}}));
    nodes.patch(&worker, &params, &patch).await.expect("tainted");
    worker
}

#[test]
fn a_changed_template_or_a_replaced_object_means_a_new_stack() {
    on_a_cluster(3, async |engine| {
        let mut cluster = open(&engine, options(Ownership::Made)).await.expect("it opens");
        assert_passed(&run(&mut cluster, &["https::serves"]).await, &[]);
        let maps: Api<k8s_openapi::api::core::v1::Secret> =
            Api::namespaced(engine.client(), "wordpress");
        maps.delete("mysql", &Default::default()).await.expect("deleted");
        let volumes = Scope::all(Api::<PersistentVolume>::all(engine.client()));
        let old: Vec<_> = volumes.list().await.expect("volumes").iter().map(|v| v.uid()).collect();
        assert_eq!(old.len(), 2);
        assert_passed(&run(&mut cluster, &["https::redirect"]).await, cluster.resets());
        let resets = cluster.resets().join("\n");
        assert!(resets.contains("rebuilt: Secret wordpress/mysql is gone"), "{resets}");
        let new: Vec<_> = volumes.list().await.expect("volumes").iter().map(|v| v.uid()).collect();
        assert_eq!(new.len(), 2, "retained volumes do not pile up");
        assert!(new.iter().all(|uid| !old.contains(uid)));
    });
}

#[test]
fn an_interrupt_ends_the_trial_under_way_and_skips_the_rest() {
    on_a_cluster(7, async |engine| {
        let (stop, interrupt) = watch::channel(false);
        let options = SharedOptions { interrupt: Some(interrupt), ..options(Ownership::Made) };
        let mut cluster = open(&engine, options).await.expect("it opens");
        let wanted = ["spread::node_lost", "https::serves"];
        let signal = async {
            tokio::time::sleep(crate::base::secs(120)).await;
            stop.send_replace(true);
        };
        let (outcomes, ()) = tokio::join!(run(&mut cluster, &wanted), signal);
        let [cut, skipped] = &outcomes[..] else { panic!("two outcomes") };
        assert_eq!((cut.verdict, cut.message.as_str()), (Verdict::Errored, INTERRUPTED));
        assert!(cut.virtual_ms >= 100_000, "it was under way: {} ms", cut.virtual_ms);
        assert_eq!((skipped.verdict, skipped.message.as_str()), (Verdict::Errored, INTERRUPTED));
        // Cleanup has run: the lost node boots again.
        tokio::time::sleep(crate::base::secs(120)).await;
        let nodes = Scope::all(Api::<Node>::all(engine.client())).list().await.expect("nodes");
        for node in nodes {
            let ready = crate::wait::node_ready(true).check(&[Arc::clone(&node)]);
            assert!(ready.is_ok(), "{}", node.name_any());
        }
    });
}

#[test]
fn a_failed_trial_leaves_evidence_without_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let artifacts = Artifacts::new(folder.path(), When::OnFailure);
    on_a_cluster(8, async |engine| {
        let options = SharedOptions { artifacts: Some(artifacts), ..options(Ownership::Made) };
        let mut cluster = open(&engine, options).await.expect("it opens");
        assert_passed(&run(&mut cluster, &["https::serves"]).await, &[]);
        assert!(!folder.path().join("artifacts").exists(), "a trial that passes leaves none");
        let job = Job { suite: &BROKEN, scenario: &BROKEN.scenarios[0], seed: 1 };
        let outcome = cluster.run_job(&job).await;
        assert_eq!(outcome.verdict, Verdict::Errored);
        assert!(outcome.message.contains("panic: on purpose"), "{}", outcome.message);
        let line = outcome.diagnosis.last().cloned().unwrap_or_default();
        assert!(line.starts_with("artifacts: ") && !line.contains("incomplete"), "{line}");
        assert_passed(&run(&mut cluster, &["https::serves"]).await, cluster.resets());
        let resets = cluster.resets().join("\n");
        assert_eq!(resets, "rebuilt: the last trial did not leave it whole");
    });
    let trial = folder.path().join("artifacts/broken-panics-seed1");
    let read = |name: &str| std::fs::read_to_string(trial.join(name)).unwrap_or_default();
    assert!(read("verdict.txt").contains("broken::panics (seed 1): errored"));
    assert!(read("events.txt").contains("Scheduled"), "{}", read("events.txt"));
    let objects = read("objects.yaml");
    for part in ["kind: Node", "kind: PersistentVolumeClaim", "kind: Ingress", "name: mysql-0"] {
        assert!(objects.contains(part), "{part} is not in\n{objects}");
    }
    let logs = trial.join("logs/wordpress");
    let n_logs = std::fs::read_dir(&logs).map_or(0, std::iter::Iterator::count);
    assert!(n_logs >= 3, "{n_logs} pods have logs");
    let mut files = vec![trial.clone()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).expect("readable").flatten().map(|e| e.path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        for secret in ["rehearsal-root", "rehearsal-wordpress", "cmVoZWFyc2FsLXJvb3Q"] {
            assert!(!text.contains(secret), "{secret} is in {}", path.display());
        }
    }
}

static BROKEN: Suite = Suite {
    name: "broken",
    charter: "a test",
    scenarios: &[Scenario {
        name: "panics",
        claim: "a test",
        needs: &[],
        aspects: &[],
        start: Start::Serving,
        prepare: None,
        run: |_| Box::pin(async { panic!("on purpose, with rehearsal-root in the text") }),
    }],
};

#[test]
fn a_session_that_cannot_open_says_so_every_time_and_has_nothing_to_close() {
    let session = Session::opening(request(), || {
        Box::pin(async { Err(Error::environment("no container engine answers")) })
    });
    let wanted = ["https".to_owned()];
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let error = session.run(&wanted, &mut |_| {}).expect_err("no cluster");
                assert_eq!(error.to_string(), "no container engine answers");
            });
        }
    });
    session.close().expect("nothing was opened");
    let wrong = session.run(&["htps".to_owned()], &mut |_| {}).expect_err("a typing error");
    assert!(wrong.to_string().contains("did you mean"), "{wrong}");
}

#[test]
fn a_session_that_could_not_begin_says_at_its_end_what_that_has_left() {
    let session = Session::opening(request(), || {
        Box::pin(async { Err(Error::leftovers("interrupted\nnot all is gone")) })
    });
    session.run(&["https".to_owned()], &mut |_| {}).expect_err("no cluster");
    let left = session.close().expect_err("something is left");
    assert_eq!(left.to_string(), "interrupted\nnot all is gone");
    session.close().expect("it has been said");
}
