//! The whole simulator: a Deployment behind a node port and an Ingress, from its manifests on.

use bytes::Bytes;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};

use super::rig::{met, status};
use crate::base::{millis, secs};
use crate::sim::ClusterSpec;
use crate::sim::api::Typed;
use crate::sim::net::{CallResult, ClientCall};
use crate::sim::profile::Profile;
use crate::sim::world::{Output, World};

fn create<T: Typed>(world: &mut World, value: Value) {
    let object: T = serde_json::from_value(value).expect("an object");
    world.api().create(object).expect("it is accepted");
}

fn deployment(name: &str, image: &str, replicas: u32, port: u16, env: &[(&str, &str)]) -> Value {
    let env: Vec<Value> =
        env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({
        "metadata": {"name": name, "namespace": "blog"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": name, "image": image, "env": env,
                    "ports": [{"containerPort": port}],
                    "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 5},
                }]},
            },
        },
    })
}

fn service(name: &str, spec: Value) -> Value {
    let mut value = json!({
        "metadata": {"name": name, "namespace": "blog"}, "spec": {"selector": {"app": name}},
    });
    if let (Some(to), Value::Object(from)) = (value["spec"].as_object_mut(), spec) {
        to.extend(from);
    }
    value
}

/// WordPress and MySQL, up for a minute.
fn blog(seed: u64) -> (World, ClusterSpec) {
    let spec = ClusterSpec::new(Profile::NEWEST, 3);
    let mut world = World::new(&spec, seed);
    create::<Namespace>(&mut world, json!({"metadata": {"name": "blog"}}));
    let account = [
        ("MYSQL_ROOT_PASSWORD", "r"),
        ("MYSQL_DATABASE", "wordpress"),
        ("MYSQL_USER", "wp"),
        ("MYSQL_PASSWORD", "pw"),
    ];
    let database = [
        ("WORDPRESS_DB_HOST", "mysql"),
        ("WORDPRESS_DB_USER", "wp"),
        ("WORDPRESS_DB_PASSWORD", "pw"),
        ("WORDPRESS_DB_NAME", "wordpress"),
    ];
    create::<Service>(&mut world, service("mysql", json!({"ports": [{"port": 3306}]})));
    create::<Deployment>(&mut world, deployment("mysql", "mysql:8.4", 1, 3306, &account));
    create::<Deployment>(&mut world, deployment("wp", "wordpress:6.8-apache", 3, 80, &database));
    let ports = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_080}]});
    create::<Service>(&mut world, service("wp", ports));
    create::<Ingress>(
        &mut world,
        json!({
            "metadata": {"name": "wp", "namespace": "blog"},
            "spec": {"rules": [{"host": "blog.test", "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "wp", "port": {"number": 80}}},
            }]}}]},
        }),
    );
    world.run_until(world.now() + secs(60));
    (world, spec)
}

fn call(spec: &ClusterSpec, node: usize, port: u16, path: &str, body: &str) -> ClientCall {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = http::Request::builder().method(method).uri(path).header("host", "blog.test");
    ClientCall {
        ip: spec.nodes[node].ip.clone(),
        port,
        tls: None,
        connection: None,
        request: request.body(Bytes::from(body.to_owned())).expect("a request"),
        timeout: secs(30),
    }
}

fn send(world: &mut World, call: ClientCall) -> CallResult {
    let id = world.call(call);
    for _ in 0..40_000 {
        world.run_until(world.now() + millis(1));
        for output in world.take_outputs() {
            match output {
                Output::CallDone(done, result) if done == id => return *result,
                _ => {}
            }
        }
    }
    panic!("no result");
}

const INSTALL: &str = "weblog_title=Blog&user_name=admin&admin_password=pw&admin_password2=pw\
    &pw_weak=on&admin_email=a%40b.c";

#[test]
fn wordpress_is_installed_through_the_ingress_and_read_through_a_node_port() {
    let (mut world, spec) = blog(1);
    let installed = send(&mut world, call(&spec, 0, 80, "/wp-admin/install.php?step=2", INSTALL));
    assert_eq!(status(&installed), Ok(200), "{installed:?}");
    for n in 1..=3 {
        let page = send(&mut world, call(&spec, n, 30_080, "/", ""));
        let CallResult::Response { response, .. } = &page else { panic!("{page:?}") };
        assert!(String::from_utf8_lossy(response.body()).contains("Hello world!"), "{page:?}");
        assert!(met(&page).is_some_and(|(pod, _)| pod.starts_with("wp-")));
    }
}

#[test]
fn ten_thousand_requests_are_answered() {
    let (mut world, spec) = blog(2);
    send(&mut world, call(&spec, 0, 80, "/wp-admin/install.php?step=2", INSTALL));
    let mut answered = 0;
    for n in 0..10_000u64 {
        let (node, port) = if n % 2 == 0 { (0, 80) } else { (1, 30_080) };
        let mut call = call(&spec, node, port, "/?n=1", "");
        call.connection = (n % 4 < 2).then_some(n % 10);
        world.call(call);
        world.run_until(world.now() + millis(20));
        answered += count_ok(&mut world);
    }
    world.run_until(world.now() + secs(5));
    assert_eq!(answered + count_ok(&mut world), 10_000);
}

fn count_ok(world: &mut World) -> usize {
    let outputs = world.take_outputs();
    let ok = outputs.iter().filter(|output| match output {
        Output::CallDone(_, result) => status(result) == Ok(200),
        _ => false,
    });
    ok.count()
}
