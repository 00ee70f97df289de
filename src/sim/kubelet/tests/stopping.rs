//! preStop, stop signal, grace, kill, removal of the object.

use super::*;

/// Runs a pod, deletes it, and returns the facts' times after the deletion and the object's.
struct Stop {
    hook: Vec<f64>,
    signal: Vec<f64>,
    killed: Vec<f64>,
    exited: Vec<f64>,
    gone: f64,
}

fn stop(minor: &str, seed: u64, container: Value, spec: Value, grace: Option<i64>) -> Stop {
    let mut world = world(minor, seed);
    create(&mut world, pod(container, spec));
    seconds_until(&mut world, 20, is_ready);
    let ready_for = world.now() + secs(5);
    world.run_until(ready_for);
    world.take_facts();
    let t0 = world.now();
    delete(&mut world, grace);
    let gone = seconds_until(&mut world, 120, |w| get(w).is_none());
    world.run_until(t0 + secs(60));
    let facts = world.take_facts();
    let times = |kind: FactKind| {
        let of_kind = facts.iter().filter(|fact| fact.kind == kind && fact.object.name == "p");
        of_kind.map(|fact| fact.at.since(t0).as_secs_f64()).collect()
    };
    Stop {
        hook: times(FactKind::PreStopStarted),
        signal: times(FactKind::StopSignal),
        killed: times(FactKind::Killed),
        exited: times(FactKind::Exited),
        gone,
    }
}

fn sleep_hook(seconds: &str) -> Value {
    json!({"lifecycle": {"preStop": {"exec": {"command": ["sleep", seconds]}}}})
}

#[test]
fn without_a_hook_the_signal_comes_at_once() {
    for seed in 0..20 {
        let stop = stop("1.37", seed, json!({}), json!({}), None);
        assert!(stop.hook.is_empty() && stop.killed.is_empty());
        assert_between("signal", stop.signal[0], 0.02, 0.3);
        assert_between("exit", stop.exited[0] - stop.signal[0], 0.01, 0.02);
        assert_between("gone", stop.gone - stop.exited[0], 0.7, 3.1);
    }
}

#[test]
fn a_hook_of_20_s_delays_the_signal() {
    for seed in 0..5 {
        let stop = stop("1.37", seed, sleep_hook("20"), json!({}), None);
        assert_between("hook", stop.hook[0], 0.02, 0.3);
        assert_between("signal", stop.signal[0], 20.0, 20.5);
        assert!(stop.killed.is_empty());
        assert_between("gone", stop.gone, 20.7, 24.0);
    }
}

#[test]
fn a_hook_longer_than_the_grace_leaves_two_seconds() {
    let mut container = sleep_hook("40");
    container["image"] = "test/server:1_ignores".into();
    let spec = json!({"terminationGracePeriodSeconds": 30});
    let stop = stop("1.37", 1, container, spec, None);
    assert_between("signal", stop.signal[0], 30.0, 30.3);
    assert_between("kill", stop.killed[0] - stop.signal[0], 2.0, 2.0);
}

#[test]
fn a_process_that_ignores_the_signal_is_killed_at_the_end_of_the_grace() {
    let container = json!({"image": "test/server:1_ignores"});
    let stop = stop("1.37", 1, container, json!({"terminationGracePeriodSeconds": 7}), None);
    assert_between("kill", stop.killed[0] - stop.signal[0], 7.0, 7.0);
}

#[test]
fn a_hook_without_its_binary_fails_at_once() {
    let mut container = sleep_hook("20");
    container["image"] = "test/server:1_bare".into();
    let stop = stop("1.37", 1, container, json!({}), None);
    assert_between("signal", stop.signal[0], 0.02, 0.35);
}

#[test]
fn a_sleep_hook_is_known_from_1_30_on() {
    let hook = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}});
    let stop = stop("1.30", 1, hook, json!({}), None);
    assert_between("signal", stop.signal[0], 5.0, 5.3);
}

#[test]
fn a_forced_deletion_skips_the_hook_and_the_object_goes_first() {
    for minor in ["1.20", "1.37"] {
        let mut container = sleep_hook("20");
        container["image"] = "test/server:1_ignores".into();
        let stop = stop(minor, 1, container, json!({}), Some(0));
        assert!(stop.hook.is_empty());
        assert_between("gone", stop.gone, 0.0, 0.001);
        assert_between("signal", stop.signal[0], 0.02, 0.3);
        assert_between("kill", stop.killed[0] - stop.signal[0], 2.0, 2.0);
    }
}

#[test]
fn the_object_goes_later_in_1_20() {
    let times: Vec<f64> = (0..20)
        .map(|seed| {
            let stop = stop("1.20", seed, json!({}), json!({}), None);
            stop.gone - stop.exited[0]
        })
        .collect();
    for time in &times {
        assert_between("gone after the exit", *time, 1.0, 12.5);
    }
    let mean = times.iter().sum::<f64>() / 20.0;
    assert_between("mean", mean, 3.0, 9.0);
}

#[test]
fn readiness_lasts_until_the_process_ends() {
    let mut world = world("1.37", 6);
    create(&mut world, pod(sleep_hook("10"), json!({})));
    seconds_until(&mut world, 20, is_ready);
    let t0 = world.now();
    delete(&mut world, None);
    world.run_until(t0 + secs(9));
    assert!(is_ready(&mut world));
    seconds_until(&mut world, 5, |w| !is_ready(w));
    let phase = get(&mut world).and_then(|pod| pod.status?.phase);
    assert_eq!(phase.as_deref(), Some("Succeeded"));
}

#[test]
fn a_second_deletion_may_shorten_the_grace() {
    let mut world = world("1.30", 6);
    create(&mut world, pod(sleep_hook("60"), json!({"terminationGracePeriodSeconds": 90})));
    seconds_until(&mut world, 20, is_ready);
    let t0 = world.now();
    delete(&mut world, None);
    world.run_until(t0 + secs(3));
    delete(&mut world, Some(5));
    let gone = seconds_until(&mut world, 60, |w| get(w).is_none());
    assert_between("gone", gone, 5.0, 9.0);
}

#[test]
fn a_pod_deleted_while_it_starts_goes_without_having_run() {
    let mut world = world("1.37", 6);
    create(&mut world, pod(json!({}), json!({})));
    let t0 = world.now();
    world.run_until(t0 + Duration::from_millis(300));
    delete(&mut world, None);
    seconds_until(&mut world, 10, |w| get(w).is_none());
    assert!(fact_times(&mut world, FactKind::ListenerOpened, t0).is_empty());
}
