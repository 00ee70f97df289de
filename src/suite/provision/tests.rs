//! Provision without a cluster: what is left when bringing one up does not come to its end.

use std::path::PathBuf;

use super::make::{Reserved, key};
use super::*;
use crate::engine::host::signals::Interrupt;
use crate::engine::host::testing::FakeTools;
use crate::engine::host::{ContainerEngine, Thing, read_all};
use crate::engine::kind::{Containers, KindSpec, lease_id, lock, reuse_key};

/// A workshop whose engine has nothing, and a lease with one file that exists.
struct Scene {
    tools: FakeTools,
    workshop: Workshop,
    lease: Lease,
    file: PathBuf,
}

impl Scene {
    fn new(signals: Option<Signals>) -> Self {
        let tools = FakeTools::new();
        let paths = Paths::below(&tools.folder().join("home"));
        let lease = Lease::take(&paths.leases(), "run-1", "run").expect("taken");
        let file = paths.cluster("st-1");
        lease.will_make(Thing::Path { path: file.clone() }).expect("written");
        std::fs::create_dir_all(&file).expect("made");
        let programs = tools.programs();
        let workshop = Workshop { paths, programs, signals, tell: Arc::new(|_| ()) };
        Scene { tools, workshop, lease, file }
    }

    fn assert_nothing_left(&self) {
        assert!(!self.file.exists());
        let leases = std::fs::read_dir(self.workshop.paths.leases()).expect("readable");
        assert_eq!(leases.count(), 0, "in {}", self.tools.folder().display());
    }
}

#[tokio::test]
async fn a_panic_while_a_cluster_is_brought_up_leaves_nothing() {
    let place = Scene::new(None);
    let making = async { if place.file.exists() { panic!("a bug") } else { Ok(()) } };
    let ended = AssertUnwindSafe(or_nothing(&place.workshop, &place.lease, making));
    ended.catch_unwind().await.expect_err("the panic goes on");
    place.assert_nothing_left();
}

#[tokio::test]
async fn a_signal_before_anything_is_made_ends_the_wait() {
    let (signals, hand) = Signals::by_hand();
    let place = Scene::new(Some(signals));
    let waiting = async {
        hand.interrupt(Interrupt::Term);
        std::future::pending::<()>().await
    };
    let error = unless_interrupted(&place.workshop, waiting).await.expect_err("interrupted");
    assert_eq!(error.to_string(), "interrupted");
    unless_interrupted(&place.workshop, async {}).await.expect_err("it is over");
    unless_interrupted(&Scene::new(None).workshop, async {}).await.expect("nobody asks for an end");
}

#[tokio::test]
async fn a_signal_while_a_cluster_is_brought_up_leaves_nothing() {
    let (signals, hand) = Signals::by_hand();
    let place = Scene::new(Some(signals));
    let making = async {
        hand.interrupt(Interrupt::Int);
        std::future::pending::<Result<(), Error>>().await
    };
    let error = or_nothing(&place.workshop, &place.lease, making).await.expect_err("interrupted");
    assert!(error.to_string().contains("interrupted"), "{error}");
    place.assert_nothing_left();
}

#[tokio::test]
async fn what_came_up_stays() {
    let place = Scene::new(None);
    or_nothing(&place.workshop, &place.lease, async { Ok(()) }).await.expect("it came up");
    assert!(place.file.exists());
}

/// A docker in which the containers of cluster `st-kept` run.
const DOCKER: &str = r#"
case "$1" in
  version) echo "29.0.0 linux/amd64" ;;
  ps) case "$*" in *=st-kept\ *) echo st-kept-control-plane ;; esac ;;
esac"#;

/// The names of what is looked at before the cluster of `kind` and `stack` is made.
async fn looked_at(kind: KindWish, stack: &str, place: &Scene) -> Vec<&'static str> {
    looked_at_with(None, kind, stack, place).await
}

async fn looked_at_with(
    addons: Option<PathBuf>,
    kind: KindWish,
    stack: &str,
    place: &Scene,
) -> Vec<&'static str> {
    let stack = Stack::load_text("stack.yaml", stack, &Profile::NEWEST).expect("a stack");
    let wanted =
        Wanted { place: Place::Kind(kind), kubernetes: Profile::NEWEST, addons, purpose: "run" };
    let findings = findings(&wanted, &stack, &place.workshop).await;
    findings.into_iter().map(|finding| finding.name).collect()
}

#[tokio::test]
async fn a_cluster_that_is_reused_needs_no_room() {
    const STACK: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}}";
    let place = Scene::new(None);
    place.tools.add("docker", DOCKER);
    let reuse = || KindWish { reuse: true, ..KindWish::default() };
    assert!(looked_at(reuse(), STACK, &place).await.contains(&"memory"), "there is none yet");

    let engine = ContainerEngine { program: "docker".into(), endpoint: None };
    let spec = KindSpec { kubernetes: Profile::NEWEST, ..KindSpec::default() };
    let key = reuse_key(&spec, &[], &engine).expect("a key");
    let lease = Lease::take(&place.workshop.paths.leases(), &lease_id(&key), "run").expect("taken");
    let cluster = Thing::KindCluster { engine, name: "st-kept".into() };
    lease.will_make(cluster).expect("written");
    lease.keep().expect("kept");
    let names = looked_at(reuse(), STACK, &place).await;
    assert!(!names.contains(&"memory") && names.contains(&"kind"), "{names:?}");
    let another = KindWish { workers: Some(1), ..reuse() };
    assert!(looked_at(another, STACK, &place).await.contains(&"memory"), "it is another one");
    let fresh = KindWish::default();
    assert!(looked_at(fresh, STACK, &place).await.contains(&"memory"), "it is left alone");
}

#[tokio::test]
async fn a_cluster_is_not_reused_when_its_add_ons_are_others_now() {
    const STACK: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}}";
    const SETTINGS: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, \
                            namespace: ingress-nginx}, data: {workers: 'NUMBER'}}";
    let place = Scene::new(None);
    place.tools.add("docker", DOCKER);
    let stack = Stack::load_text("stack.yaml", STACK, &Profile::NEWEST).expect("a stack");
    let folder = place.tools.folder().join("add-ons");
    std::fs::create_dir_all(folder.join("ingress-nginx")).expect("made");
    let kind = KindWish::default();
    let containers = Containers::detect(&place.workshop.programs, &kind.hints).await.expect("one");
    let wanted = Wanted {
        place: Place::Kind(kind),
        kubernetes: Profile::NEWEST,
        addons: Some(folder.clone()),
        purpose: "run",
    };
    let key_with = async |number: &str| {
        let file = folder.join("ingress-nginx/settings.yaml");
        std::fs::write(file, SETTINGS.replace("NUMBER", number)).expect("written");
        let needed = BTreeSet::from([AddOn::IngressNginx]);
        let loaded = load(&wanted, &needed, &place.workshop.paths).await.expect("loaded");
        let spec = KindSpec { kubernetes: Profile::NEWEST, ..KindSpec::default() };
        key(&spec, &stack, &loaded, &containers).expect("a key")
    };
    let first = key_with("1").await;
    assert_ne!(key_with("2").await, first);
    assert_eq!(key_with("1").await, first);
}

/// Writes down that the owner of all leases has ended.
fn owners_end(paths: &Paths) {
    for found in read_all(&paths.leases()).expect("readable") {
        let mut file = found.content.expect("whole");
        file.owner.process.started += 1;
        let text = serde_json::to_string(&file).expect("JSON");
        std::fs::write(found.path, text).expect("written");
    }
}

#[tokio::test]
async fn a_kept_cluster_is_kept_no_more_while_it_is_in_use() {
    let place = Scene::new(None);
    let engine = ContainerEngine { program: "docker".into(), endpoint: None };
    let containers = Containers::connect(&Programs::dry(), engine.clone()).await.expect("answers");
    let paths = &place.workshop.paths;
    let lease = Lease::take(&paths.leases(), &lease_id("key"), "run").expect("taken");
    let cluster = KindCluster::recorded("st-kept", engine.clone(), paths);
    let thing = Thing::KindCluster { engine, name: cluster.name.clone() };
    lease.will_make(thing).expect("written");
    lease.keep().expect("kept");
    owners_end(paths);

    let held = lock("key", paths).await.expect("nobody holds it");
    let reserved = Reserved { key: "key".into(), id: lease_id("key"), lock: held };
    let wanted = Wanted {
        place: Place::Kind(KindWish::default()),
        kubernetes: Profile::NEWEST,
        addons: None,
        purpose: "run",
    };
    let found = reserved.find(&wanted, &containers, &place.workshop).await.expect("no error");
    assert_eq!(found.expect("it is there").1, cluster);
    let leases = read_all(&paths.leases()).expect("readable");
    let ours = leases.into_iter().filter_map(|found| found.content.ok());
    let kept = ours.filter(|file| file.id == reserved.id).map(|file| file.kept);
    assert_eq!(kept.collect::<Vec<_>>(), [false], "who is killed in use leaves it to the sweep");
}

#[tokio::test]
async fn what_ceph_needs_is_looked_at_where_it_is_made() {
    const STACK: &str = "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: files}, \
                         provisioner: rook-ceph.cephfs.csi.ceph.com}";
    const CLUSTER: &str = "{apiVersion: ceph.rook.io/v1, kind: CephCluster, \
                           metadata: {name: c, namespace: rook-ceph}, spec: {SPEC}}";
    let place = Scene::new(None);
    place.tools.add("docker", DOCKER);
    let folder = place.tools.folder().join("add-ons");
    std::fs::create_dir_all(folder.join("rook-ceph")).expect("made");
    let is_looked_at = async |spec: &str| {
        let file = folder.join("rook-ceph/cluster.yaml");
        std::fs::write(file, CLUSTER.replace("SPEC", spec)).expect("written");
        let names = looked_at_with(Some(folder.clone()), KindWish::default(), STACK, &place).await;
        names.contains(&"loop devices")
    };
    assert!(is_looked_at("storage: {useAllNodes: true, useAllDevices: true}").await);
    assert!(!is_looked_at("external: {enable: true}").await);
    assert!(!is_looked_at("storage: {nodes: [{name: a, devices: [{name: sdx}]}]}").await);
    assert!(!is_looked_at("no [ YAML").await, "the one who makes it complains");
    assert!(looked_at(KindWish::default(), STACK, &place).await.contains(&"loop devices"));
    const PLAIN: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}}";
    assert!(!looked_at(KindWish::default(), PLAIN, &place).await.contains(&"loop devices"));
}
