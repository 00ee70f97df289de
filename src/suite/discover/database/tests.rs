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
    assert_eq!(host_of("MySQL:3306"), "mysql");
    assert_eq!(host_of("[fd00::1]:3306"), "fd00::1");
    assert_eq!(host_of("fd00::1"), "fd00::1");
    assert_eq!(host_of("localhost:/run/mysqld.sock"), "localhost");
    assert_eq!(host_of(":/run/mysqld.sock"), "");
}

#[test]
fn what_a_host_may_name_is_told() {
    let services = |host: &str| {
        let env = json!([{"name": "WORDPRESS_DB_HOST", "value": host}]);
        let target = found(&stack("wordpress:6", &env, &[]));
        assert!(target.database.is_none(), "{host}");
        let services = target.no_database.services.into_iter();
        services.map(|each| format!("{}/{}", each.namespace, each.name)).collect::<Vec<_>>()
    };
    assert_eq!(services("cluster"), ["shop/cluster"]);
    assert_eq!(services("cluster-0.cluster"), ["cluster/cluster-0", "shop/cluster"]);
    assert_eq!(services("cluster.db.svc.cluster.local."), ["db/cluster"]);
    assert_eq!(services("x.rds.example.com"), [""; 0]);
    assert_eq!(services("localhost:/run/mysqld.sock"), [""; 0]);
}

#[test]
fn a_socket_without_a_database_beside_it_is_told_as_such() {
    let env = json!([{"name": "WORDPRESS_DB_HOST", "value": ":/run/mysqld.sock"}]);
    let reason = database(&stack("wordpress:6", &env, &[])).expect_err("nothing is beside it");
    assert!(reason.contains("names no host, and no other container"), "{reason}");
}

#[test]
fn a_proxy_is_not_the_database_that_it_asks() {
    let env = json!([{"name": "WORDPRESS_DB_HOST", "value": "proxy"}]);
    let proxy =
        [service("proxy", "proxy", "ClusterIP"), workload("Deployment", "proxy", "proxysql:2", "")];
    let mut values = stack("wordpress:6", &env, &proxy);
    assert!(is_db(&values), "the only one that keeps data");
    values.retain(|value| value["metadata"]["name"] != "db");
    let reason = database(&values).expect_err("it is elsewhere");
    assert!(reason.contains("passes on to a database elsewhere"), "{reason}");
    // Beside the front, too.
    let env = json!([{"name": "WORDPRESS_DB_HOST", "value": "127.0.0.1"}]);
    let mut values = stack("wordpress:6", &env, &[]);
    let containers = &mut values[3]["spec"]["template"]["spec"]["containers"];
    let log = json!({"name": "log", "image": "fluent-bit:3"});
    let others = [log, json!({"name": "sql", "image": "cloud-sql-proxy:2"})];
    containers.as_array_mut().expect("a list").extend(others);
    database(&values).expect_err("nothing in the pod keeps data");
}

#[test]
fn a_name_that_leads_out_of_the_cluster_selects_nothing() {
    let env = json!([{"name": "WORDPRESS_DB_HOST", "value": "mysql"}]);
    let mut values = stack("wordpress:6", &env, &[]);
    values[2]["spec"]["type"] = json!("ExternalName");
    let reason = database(&values).expect_err("the selector is ignored");
    assert!(reason.contains("selects no Deployment"), "{reason}");
}

#[test]
fn variables_that_the_stack_does_not_hold_may_name_another_database() {
    let mut values = stack("wordpress:6", &json!([]), &[]);
    let container = &mut values[3]["spec"]["template"]["spec"]["containers"][0];
    container["envFrom"] = json!([{"secretRef": {"name": "vault"}}]);
    let reason = database(&values).expect_err("not the default");
    let why = "Deployment shop/web takes variables from Secret vault, which is not in the stack";
    assert_eq!(reason, why);
}
