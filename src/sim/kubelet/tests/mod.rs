//! Pods bound by hand to a node of a small world: what the API and the facts show, and when.

mod nodes;
mod probes;
mod starting;
mod stopping;

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::{Value, json};

use crate::base::{SimTime, secs};
use crate::k8s;
use crate::sim::api::{DeleteOptions, Kind};
use crate::sim::profile::Profile;
use crate::sim::{ClusterSpec, FactKind, World};

/// The world is past its first minute, so that kubelets are not young.
const T0: Duration = secs(60);

/// The images of all tests, on every node.
const IMAGES: &[&str] = &[
    "test/server:1",
    "test/server:1_bare",
    "test/server:1_crash.300",
    "test/server:1_bare_crash.2000_code.0",
    "test/server:1_bare_crash.500_code.0",
    "test/server:1_start.5",
    "test/server:1_start.12000",
    "test/server:1_ignores",
];

fn profile(minor: &str) -> Profile {
    minor.parse().unwrap_or_default()
}

fn world(minor: &str, seed: u64) -> World {
    let mut spec = ClusterSpec::new(profile(minor), 2);
    spec.images = IMAGES.iter().map(|&image| image.to_owned()).collect();
    spec.keep_trace = true;
    let mut world = World::new(&spec, seed);
    world.run_until(SimTime::ZERO + T0);
    world
}

/// A pod of one container `c`; `container` adds to it, `spec` to the pod's spec.
fn pod(container: Value, spec: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {
            "nodeName": "seatrial-worker",
            "containers": [{"name": "c", "image": "test/server:1"}],
        },
    });
    let merge = |into: &mut Value, from: Value| {
        if let (Value::Object(into), Value::Object(from)) = (into, from) {
            into.extend(from);
        }
    };
    merge(&mut pod["spec"]["containers"][0], container);
    merge(&mut pod["spec"], spec);
    serde_json::from_value(pod).unwrap_or_else(|error| panic!("test pod: {error}"))
}

fn create(world: &mut World, pod: Pod) {
    world.api().create(pod).unwrap_or_else(|status| panic!("{status:?}"));
}

fn delete(world: &mut World, grace: Option<i64>) {
    let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
    let deleted = world.api().delete(Kind::POD, "default", "p", &options);
    assert!(deleted.is_ok(), "{deleted:?}");
}

fn get(world: &mut World) -> Option<Pod> {
    world.api().get::<Pod>("default", "p").map(|pod| (**pod).clone())
}

fn status(world: &mut World) -> ContainerStatus {
    let pod = get(world).unwrap_or_default();
    let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
    statuses.into_iter().next().unwrap_or_default()
}

fn waiting_reason(world: &mut World) -> String {
    let waiting = status(world).state.and_then(|state| state.waiting);
    waiting.and_then(|waiting| waiting.reason).unwrap_or_default()
}

fn is_ready(world: &mut World) -> bool {
    get(world).is_some_and(|pod| k8s::is_pod_ready(&pod))
}

fn is_running(world: &mut World) -> bool {
    get(world).and_then(|pod| pod.status?.phase).as_deref() == Some("Running")
}

/// Seconds from now until `met`, or a panic after `limit`.
fn seconds_until(world: &mut World, limit: u64, met: impl Fn(&mut World) -> bool) -> f64 {
    let begun = world.now();
    world.run_until(begun);
    while !met(world) {
        let more = world.step(begun + secs(limit));
        assert!(more, "not met within {limit} s: {:?}", get(world).and_then(|pod| pod.status));
    }
    world.now().since(begun).as_secs_f64()
}

/// Seconds after `since` at which `kind` happened to the pod, first of the facts not yet taken.
fn fact_times(world: &mut World, kind: FactKind, since: SimTime) -> Vec<f64> {
    let facts = world.take_facts();
    let of_kind = facts.iter().filter(|fact| fact.kind == kind && fact.object.name == "p");
    of_kind.map(|fact| fact.at.since(since).as_secs_f64()).collect()
}

fn assert_between(what: &str, value: f64, low: f64, high: f64) {
    let near = 0.001;
    assert!(
        (low - near..=high + near).contains(&value),
        "{what}: {value:.3} not in {low}..={high}"
    );
}
