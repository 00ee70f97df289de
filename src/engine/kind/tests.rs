//! The life of clusters, against a `kind` and a `docker` that keep their state in files.

mod images;
mod nodes;

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::create::make;
use super::prepare::prepare;
use super::teardown::Patience;
use super::*;
use crate::base::{Error, ErrorClass, millis};
use crate::engine::host::testing::FakeTools;
use crate::engine::host::{ContainerEngine, FileLock, Lease, Paths, Programs, Thing};
use crate::engine::{ContainerPause as _, NodeLifecycle as _};
use crate::wait::Deadline;

/// Writes a tar file with these entries.
pub(super) fn write_tar(path: &Path, entries: &[(&str, &str)]) {
    let mut tar = tar::Builder::new(fs::File::create(path).expect("a file"));
    for (name, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        // `append_data` would normalise a leading `./`.
        header.as_gnu_mut().expect("a GNU header").name[..name.len()]
            .copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, text.as_bytes()).expect("an entry");
    }
    tar.finish().expect("the end");
}

/// A machine with fake programs.
pub(super) struct Machine {
    folder: TempDir,
    pub(super) paths: Paths,
    pub(super) containers: Containers,
    lease: Lease,
}

impl Machine {
    pub(super) async fn new() -> Machine {
        Machine::with_faults(&[]).await
    }

    async fn with_faults(faults: &[(&str, &str)]) -> Machine {
        let folder = tempfile::tempdir().expect("a folder");
        let fakes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
        symlink(fakes.join("fake-docker"), folder.path().join("docker")).expect("a link");
        symlink(fakes.join("fake-kind"), folder.path().join("kind")).expect("a link");
        fs::create_dir(folder.path().join("faults")).expect("a folder");
        for (fault, text) in faults {
            fs::write(folder.path().join("faults").join(fault), text).expect("a fault");
        }
        fs::write(folder.path().join("images"), "node:1\n").expect("a file");
        let program = |name: &str| folder.path().join(name).display().to_string();
        let engine = ContainerEngine { program: program("docker"), endpoint: None };
        let containers = Containers::connect(&Programs::real(), engine)
            .await
            .expect("it answers")
            .with_kind(program("kind"));
        let paths = Paths::below(&folder.path().join("state"));
        let lease = Lease::take(&paths.leases(), "test", "test").expect("a lease");
        Machine { paths, containers, lease, folder }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn running(&self) -> Vec<String> {
        let entries = fs::read_dir(self.file("containers")).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The calls so far, without what differs between runs.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file("calls")).unwrap_or_default();
        let folder = self.folder.path().display().to_string();
        text.lines().map(|line| line.replace(&folder, "")).collect()
    }

    async fn create(&mut self, spec: &KindSpec) -> Result<KindCluster, Error> {
        create(spec, &self.containers, &self.lease, &self.paths, &|_| {}).await
    }

    /// A cluster whose containers run and whose API was not waited for.
    async fn raised(&mut self) -> KindCluster {
        let topology = spec().topology().expect("right");
        let folder = self.paths.cluster("st-test");
        self.lease.will_make(Thing::Path { path: folder.clone() }).expect("written");
        self.lease.will_make(teardown::thing(&self.containers, "st-test")).expect("written");
        let cluster = KindCluster {
            name: "st-test".into(),
            engine: self.containers.engine().clone(),
            kubeconfig: folder.join("kubeconfig"),
            folder,
            http_port: 0,
            https_port: 0,
            nodes: topology.nodes("st-test"),
            front_node: "st-test-control-plane".into(),
            node_image: Some("node:1".into()),
            writable_sys: false,
        };
        make(cluster, &topology, &ImagePlan::default(), &self.containers).await.expect("raised")
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.running(), Vec::<String>::new());
        assert_eq!(self.lease.things(), []);
        let left: Vec<_> = fs::read_dir(self.paths.clusters()).into_iter().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn spec() -> KindSpec {
    KindSpec { node_image: Some("node:1".into()), ..KindSpec::default() }
}

#[tokio::test]
async fn a_failed_creation_leaves_nothing_and_tells_why() {
    let mut machine =
        Machine::with_faults(&[("create", "node crashed"), ("late", ""), ("forgets", "")]).await;
    let error = machine.create(&spec()).await.expect_err("kind fails").to_string();
    assert!(error.contains("kind create cluster") || error.contains("/kind create"), "{error}");
    assert!(error.contains("failed to create cluster: node crashed"), "{error}");
    assert!(error.contains("said last\n  kubelet: failed to run Kubelet"), "{error}");
    machine.assert_nothing_left();
    assert!(machine.calls().iter().any(|call| call.starts_with("docker rm")), "kind forgot them");
}

#[tokio::test]
async fn a_known_reason_comes_first_and_with_its_fix() {
    let mut machine = Machine::with_faults(&[("create", "write: no space left on device")]).await;
    let error = machine.create(&spec()).await.expect_err("kind fails").to_string();
    assert!(error.starts_with(KindError::DiskFull.advice()), "{error}");
    machine.assert_nothing_left();
}

#[tokio::test]
async fn a_creation_that_exits_0_without_its_nodes_is_a_failure() {
    let mut machine = Machine::with_faults(&[("half", "")]).await;
    let error = machine.create(&spec()).await.expect_err("a node is lost").to_string();
    assert!(error.contains("do not run: st-") && error.contains("-worker2"), "{error}");
    machine.assert_nothing_left();
}

#[tokio::test]
async fn a_port_taken_in_between_is_tried_once_more() {
    let mut machine = Machine::with_faults(&[("port", "")]).await;
    let cluster = machine.raised().await;
    let creations = |call: &&String| call.starts_with("kind create");
    assert_eq!(machine.calls().iter().filter(creations).count(), 2);
    let config = fs::read_to_string(machine.file("config")).expect("kind got one");
    assert!(config.contains(&format!("hostPort: {}", cluster.http_port)), "{config}");
    assert!(config.contains(&format!("hostPort: {}", cluster.https_port)), "{config}");
}

#[tokio::test]
async fn a_cluster_is_deleted_with_what_kind_forgets() {
    let mut machine = Machine::with_faults(&[("forgets", "")]).await;
    let cluster = machine.raised().await;
    assert_eq!(machine.running().len(), 4);
    delete(&machine.containers, &cluster.name, &machine.lease, &machine.paths)
        .await
        .expect("deleted");
    machine.assert_nothing_left();
    delete(&machine.containers, &cluster.name, &machine.lease, &machine.paths)
        .await
        .expect("deleting what is gone is no error");
}

#[tokio::test]
async fn a_teardown_that_fails_says_what_is_left_and_keeps_the_lease() {
    let mut machine = Machine::new().await;
    let cluster = machine.raised().await;
    fs::write(machine.file("faults/stuck"), "").expect("a fault");
    let patience =
        Patience { settle: Duration::ZERO, gone: Deadline::new(millis(600), "a test is short") };
    let error = teardown::delete_all(
        &machine.containers,
        &cluster.name,
        &machine.lease,
        &machine.paths,
        patience,
    )
    .await
    .expect_err("nothing can be removed");
    assert_eq!(error.class(), ErrorClass::Environment);
    let text = error.to_string();
    assert!(text.starts_with("cluster st-test could not be deleted: "), "{text}");
    assert!(text.contains("device busy"), "{text}");
    assert!(text.contains("\n  kind delete cluster --name st-test\n"), "{text}");
    assert!(text.contains("rm --force --volumes $("), "{text}");
    assert_eq!(machine.lease.things().len(), 2, "a sweep will try again");
    assert!(cluster.kubeconfig.exists(), "somebody may want to look");
}

#[tokio::test]
async fn a_taken_name_and_a_wrong_one_are_refused_before_anything_is_made() {
    let mut machine = Machine::new().await;
    fs::write(machine.file("clusters"), "theirs\n").expect("written");
    let named = |name: &str| KindSpec { name: Some(name.into()), ..spec() };
    let error = machine.create(&named("theirs")).await.expect_err("taken").to_string();
    assert!(error.contains("kind has a cluster `theirs`"), "{error}");
    let error = machine.create(&named("No Name")).await.expect_err("wrong");
    assert_eq!(error.class(), ErrorClass::Usage);
    assert!(!machine.calls().iter().any(|call| call.starts_with("kind create")));
}

#[tokio::test]
async fn a_missing_node_image_is_named_with_the_flag_that_helps() {
    let mut machine = Machine::new().await;
    let spec = KindSpec { node_image: Some("node:2".into()), ..spec() };
    let error = machine.create(&spec).await.expect_err("nowhere").to_string();
    assert!(error.starts_with("the node image node:2 is not here and cannot be pulled\n"));
    assert!(error.contains("--node-image") && error.contains("manifest unknown"), "{error}");
    machine.assert_nothing_left();
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_explained() {
    let machine = Machine::with_faults(&[]).await;
    fs::write(machine.file("faults/down"), "").expect("a fault");
    let engine = machine.containers.engine().clone();
    let error = Containers::connect(&Programs::real(), engine).await.expect_err("down");
    assert!(error.to_string().starts_with(KindError::EngineSilent.advice()), "{error}");
    let hints = EngineHints { provider: Some("nerdctl".into()), ..EngineHints::default() };
    let error = Containers::detect(&Programs::real(), &hints).await.expect_err("not driven");
    assert_eq!(error.class(), ErrorClass::Usage);
}

#[tokio::test]
async fn a_kept_cluster_is_found_by_its_key_if_all_its_nodes_run() {
    let mut machine = Machine::new().await;
    let addon = ["metrics-server 0.9.0".to_owned()];
    let engine = machine.containers.engine().clone();
    let key_of = |spec: &KindSpec, addons: &[String], engine: &ContainerEngine| {
        reuse_key(spec, addons, engine).expect("a key")
    };
    let key = key_of(&spec(), &addon, &engine);
    assert_ne!(key, key_of(&KindSpec { workers: Some(2), ..spec() }, &addon, &engine));
    assert_ne!(key, key_of(&spec(), &["metrics-server 0.8.1".into()], &engine));
    let elsewhere = ContainerEngine { endpoint: Some("ssh://there".into()), ..engine };
    assert_ne!(key, key_of(&spec(), &addon, &elsewhere));
    assert_eq!(find(&key, &machine.containers, &machine.paths).await.expect("asked"), Kept::None);
    let cluster = machine.raised().await;
    cluster.write().expect("written");
    let lease = Lease::take(&machine.paths.leases(), &lease_id(&key), "reuse").expect("taken");
    lease.will_make(teardown::thing(&machine.containers, &cluster.name)).expect("written");
    let found = find(&key, &machine.containers, &machine.paths).await.expect("asked");
    assert!(matches!(found, Kept::Broken { .. }), "not kept: {found:?}");
    lease.keep().expect("kept");
    fs::write(machine.file("containers/st-test-worker3"), "stopped").expect("written");
    let found = find(&key, &machine.containers, &machine.paths).await.expect("asked");
    let Kept::Broken { name, why } = found else { panic!("{found:?}") };
    assert_eq!((name.as_str(), why.as_str()), ("st-test", "its node st-test-worker3 does not run"));
    fs::write(machine.file("containers/st-test-worker3"), "running").expect("written");
    let found = find(&key, &machine.containers, &machine.paths).await.expect("asked");
    let Kept::Broken { why, .. } = found else { panic!("the fake has no API: {found:?}") };
    assert!(why.contains("kubeconfig"), "{why}");
    let held = lock(&key, &machine.paths).await.expect("nobody holds it");
    let file = machine.paths.locks().join(format!("{}.lock", lease_id(&key)));
    assert!(FileLock::try_take(&file).expect("asked").is_none());
    drop(held);
}

#[tokio::test]
async fn the_engine_of_the_current_context_is_the_one_that_is_used_later() {
    let tools = FakeTools::new();
    let endpoint_for = async |host: &str| {
        let docker = format!(
            "case $1 in context) echo {host} ;; version) echo '29.0.0 linux/amd64' ;; info) echo [] ;; esac"
        );
        tools.add("docker", &docker);
        let hints = EngineHints::default();
        let containers = Containers::detect(&tools.programs(), &hints).await.expect("it answers");
        containers.engine().endpoint.clone()
    };
    assert_eq!(
        endpoint_for("unix:///home/me/.colima/docker.sock").await.as_deref(),
        Some("unix:///home/me/.colima/docker.sock")
    );
    assert_eq!(endpoint_for("tcp://far:2376").await, None, "its certificates are in the context");
}

/// Every command of a cluster's life, in order. `UPDATE_GOLDEN=1` rewrites the file.
#[tokio::test]
async fn a_dry_run_shows_every_command_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let archives = folder.path().join("archives");
    fs::create_dir(&archives).expect("a folder");
    write_tar(&archives.join("a.tar"), &[("manifest.json", r#"[{"RepoTags":["wordpress:6"]}]"#)]);
    let programs = Programs::dry();
    let hints = EngineHints {
        docker_host: Some("unix:///run/docker.sock".into()),
        ..EngineHints::default()
    };
    let containers = Containers::detect(&programs, &hints).await.expect("answered");
    let paths = Paths::below(&folder.path().join("state"));
    let lease = Lease::take(&paths.leases(), "dry", "dry run").expect("a lease");
    let spec = KindSpec {
        name: Some("st-dry".into()),
        images: Some(archives),
        wanted_images: vec!["wordpress:6".into(), "mysql:8".into()],
        writable_sys: true,
        ..KindSpec::default()
    };
    let cluster =
        create(&spec, &containers, &lease, &paths, &|_| {}).await.expect("nothing is run");
    assert_eq!((cluster.http_port, cluster.context().as_str()), (8080, "kind-st-dry"));
    let pulled = ImagePlan {
        pulled: vec![ImageName::parse("quay.io/ceph/ceph:v20").expect("a name")],
        ..ImagePlan::default()
    };
    attach_registries(&cluster, &pulled, &containers, &paths, &|_| {})
        .await
        .expect("nothing is run");
    delete(&containers, &cluster.name, &lease, &paths).await.expect("nothing is run");
    assert_eq!(lease.things(), []);
    assert!(!paths.clusters().exists() && !paths.locks().exists(), "a dry run writes nothing");
    let root = folder.path().display().to_string();
    let text = programs.written_down().join("\n").replace(&root, "") + "\n";
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kind-dry-run.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &text).expect("written");
    }
    assert_eq!(text, fs::read_to_string(&golden).unwrap_or_default());
}
