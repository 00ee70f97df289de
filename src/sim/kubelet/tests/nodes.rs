//! The Node object, its lease, power cuts and boots.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;

use super::*;

fn renewed(world: &mut World) -> Option<SimTime> {
    let lease = world.api().get::<Lease>("kube-node-lease", "seatrial-worker")?;
    let at = lease.spec.as_ref()?.renew_time.as_ref()?;
    Some(SimTime::from_timestamp(at.0))
}

#[test]
fn nodes_register_with_what_the_scheduler_needs() {
    let mut world = world("1.37", 1);
    let node = world.api().get::<Node>("", "seatrial-control-plane").map(|node| (**node).clone());
    let node = node.unwrap_or_default();
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    assert_eq!(taints[0].key, "node-role.kubernetes.io/control-plane");
    let labels = node.metadata.labels.unwrap_or_default();
    assert_eq!(
        labels.get("kubernetes.io/hostname").map(String::as_str),
        Some("seatrial-control-plane")
    );
    let status = node.status.unwrap_or_default();
    assert_eq!(
        status.allocatable.and_then(|all| all.get("cpu").cloned()).map(|q| q.0).as_deref(),
        Some("8")
    );
    assert!(status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True"));
    assert!(status.images.is_some_and(|images| !images.is_empty()));
}

#[test]
fn the_lease_is_renewed_every_ten_seconds_while_the_node_has_power() {
    let mut world = world("1.37", 1);
    let age = |world: &mut World| {
        let now = world.now();
        now.since(renewed(world).unwrap_or_default())
    };
    assert!(age(&mut world) <= secs(10));
    world.stop_node("seatrial-worker");
    world.run_until(SimTime::ZERO + secs(90));
    assert!(age(&mut world) > secs(29));
    world.start_node("seatrial-worker");
    world.run_until(SimTime::ZERO + secs(110));
    assert!(age(&mut world) <= secs(11));
}

#[test]
fn a_returning_node_starts_its_pods_again_with_new_addresses() {
    let mut world = world("1.37", 1);
    create(&mut world, pod(json!({}), json!({})));
    seconds_until(&mut world, 20, is_ready);
    let ip = |world: &mut World| get(world).and_then(|pod| pod.status?.pod_ip).unwrap_or_default();
    let before = ip(&mut world);
    world.stop_node("seatrial-worker");
    let t1 = world.now();
    world.run_until(t1 + secs(20));
    assert!(is_running(&mut world), "nobody reports the loss");
    world.start_node("seatrial-worker");
    seconds_until(&mut world, 30, |w| status(w).restart_count == 1 && is_ready(w));
    assert_ne!(ip(&mut world), before);
}

#[test]
fn a_pod_deleted_while_its_node_was_off_goes_when_it_returns() {
    let mut world = world("1.37", 1);
    create(&mut world, pod(json!({}), json!({})));
    seconds_until(&mut world, 20, is_ready);
    world.stop_node("seatrial-worker");
    delete(&mut world, None);
    let t1 = world.now();
    world.run_until(t1 + secs(60));
    assert!(get(&mut world).is_some());
    world.start_node("seatrial-worker");
    let gone = seconds_until(&mut world, 30, |w| get(w).is_none());
    assert_between("gone", gone, 4.0, 13.0);
}
