//! The EndpointSlice controller: conditions by profile, slices, named ports.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use serde_json::json;

use super::super::testing::*;
use crate::sim::api::{DeleteOptions, Kind};
use crate::sim::world::World;

fn service(port: serde_json::Value) -> serde_json::Value {
    json!({
        "metadata": {"name": "web", "namespace": SPACE},
        "spec": {
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": port, "protocol": "TCP"}],
        },
    })
}

fn pod(world: &mut World, name: &str) {
    let value = json!({
        "metadata": {"name": name, "namespace": SPACE, "labels": {"app": "web"}},
        "spec": {
            "nodeName": "n1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "web", "image": "web:1",
                "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}],
            }],
        },
    });
    create::<Pod>(world, value);
}

fn slices(world: &mut World) -> Vec<Arc<EndpointSlice>> {
    world.api().stored().list_in::<EndpointSlice>(SPACE).map(Arc::clone).collect()
}

fn endpoints(world: &mut World) -> Vec<Endpoint> {
    slices(world).iter().flat_map(|s| s.endpoints.clone().unwrap_or_default()).collect()
}

fn conditions(world: &mut World) -> Vec<(Option<bool>, Option<bool>, Option<bool>)> {
    let conditions = endpoints(world).into_iter().filter_map(|e| e.conditions);
    conditions.map(|c| (c.ready, c.serving, c.terminating)).collect()
}

/// Ready and not-ready addresses of the Endpoints object.
fn addresses(world: &mut World) -> (usize, usize) {
    let object = world.api().get::<Endpoints>(SPACE, "web").expect("it exists");
    let subsets = object.subsets.clone().unwrap_or_default();
    let count = |get: fn(&k8s_openapi::api::core::v1::EndpointSubset) -> usize| {
        subsets.iter().map(get).sum()
    };
    (
        count(|s| s.addresses.as_ref().map_or(0, Vec::len)),
        count(|s| s.not_ready_addresses.as_ref().map_or(0, Vec::len)),
    )
}

#[test]
fn a_service_without_pods_has_an_empty_slice_that_is_filled_later() {
    let mut world = world(37);
    create::<Service>(&mut world, service(json!("web")));
    settle(&mut world);
    let first = slices(&mut world);
    assert_eq!(first.len(), 1);
    assert!(first[0].endpoints.is_none());
    pod(&mut world, "a");
    report(&mut world, "a", false);
    settle(&mut world);
    assert_eq!(conditions(&mut world), [(Some(false), Some(false), Some(false))]);
    assert_eq!(addresses(&mut world), (0, 1));
    report(&mut world, "a", true);
    settle(&mut world);
    assert_eq!(conditions(&mut world), [(Some(true), Some(true), Some(false))]);
    assert_eq!(addresses(&mut world), (1, 0));
    let now = slices(&mut world);
    assert_eq!(now.len(), 1);
    assert_eq!(now[0].metadata.name, first[0].metadata.name, "the placeholder is reused");
    let port = now[0].ports.as_ref().and_then(|ports| ports[0].port);
    assert_eq!(port, Some(8080), "the named port is resolved");
}

#[test]
fn a_terminating_pod_stays_as_serving_in_new_minors_and_goes_in_1_20() {
    for (minor, want) in [(20, vec![]), (28, vec![(Some(false), Some(true), Some(true))])] {
        let mut world = world(minor);
        create::<Service>(&mut world, service(json!(8080)));
        pod(&mut world, "a");
        report(&mut world, "a", true);
        settle(&mut world);
        world.api().delete(Kind::POD, SPACE, "a", &DeleteOptions::default()).expect("it exists");
        settle(&mut world);
        assert_eq!(conditions(&mut world), want, "1.{minor}");
        assert_eq!(addresses(&mut world), (0, 0), "1.{minor}");
    }
}

#[test]
fn not_ready_addresses_are_published_on_request() {
    let mut world = world(20);
    let mut value = service(json!(8080));
    value["spec"]["publishNotReadyAddresses"] = json!(true);
    value["spec"]["clusterIP"] = json!("None");
    create::<Service>(&mut world, value);
    pod(&mut world, "a");
    report(&mut world, "a", false);
    settle(&mut world);
    assert_eq!(conditions(&mut world), [(Some(true), None, None)]);
    assert_eq!(addresses(&mut world), (1, 0));
    world.api().delete(Kind::POD, SPACE, "a", &DeleteOptions::default()).expect("it exists");
    settle(&mut world);
    assert_eq!(endpoints(&mut world).len(), 1, "kept while it terminates");
}

#[test]
fn a_hundred_endpoints_a_slice_and_pods_leave_when_relabelled() {
    let mut world = world(37);
    create::<Service>(&mut world, service(json!(8080)));
    for n in 0..230 {
        pod(&mut world, &format!("p{n}"));
        report(&mut world, &format!("p{n}"), true);
    }
    settle(&mut world);
    let mut sizes: Vec<usize> =
        slices(&mut world).iter().map(|s| s.endpoints.as_ref().map_or(0, Vec::len)).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [30, 100, 100]);
    let api = world.api();
    for n in 0..30 {
        let name = format!("p{n}");
        let change = |pod: &mut Pod| pod.metadata.labels = None;
        api.patch::<Pod>(crate::sim::api::Part::Main, SPACE, &name, change).expect("accepted");
    }
    settle(&mut world);
    assert_eq!(endpoints(&mut world).len(), 200);
    assert_eq!(addresses(&mut world), (200, 0));
}

#[test]
fn a_slice_that_someone_deletes_comes_back() {
    let mut world = world(37);
    create::<Service>(&mut world, service(json!(8080)));
    pod(&mut world, "a");
    report(&mut world, "a", true);
    settle(&mut world);
    let slice = slices(&mut world)[0].metadata.name.clone().unwrap_or_default();
    let options = DeleteOptions::default();
    world.api().delete(Kind::ENDPOINT_SLICE, SPACE, &slice, &options).expect("it exists");
    settle(&mut world);
    assert_eq!(conditions(&mut world), [(Some(true), Some(true), Some(false))]);
}
