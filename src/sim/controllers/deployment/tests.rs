//! The Deployment controller: traces, scaling, Recreate, rollback, deadline.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, ReplicaSet};
use k8s_openapi::api::core::v1::Event;
use serde_json::json;

use super::super::testing::*;
use crate::base::secs;
use crate::sim::world::World;

/// A Deployment whose pods are all Ready.
fn rolled_out(replicas: i32, surge: serde_json::Value, unavailable: serde_json::Value) -> World {
    let mut world = world(37);
    create::<Deployment>(&mut world, deployment(replicas, surge, unavailable));
    settle(&mut world);
    make_ready(&mut world);
    world
}

/// The sizes (old, new) after each settled step of a rollout, until it stands still.
fn trace(world: &mut World) -> Vec<(i32, i32)> {
    let mut seen = Vec::new();
    for _ in 0..2000 {
        let now = sizes(world);
        let pair = (now[0].1, now.get(1).map_or(0, |s| s.1));
        if seen.last() != Some(&pair) {
            seen.push(pair);
        }
        if pair.0 == 0 && seen.len() > 1 {
            break;
        }
        // One event at a time, so that no step is missed.
        advance(world, 0);
        let due = world.next_due();
        match due.filter(|&due| due < world.now() + secs(2)) {
            Some(due) => {
                world.step(due);
            }
            None => make_one_ready(world),
        }
    }
    seen
}

fn make_one_ready(world: &mut World) {
    let waiting = live_pods(world).into_iter().find(|pod| !crate::k8s::is_pod_ready(pod));
    if let Some(pod) = waiting {
        report(world, pod.metadata.name.as_deref().unwrap_or(""), true);
    } else {
        settle(world);
    }
}

fn progressing(world: &mut World) -> DeploymentCondition {
    let d = get_deployment(world);
    let status = d.status.clone().unwrap_or_default();
    super::conditions::find(&status, "Progressing").cloned().expect("a condition")
}

#[test]
fn a_new_deployment_gets_all_replicas_at_once_and_completes() {
    let mut world = rolled_out(3, json!(1), json!(0));
    assert_eq!(sizes(&mut world), [("web:1".to_owned(), 3)]);
    let status = get_deployment(&mut world).status.clone().unwrap_or_default();
    assert_eq!((status.replicas, status.available_replicas), (Some(3), Some(3)));
    assert_eq!(progressing(&mut world).reason.as_deref(), Some("NewReplicaSetAvailable"));
    let d = get_deployment(&mut world);
    let annotations = d.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations.get(super::revision::REVISION).map(String::as_str), Some("1"));
}

#[test]
fn three_replicas_with_surge_one_wait_for_each_new_pod() {
    let mut world = rolled_out(3, json!(1), json!(0));
    set_image(&mut world, "web:2");
    let want = [(3, 0), (3, 1), (2, 1), (2, 2), (1, 2), (1, 3), (0, 3)];
    assert_eq!(trace(&mut world), want);
}

#[test]
fn three_replicas_with_unavailable_one_go_down_first() {
    let mut world = rolled_out(3, json!(0), json!(1));
    set_image(&mut world, "web:2");
    // The new set exists with no replicas before the old one shrinks.
    let want = [(3, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)];
    assert_eq!(trace(&mut world), want);
}

#[test]
fn four_replicas_by_default_move_two_at_first() {
    let mut world = rolled_out(4, json!("25%"), json!("25%"));
    set_image(&mut world, "web:2");
    let steps = trace(&mut world);
    // The new set is created with the surge and the old one shrinks in the same sync.
    assert_eq!(steps[..4], [(4, 0), (3, 1), (3, 2), (2, 2)]);
    assert_eq!(steps.last().map(|s| s.0), Some(0));
}

#[test]
fn pods_that_never_get_ready_stop_the_rollout_at_the_surge() {
    let mut world = rolled_out(3, json!(1), json!(0));
    // Before the pod garbage collector misses the node that this world does not have.
    edit(&mut world, |d| d.spec.progress_deadline_seconds = Some(20));
    set_image(&mut world, "web:broken");
    advance(&mut world, 19_000);
    assert_eq!(progressing(&mut world).status.as_deref(), Some("True"));
    assert_eq!(sizes(&mut world), [("web:1".to_owned(), 3), ("web:broken".to_owned(), 1)]);
    advance(&mut world, 5_000);
    let condition = progressing(&mut world);
    assert_eq!(condition.reason.as_deref(), Some("ProgressDeadlineExceeded"));
    assert_eq!(condition.status.as_deref(), Some("False"));
    assert_eq!(sizes(&mut world)[0].1, 3, "it never rolls back");
}

#[test]
fn going_back_to_an_earlier_template_reuses_its_replica_set() {
    let mut world = rolled_out(3, json!(1), json!(0));
    set_image(&mut world, "web:2");
    for _ in 0..4 {
        settle(&mut world);
        make_ready(&mut world);
    }
    assert_eq!(sizes(&mut world), [("web:1".to_owned(), 0), ("web:2".to_owned(), 3)]);
    set_image(&mut world, "web:1");
    settle(&mut world);
    for _ in 0..4 {
        make_ready(&mut world);
    }
    assert_eq!(sizes(&mut world), [("web:1".to_owned(), 3), ("web:2".to_owned(), 0)]);
    let sets: Vec<_> = world.api().list::<ReplicaSet>().cloned().collect();
    let again = sets.iter().find(|s| image_of(s) == "web:1").expect("it is there");
    assert_eq!(super::revision::revision(again), 3);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    let mut world = rolled_out(10, json!(3), json!(2));
    set_image(&mut world, "web:2");
    settle(&mut world);
    assert_eq!(sizes(&mut world), [("web:1".to_owned(), 8), ("web:2".to_owned(), 5)]);
    edit(&mut world, |d| d.spec.replicas = Some(15));
    // Up to 18: 8 becomes round(8 * 18 / 13) = 11, 5 becomes 7.
    settle(&mut world);
    assert_eq!(sizes(&mut world), [("web:1".to_owned(), 11), ("web:2".to_owned(), 7)]);
}

#[test]
fn scaling_and_pausing_act_without_a_rollout() {
    let mut world = rolled_out(3, json!(1), json!(0));
    edit(&mut world, |d| d.spec.paused = Some(true));
    set_image(&mut world, "web:2");
    settle(&mut world);
    assert_eq!(sizes(&mut world), [("web:1".to_owned(), 3)], "paused: the template waits");
    assert_eq!(progressing(&mut world).reason.as_deref(), Some("DeploymentPaused"));
    edit(&mut world, |d| d.spec.replicas = Some(5));
    settle(&mut world);
    assert_eq!(sizes(&mut world), [("web:1".to_owned(), 5)], "paused: scaling acts");
    assert_eq!(live_pods(&mut world).len(), 5);
    edit(&mut world, |d| d.spec.paused = Some(false));
    settle(&mut world);
    assert_eq!(sizes(&mut world).len(), 2);
}

#[test]
fn recreate_waits_until_old_pods_are_gone_as_objects() {
    let mut world = world(37);
    let mut value = deployment(2, json!(1), json!(0));
    value["spec"]["strategy"] = json!({"type": "Recreate"});
    create::<Deployment>(&mut world, value);
    settle(&mut world);
    make_ready(&mut world);
    set_image(&mut world, "web:2");
    advance(&mut world, 5000);
    assert_eq!(sizes(&mut world), [("web:1".to_owned(), 0)], "old pods still terminate");
    finish_terminating(&mut world);
    assert_eq!(sizes(&mut world), [("web:1".to_owned(), 0), ("web:2".to_owned(), 2)]);
}

#[test]
fn history_beyond_the_limit_is_deleted() {
    let mut world = rolled_out(1, json!(1), json!(0));
    edit(&mut world, |d| d.spec.revision_history_limit = Some(1));
    for n in 2..6 {
        set_image(&mut world, &format!("web:{n}"));
        settle(&mut world);
        make_ready(&mut world);
        settle(&mut world);
    }
    let images: Vec<_> = sizes(&mut world).into_iter().map(|s| s.0).collect();
    assert_eq!(images, ["web:4", "web:5"]);
}

#[test]
fn scaling_is_told_in_events() {
    let mut world = rolled_out(3, json!(1), json!(0));
    set_image(&mut world, "web:2");
    settle(&mut world);
    make_ready(&mut world);
    let messages: Vec<String> =
        world.api().list::<Event>().filter_map(|e| e.message.clone()).collect();
    let has = |end: &str| messages.iter().any(|m| m.starts_with("Scaled") && m.ends_with(end));
    assert!(has("to 2 from 3"), "{messages:?}");
    assert!(has("to 2 from 1"), "{messages:?}");
}
