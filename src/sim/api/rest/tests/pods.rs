//! Scale, and the subresources of pods.

use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A pod that no scheduler and no kubelet takes.
fn pod(server: &mut Server, name: &str, labels: &Value) {
    let body = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "schedulerName": "nobody",
            "containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "x:1"}],
        },
    });
    server.create(PODS, &body);
}

fn set_status(server: &mut Server, uri: &str, status: &Value) {
    let patch = json!({ "status": status });
    let (code, body) = server.call_as("PATCH", &format!("{uri}/status"), MERGE, &patch);
    assert_eq!(code, 200, "{body}");
}

#[test]
fn scale_changes_replicas_and_shows_the_selector() {
    let mut server = Server::newest();
    server.create(DEPLOYMENTS, &deployment(2, "x:1"));
    let uri = format!("{WEB}/scale");
    let (code, mut scale) = server.get(&uri);
    assert_eq!((code, &scale["kind"]), (200, &json!("Scale")));
    assert_eq!(scale["status"]["selector"], "app=web");
    scale["spec"]["replicas"] = 5.into();
    assert_eq!(server.call("PUT", &uri, &scale).0, 200);
    assert_eq!(server.call("PUT", &uri, &scale).0, 409, "the revision has moved on");
    let (code, patched) = server.call_as("PATCH", &uri, MERGE, &json!({"spec": {"replicas": 0}}));
    assert_eq!((code, &patched["spec"]["replicas"]), (200, &json!(0)));
    assert_eq!(server.get(WEB).1["spec"]["replicas"], 0);
    let negative = json!({"spec": {"replicas": -1}});
    assert_eq!(server.call_as("PATCH", &uri, MERGE, &negative).0, 422);
}

#[test]
fn a_pod_is_bound_once() {
    let mut server = Server::newest();
    pod(&mut server, "p", &json!({}));
    let uri = format!("{PODS}/p/binding");
    let binding = json!({"target": {"kind": "Node", "name": "nowhere"}});
    assert_eq!(server.call("POST", &uri, &binding).0, 201);
    let (_, bound) = server.get(&format!("{PODS}/p"));
    assert_eq!(bound["spec"]["nodeName"], "nowhere");
    let (code, refused) = server.call("POST", &uri, &binding);
    assert_eq!(code, 409);
    let message = refused["message"].as_str().unwrap_or("");
    assert!(message.contains("pod p is already assigned to node \"nowhere\""), "{message}");
}

#[test]
fn an_eviction_asks_the_budget() {
    let mut server = Server::newest();
    pod(&mut server, "p", &json!({"app": "budgeted"}));
    let budget = json!({
        "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "budgeted"}}},
    });
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let created = server.create(budgets, &budget);
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    set_status(&mut server, &format!("{PODS}/p"), &ready);
    let generation = created["metadata"]["generation"].as_u64().unwrap_or(0);
    let status = |allowed: u64| {
        json!({
            "observedGeneration": generation, "disruptionsAllowed": allowed,
            "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1,
        })
    };
    set_status(&mut server, &format!("{budgets}/b"), &status(0));
    let uri = format!("{PODS}/p/eviction");
    let (code, refused) = server.call("POST", &uri, &json!({"metadata": {"name": "p"}}));
    assert_eq!((code, &refused["reason"]), (429, &json!("TooManyRequests")));
    assert_eq!(
        refused["details"]["causes"][0]["message"],
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    );
    set_status(&mut server, &format!("{budgets}/b"), &status(1));
    let (code, evicted) = server.call("POST", &uri, &json!({"metadata": {"name": "p"}}));
    assert_eq!((code, &evicted["status"]), (201, &json!("Success")));
    let (_, booked) = server.get(&format!("{budgets}/b"));
    assert_eq!(booked["status"]["disruptionsAllowed"], 0);
    assert_eq!(server.get(&format!("{PODS}/p")).0, 404, "an unbound pod has no grace");
}

#[test]
fn logs_need_a_known_container() {
    let mut server = Server::newest();
    pod(&mut server, "p", &json!({}));
    let (code, refused) = server.get(&format!("{PODS}/p/log"));
    assert_eq!(code, 400);
    assert_eq!(
        refused["message"],
        "a container name must be specified for pod p, choose one of: [a b]"
    );
    let (code, refused) = server.get(&format!("{PODS}/p/log?container=c"));
    assert_eq!((code, &refused["message"]), (400, &json!("container c is not valid for pod p")));
    assert_eq!(server.get(&format!("{PODS}/p/log?container=a")), (200, json!("")));
}
