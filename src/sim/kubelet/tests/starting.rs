//! Start order, images, environment, crashes and back-off.

use super::*;

#[test]
fn a_pod_runs_and_is_ready_within_the_usual_time() {
    for seed in 0..20 {
        let mut world = world("1.37", seed);
        create(&mut world, pod(json!({}), json!({})));
        let t0 = world.now();
        let running = seconds_until(&mut world, 10, is_running);
        assert_between("phase Running", running, 0.8, 3.5);
        // Without a readiness probe the pod is Ready when it is seen running.
        assert!(is_ready(&mut world));
        world.run_until(t0 + secs(5));
        let opened = fact_times(&mut world, FactKind::ListenerOpened, t0);
        assert_between("listening", opened[0], 0.7, 2.7);
        let pod = get(&mut world).unwrap_or_default();
        let ip = pod.status.and_then(|status| status.pod_ip).unwrap_or_default();
        assert!(ip.starts_with("10.244.1."), "{ip}");
    }
}

#[test]
fn an_image_that_nobody_published_is_not_pulled() {
    let mut world = world("1.37", 1);
    create(&mut world, pod(json!({"image": "test/server:2"}), json!({})));
    seconds_until(&mut world, 10, |w| waiting_reason(w) == "ErrImagePull");
    seconds_until(&mut world, 20, |w| waiting_reason(w) == "ImagePullBackOff");
    let pod = get(&mut world).unwrap_or_default();
    assert_eq!(pod.status.and_then(|status| status.phase).as_deref(), Some("Pending"));
    assert!(status(&mut world).container_id.is_none());
}

#[test]
fn a_container_whose_image_has_no_valid_name_never_runs() {
    let mut world = world("1.37", 1);
    create(&mut world, pod(json!({"image": "test/server:1:2"}), json!({})));
    seconds_until(&mut world, 10, |w| waiting_reason(w) == "InvalidImageName");
    let until = world.now() + secs(120);
    world.run_until(until);
    assert_eq!(waiting_reason(&mut world), "InvalidImageName");
    let waiting = status(&mut world).state.and_then(|state| state.waiting);
    let expected = "Failed to apply default image tag \"test/server:1:2\": couldn't parse image name \
                    \"test/server:1:2\": invalid reference format";
    assert_eq!(waiting.and_then(|waiting| waiting.message).as_deref(), Some(expected));
}

#[test]
fn an_image_is_pulled_once_for_a_node() {
    let mut spec = ClusterSpec::new(Profile::NEWEST, 2);
    spec.images = vec!["other".into()];
    let mut world = World::new(&spec, 3);
    create(&mut world, pod(json!({}), json!({})));
    let first = seconds_until(&mut world, 30, is_running);
    assert_between("with a pull of 100 MB", first, 3.0, 9.0);
    delete(&mut world, Some(0));
    world.run_until(SimTime::ZERO + secs(40));
    create(&mut world, pod(json!({}), json!({})));
    let again = seconds_until(&mut world, 30, is_running);
    assert_between("without a pull", again, 0.8, 3.5);
}

#[test]
fn a_missing_secret_holds_the_container_back_until_it_appears() {
    let mut world = world("1.37", 1);
    let env = json!([{"name": "PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]);
    create(&mut world, pod(json!({"env": env}), json!({})));
    seconds_until(&mut world, 20, |w| waiting_reason(w) == "CreateContainerConfigError");
    let message = status(&mut world).state.and_then(|s| s.waiting).and_then(|w| w.message);
    assert_eq!(message.as_deref(), Some("secret \"db\" not found"));
    let secret = json!({"metadata": {"name": "db", "namespace": "default"},
        "data": {"password": "c2VjcmV0"}});
    let secret: k8s_openapi::api::core::v1::Secret =
        serde_json::from_value(secret).unwrap_or_default();
    assert!(world.api().create(secret).is_ok());
    let fixed = seconds_until(&mut world, 30, is_running);
    assert_between("after the next retry", fixed, 0.0, 18.0);
}

#[test]
fn init_containers_run_one_after_another_before_the_rest() {
    let mut world = world("1.37", 5);
    let init = |name: &str| json!({"name": name, "image": "test/server:1_bare_crash.2000_code.0"});
    let inits = json!([init("one"), init("two")]);
    let mut spec = pod(json!({}), json!({"initContainers": inits}));
    spec.metadata.name = Some("p".into());
    create(&mut world, spec);
    seconds_until(&mut world, 10, |w| waiting_reason(w) == "PodInitializing");
    let running = seconds_until(&mut world, 30, is_running);
    assert_between("two inits of 2 s each", running, 4.0, 12.0);
    let pod = get(&mut world).unwrap_or_default();
    let initialized = k8s::pod_condition(&pod, "Initialized").map(|c| c.status.clone());
    assert_eq!(initialized.as_deref(), Some("True"));
}

#[test]
fn a_sidecar_starts_before_and_stays() {
    let mut world = world("1.37", 5);
    let sidecar =
        json!([{"name": "side", "image": "test/server:1_bare", "restartPolicy": "Always"}]);
    create(&mut world, pod(json!({}), json!({"initContainers": sidecar})));
    seconds_until(&mut world, 30, is_ready);
    let statuses = get(&mut world).and_then(|pod| pod.status?.init_container_statuses);
    let side = statuses.unwrap_or_default().remove(0);
    assert!(side.ready && side.state.is_some_and(|state| state.running.is_some()));
    delete(&mut world, Some(30));
    let gone = seconds_until(&mut world, 60, |w| get(w).is_none());
    assert_between("main, then sidecar", gone, 0.5, 6.0);
}

#[test]
fn a_crashing_container_waits_longer_each_time() {
    let restarts = |minor: &str| -> Vec<f64> {
        let mut world = world(minor, 2);
        let t0 = world.now();
        create(&mut world, pod(json!({"image": "test/server:1_crash.300"}), json!({})));
        world.run_until(t0 + secs(120));
        assert!(!is_ready(&mut world) || status(&mut world).restart_count > 2);
        fact_times(&mut world, FactKind::Exited, t0)
    };
    // From 1.35 on exactly at the end of the back-off: at once, then 10, 20, 40 s after the exit.
    let exits = restarts("1.37");
    assert!(exits.len() >= 4, "{exits:?}");
    assert_between("first restart", exits[1] - exits[0], 0.4, 3.0);
    assert_between("second restart", exits[2] - exits[1], 10.3, 12.5);
    assert_between("third restart", exits[3] - exits[2], 20.3, 22.5);
    // Before on the raster of 10 to 15 s.
    let exits = restarts("1.20");
    assert_between("second restart", exits[2] - exits[1], 10.3, 27.5);
}

#[test]
fn a_crash_loop_shows_in_the_status() {
    let mut world = world("1.37", 4);
    create(&mut world, pod(json!({"image": "test/server:1_crash.300"}), json!({})));
    seconds_until(&mut world, 60, |w| waiting_reason(w) == "CrashLoopBackOff");
    let status = status(&mut world);
    assert!(!status.ready && status.restart_count >= 1);
    let last = status.last_state.and_then(|state| state.terminated);
    assert_eq!(last.map(|ended| ended.exit_code), Some(1));
    assert!(is_running(&mut world), "a crash-looping pod is in phase Running");
}

#[test]
fn memory_over_the_limit_is_an_oom_kill() {
    let mut world = world("1.37", 4);
    let resources = json!({"limits": {"memory": "48Mi"}});
    create(&mut world, pod(json!({"resources": resources}), json!({})));
    let reason = |w: &mut World| {
        let status = status(w);
        let state = status.last_state.and_then(|state| state.terminated);
        let state = state.or(status.state.and_then(|state| state.terminated));
        state.and_then(|ended| ended.reason).unwrap_or_default()
    };
    seconds_until(&mut world, 20, |w| reason(w) == "OOMKilled");
}

#[test]
fn a_pod_that_does_not_fit_is_refused_by_the_kubelet() {
    let mut world = world("1.37", 4);
    let resources = json!({"requests": {"cpu": "9"}});
    create(&mut world, pod(json!({"resources": resources}), json!({})));
    let phase = |w: &mut World| get(w).and_then(|pod| pod.status?.phase).unwrap_or_default();
    seconds_until(&mut world, 5, |w| phase(w) == "Failed");
    let reason = get(&mut world).and_then(|pod| pod.status?.reason);
    assert_eq!(reason.as_deref(), Some("OutOfcpu"));
}

#[test]
fn a_pod_that_runs_to_its_end_succeeds() {
    let mut world = world("1.37", 4);
    let image = json!({"image": "test/server:1_bare_crash.500_code.0"});
    create(&mut world, pod(image, json!({"restartPolicy": "Never"})));
    let phase = |w: &mut World| get(w).and_then(|pod| pod.status?.phase).unwrap_or_default();
    seconds_until(&mut world, 20, |w| phase(w) == "Succeeded");
    delete(&mut world, None);
    assert!(get(&mut world).is_none());
}

#[test]
fn a_post_start_hook_holds_readiness_back_until_it_ends() {
    let hook = json!({"lifecycle": {"postStart": {"exec": {"command": ["sleep", "5"]}}}});
    let mut world = world("1.37", 4);
    create(&mut world, pod(hook, json!({})));
    let ready = seconds_until(&mut world, 20, is_ready);
    assert_between("start, then 5 s of hook", ready, 5.8, 8.5);
    assert_eq!(status(&mut world).restart_count, 0);
}

#[test]
fn a_failed_post_start_hook_costs_the_container_its_life() {
    let hook = json!({"lifecycle": {"postStart": {"exec": {"command": ["false"]}}}});
    let mut world = world("1.37", 4);
    let t0 = world.now();
    create(&mut world, pod(hook, json!({})));
    world.run_until(t0 + secs(60));
    assert!(!is_ready(&mut world));
    assert!(status(&mut world).restart_count >= 2, "{:?}", status(&mut world));
    let killed = fact_times(&mut world, FactKind::Killed, t0);
    let listening = fact_times(&mut world, FactKind::ListenerOpened, t0);
    assert!(killed.len() >= 3 && listening.is_empty(), "{killed:?} {listening:?}");
    let told = world
        .api()
        .list::<k8s_openapi::api::core::v1::Event>()
        .any(|event| event.reason.as_deref() == Some("FailedPostStartHook"));
    assert!(told);
}

#[test]
fn a_pod_on_the_host_network_has_the_address_of_its_node() {
    let mut world = world("1.37", 4);
    create(&mut world, pod(json!({}), json!({"hostNetwork": true})));
    seconds_until(&mut world, 20, is_ready);
    let status = get(&mut world).and_then(|pod| pod.status).unwrap_or_default();
    assert!(status.host_ip.as_deref().is_some_and(|ip| ip.starts_with("172.18.")), "{status:?}");
    assert_eq!(status.pod_ip, status.host_ip);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed: u64| {
        let mut world = world("1.37", seed);
        create(&mut world, pod(json!({"image": "test/server:1_crash.300"}), json!({})));
        world.run_until(SimTime::ZERO + secs(150));
        world.trace().hash()
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
}
