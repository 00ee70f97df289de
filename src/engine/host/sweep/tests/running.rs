//! Programs that outlive their owner, and what an engine still makes for it.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::super::super::ProcessId;
use super::super::super::program::LEASE_VARIABLE;
use super::*;

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
async fn processes_of_other_leases_and_daemons_are_spared() {
    let start = |id: &str, within: &[&str]| {
        let words = [within, &["sh", "-c", "echo up; exec sleep 20"]].concat();
        let mut command = tokio::process::Command::new(words[0]);
        command.args(&words[1..]).env(LEASE_VARIABLE, id);
        command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts")
    };
    let rig = Rig::new();
    let lease = Lease::take(&rig.paths.leases(), "sweep-test-1", "run").expect("taken");
    let mut ours = start(lease.id(), &[]);
    let mut others = [start("sweep-test-11", &[]), start(lease.id(), &["setsid"])];
    for child in [&mut ours].into_iter().chain(&mut others) {
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).lines().next_line().await.expect("it is up");
    }
    end_programs(&Programs::real(), &lease.file()).await;
    let ended = tokio::time::timeout(secs(10), ours.wait()).await;
    assert!(!ended.expect("in time").expect("asked").success());
    for other in &mut others {
        assert!(other.try_wait().expect("asked").is_none());
    }
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
