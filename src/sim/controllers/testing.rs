//! Support for tests: a world without nodes, in which the test plays scheduler and kubelet.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Namespace, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::base::{SimTime, millis};
use crate::k8s;
use crate::sim::api::{Part, Typed};
use crate::sim::bootstrap::ClusterSpec;
use crate::sim::world::World;

/// The namespace of all objects in these tests.
pub const SPACE: &str = "shop";

/// A cluster of 1.`minor` without nodes.
pub fn world(minor: u8) -> World {
    let profile = format!("1.{minor}").parse().expect("a known minor");
    let mut spec = ClusterSpec::new(profile, 0);
    spec.nodes.clear();
    let mut world = World::new(&spec, 7);
    create::<Namespace>(&mut world, json!({"metadata": {"name": SPACE}}));
    settle(&mut world);
    world
}

/// Creates an object from JSON.
pub fn create<T: Typed>(world: &mut World, value: Value) -> Arc<T> {
    let object: T = serde_json::from_value(value).expect("an object");
    world.api().create(object).expect("it is accepted")
}

/// Lets the controllers work for a second of virtual time.
pub fn settle(world: &mut World) {
    advance(world, 1000);
}

/// Lets `ms` milliseconds pass.
pub fn advance(world: &mut World, ms: u64) {
    world.run_until(world.now() + millis(ms));
}

/// A pod template whose pods are bound to a node from the start, so that deletion takes grace.
pub fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "web", "image": image}]},
    })
}

/// A Deployment of `replicas` pods with a rolling update.
pub fn deployment(replicas: i32, surge: Value, unavailable: Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": SPACE},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
            },
            "template": template("web:1"),
        },
    })
}

/// Changes the Deployment.
pub fn edit(world: &mut World, change: impl FnOnce(&mut Deployment)) {
    let api = world.api();
    api.patch::<Deployment>(Part::Main, SPACE, "web", change).expect("it is accepted");
}

/// Sets the image of the Deployment's template.
pub fn set_image(world: &mut World, image: &str) {
    edit(world, |d| {
        let spec = d.spec.template.spec.as_mut().expect("a pod spec");
        spec.containers[0].image = Some(image.to_owned());
    });
}

/// The Deployment.
pub fn get_deployment(world: &mut World) -> Arc<Deployment> {
    Arc::clone(world.api().get::<Deployment>(SPACE, "web").expect("it exists"))
}

/// The wished sizes of all ReplicaSets by image.
pub fn sizes(world: &mut World) -> Vec<(String, i32)> {
    let mut sizes: Vec<_> = world
        .api()
        .list::<ReplicaSet>()
        .map(|s| (image_of(s), s.spec.replicas.unwrap_or(1)))
        .collect();
    sizes.sort();
    sizes
}

/// The image a ReplicaSet runs.
pub fn image_of(set: &ReplicaSet) -> String {
    let spec = set.spec.template.as_ref().and_then(|t| t.spec.as_ref());
    spec.and_then(|s| s.containers[0].image.clone()).unwrap_or_default()
}

/// The pods that are not being deleted.
pub fn live_pods(world: &mut World) -> Vec<Arc<Pod>> {
    world.api().list::<Pod>().filter(|pod| !k8s::is_terminating(pod)).map(Arc::clone).collect()
}

/// Makes a pod Ready or not, as its kubelet would report it.
pub fn report(world: &mut World, name: &str, ready: bool) {
    let now = world.now();
    let api = world.api();
    let change = |pod: &mut Pod| pod.status = Some(running(ready, now, name));
    api.patch::<Pod>(Part::Status, SPACE, name, change).expect("it is accepted");
}

fn running(ready: bool, now: SimTime, name: &str) -> PodStatus {
    let truth = if ready { "True" } else { "False" };
    let condition = PodCondition {
        type_: "Ready".into(),
        status: truth.into(),
        last_transition_time: Some(Time(now.timestamp())),
        ..PodCondition::default()
    };
    let sum = name.bytes().fold(7u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(b)));
    let ip = format!("10.{}.{}.{}", sum >> 16 & 0xff, sum >> 8 & 0xff, sum & 0xff);
    PodStatus {
        phase: Some("Running".into()),
        pod_ip: Some(ip.clone()),
        pod_ips: Some(vec![k8s_openapi::api::core::v1::PodIP { ip }]),
        conditions: Some(vec![condition]),
        ..PodStatus::default()
    }
}

/// Makes every pod Ready that is not being deleted, and lets the controllers react.
pub fn make_ready(world: &mut World) {
    for pod in live_pods(world) {
        if !k8s::is_pod_ready(&pod) {
            report(world, pod.metadata.name.as_deref().unwrap_or(""), true);
        }
    }
    settle(world);
}

/// Removes a pod for good, as its kubelet does at the end of its grace.
pub fn remove_pod(world: &mut World, name: &str) {
    let options =
        crate::sim::api::DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
    let kind = crate::sim::api::Kind::POD;
    world.api().delete(kind, SPACE, name, &options).expect("the pod exists");
}

/// Removes all pods that are being deleted.
pub fn finish_terminating(world: &mut World) {
    let gone: Vec<String> = world
        .api()
        .list::<Pod>()
        .filter(|pod| k8s::is_terminating(pod))
        .filter_map(|pod| pod.metadata.name.clone())
        .collect();
    for name in gone {
        remove_pod(world, &name);
    }
    settle(world);
}
