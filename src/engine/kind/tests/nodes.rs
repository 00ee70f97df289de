//! Nodes: readied once, stopped and started, their containers frozen.

use super::*;

#[tokio::test]
async fn nodes_stop_and_start_containers_freeze_and_all_is_undone() {
    let mut machine = Machine::new().await;
    let cluster = machine.raised().await;
    let nodes = KindNodes::new(machine.containers.clone(), &cluster);
    let error = nodes.stop("somebody-elses").await.expect_err("not ours").to_string();
    assert!(error.contains("no node `somebody-elses` in cluster st-test"), "{error}");
    nodes.stop("st-test-worker").await.expect("stopped");
    nodes.pause("st-test-worker2", "containerd://abc").await.expect("frozen");
    let running = machine.containers.running_of_cluster("st-test").await.expect("listed");
    assert!(!running.contains(&"st-test-worker".to_owned()));
    nodes.undo().await.expect("undone");
    let running = machine.containers.running_of_cluster("st-test").await.expect("listed");
    assert_eq!(running.len(), 4);
    let last = machine.calls().into_iter().rfind(|call| call.contains(" tasks ")).expect("a call");
    assert_eq!(last, "docker exec st-test-worker2 ctr --namespace=k8s.io tasks resume abc");
    let n_calls = machine.calls().len();
    nodes.undo().await.expect("nothing to undo");
    assert_eq!(machine.calls().len(), n_calls);
}

#[tokio::test]
async fn containers_may_not_open_as_many_files_as_the_kernel_allows() {
    let mut machine = Machine::new().await;
    let mut cluster = machine.raised().await;
    let told = RefCell::new(Vec::new());
    let tell = |line: &str| told.borrow_mut().push(line.to_owned());
    prepare(&mut cluster, &spec(), &machine.containers, &tell).await;
    let calls = machine.calls();
    for node in cluster.node_names() {
        let limits = calls.iter().filter(|call| {
            call.starts_with(&format!("docker exec {node} sh")) && call.contains("--nofile=1048576")
        });
        assert_eq!(limits.count(), 1, "{node}: {calls:?}");
    }
    assert_eq!(told.take(), Vec::<String>::new());

    fs::write(machine.file("faults/unlimited"), "").expect("a fault");
    prepare(&mut cluster, &spec(), &machine.containers, &tell).await;
    let told = told.take();
    assert_eq!(told.len(), 4, "a remark for each node: {told:?}");
    assert!(told[0].starts_with("containers on st-test-control-plane may open any"), "{told:?}");
    assert!(told[0].contains("prlimit: failed to set"), "{told:?}");
}

#[tokio::test]
async fn sys_is_made_writable_at_first_and_after_each_boot() {
    let mut machine = Machine::new().await;
    let mut cluster = machine.raised().await;
    let remounts = |machine: &Machine| -> Vec<String> {
        let calls = machine.calls().into_iter().filter(|call| call.contains("remount,rw"));
        calls.collect()
    };
    let remount = |node: &str| format!("docker exec st-test-{node} mount -o remount,rw /sys");
    let told = RefCell::new(Vec::new());
    let tell = |line: &str| told.borrow_mut().push(line.to_owned());
    make_sys_writable(&mut cluster, &spec(), &machine.containers, &tell).await;
    assert!(!cluster.writable_sys && remounts(&machine).is_empty(), "nobody asked for it");
    let spec = KindSpec { writable_sys: true, ..spec() };
    make_sys_writable(&mut cluster, &spec, &machine.containers, &tell).await;
    assert!(cluster.writable_sys);
    let all = ["control-plane", "worker", "worker2", "worker3"].map(remount);
    assert_eq!(remounts(&machine), all);

    let nodes = KindNodes::new(machine.containers.clone(), &cluster);
    nodes.stop("st-test-worker2").await.expect("stopped");
    nodes.start("st-test-worker2").await.expect("started");
    let calls = machine.calls();
    let [.., start, booted, last] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(start, "docker start st-test-worker2");
    assert!(booted.contains("/proc/1/comm"), "the entry point may come after us: {booted}");
    assert_eq!(*last, remount("worker2"));

    assert_eq!(told.take(), Vec::<String>::new());
    fs::write(machine.file("faults/readonly"), "").expect("a fault");
    make_sys_writable(&mut cluster, &spec, &machine.containers, &tell).await;
    assert!(!cluster.writable_sys, "it would fail again");
    let told = told.take();
    assert!(told[0].starts_with("/sys of node st-test-control-plane stays read-only"), "{told:?}");
}

#[tokio::test]
async fn a_frozen_container_that_was_killed_needs_no_thaw() {
    let mut machine = Machine::new().await;
    let cluster = machine.raised().await;
    let nodes = KindNodes::new(machine.containers.clone(), &cluster);
    fs::write(machine.file("faults/gone"), "").expect("a fault");
    nodes.pause("st-test-worker", "containerd://abc").await.expect("frozen");
    nodes.unpause("st-test-worker", "containerd://abc").await.expect("it has gone");
    let n_calls = machine.calls().len();
    nodes.undo().await.expect("nothing to undo");
    assert_eq!(machine.calls().len(), n_calls);
}
