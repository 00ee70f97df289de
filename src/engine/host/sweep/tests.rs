//! The sweep against real processes, real files and stand-ins for the programs.

use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::sync::Mutex;

use futures::future::BoxFuture;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::super::call::Call;
use super::super::lease::Lease;
use super::super::loops;
use super::super::program::LEASE_VARIABLE;
use super::super::testing::{FAKE_DOCKER, FAKE_KIND, FAKE_LOSETUP, FakeTools};
use super::super::{ContainerEngine, ProcessId};
use super::*;
use crate::base::Error;

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
async fn owners_before_a_restart_are_dead_and_owners_elsewhere_are_left() {
    let rig = Rig::new();
    for id in ["restart", "elsewhere", "unseen-silent", "unseen-beating"] {
        Lease::take(&rig.paths.leases(), id, "run").expect("taken");
    }
    rig.edit("restart", |file| file.owner.boot = "another boot".into());
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
    let left: Vec<bool> = ["restart", "elsewhere", "unseen-silent", "unseen-beating"]
        .iter()
        .map(|id| rig.path(id).exists())
        .collect();
    assert_eq!(left, [false, true, false, true]);
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
async fn a_silent_engine_keeps_the_lease_and_is_asked_once() {
    let rig = Rig::new();
    rig.tools.add("docker", "echo ask >> $HERE/calls; echo 'Cannot connect' >&2; exit 1");
    let file = rig.paths.state.join("file");
    fs::create_dir_all(&rig.paths.state).expect("a folder");
    fs::write(&file, "x").expect("written");
    rig.dead("run-1", vec![cluster("st-1"), container("x"), file_thing(&file)]);
    let swept = rig.sweep(Scope::Dead).await;
    let lines = swept.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].starts_with("left container x, cluster st-1 of a run"), "{lines:?}");
    assert!(lines[1].contains("docker does not answer (") && lines[1].contains("Cannot connect"));
    assert_eq!(rig.asked(), "ask\n");
    let left = read(&rig.path("run-1")).expect("it is there").expect("whole").things;
    assert_eq!(left, [cluster("st-1"), container("x")]);

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
async fn loop_devices_are_found_by_their_file() {
    let rig = Rig::new();
    let programs = rig.tools.programs();
    let lease = Lease::take(&rig.paths.leases(), "run-1", "run").expect("taken");
    let known = loops::attach(&rig.paths, &programs, &lease, "a", 1 << 20).await.expect("attached");
    let unknown =
        loops::attach(&rig.paths, &programs, &lease, "b", 1 << 20).await.expect("attached");
    fs::write(rig.tools.folder().join("theirs"), "x").expect("written");
    let theirs = rig.tools.folder().join("theirs");
    let call = Call::new("losetup", ["--find", "--show"]).arg(&theirs);
    programs.run(&call).await.expect("attached");
    // The owner died before it wrote down the second device, and a lease names one of another.
    let theirs_thing = Thing::LoopDevice { device: "/dev/loop3".into(), file: "/gone".into() };
    rig.edit("run-1", |file| {
        file.owner.process.started += 1;
        file.things.retain(
            |thing| !matches!(thing, Thing::LoopDevice { file, .. } if *file == unknown.file),
        );
        file.things.push(theirs_thing);
    });
    let swept = rig.sweep(Scope::Dead).await;
    assert!(swept.is_clean(), "{swept:?}");
    assert!(!known.file.exists() && !unknown.file.exists());
    let devices = fs::read_to_string(rig.tools.folder().join("loops")).expect("readable");
    assert_eq!(devices.split_whitespace().collect::<Vec<_>>(), [theirs.to_str().expect("UTF-8")]);
}

#[tokio::test]
async fn a_loop_device_in_use_keeps_the_lease_and_its_file() {
    let rig = Rig::new();
    rig.tools.add("losetup", &FAKE_LOSETUP.replace("--detach)", "--detach) exit 0;"));
    let programs = rig.tools.programs();
    let lease = Lease::take(&rig.paths.leases(), "run-1", "run").expect("taken");
    let known = loops::attach(&rig.paths, &programs, &lease, "a", 1 << 20).await.expect("attached");
    rig.edit("run-1", |file| file.owner.process.started += 1);
    let swept = rig.sweep(Scope::Dead).await;
    assert_eq!(swept.leases[0].left.len(), 2, "{swept:?}");
    assert!(swept.lines()[0].contains("/dev/loop1 is still in use"), "{swept:?}");
    assert!(known.file.exists() && rig.path("run-1").exists());
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
async fn half_written_leases_of_dead_writers_go_after_a_while() {
    let rig = Rig::new();
    let leases = rig.paths.leases();
    fs::create_dir_all(&leases).expect("a folder");
    let (old, new) = (leases.join(".writing-old"), leases.join(".writing-new"));
    fs::write(&new, "x").expect("written");
    let file = fs::File::create(&old).expect("made");
    file.set_modified(UNIX_EPOCH + secs(1_000)).expect("set");
    assert_eq!(rig.sweep(Scope::Dead).await, Swept::default());
    assert!(!old.exists() && new.exists());
}

/// Deletes objects in the context `good` and no other; remembers the clusters that are about to go.
#[derive(Default)]
struct OneContext {
    going: Mutex<Vec<PathBuf>>,
}

impl InClusters for OneContext {
    fn remove<'a>(
        &'a self,
        lease: &'a str,
        kubeconfig: &'a str,
        context: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        assert_eq!((lease, kubeconfig), ("run-1", "/k"));
        let deleted = match context {
            "good" => Ok(()),
            _ => Err(Error::environment("no such context")),
        };
        Box::pin(async move { deleted })
    }

    fn before_delete<'a>(&'a self, kubeconfig: &'a Path) -> BoxFuture<'a, ()> {
        self.going.lock().expect("free").push(kubeconfig.to_owned());
        Box::pin(async {})
    }
}

#[tokio::test]
async fn objects_elsewhere_are_deleted_by_those_who_can() {
    let rig = Rig::new();
    let objects =
        |context: &str| Thing::Objects { kubeconfig: "/k".into(), context: context.into() };
    let path = rig.dead("run-1", vec![objects("good"), objects("bad")]);
    let swept = rig.sweep(Scope::Dead).await;
    assert!(swept.lines()[0].contains("`seatrial gc` deletes them"), "{swept:?}");
    let programs = rig.tools.programs();
    let swept = sweep_with(&rig.paths, &programs, &Scope::Dead, Some(&OneContext::default())).await;
    let [lease] = &swept.leases[..] else { panic!("{swept:?}") };
    assert_eq!(lease.removed, [objects("good")]);
    assert_eq!(lease.left, [(objects("bad"), "no such context".to_owned())]);
    assert_eq!(read(&path).expect("it is there").expect("whole").things, [objects("bad")]);
}

#[tokio::test]
async fn a_cluster_lets_go_of_its_mounts_before_it_goes() {
    let rig = Rig::new();
    for name in ["st-1", "st-2", "st-3"] {
        // The third is in the lease and was not made yet.
        if name != "st-3" {
            let label = format!("io.x-k8s.kind.cluster={name}");
            rig.container(&format!("{name}-control-plane"), &label, LATER);
        }
        fs::create_dir_all(rig.paths.cluster(name)).expect("a folder");
    }
    let kubeconfig = |name: &str| rig.paths.cluster(name).join("kubeconfig");
    for name in ["st-1", "st-3"] {
        fs::write(kubeconfig(name), "secret").expect("written");
    }
    rig.dead("run-1", ["st-1", "st-2", "st-3"].map(cluster).to_vec());
    let inside = OneContext::default();
    sweep_with(&rig.paths, &rig.tools.programs(), &Scope::Dead, Some(&inside)).await;
    assert_eq!(*inside.going.lock().expect("free"), [kubeconfig("st-1")]);
    assert!(rig.containers().is_empty(), "{:?}", rig.containers());
}

#[tokio::test]
async fn a_dry_sweep_removes_nothing() {
    let rig = Rig::new();
    let path = rig.dead("run-1", vec![]);
    assert_eq!(sweep(&rig.paths, &Programs::dry(), &Scope::All).await, Swept::default());
    assert!(path.exists());
}

/// Not a test: the owner that the test below kills. It holds a lease, and a program of it is
/// under way that makes a container when it has run for a while.
#[tokio::test]
#[ignore = "started by the_sweep_ends_programs_that_outlived_their_killed_owner"]
async fn owner_to_be_killed() {
    let Ok(folder) = std::env::var("SEATRIAL_TEST_FOLDER") else { return };
    let folder = Path::new(&folder);
    let paths = Paths::below(&folder.join("home"));
    let lease = Lease::take(&paths.leases(), &own_id(folder), "run").expect("taken");
    let _beating = lease.heartbeat();
    lease.will_make(cluster("st-1")).expect("written");
    let programs = Programs::real_in(folder).under(lease.id());
    let _ = programs.run(&docker().kind(["create", "cluster"])).await;
}

#[tokio::test]
async fn the_sweep_ends_programs_that_outlived_their_killed_owner() {
    let rig = Rig::new();
    let create = "\
        [ \"$1\" = create ] || exec $HERE/kind-delete \"$@\"
        mkdir -p $HERE/containers
        echo io.x-k8s.kind.cluster=st-1 > $HERE/containers/st-1-control-plane
        echo $$ > $HERE/creating
        sleep 20 &
        wait
        touch $HERE/containers/made-after-the-sweep";
    rig.tools.add("kind", create);
    rig.tools.add("kind-delete", FAKE_KIND);
    let name = module_path!().split_once("::").expect("a path").1;
    let mut owner = tokio::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--ignored", "--exact", &format!("{name}::owner_to_be_killed")])
        .env("SEATRIAL_TEST_FOLDER", rig.tools.folder())
        .env_remove(LEASE_VARIABLE)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let creating = rig.tools.folder().join("creating");
    let pid = loop {
        let written = fs::read_to_string(&creating).unwrap_or_default();
        if let Ok(pid) = written.trim().parse() {
            break pid;
        }
        assert!(owner.try_wait().expect("asked").is_none(), "the owner ended by itself");
        sleep(millis(20)).await;
    };
    assert_eq!(rig.sweep(Scope::All).await, Swept::default(), "the owner lives");
    owner.kill().await.expect("killed");
    let program = ProcessId::of(pid);
    assert!(program.is_alive(), "a SIGKILL of the owner leaves its programs running");

    let swept = rig.sweep(Scope::Dead).await;
    assert!(swept.is_clean(), "{swept:?}");
    assert!(swept.lines()[0].starts_with("removed cluster st-1 of a run that died"), "{swept:?}");
    assert!(!program.is_alive());
    assert!(rig.containers().is_empty() && !rig.path(&own_id(rig.tools.folder())).exists());
}

#[tokio::test]
async fn processes_of_other_leases_are_spared() {
    let start = |id: &str| {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", "echo up; exec sleep 20"]).env(LEASE_VARIABLE, id);
        command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts")
    };
    let (mut ours, mut other) = (start("sweep-test-1"), start("sweep-test-11"));
    for child in [&mut ours, &mut other] {
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).lines().next_line().await.expect("it is up");
    }
    end_programs(&Programs::real(), "sweep-test-1").await;
    let ended = tokio::time::timeout(secs(10), ours.wait()).await;
    assert!(!ended.expect("in time").expect("asked").success());
    assert!(other.try_wait().expect("asked").is_none());
}

#[tokio::test]
async fn what_the_engine_makes_for_a_run_that_was_cut_short_is_removed_too() {
    let rig = Rig::new();
    // The engine makes the container although its client is killed: outside of the client's group.
    let create = "\
        [ \"$1\" = create ] || exec $HERE/kind-delete \"$@\"
        mkdir -p $HERE/containers
        setsid env -u SEATRIAL_LEASE sh -c \"touch $HERE/creating; sleep 1
          echo io.x-k8s.kind.cluster=st-1 > $HERE/containers/st-1-control-plane
          echo 2999-01-01T00:00:00Z >> $HERE/containers/st-1-control-plane\" >&- 2>&- &
        sleep 20";
    rig.tools.add("kind", create);
    rig.tools.add("kind-delete", FAKE_KIND);
    let id = own_id(rig.tools.folder());
    let lease = Lease::take(&rig.paths.leases(), &id, "run").expect("taken");
    lease.will_make(cluster("st-1")).expect("written");
    let programs = rig.tools.programs();
    let under = programs.under(lease.id());
    let call = docker().kind(["create", "cluster"]);
    let asked = async {
        while !rig.tools.folder().join("creating").exists() {
            sleep(millis(20)).await;
        }
    };
    tokio::select! {
        _ = under.run(&call) => panic!("it takes 20 s"),
        () = asked => {}
    }
    let swept = give_back(&rig.paths, &programs, &lease, None).await;
    assert!(swept.is_clean(), "{swept:?}");
    sleep(SETTLE).await;
    assert!(rig.containers().is_empty(), "{:?}", rig.containers());
    lease.release().expect("nothing is left");
}

#[tokio::test]
async fn a_run_waits_for_an_engine_that_restarts_but_not_for_ever() {
    let rig = Rig::new();
    let docker =
        format!("echo x >> $HERE/asked\n[ $(wc -l < $HERE/asked) -gt 3 ] || exit 1\n{FAKE_DOCKER}");
    rig.tools.add("docker", &docker);
    rig.container("st-1-control-plane", "io.x-k8s.kind.cluster=st-1", LATER);
    let lease = Lease::take(&rig.paths.leases(), "run-1", "run").expect("taken");
    lease.will_make(cluster("st-1")).expect("written");
    let (paths, programs, patience) =
        (&rig.paths, rig.tools.programs(), (millis(20), millis(1_000)));
    let swept = give_back_within(patience, paths, &programs, &lease, None).await;
    assert!(swept.is_clean(), "{swept:?}");
    assert!(rig.containers().is_empty());
    lease.release().expect("nothing is left");

    rig.tools.add("docker", "exit 1");
    let lease = Lease::take(&rig.paths.leases(), "run-2", "run").expect("taken");
    lease.will_make(cluster("st-2")).expect("written");
    let swept = give_back_within(patience, paths, &programs, &lease, None).await;
    assert_eq!(swept.leases[0].left.len(), 1, "{swept:?}");
    lease.release().expect_err("it may be there still");
}
