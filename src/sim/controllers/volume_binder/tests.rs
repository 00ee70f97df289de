//! The volume binder: phases, fit, reclaim, protection.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim};
use serde_json::json;

use crate::base::secs;
use crate::k8s::{claim_phase, claim_volume, volume_phase};
use crate::sim::api::{DeleteOptions, Kind};
use crate::sim::profile::Profile;
use crate::sim::{ClusterSpec, World};

fn world() -> World {
    World::new(&ClusterSpec::new(Profile::NEWEST, 1), 1)
}

fn new_volume(world: &mut World, name: &str, size: &str) {
    let volume = json!({
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "manual", "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": size}, "hostPath": {"path": "/data"},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    });
    let volume: PersistentVolume = serde_json::from_value(volume).expect("a volume");
    world.api().create(volume).expect("created");
}

fn new_claim(world: &mut World, name: &str, class: &str, mode: &str) {
    let claim = json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "storageClassName": class, "accessModes": [mode],
            "resources": {"requests": {"storage": "2Gi"}},
        },
    });
    let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("a claim");
    world.api().create(claim).expect("created");
}

fn claim(world: &mut World, name: &str) -> Arc<PersistentVolumeClaim> {
    world.api().get("default", name).cloned().expect("a claim")
}

fn phase(world: &mut World, volume: &str) -> String {
    world
        .api()
        .get::<PersistentVolume>("", volume)
        .map_or_else(String::new, |volume| volume_phase(volume).to_owned())
}

fn run_for(world: &mut World, seconds: u64) {
    let until = world.now() + secs(seconds);
    world.run_until(until);
}

#[test]
fn a_claim_takes_the_smallest_volume_that_fits() {
    let mut world = world();
    for (name, size) in [("small", "1Gi"), ("fits", "2Gi"), ("large", "5Gi")] {
        new_volume(&mut world, name, size);
    }
    run_for(&mut world, 2);
    assert_eq!(phase(&mut world, "fits"), "Available");
    new_claim(&mut world, "data", "manual", "ReadWriteOnce");
    run_for(&mut world, 2);
    let claim = claim(&mut world, "data");
    assert_eq!((claim_phase(&claim), claim_volume(&claim)), ("Bound", "fits"));
    assert_eq!(phase(&mut world, "fits"), "Bound");
    assert_eq!(phase(&mut world, "large"), "Available");
}

#[test]
fn a_released_volume_is_never_bound_again() {
    let mut world = world();
    new_volume(&mut world, "kept", "2Gi");
    new_claim(&mut world, "data", "manual", "ReadWriteOnce");
    run_for(&mut world, 20);
    assert_eq!(phase(&mut world, "kept"), "Bound");
    world
        .api()
        .delete(Kind::PERSISTENT_VOLUME_CLAIM, "default", "data", &DeleteOptions::default())
        .expect("deleted");
    run_for(&mut world, 5);
    assert_eq!(phase(&mut world, "kept"), "Released");
    new_claim(&mut world, "data", "manual", "ReadWriteOnce");
    run_for(&mut world, 60);
    assert_eq!(claim_phase(&claim(&mut world, "data")), "Pending");
    assert_eq!(phase(&mut world, "kept"), "Released");
}

#[test]
fn two_claims_do_not_share_a_volume() {
    let mut world = world();
    new_volume(&mut world, "only", "2Gi");
    run_for(&mut world, 1);
    new_claim(&mut world, "a", "manual", "ReadWriteOnce");
    new_claim(&mut world, "b", "manual", "ReadWriteOnce");
    run_for(&mut world, 40);
    let phases = ["a", "b"].map(|name| claim_phase(&claim(&mut world, name)).to_owned());
    assert_eq!(phases.iter().filter(|phase| *phase == "Bound").count(), 1, "{phases:?}");
}

#[test]
fn what_a_claim_waits_for_is_told() {
    let mut world = world();
    new_volume(&mut world, "one-writer", "2Gi");
    new_claim(&mut world, "shared", "manual", "ReadWriteMany");
    new_claim(&mut world, "nowhere", "", "ReadWriteOnce");
    run_for(&mut world, 5);
    let told: Vec<(String, String)> = world
        .api()
        .list::<Event>()
        .map(|e| {
            (
                e.involved_object.name.clone().unwrap_or_default(),
                e.message.clone().unwrap_or_default(),
            )
        })
        .collect();
    let says = |name: &str, text: &str| told.contains(&(name.to_owned(), text.to_owned()));
    assert!(says("shared", "storageclass.storage.k8s.io \"manual\" not found"), "{told:?}");
    let text = "no persistent volumes available for this claim and no storage class is set";
    assert!(says("nowhere", text), "{told:?}");
}

#[test]
fn a_vanished_volume_loses_its_claim() {
    let mut world = world();
    new_volume(&mut world, "only", "2Gi");
    new_claim(&mut world, "data", "manual", "ReadWriteOnce");
    run_for(&mut world, 20);
    world
        .api()
        .patch::<PersistentVolume>(crate::sim::api::Part::Main, "", "only", |volume| {
            volume.metadata.finalizers = None;
        })
        .expect("patched");
    let options = DeleteOptions::default();
    world.api().delete(Kind::PERSISTENT_VOLUME, "", "only", &options).expect("deleted");
    run_for(&mut world, 5);
    assert_eq!(claim_phase(&claim(&mut world, "data")), "Lost");
}
