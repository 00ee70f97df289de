//! The ReplicaSet controller: counts, victims, expectations, adoption.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::super::testing::*;
use crate::sim::api::{DeleteOptions, Kind, Part};
use crate::sim::world::World;

fn replica_set(replicas: i32) -> serde_json::Value {
    json!({
        "metadata": {"name": "web", "namespace": SPACE},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template("web:1"),
        },
    })
}

fn status(world: &mut World) -> (i32, i32, i32) {
    let set = world.api().get::<ReplicaSet>(SPACE, "web").expect("it exists");
    let status = set.status.clone().unwrap_or_default();
    let n = |count: Option<i32>| count.unwrap_or(0);
    (status.replicas, n(status.ready_replicas), n(status.available_replicas))
}

#[test]
fn pods_are_created_counted_and_replaced_as_soon_as_they_terminate() {
    let mut world = world(37);
    create::<ReplicaSet>(&mut world, replica_set(3));
    settle(&mut world);
    assert_eq!(status(&mut world), (3, 0, 0));
    make_ready(&mut world);
    assert_eq!(status(&mut world), (3, 3, 3));
    let victim = live_pods(&mut world)[0].metadata.name.clone().unwrap_or_default();
    world.api().delete(Kind::POD, SPACE, &victim, &DeleteOptions::default()).expect("it exists");
    advance(&mut world, 150);
    assert_eq!(live_pods(&mut world).len(), 3, "the replacement does not wait for the grace");
    let n_objects = world.api().list::<Pod>().count();
    assert_eq!(n_objects, 4);
}

#[test]
fn hundreds_of_pods_come_in_doubling_batches_of_one_sync() {
    let mut world = world(37);
    create::<ReplicaSet>(&mut world, replica_set(700));
    let mut largest = 0;
    let mut before = 0;
    for _ in 0..2000 {
        advance(&mut world, 1);
        let n = live_pods(&mut world).len();
        largest = largest.max(n - before);
        before = n;
    }
    assert_eq!(before, 700);
    assert!((128..=300).contains(&largest), "largest batch {largest}");
}

#[test]
fn availability_follows_min_ready_seconds() {
    let mut world = world(37);
    let mut value = replica_set(2);
    value["spec"]["minReadySeconds"] = json!(10);
    create::<ReplicaSet>(&mut world, value);
    settle(&mut world);
    make_ready(&mut world);
    assert_eq!(status(&mut world), (2, 2, 0));
    advance(&mut world, 7000);
    assert_eq!(status(&mut world), (2, 2, 0));
    advance(&mut world, 5000);
    assert_eq!(status(&mut world), (2, 2, 2));
}

#[test]
fn a_relabelled_pod_is_released_and_an_orphan_adopted() {
    let mut world = world(37);
    create::<ReplicaSet>(&mut world, replica_set(2));
    settle(&mut world);
    let pod = live_pods(&mut world)[0].metadata.name.clone().unwrap_or_default();
    let relabel = |app: &'static str| {
        move |pod: &mut Pod| {
            pod.metadata.labels = Some([("app".to_owned(), app.to_owned())].into());
        }
    };
    world.api().patch::<Pod>(Part::Main, SPACE, &pod, relabel("debug")).expect("accepted");
    settle(&mut world);
    let released = world.api().get::<Pod>(SPACE, &pod).expect("it stays").clone();
    assert!(crate::k8s::controller_of(&released.metadata).is_none());
    assert_eq!(live_pods(&mut world).len(), 3);
    assert_eq!(status(&mut world).0, 2);
    world.api().patch::<Pod>(Part::Main, SPACE, &pod, relabel("web")).expect("accepted");
    advance(&mut world, 3000);
    let live = live_pods(&mut world);
    assert_eq!(live.len(), 2, "adopted, then one too many is deleted");
    assert!(live.iter().all(|pod| crate::k8s::controller_of(&pod.metadata).is_some()));
}

#[test]
fn failed_pods_are_replaced_and_kept() {
    let mut world = world(37);
    create::<ReplicaSet>(&mut world, replica_set(1));
    settle(&mut world);
    let pod = live_pods(&mut world)[0].metadata.name.clone().unwrap_or_default();
    let fail = |pod: &mut Pod| pod.status.get_or_insert_default().phase = Some("Failed".into());
    world.api().patch::<Pod>(Part::Status, SPACE, &pod, fail).expect("accepted");
    settle(&mut world);
    assert_eq!(live_pods(&mut world).len(), 2);
    assert_eq!(status(&mut world).0, 1);
}
