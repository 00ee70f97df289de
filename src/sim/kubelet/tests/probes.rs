//! Readiness, liveness and startup probes, readiness gates.

use super::*;

fn tcp(delay: u32, period: u32) -> Value {
    json!({"tcpSocket": {"port": 80}, "initialDelaySeconds": delay, "periodSeconds": period,
        "failureThreshold": 3, "successThreshold": 1, "timeoutSeconds": 1})
}

/// Seconds from the start of the process to Ready, for some seeds.
fn ready_after_start(minor: &str, probe: &Value) -> Vec<f64> {
    (0..40)
        .map(|seed| {
            let mut world = world(minor, seed);
            let t0 = world.now();
            let container = json!({"image": "test/server:1_start.5", "readinessProbe": probe});
            create(&mut world, pod(container, json!({})));
            let ready = seconds_until(&mut world, 60, is_ready);
            let opened = fact_times(&mut world, FactKind::ListenerOpened, t0);
            ready - (opened[0] - 0.005)
        })
        .collect()
}

#[test]
fn readiness_comes_at_a_random_phase_in_1_20() {
    let times = ready_after_start("1.20", &tcp(5, 5));
    let mean = times.iter().sum::<f64>() / 40.0;
    for time in &times {
        assert_between("ready", *time, 4.0, 10.2);
    }
    assert_between("mean", mean, 6.0, 9.0);
}

#[test]
fn readiness_keeps_the_phase_of_the_start_in_newer_minors() {
    // Ticks at w + 5k with w 0.4 to 1.3 s before the start: about 5 s, or 8 to 9.7 s.
    for time in ready_after_start("1.30", &tcp(5, 5)) {
        let early = (3.9..=5.3).contains(&time);
        assert!(early || (8.3..=10.0).contains(&time), "{time}");
    }
    // Without a delay the sync that sees the container running triggers the probe.
    for time in ready_after_start("1.30", &tcp(0, 10)) {
        assert_between("triggered", time, 0.0, 1.3);
    }
}

#[test]
fn a_failing_readiness_probe_takes_the_pod_out_and_back_in() {
    let mut world = world("1.30", 3);
    let probe = json!({"exec": {"command": ["cat", "/tmp/started"]}, "periodSeconds": 5,
        "failureThreshold": 3});
    create(&mut world, pod(json!({"readinessProbe": probe}), json!({})));
    seconds_until(&mut world, 20, is_ready);
    let ready_for = world.now() + secs(20);
    world.run_until(ready_for);
    assert!(is_ready(&mut world));
    let uid = get(&mut world).and_then(|pod| pod.metadata.uid).unwrap_or_default();
    set_file(&mut world, &uid, false);
    let out = seconds_until(&mut world, 30, |w| !is_ready(w));
    assert_between("three failures at a period of 5 s", out, 10.0, 16.0);
    set_file(&mut world, &uid, true);
    let back = seconds_until(&mut world, 30, is_ready);
    assert_between("one success", back, 0.0, 5.3);
    assert_eq!(status(&mut world).restart_count, 0);
}

/// Writes or removes the file that the probe looks for, as the program itself would.
fn set_file(world: &mut World, uid: &str, present: bool) {
    world.on_machines(|machines, _| machines.write_for_test(uid, "c", "/tmp/started", present));
}

#[test]
fn a_failing_liveness_probe_restarts_with_hook_and_grace() {
    let mut world = world("1.30", 3);
    let t0 = world.now();
    let probe = json!({"httpGet": {"path": "/fails", "port": 80}, "periodSeconds": 5,
        "failureThreshold": 2});
    let hook = json!({"preStop": {"exec": {"command": ["sleep", "4"]}}});
    create(&mut world, pod(json!({"livenessProbe": probe, "lifecycle": hook}), json!({})));
    let restarted = seconds_until(&mut world, 60, |w| status(w).restart_count == 1);
    // Two failures, then 4 s of preStop, then the new start.
    assert_between("restart", restarted, 9.0, 22.0);
    let facts = world.take_facts();
    let at = |kind: FactKind| {
        let fact = facts.iter().find(|fact| fact.kind == kind);
        fact.map(|fact| fact.at.since(t0).as_secs_f64()).unwrap_or_default()
    };
    let hook_time = at(FactKind::StopSignal) - at(FactKind::PreStopStarted);
    assert_between("preStop", hook_time, 4.0, 4.1);
}

#[test]
fn a_startup_probe_holds_the_others_back() {
    let mut world = world("1.30", 3);
    let startup = json!({"tcpSocket": {"port": 80}, "periodSeconds": 3, "failureThreshold": 30});
    let container = json!({"image": "test/server:1_start.12000", "startupProbe": startup,
        "livenessProbe": tcp(0, 1), "readinessProbe": tcp(0, 1)});
    create(&mut world, pod(container, json!({})));
    let ready = seconds_until(&mut world, 60, is_ready);
    assert_between("ready after a slow start", ready, 12.5, 20.0);
    assert_eq!(status(&mut world).restart_count, 0);
}

#[test]
fn a_probe_that_hangs_times_out() {
    let mut world = world("1.30", 3);
    let probe = json!({"httpGet": {"path": "/hangs", "port": 80}, "periodSeconds": 2,
        "timeoutSeconds": 1});
    create(&mut world, pod(json!({"readinessProbe": probe}), json!({})));
    world.run_until(SimTime::ZERO + T0 + secs(30));
    assert!(is_running(&mut world) && !is_ready(&mut world));
}

#[test]
fn a_probe_sends_its_headers_and_finds_no_tls() {
    let ready_with = |get: Value| {
        let mut world = world("1.30", 3);
        let probe = json!({"httpGet": get, "periodSeconds": 2});
        create(&mut world, pod(json!({"readinessProbe": probe}), json!({})));
        world.run_until(SimTime::ZERO + T0 + secs(30));
        assert!(is_running(&mut world));
        is_ready(&mut world)
    };
    let headers = json!([{"name": "X-Key", "value": "1"}]);
    assert!(!ready_with(json!({"path": "/guarded", "port": 80})));
    assert!(ready_with(json!({"path": "/guarded", "port": 80, "httpHeaders": headers})));
    assert!(ready_with(json!({"path": "/", "port": 80, "scheme": "HTTP"})));
    assert!(!ready_with(json!({"path": "/", "port": 80, "scheme": "HTTPS"})));
}

#[test]
fn a_readiness_gate_is_open_when_its_condition_is_true() {
    let mut world = world("1.30", 3);
    let gates = json!({"readinessGates": [{"conditionType": "test/gate"}]});
    create(&mut world, pod(json!({}), gates));
    seconds_until(&mut world, 10, is_running);
    let pod = get(&mut world).unwrap_or_default();
    let condition = k8s::pod_condition(&pod, "Ready").cloned().unwrap_or_default();
    assert_eq!(condition.reason.as_deref(), Some("ReadinessGatesNotReady"));
    set_gate(&mut world, "True");
    let opened = seconds_until(&mut world, 10, is_ready);
    assert_between("opened", opened, 0.0, 1.5);
    set_gate(&mut world, "False");
    seconds_until(&mut world, 10, |w| !is_ready(w));
    let pod = get(&mut world).unwrap_or_default();
    let kept = k8s::pod_condition(&pod, "test/gate").map(|c| c.status.clone());
    assert_eq!(kept.as_deref(), Some("False"));
}

fn set_gate(world: &mut World, value: &str) {
    let patched = world.api().patch::<Pod>(crate::sim::api::Part::Status, "default", "p", |pod| {
        let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|c| c.type_ != "test/gate");
        conditions.push(k8s_openapi::api::core::v1::PodCondition {
            type_: "test/gate".into(),
            status: value.into(),
            ..Default::default()
        });
    });
    assert!(patched.is_ok_and(|pod| pod.is_some()));
}
