//! Databases of small stacks.

use serde_json::{Value, json};

use super::*;
use crate::suite::discover::discover;
use crate::suite::discover::tests::{objects, service, workload};
use crate::suite::target::StackTarget;

/// A front of `image` with `env`, a cache, a MySQL and what is in `more`.
fn stack(image: &str, env: &Value, more: &[Value]) -> Vec<Value> {
    let mut front = workload("Deployment", "web", image, "");
    front["spec"]["template"]["spec"]["containers"][0]["env"] = env.clone();
    let mut values = vec![
        service("front", "web", "NodePort"),
        service("redis", "redis", "ClusterIP"),
        service("mysql", "db", "ClusterIP"),
        front,
        workload("Deployment", "redis", "redis:7", ""),
        workload("StatefulSet", "db", "mysql:8", ""),
    ];
    values.extend(more.iter().cloned());
    values
}

fn found(values: &[Value]) -> StackTarget {
    discover(&objects(values)).expect("a front")
}

/// Name and container of the database, or why there is none.
fn database(values: &[Value]) -> Result<(String, String), String> {
    let target = found(values);
    let database = target.database.as_ref().ok_or_else(|| target.no_database.why.clone())?;
    Ok((database.name.clone(), database.container_name().unwrap_or_default().to_owned()))
}

fn is_db(values: &[Value]) -> bool {
    database(values) == Ok(("db".into(), "main".into()))
}

#[test]
fn wordpress_is_asked_where_it_keeps_its_posts() {
    let literal = json!([
        {"name": "WORDPRESS_REDIS_HOST", "value": "redis"},
        {"name": "WORDPRESS_DB_HOST", "value": "mysql:3306"},
    ]);
    assert!(is_db(&stack("wordpress:6", &literal, &[])), "not the cache before it");
    let key = json!({"secretKeyRef": {"name": "db", "key": "host"}});
    let secret = json!([
        {"name": "WORDPRESS_REDIS_HOST", "value": "redis"},
        {"name": "WORDPRESS_DB_HOST", "valueFrom": key},
    ]);
    let data = json!({
        "kind": "Secret", "metadata": {"name": "db"}, "stringData": {"host": "mysql.shop.svc"},
    });
    assert!(is_db(&stack("wordpress:6", &secret, &[data])));
    let reason = database(&stack("wordpress:6", &secret, &[])).expect_err("it is not told");
    assert_eq!(
        reason,
        "WORDPRESS_DB_HOST of Deployment shop/web is in Secret db, which is not in the stack"
    );
    assert!(is_db(&stack("wordpress:6", &json!([]), &[])), "the image's default is `mysql`");
}

#[test]
fn a_database_elsewhere_is_not_one_of_the_stack() {
    for host in ["mysql.example.com", "10.1.2.3", "localhost"] {
        let env = json!([
            {"name": "WORDPRESS_DB_HOST", "value": host},
            {"name": "WORDPRESS_REDIS_HOST", "value": "redis"},
        ]);
        let reason = database(&stack("wordpress:6", &env, &[])).expect_err("not of the stack");
        assert!(reason.contains(host), "{reason}");
    }
}

#[test]
fn other_programs_name_a_database_or_talk_to_an_image_that_is_one() {
    let cache = json!({"name": "REDIS_URL", "value": "redis://redis:6379"});
    let telling = json!([cache, {"name": "DATABASE_URL", "value": "mysql://u:p@mysql:3306/x"}]);
    assert!(is_db(&stack("team/app:1", &telling, &[])));
    let untold = json!([cache, {"name": "STORE", "value": "mysql"}]);
    assert!(is_db(&stack("team/app:1", &untold, &[])));
    database(&stack("team/app:1", &json!([cache]), &[])).expect_err("a cache is none");
}

#[test]
fn a_database_in_the_pod_of_the_front_is_the_other_container() {
    let env = json!([{"name": "WORDPRESS_DB_HOST", "value": "127.0.0.1:3306"}]);
    let mut values = stack("wordpress:6", &env, &[]);
    let containers = &mut values[3]["spec"]["template"]["spec"]["containers"];
    let others =
        [json!({"name": "log", "image": "log:1"}), json!({"name": "mysql", "image": "mysql:8"})];
    containers.as_array_mut().expect("a list").extend(others);
    assert_eq!(database(&values), Ok(("web".into(), "mysql".into())));
    assert_eq!(found(&values).front.workload.container_name(), Some("main"));
}

#[test]
fn hosts_are_found_in_addresses_and_urls() {
    assert_eq!(host_of("mysql://user:pw@db.shop.svc:3306/name"), "db.shop.svc");
    assert_eq!(host_of("db:3306"), "db");
    assert_eq!(host_of("plain"), "plain");
}
