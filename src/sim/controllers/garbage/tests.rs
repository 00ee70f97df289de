//! The garbage collector: background, foreground, orphan.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::json;

use super::super::testing::*;
use crate::sim::api::{DeleteOptions, Kind, Propagation};
use crate::sim::world::World;

fn rolled_out() -> World {
    let mut world = world(37);
    create::<Deployment>(&mut world, deployment(2, json!(1), json!(0)));
    settle(&mut world);
    make_ready(&mut world);
    world
}

fn delete_deployment(world: &mut World, propagation: Propagation) {
    let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
    world.api().delete(Kind::DEPLOYMENT, SPACE, "web", &options).expect("it exists");
}

fn n<T: crate::sim::api::Typed>(world: &mut World) -> usize {
    world.api().list::<T>().count()
}

#[test]
fn background_deletion_runs_down_the_chain() {
    let mut world = rolled_out();
    delete_deployment(&mut world, Propagation::Background);
    assert_eq!(n::<Deployment>(&mut world), 0, "the owner goes at once");
    advance(&mut world, 2000);
    assert_eq!(n::<ReplicaSet>(&mut world), 0);
    assert_eq!(live_pods(&mut world).len(), 0);
    assert_eq!(n::<Pod>(&mut world), 2, "the pods have their grace");
    finish_terminating(&mut world);
    assert_eq!(n::<Pod>(&mut world), 0);
}

#[test]
fn foreground_deletion_waits_for_the_pods() {
    let mut world = rolled_out();
    delete_deployment(&mut world, Propagation::Foreground);
    advance(&mut world, 2000);
    assert_eq!(live_pods(&mut world).len(), 0);
    assert_eq!((n::<Deployment>(&mut world), n::<ReplicaSet>(&mut world)), (1, 1));
    finish_terminating(&mut world);
    settle(&mut world);
    assert_eq!((n::<Deployment>(&mut world), n::<ReplicaSet>(&mut world)), (0, 0));
}

#[test]
fn orphaning_leaves_the_replica_set_without_owner() {
    let mut world = rolled_out();
    delete_deployment(&mut world, Propagation::Orphan);
    settle(&mut world);
    assert_eq!((n::<Deployment>(&mut world), n::<ReplicaSet>(&mut world)), (0, 1));
    let set = world.api().list::<ReplicaSet>().next().cloned().expect("it stays");
    assert!(set.metadata.owner_references.is_none());
    assert_eq!(live_pods(&mut world).len(), 2);
}

#[test]
fn an_object_whose_owner_never_existed_goes_and_one_with_an_owner_left_stays() {
    let mut world = rolled_out();
    let owner = get_deployment(&mut world);
    let dangling = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "ghost", "uid": "no-such-uid",
    });
    let solid = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "web",
        "uid": owner.metadata.uid,
    });
    let config = |name: &str, owners: serde_json::Value| json!({"metadata": {"name": name, "namespace": SPACE, "ownerReferences": owners}});
    create::<ConfigMap>(&mut world, config("lost", json!([dangling])));
    create::<ConfigMap>(&mut world, config("shared", json!([dangling, solid])));
    settle(&mut world);
    assert!(world.api().get::<ConfigMap>(SPACE, "lost").is_none());
    let shared = world.api().get::<ConfigMap>(SPACE, "shared").cloned().expect("it stays");
    assert_eq!(shared.metadata.owner_references.as_ref().map(Vec::len), Some(1));
}
