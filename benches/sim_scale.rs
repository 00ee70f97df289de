//! How the simulator grows: one Deployment until all its pods are Ready, on 100 nodes with 1,000
//! pods and on 1,000 nodes with 10,000 pods.
//!
//! Prints wall time, cluster time, their ratio and the growth between the two. The work grows with
//! the pods and with the time they are there to be probed and measured: the scheduler's client binds
//! 50 pods a second however many there are, so ten times the pods take ten times as long to come up.
//! Slow is not a failure; a pod that never gets Ready is.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use serde_json::json;

use seatrial::base::{SimTime, millis, secs};
use seatrial::k8s::is_pod_ready;
use seatrial::sim::apps::GenericApp;
use seatrial::sim::profile::Profile;
use seatrial::sim::{ClusterSpec, World};

const NAMESPACE: &str = "scale";
const IMAGE: &str = "registry.example/web";
const SEED: u64 = 1;
/// The nodes are given this long to register.
const BOOT: Duration = secs(30);
/// Virtual time after which pods that are not Ready count as lost.
const PATIENCE: Duration = secs(3_600);
/// Virtual time between two looks.
const STEP: Duration = millis(500);

/// Nodes, pods, and the wall time wanted, in seconds.
const ROUNDS: [(usize, usize, Option<u64>); 2] = [(100, 1_000, None), (1_000, 10_000, Some(20))];

struct Measured {
    wall: Duration,
    virtual_time: Duration,
    /// Sum over all pods of the time they were Ready.
    ready_time: Duration,
    n_bound: usize,
    n_ready: usize,
}

fn main() -> ExitCode {
    print_line("one Deployment until all its pods are Ready");
    print_line(&format!(
        "{:>5} {:>6} {:>8} {:>9} {:>10} {:>15} {:>11} {:>6} {:>6}",
        "nodes",
        "pods",
        "wall s",
        "wanted s",
        "cluster s",
        "times real time",
        "pod-seconds",
        "bound",
        "ready"
    ));
    let [small, large] = ROUNDS.map(report);
    let times = |of: fn(&Measured) -> Duration| of(&large).as_secs_f64() / of(&small).as_secs_f64();
    print_line(&format!(
        "from 1,000 to 10,000 pods: {:.1} times the wall time for {:.1} times the pod-seconds",
        times(|measured| measured.wall),
        times(|measured| measured.ready_time)
    ));
    let complete = small.n_ready == 1_000 && large.n_ready == 10_000;
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report((n_nodes, n_pods, wanted_s): (usize, usize, Option<u64>)) -> Measured {
    let measured = measure(n_nodes, n_pods);
    print_line(&format!(
        "{n_nodes:>5} {n_pods:>6} {:>8.2} {:>9} {:>10.1} {:>15.1} {:>11.0} {:>6} {:>6}",
        measured.wall.as_secs_f64(),
        wanted_s.map_or_else(String::new, |seconds| format!("<= {seconds}")),
        measured.virtual_time.as_secs_f64(),
        measured.virtual_time.as_secs_f64() / measured.wall.as_secs_f64(),
        measured.ready_time.as_secs_f64(),
        measured.n_bound,
        measured.n_ready,
    ));
    measured
}

fn measure(n_nodes: usize, n_pods: usize) -> Measured {
    let started = wall();
    let mut world = World::new(&spec(n_nodes), SEED);
    world.run_until(SimTime::ZERO + BOOT);
    create_deployment(&mut world, n_pods);
    let begun = world.now();
    let wanted = i32::try_from(n_pods).unwrap_or(i32::MAX);
    let mut ready_time = Duration::ZERO;
    while world.now() < begun + PATIENCE && n_ready(&mut world) != wanted {
        ready_time += STEP * u32::try_from(n_ready(&mut world)).unwrap_or(0);
        let next = world.now() + STEP;
        world.run_until(next);
        world.take_outputs();
        world.take_facts();
    }
    let pods: Vec<_> = world.api().list::<Pod>().map(std::sync::Arc::clone).collect();
    let ours = || pods.iter().filter(|p| p.metadata.namespace.as_deref() == Some(NAMESPACE));
    let bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    Measured {
        wall: started.elapsed(),
        virtual_time: world.now().since(begun),
        ready_time,
        n_bound: ours().filter(|pod| bound(pod)).count(),
        n_ready: ours().filter(|pod| is_pod_ready(pod)).count(),
    }
}

fn spec(n_nodes: usize) -> ClusterSpec {
    let mut spec = ClusterSpec::new(Profile::NEWEST, n_nodes);
    spec.apps.push(GenericApp {
        image: IMAGE.into(),
        port: 8080,
        start: millis(500),
        cpu_per_request: millis(5),
        memory_bytes: 64 << 20,
        statuses: BTreeMap::new(),
        drains: true,
        has_shell: Some(true),
        unprivileged: false,
        probes: Vec::new(),
    });
    spec
}

fn create_deployment(world: &mut World, n_pods: usize) {
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).expect("a namespace");
    world.api().create(namespace).expect("the namespace is accepted");
    // The service account of the namespace is made by its controller.
    let settled = world.now() + secs(2);
    world.run_until(settled);
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {
            "replicas": n_pods,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "web",
                    "image": format!("{IMAGE}:1"),
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 5},
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }]},
            },
        },
    }))
    .expect("a deployment");
    world.api().create(deployment).expect("the deployment is accepted");
}

fn n_ready(world: &mut World) -> i32 {
    let deployment = world.api().get::<Deployment>(NAMESPACE, "web");
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    status.and_then(|status| status.ready_replicas).unwrap_or(0)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures wall time")]
fn wall() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
fn print_line(line: &str) {
    println!("{line}");
}
