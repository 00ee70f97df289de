//! The sweep against real processes, real files and stand-ins for the programs.

mod inside;
mod running;

use std::os::unix::fs::symlink;

use super::super::ContainerEngine;
use super::super::lease::Lease;
use super::super::testing::{FAKE_DOCKER, FAKE_KIND, FAKE_LOSETUP, FakeTools};
use super::*;

struct Rig {
    tools: FakeTools,
    paths: Paths,
}

impl Rig {
    fn new() -> Self {
        let tools = FakeTools::new();
        for (name, script) in [("docker", FAKE_DOCKER), ("kind", FAKE_KIND)] {
            tools.add(name, script);
        }
        tools.add("losetup", FAKE_LOSETUP);
        let paths = Paths::below(&tools.folder().join("home"));
        Rig { tools, paths }
    }

    /// A container that the fake engine knows: name, labels, and when it was made.
    fn container(&self, name: &str, label: &str, created: &str) {
        let folder = self.tools.folder().join("containers");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), format!("{label}\n{created}\n")).expect("written");
    }

    fn containers(&self) -> Vec<String> {
        let names = fs::read_dir(self.tools.folder().join("containers")).expect("readable");
        let mut names: Vec<String> = names
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn path(&self, id: &str) -> PathBuf {
        LeaseFile::path_in(&self.paths.leases(), id)
    }

    /// A lease of an owner that is dead: its number belongs to a process with another start.
    fn dead(&self, id: &str, things: Vec<Thing>) -> PathBuf {
        Lease::take(&self.paths.leases(), id, "run").expect("taken");
        self.edit(id, |file| {
            file.owner.process.started += 1;
            file.things = things;
        });
        self.path(id)
    }

    fn edit(&self, id: &str, edit: impl FnOnce(&mut LeaseFile)) {
        let path = self.path(id);
        let mut file = read(&path).expect("it is there").expect("whole");
        edit(&mut file);
        write_over(&path, &file).expect("written");
    }

    async fn sweep(&self, scope: Scope) -> Swept {
        sweep(&self.paths, &self.tools.programs(), &scope).await
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.tools.folder().join("calls")).unwrap_or_default()
    }
}

/// A lease id that no other test has, on this machine: a sweep ends all programs under its lease,
/// also those of a test beside it.
fn own_id(folder: &Path) -> String {
    folder.file_name().expect("a name").to_string_lossy().replace('.', "run-")
}

const LONG_AGO: &str = "2001-01-01T00:00:00Z";
const LATER: &str = "2999-01-01T00:00:00.123456789Z";

fn docker() -> ContainerEngine {
    ContainerEngine { program: "docker".into(), endpoint: Some("unix:///rig.sock".into()) }
}

fn cluster(name: &str) -> Thing {
    Thing::KindCluster { engine: docker(), name: name.into() }
}

fn container(name: &str) -> Thing {
    Thing::Container { engine: docker(), name: name.into() }
}

fn file_thing(path: &Path) -> Thing {
    Thing::Path { path: path.to_owned() }
}

#[tokio::test]
async fn what_a_dead_owner_left_is_removed_in_reverse_order() {
    let rig = Rig::new();
    rig.container("st-1-control-plane", "io.x-k8s.kind.cluster=st-1", LATER);
    rig.container("st-1-worker", "io.x-k8s.kind.cluster=st-1", LATER);
    rig.container("st-1-registry", "seatrial.dev/lease=run-1", LATER);
    rig.container("decoy", "io.x-k8s.kind.cluster=other", LATER);
    let folder = rig.paths.cluster("st-1");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("kubeconfig"), "secret").expect("written");
    let path = rig.dead(
        "run-1",
        vec![file_thing(&folder), container("st-1-registry"), cluster("st-1"), cluster("st-none")],
    );
    let swept = rig.sweep(Scope::Dead).await;
    assert!(swept.is_clean(), "{swept:?}");
    let pid = std::process::id();
    let folder_name = folder.display();
    assert_eq!(
        swept.lines(),
        [format!(
            "removed cluster st-1, container st-1-registry, {folder_name} of a run that died \
             (process {pid})"
        )]
    );
    assert_eq!(rig.containers(), ["decoy"]);
    assert!(!folder.exists() && !path.exists());
    let calls = rig.asked();
    let delete = "kind delete cluster --name st-1 --kubeconfig";
    assert!(calls.contains(&format!("{delete} {folder_name}/kubeconfig\n")), "{calls}");
    assert!(calls.contains("unix:///rig.sock docker kind"), "the endpoint and provider: {calls}");
    assert_eq!(rig.sweep(Scope::All).await, Swept::default());
}

#[tokio::test]
async fn living_and_kept_leases_are_untouched() {
    let rig = Rig::new();
    let file = rig.paths.state.join("file");
    let living = Lease::take(&rig.paths.leases(), "living", "run").expect("taken");
    fs::write(&file, "x").expect("written");
    living.will_make(file_thing(&file)).expect("written");
    rig.container("kept-worker", "io.x-k8s.kind.cluster=kept", LATER);
    rig.dead("kept", vec![cluster("kept")]);
    rig.edit("kept", |file| file.kept = true);

    assert_eq!(rig.sweep(Scope::Dead).await, Swept::default());
    let only = rig.sweep(Scope::Only("living".into())).await;
    assert!(only.lines()[0].starts_with("left living alone: process "), "{only:?}");
    assert_eq!(rig.containers(), ["kept-worker"]);
    let swept = rig.sweep(Scope::All).await;
    assert_eq!(swept.lines(), ["removed cluster kept of `run`, kept until now"]);
    assert!(file.exists() && rig.path("living").exists());
    assert!(!rig.path("kept").exists());
}

#[tokio::test]
async fn owners_out_of_sight_are_dead_when_silent_and_owners_elsewhere_are_left() {
    let rig = Rig::new();
    let ids = ["restart", "namesake", "elsewhere", "unseen-silent", "unseen-beating"];
    for id in ids {
        Lease::take(&rig.paths.leases(), id, "run").expect("taken");
    }
    rig.edit("restart", |file| {
        file.owner.boot = "another boot".into();
        file.heartbeat = 1;
    });
    rig.edit("namesake", |file| file.owner.boot = "another boot".into());
    rig.edit("elsewhere", |file| {
        file.owner.boot = "another boot".into();
        file.owner.machine = "another-machine".into();
        file.heartbeat = 1;
    });
    rig.edit("unseen-silent", |file| {
        file.owner.pid_space = "pid:[1]".into();
        file.heartbeat = 1;
    });
    rig.edit("unseen-beating", |file| file.owner.pid_space = "pid:[1]".into());
    let swept = rig.sweep(Scope::Dead).await;
    assert_eq!(
        swept.remarks,
        ["left elsewhere of machine another-machine alone: run `seatrial gc` there"]
    );
    assert_eq!(ids.map(|id| rig.path(id).exists()), [false, true, true, false, true]);
}

#[tokio::test]
async fn what_is_not_ours_is_untouched() {
    let rig = Rig::new();
    rig.container("web", "seatrial.dev/lease=somebody", LATER);
    rig.container("old-worker", "io.x-k8s.kind.cluster=old", LONG_AGO);
    let home = rig.tools.folder().join("home");
    let precious = home.join("precious");
    fs::create_dir_all(&precious).expect("a folder");
    fs::create_dir_all(&rig.paths.state).expect("a folder");
    symlink(&precious, rig.paths.state.join("link")).expect("linked");
    let things = vec![
        container("web"),
        cluster("old"),
        file_thing(&precious),
        file_thing(&rig.paths.state),
        file_thing(&rig.paths.leases().join("other.json")),
        file_thing(&rig.paths.state.join("../precious")),
        file_thing(&rig.paths.state.join("link/inner")),
        file_thing(Path::new("relative")),
        Thing::Unknown(serde_json::json!({ "thing": "satellite" })),
    ];
    fs::create_dir_all(precious.join("inner")).expect("a folder");
    let path = rig.dead("run-1", things);
    let swept = rig.sweep(Scope::Dead).await;
    assert_eq!(rig.containers(), ["old-worker", "web"]);
    assert!(precious.join("inner").exists() && path.exists());
    // The container is gone: the one of its name is another's. All else is left, and said.
    let [lease] = &swept.leases[..] else { panic!("{swept:?}") };
    assert_eq!((lease.removed.len(), lease.left.len()), (0, 8), "{swept:?}");
    assert_eq!(swept.lines().len(), 1);
    assert!(!swept.is_clean());
    assert!(
        lease.left.iter().any(|(thing, why)| *thing == cluster("old") && why.contains("older"))
    );

    // A link of ours goes, what it leads to stays.
    let path = rig.dead("run-2", vec![file_thing(&rig.paths.state.join("link"))]);
    rig.sweep(Scope::Dead).await;
    assert!(!path.exists() && precious.join("inner").exists());
}

#[tokio::test]
async fn files_that_are_no_leases_stay_and_are_named() {
    let rig = Rig::new();
    let leases = rig.paths.leases();
    rig.dead("run-1", vec![]);
    let whole = fs::read_to_string(rig.path("run-1")).expect("readable");
    fs::write(leases.join("half.json"), &whole[..whole.len() / 2]).expect("written");
    fs::write(leases.join("notes.txt"), "do not delete").expect("written");
    let swept = rig.sweep(Scope::All).await;
    assert_eq!(swept.remarks.len(), 2, "{swept:?}");
    assert!(swept.remarks[0].contains("half.json alone: it is no lease"), "{swept:?}");
    assert!(leases.join("half.json").exists() && leases.join("notes.txt").exists());
    assert!(!rig.path("run-1").exists());
}

#[tokio::test]
async fn who_cannot_look_does_not_say_that_nothing_is_left() {
    let rig = Rig::new();
    assert!(rig.sweep(Scope::All).await.is_clean(), "there is no folder of leases yet");
    fs::create_dir_all(&rig.paths.state).expect("a folder");
    fs::write(rig.paths.leases(), "no folder").expect("written");
    let swept = rig.sweep(Scope::All).await;
    assert!(!swept.is_clean() && swept.lines().len() == 1, "{swept:?}");
}

#[tokio::test]
async fn a_silent_engine_keeps_the_lease_and_is_asked_once() {
    let rig = Rig::new();
    rig.tools.add("docker", "echo ask >> $HERE/calls; echo 'Cannot connect' >&2; exit 1");
    let [kubeconfig, file] = ["kubeconfig", "file"].map(|name| rig.paths.state.join(name));
    fs::create_dir_all(&rig.paths.state).expect("a folder");
    fs::write(&kubeconfig, "x").expect("written");
    fs::write(&file, "x").expect("written");
    let needed = [file_thing(&kubeconfig), cluster("st-1"), container("x")];
    rig.dead("run-1", [&needed[..], &[file_thing(&file)]].concat());
    let swept = rig.sweep(Scope::Dead).await;
    let lines = swept.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let left = format!("left container x, cluster st-1, {} of a run", needed[0]);
    assert!(lines[1].starts_with(&left), "{lines:?}");
    assert!(lines[1].contains("docker does not answer (") && lines[1].contains("Cannot connect"));
    assert_eq!(rig.asked(), "ask\n");
    let left = read(&rig.path("run-1")).expect("it is there").expect("whole").things;
    assert_eq!(left, needed);
    assert!(kubeconfig.exists(), "what a cluster needs to its end goes after it");

    // It answers again: the next sweep ends the lease.
    rig.tools.add("docker", FAKE_DOCKER);
    rig.container("x", "seatrial.dev/lease=run-1", LATER);
    assert!(rig.sweep(Scope::Dead).await.is_clean());
    assert!(!rig.path("run-1").exists());
}

#[tokio::test]
async fn without_kind_or_with_a_failing_one_containers_go_by_label() {
    for script in ["exit 1", "exit 0", FAKE_KIND] {
        let rig = Rig::new();
        rig.tools.add("kind", script);
        rig.container("st-1-worker", "io.x-k8s.kind.cluster=st-1", LATER);
        rig.dead("run-1", vec![cluster("st-1")]);
        assert!(rig.sweep(Scope::Dead).await.is_clean());
        assert!(rig.containers().is_empty() && !rig.paths.cluster("st-1").exists());
    }
}

#[tokio::test]
async fn containers_that_do_not_go_keep_the_lease() {
    let rig = Rig::new();
    rig.tools.add("kind", "exit 0");
    rig.tools.add("docker", &FAKE_DOCKER.replace("rm)", "rm) echo 'device busy' >&2; exit 1;"));
    rig.container("st-1-worker", "io.x-k8s.kind.cluster=st-1", LATER);
    rig.container("reg", "seatrial.dev/lease=run-1", LATER);
    rig.dead("run-1", vec![cluster("st-1"), container("reg")]);
    let swept = rig.sweep(Scope::Dead).await;
    assert_eq!(swept.leases[0].left.len(), 2);
    assert!(swept.lines()[0].contains("device busy"), "{swept:?}");
}

#[tokio::test]
async fn of_two_sweeps_at_once_one_works_and_the_other_says_so() {
    let rig = Rig::new();
    rig.tools.add("docker", &format!("sleep 0.3\n{FAKE_DOCKER}"));
    rig.container("x", "seatrial.dev/lease=run-1", LATER);
    rig.dead("run-1", vec![container("x")]);
    let (one, two) = tokio::join!(rig.sweep(Scope::Dead), rig.sweep(Scope::Dead));
    assert_eq!((one.busy, two.busy), (false, true));
    assert!(one.is_clean() && !rig.path("run-1").exists());
}

#[tokio::test]
async fn half_written_files_of_dead_writers_go_after_a_while() {
    let rig = Rig::new();
    let files = [rig.paths.leases(), rig.paths.downloads()].map(|folder| {
        fs::create_dir_all(&folder).expect("a folder");
        let (old, new) = (folder.join(".writing-old"), folder.join(".writing-new"));
        fs::write(&new, "x").expect("written");
        let file = fs::File::create(&old).expect("made");
        file.set_modified(UNIX_EPOCH + secs(1_000)).expect("set");
        (old, new)
    });
    assert_eq!(rig.sweep(Scope::Dead).await, Swept::default());
    assert!(files.iter().all(|(old, new)| !old.exists() && new.exists()), "{files:?}");
}

#[tokio::test]
async fn a_dry_sweep_removes_nothing() {
    let rig = Rig::new();
    let path = rig.dead("run-1", vec![]);
    assert_eq!(sweep(&rig.paths, &Programs::dry(), &Scope::All).await, Swept::default());
    assert!(path.exists());
}
