//! Machines driven by hand inside a world: no kubelet, no network.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::base::{SimTime, millis, secs};
use crate::sim::apps::GenericApp;
use crate::sim::{ClusterSpec, World};

fn start(image: &str) -> ContainerStart {
    ContainerStart {
        node: Arc::from("seatrial-worker"),
        namespace: "default".into(),
        pod: "p".into(),
        pod_uid: "uid-1".into(),
        pod_ip: String::new(),
        container: "c".into(),
        image: image.into(),
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        mounts: Vec::new(),
        cpu_limit_milli: None,
        cpu_request_milli: 100,
        memory_limit_bytes: None,
    }
}

/// A world with one container started at once; its address and id.
fn started(edit: impl FnOnce(&mut ContainerStart)) -> (World, String, ContainerId) {
    let mut world = World::new(&ClusterSpec::new(Profile::NEWEST, 2), 7);
    let mut request = start("test/server:1");
    edit(&mut request);
    let (ip, id) = world.on_machines(|machines, cx| {
        let ip = machines.create_sandbox("seatrial-worker", "uid-1", cx);
        (ip, machines.start(request, cx))
    });
    (world, ip, id.unwrap_or(ContainerId(0)))
}

fn local(world: &mut World, id: ContainerId, path: &str, token: u64) {
    let request = http::Request::builder().uri(path).body(Bytes::new()).unwrap_or_default();
    let call = LocalCall { node: Arc::from("seatrial-worker"), token };
    let request = Machines::addressed(request, 80);
    world.on_machines(|machines, cx| machines.submit_local(id, call, request, cx));
}

#[test]
fn a_port_is_refused_until_the_program_listens_and_after_it_stops() {
    let (mut world, ip, id) = started(|_| {});
    let connect = |world: &mut World, port| world.on_machines(|m, _| m.connect(&ip, port));
    assert_eq!(connect(&mut world, 80), Err(ConnectError::Refused));
    world.run_until(SimTime::ZERO + millis(250));
    assert_eq!(connect(&mut world, 80), Ok(id));
    assert_eq!(connect(&mut world, 81), Err(ConnectError::Refused));
    world.on_machines(|m, cx| m.stop(id, cx));
    assert_eq!(connect(&mut world, 80), Err(ConnectError::Refused));
    world.run_until(SimTime::ZERO + secs(1));
    let state = world.on_machines(|m, _| m.state(id).cloned());
    assert!(matches!(state, Some(ProcessState::Exited { code: 0, .. })), "{state:?}");
    world.on_machines(|m, cx| m.remove_sandbox("uid-1", cx));
    assert_eq!(connect(&mut world, 80), Err(ConnectError::NoAnswer));
    assert!(world.on_machines(|m, _| m.peer(&ip)).is_some_and(|peer| peer.stopping));
}

/// A world with containers `c` and `d` in one pod, run for a second; the latter as edited.
fn two_started(image: &str, edit: impl FnOnce(&mut ContainerStart)) -> (World, [ContainerId; 2]) {
    let (mut world, _, first) = started(|start| start.image = image.into());
    let mut second = ContainerStart { container: "d".into(), ..start(image) };
    edit(&mut second);
    world.run_until(SimTime::ZERO + millis(1));
    let second = world.on_machines(|machines, cx| machines.start(second, cx)).expect("it starts");
    world.run_until(SimTime::ZERO + secs(1));
    (world, [first, second])
}

fn state(world: &mut World, id: ContainerId) -> Option<ProcessState> {
    world.on_machines(|m, _| m.state(id).cloned())
}

#[test]
fn the_second_container_of_a_pod_cannot_listen_where_the_first_does() {
    let (mut world, [first, second]) = two_started("test/server:1", |_| {});
    assert_eq!(state(&mut world, first), Some(ProcessState::Running));
    let ended = state(&mut world, second);
    assert!(matches!(ended, Some(ProcessState::Exited { code: 1, oom_killed: false, .. })));
    let log = world.on_machines(|m, _| m.logs("uid-1", "d", false)).expect("output");
    let said = "bind() to 0.0.0.0:80 failed (98: Address already in use)";
    assert_eq!(log.last().map(String::as_str), Some(said));
    assert!(world.on_machines(|m, _| m.listens(first, 80)));
    // The port is free again once the first is gone.
    world.on_machines(|m, cx| m.kill(first, cx));
    let again = ContainerStart { container: "d".into(), ..start("test/server:1") };
    let again = world.on_machines(|m, cx| m.start(again, cx)).expect("it starts");
    world.run_until(SimTime::ZERO + secs(2));
    assert!(world.on_machines(|m, _| m.listens(again, 80)));
}

#[test]
fn pods_have_ports_of_their_own() {
    let (mut world, _, first) = started(|_| {});
    let other = ContainerStart { pod_uid: "uid-2".into(), ..start("test/server:1") };
    let other = world.on_machines(|machines, cx| {
        machines.create_sandbox("seatrial-worker", "uid-2", cx);
        machines.start(other, cx).expect("it starts")
    });
    world.run_until(SimTime::ZERO + secs(1));
    for id in [first, other] {
        assert_eq!(state(&mut world, id), Some(ProcessState::Running));
    }
}

#[test]
fn what_may_listen_elsewhere_is_not_said_to_collide() {
    let mount = Mount {
        path: "/etc/apache2/ports.conf".into(),
        volume: "configMap/uid-1/ports".into(),
        sub_path: "ports.conf".into(),
        read_only: true,
    };
    let (mut world, [_, second]) = two_started("test/server:1", |start| start.mounts = vec![mount]);
    assert_eq!(state(&mut world, second), Some(ProcessState::Running));
    let notes = world.on_machines(|m, _| m.unmodelled_commands().clone());
    assert_eq!(
        notes.into_iter().map(|(_, note)| note).collect::<Vec<_>>(),
        ["c and d of one pod on port 80, unless a file mounted below /etc says otherwise"]
    );
}

#[test]
fn a_described_image_that_runs_twice_with_other_words_is_a_server_and_its_helper() {
    let app = GenericApp {
        image: "example.com/shop".into(),
        port: 8080,
        start: millis(100),
        cpu_per_request: millis(1),
        memory_bytes: 1 << 20,
        statuses: BTreeMap::new(),
        drains: true,
        has_shell: Some(true),
        unprivileged: false,
        probes: Vec::new(),
    };
    for (args, code) in [(vec!["worker".to_owned()], None), (Vec::new(), Some(1))] {
        let mut spec = ClusterSpec::new(Profile::NEWEST, 2);
        spec.apps = vec![app.clone()];
        let mut world = World::new(&spec, 7);
        let helper = world.on_machines(|machines, cx| {
            machines.create_sandbox("seatrial-worker", "uid-1", cx);
            machines.start(start("example.com/shop:1"), cx).expect("it starts");
            let container = "d".into();
            machines.start(ContainerStart { container, args, ..start("example.com/shop:1") }, cx)
        });
        world.run_until(SimTime::ZERO + secs(1));
        let code_of = |state| match state {
            Some(ProcessState::Exited { code, .. }) => Some(code),
            _ => None,
        };
        assert_eq!(code_of(state(&mut world, helper.expect("it starts"))), code);
    }
}

#[test]
fn a_frozen_program_is_connected_to_until_its_accept_queue_is_full() {
    let (mut world, ip, id) = started(|start| start.image = "nginx:1".into());
    let connect = |world: &mut World| world.on_machines(|m, _| m.connect(&ip, 80));
    world.run_until(SimTime::ZERO + secs(1));
    world.on_machines(|m, cx| m.freeze(id, cx));
    for token in 0..512 {
        assert_eq!(connect(&mut world), Ok(id), "{token}");
        local(&mut world, id, "/", token);
        world.run_until(world.now() + millis(1));
    }
    assert_eq!(connect(&mut world), Err(ConnectError::NoAnswer));
    world.on_machines(|m, cx| m.thaw(id, cx));
    world.run_until(world.now() + secs(1));
    assert_eq!(connect(&mut world), Ok(id));
}

#[test]
fn a_throttled_container_takes_longer_and_uses_the_same_cpu() {
    let (mut world, _, id) = started(|start| start.cpu_limit_milli = Some(200));
    world.run_until(SimTime::ZERO + millis(1000));
    // 30 ms of CPU at 20 ms a period: 20 ms, throttled to the end of the period, 10 ms more.
    local(&mut world, id, "/", 1);
    let done = |world: &mut World| world.on_machines(|m, _| m.logs("uid-1", "c", false));
    world.run_until(SimTime::ZERO + millis(1109));
    assert_eq!(done(&mut world).map(|lines| lines.len()), Some(1));
    world.run_until(SimTime::ZERO + millis(1111));
    assert_eq!(done(&mut world).map(|lines| lines.len()), Some(2));
    let now = world.now();
    let usage = world.on_machines(|m, _| m.usage("uid-1", "c", now));
    assert_eq!(usage.map(|usage| usage.cpu), Some(millis(30)));
}

#[test]
fn requests_beyond_the_workers_wait_and_a_drain_finishes_them() {
    let (mut world, _, id) = started(|start| start.image = "test/server:1_workers.1".into());
    world.run_until(SimTime::ZERO + secs(1));
    local(&mut world, id, "/a", 1);
    local(&mut world, id, "/b", 2);
    world.run_until(SimTime::ZERO + millis(1040));
    // `/a` is served, `/b` is in service: it is finished before the process ends.
    world.on_machines(|m, cx| m.stop(id, cx));
    world.run_until(SimTime::ZERO + millis(1065));
    assert_eq!(world.on_machines(|m, _| m.state(id).cloned()), Some(ProcessState::Running));
    world.run_until(SimTime::ZERO + millis(1100));
    let state = world.on_machines(|m, _| m.state(id).cloned());
    assert!(matches!(state, Some(ProcessState::Exited { code: 0, .. })), "{state:?}");
    let log = world.on_machines(|m, _| m.logs("uid-1", "c", false));
    assert_eq!(log, Some(vec!["starting p".into(), "GET /a".into(), "GET /b".into()]));
}

#[test]
fn memory_over_the_limit_kills() {
    let (mut world, _, id) = started(|start| start.memory_limit_bytes = Some(32 << 20));
    world.run_until(SimTime::ZERO + secs(1));
    let state = world.on_machines(|m, _| m.state(id).cloned());
    let killed =
        ProcessState::Exited { code: 137, oom_killed: true, at: SimTime::ZERO + millis(200) };
    assert_eq!(state, Some(killed));
}

#[test]
fn commands_run_as_the_image_allows() {
    let (mut world, _, id) = started(|_| {});
    world.run_until(SimTime::ZERO + secs(1));
    let exec = |world: &mut World, words: &[&str]| {
        let command: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let plan = world.on_machines(|m, cx| m.exec(id, &command, None, cx)).expect("it runs");
        (plan.duration.as_secs(), plan.exit_code)
    };
    assert_eq!(exec(&mut world, &["sleep", "20"]), (20, 0));
    assert_eq!(exec(&mut world, &["/bin/sh", "-c", "sleep 5; sleep 2"]), (7, 0));
    assert_eq!(exec(&mut world, &["sh", "-c", "false && sleep 9"]), (0, 1));
    assert_eq!(exec(&mut world, &["bash", "-c", "sleep 5"]), (0, 127));
    assert_eq!(exec(&mut world, &["test", "-f", "/tmp/started"]), (0, 0));
    assert_eq!(exec(&mut world, &["cat", "/tmp/absent"]), (0, 1));
    assert_eq!(exec(&mut world, &["sh", "-c", "for i in 1 2; do sleep 1; done"]), (0, 0));
    let unknown = world.on_machines(|m, _| m.unmodelled_commands().len());
    assert_eq!(unknown, 1);
    assert_eq!(exec(&mut world, &["cat", "/etc/hosts"]), (0, 0));
    let unknown = world.on_machines(|m, _| m.unmodelled_commands().len());
    assert_eq!(unknown, 2, "a file of the image");
    assert_eq!(exec(&mut world, &["sh", "-c", "sleep 1 >/dev/null 2>&1"]), (1, 0));
    assert_eq!(exec(&mut world, &["sh", "-c", "echo up > /tmp/up"]), (0, 0));
    assert_eq!(exec(&mut world, &["sh", "-c", "sleep 1; test -f /tmp/up"]), (0, 0));
    assert_eq!(exec(&mut world, &["sh", "-c", "sleep 1; sh -c '/bin/cat /tmp/up'"]), (0, 0));
    let unknown = world.on_machines(|m, _| m.unmodelled_commands().len());
    assert_eq!(unknown, 5, "a file that is written, and one that is looked for later");
    assert_eq!(exec(&mut world, &["touch", "/tmp/ready"]), (0, 0));
    assert_eq!(exec(&mut world, &["test", "-f", "/tmp/ready"]), (0, 0));
    assert_eq!(exec(&mut world, &["rm", "/tmp/ready"]), (0, 0));
    assert_eq!(exec(&mut world, &["rm", "/tmp/ready"]), (0, 1));
    assert_eq!(exec(&mut world, &["test", "-f", "/tmp/ready"]), (0, 1));
}

#[test]
fn a_script_sends_the_stop_signal_at_its_place() {
    for (script, limit, stopped_at) in [
        ("sleep 20; kill -TERM 1", None, Some(20)),
        ("sleep 15 && kill 1; sleep 30; kill 1", None, Some(15)),
        ("sh -c 'sleep 7'; false || kill 1; sleep 40", None, Some(7)),
        ("sleep 3; kill 1", Some(secs(2)), None),
    ] {
        let (mut world, _, id) = started(|_| {});
        world.run_until(SimTime::ZERO + secs(1));
        let command = ["sh", "-c", script].map(str::to_owned);
        world.on_machines(|m, cx| m.exec(id, &command, limit, cx)).expect("it runs");
        let mut seconds = 0..60;
        let ended = seconds.find(|second| {
            world.run_until(SimTime::ZERO + secs(2 + second));
            state(&mut world, id) != Some(ProcessState::Running)
        });
        assert_eq!(ended, stopped_at, "{script}");
    }
}

#[test]
fn clients_see_the_status_of_the_path() {
    let (mut world, _, id) = started(|_| {});
    world.run_until(SimTime::ZERO + secs(1));
    let mut exec = |words: &[&str]| {
        let command: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let plan = world.on_machines(|m, cx| m.exec(id, &command, None, cx)).expect("it runs");
        (plan.exit_code, world.on_machines(|m, _| m.unmodelled_commands().len()))
    };
    assert_eq!(exec(&["curl", "-fsS", "http://localhost/x"]), (0, 0));
    assert_eq!(exec(&["curl", "-sf", "http://localhost/fails"]), (22, 0));
    assert_eq!(exec(&["curl", "-s", "localhost/fails"]), (0, 0));
    assert_eq!(exec(&["curl", "-s", "http://localhost:81/"]), (7, 0));
    assert_eq!(exec(&["wget", "-qO-", "http://127.0.0.1:80/fails"]), (1, 0));
    assert_eq!(exec(&["wget", "-qO-", "http://127.0.0.1/hangs"]).1, 1);
    assert_eq!(exec(&["curl", "-f", "http://db/"]).1, 2);
}

#[test]
fn a_node_without_power_answers_nothing_and_its_addresses_are_not_reused_soon() {
    let (mut world, ip, id) = started(|_| {});
    world.run_until(SimTime::ZERO + secs(1));
    world.stop_node("seatrial-worker");
    assert_eq!(world.on_machines(|m, _| m.connect(&ip, 80)), Err(ConnectError::NoAnswer));
    assert!(!world.on_machines(|m, _| m.keeps_alive(id)));
    let now = world.now();
    assert_eq!(world.on_machines(|m, _| m.usage("uid-1", "c", now)), None);
    world.start_node("seatrial-worker");
    assert_eq!(world.on_machines(|m, _| m.connect(&ip, 80)), Err(ConnectError::NoAnswer));
    let next = world.on_machines(|m, cx| m.create_sandbox("seatrial-worker", "uid-2", cx));
    assert_ne!(next, ip);
}
