//! The StatefulSet controller: order, updates, claims, revisions.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::super::testing::*;
use crate::sim::api::{DeleteOptions, Kind, Part};
use crate::sim::world::World;

fn stateful_set(replicas: i32) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": SPACE},
        "spec": {
            "replicas": replicas,
            "serviceName": "web",
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "selector": {"matchLabels": {"app": "web"}},
            "template": template("web:1"),
        },
    })
}

/// The images of the pods that are not being deleted, by name.
fn images(world: &mut World) -> Vec<(String, String)> {
    let image = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.containers[0].image.clone());
    let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
    live_pods(world).iter().map(|pod| (name(pod), image(pod).unwrap_or_default())).collect()
}

fn names(world: &mut World) -> Vec<String> {
    images(world).into_iter().map(|(name, _)| name).collect()
}

fn edit_set(world: &mut World, change: impl FnOnce(&mut StatefulSet)) {
    let api = world.api();
    api.patch::<StatefulSet>(Part::Main, SPACE, "web", change).expect("it is accepted");
}

fn set_template_image(world: &mut World, image: &str) {
    edit_set(world, |set| {
        let spec = set.spec.template.spec.as_mut().expect("a pod spec");
        spec.containers[0].image = Some(image.to_owned());
    });
}

fn running(replicas: i32) -> World {
    let mut world = world(37);
    create::<StatefulSet>(&mut world, stateful_set(replicas));
    settle(&mut world);
    for _ in 0..replicas {
        make_ready(&mut world);
    }
    world
}

#[test]
fn pods_come_up_one_after_the_other() {
    let mut world = world(37);
    create::<StatefulSet>(&mut world, stateful_set(3));
    advance(&mut world, 5000);
    assert_eq!(names(&mut world), ["web-0"]);
    make_ready(&mut world);
    assert_eq!(names(&mut world), ["web-0", "web-1"]);
    make_ready(&mut world);
    make_ready(&mut world);
    assert_eq!(names(&mut world), ["web-0", "web-1", "web-2"]);
    let set = world.api().get::<StatefulSet>(SPACE, "web").expect("it exists");
    let status = set.status.clone().unwrap_or_default();
    assert_eq!((status.replicas, status.ready_replicas), (3, Some(3)));
    assert_eq!(status.current_revision, status.update_revision);
}

#[test]
fn parallel_pods_come_and_go_at_once() {
    let mut world = world(37);
    let mut value = stateful_set(3);
    value["spec"]["podManagementPolicy"] = json!("Parallel");
    create::<StatefulSet>(&mut world, value);
    settle(&mut world);
    assert_eq!(names(&mut world).len(), 3);
    edit_set(&mut world, |set| set.spec.replicas = Some(0));
    settle(&mut world);
    assert_eq!(names(&mut world).len(), 0);
}

#[test]
fn scaling_down_takes_the_highest_ordinal_and_waits_until_it_is_gone() {
    let mut world = running(3);
    edit_set(&mut world, |set| set.spec.replicas = Some(1));
    advance(&mut world, 5000);
    assert_eq!(names(&mut world), ["web-0", "web-1"], "web-2 still terminates");
    finish_terminating(&mut world);
    assert_eq!(names(&mut world), ["web-0"]);
}

#[test]
fn an_update_replaces_one_pod_at_a_time_from_the_top() {
    let mut world = running(3);
    set_template_image(&mut world, "web:2");
    advance(&mut world, 3000);
    assert_eq!(names(&mut world), ["web-0", "web-1"]);
    finish_terminating(&mut world);
    let of = |image: &str, n: i32| (format!("web-{n}"), image.to_owned());
    let want = [of("web:1", 0), of("web:1", 1), of("web:2", 2)];
    assert_eq!(images(&mut world), want, "web-2 is not ready yet: nothing more happens");
    for _ in 0..2 {
        make_ready(&mut world);
        finish_terminating(&mut world);
    }
    make_ready(&mut world);
    assert_eq!(images(&mut world), [of("web:2", 0), of("web:2", 1), of("web:2", 2)]);
    let set = world.api().get::<StatefulSet>(SPACE, "web").expect("it exists");
    let status = set.status.clone().unwrap_or_default();
    assert_eq!(status.current_revision, status.update_revision);
}

#[test]
fn pods_below_the_partition_keep_their_revision_even_when_made_anew() {
    let mut world = running(2);
    edit_set(&mut world, |set| {
        let strategy = set.spec.update_strategy.get_or_insert_default();
        strategy.rolling_update.get_or_insert_default().partition = Some(1);
    });
    set_template_image(&mut world, "web:2");
    settle(&mut world);
    finish_terminating(&mut world);
    make_ready(&mut world);
    let options = DeleteOptions::default();
    world.api().delete(Kind::POD, SPACE, "web-0", &options).expect("it exists");
    settle(&mut world);
    finish_terminating(&mut world);
    let want = [("web-0".to_owned(), "web:1".to_owned()), ("web-1".into(), "web:2".into())];
    assert_eq!(images(&mut world), want);
}

#[test]
fn on_delete_waits_for_someone_to_delete_pods() {
    let mut world = running(1);
    edit_set(&mut world, |set| {
        let strategy = set.spec.update_strategy.get_or_insert_default();
        strategy.type_ = Some("OnDelete".into());
        strategy.rolling_update = None;
    });
    set_template_image(&mut world, "web:2");
    advance(&mut world, 5000);
    assert_eq!(images(&mut world), [("web-0".to_owned(), "web:1".to_owned())]);
    let options = DeleteOptions::default();
    world.api().delete(Kind::POD, SPACE, "web-0", &options).expect("it exists");
    settle(&mut world);
    finish_terminating(&mut world);
    assert_eq!(images(&mut world), [("web-0".to_owned(), "web:2".to_owned())]);
}

#[test]
fn each_pod_has_its_claim_and_leaves_it_behind() {
    let mut world = world(37);
    let mut value = stateful_set(1);
    value["spec"]["volumeClaimTemplates"] = json!([{
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }]);
    create::<StatefulSet>(&mut world, value);
    settle(&mut world);
    let pod = live_pods(&mut world)[0].clone();
    let spec = pod.spec.clone().unwrap_or_default();
    let volume = spec.volumes.iter().flatten().find(|v| v.name == "data").cloned();
    let claim = volume.and_then(|v| v.persistent_volume_claim).map(|c| c.claim_name);
    assert_eq!(claim.as_deref(), Some("data-web-0"));
    assert_eq!(spec.hostname.as_deref(), Some("web-0"));
    assert_eq!(spec.subdomain.as_deref(), Some("web"));
    edit_set(&mut world, |set| set.spec.replicas = Some(0));
    settle(&mut world);
    finish_terminating(&mut world);
    assert!(live_pods(&mut world).is_empty());
    assert!(world.api().get::<PersistentVolumeClaim>(SPACE, "data-web-0").is_some());
}
