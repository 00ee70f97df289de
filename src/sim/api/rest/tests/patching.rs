//! PATCH in its four types, and who owns which field.

use super::*;

fn apply(server: &mut Server, manager: &str, body: &Value) -> (u16, Value) {
    server.call_as("PATCH", &format!("{WEB}?fieldManager={manager}"), APPLY, body)
}

fn image(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]["containers"][0]["image"]
}

#[test]
fn each_patch_type_does_its_own() {
    let mut server = Server::newest();
    server.create(DEPLOYMENTS, &deployment(1, "x:1"));
    let containers = json!([{"name": "web", "image": "x:2"}]);
    let body = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let strategic = "application/strategic-merge-patch+json";
    let (code, patched) = server.call_as("PATCH", WEB, strategic, &body);
    assert_eq!((code, image(&patched)), (200, &json!("x:2")));
    let (code, patched) = server.call_as("PATCH", WEB, MERGE, &json!({"spec": {"replicas": 4}}));
    assert_eq!((code, &patched["spec"]["replicas"]), (200, &json!(4)));
    let operations = json!([
        {"op": "test", "path": "/spec/replicas", "value": 4},
        {"op": "replace", "path": "/spec/replicas", "value": 5},
    ]);
    let json_patch = "application/json-patch+json";
    let (code, patched) = server.call_as("PATCH", WEB, json_patch, &operations);
    assert_eq!((code, &patched["spec"]["replicas"]), (200, &json!(5)));
    assert_eq!(server.call_as("PATCH", WEB, json_patch, &operations).0, 422, "the test fails now");
    assert_eq!(server.call_as("PATCH", WEB, "text/plain", &body).0, 415);
    assert_eq!(server.call_as("PATCH", WEB, json_patch, &json!({"op": 1})).0, 400);
}

#[test]
fn a_revision_in_the_patch_is_a_precondition() {
    let mut server = Server::newest();
    server.create(DEPLOYMENTS, &deployment(1, "x:1"));
    let patch = json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 2}});
    let (code, refused) = server.call_as("PATCH", WEB, MERGE, &patch);
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    assert_eq!(refused["details"]["group"], "apps");
    assert_eq!(refused["details"]["kind"], "deployments");
}

#[test]
fn apply_creates_then_merges_and_keeps_its_entry() {
    let mut server = Server::newest();
    let (code, created) = apply(&mut server, "gitops", &deployment(2, "x:1"));
    assert_eq!(code, 201, "{created}");
    let entry = &created["metadata"]["managedFields"][0];
    assert_eq!((&entry["manager"], &entry["operation"]), (&json!("gitops"), &json!("Apply")));
    assert_eq!(entry["fieldsV1"]["f:spec"]["f:replicas"], json!({}));
    let (_, stored) = server.get(WEB);
    server.wait_millis(3_000);
    let (code, again) = apply(&mut server, "gitops", &deployment(2, "x:1"));
    assert_eq!(code, 200);
    let before = &stored["metadata"]["managedFields"][0]["time"];
    assert_eq!(&again["metadata"]["managedFields"][0]["time"], before);
}

#[test]
fn applying_over_another_manager_conflicts_unless_forced() {
    let mut server = Server::newest();
    apply(&mut server, "one", &deployment(2, "x:1"));
    let (code, refused) = apply(&mut server, "two", &deployment(3, "x:1"));
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        refused["message"],
        "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas"
    );
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let (code, shared) = apply(&mut server, "two", &deployment(2, "x:1"));
    assert_eq!(code, 200, "the same value is shared: {shared}");
    let (code, forced) = apply(&mut server, "two&force=true", &deployment(3, "x:1"));
    assert_eq!((code, &forced["spec"]["replicas"]), (200, &json!(3)));
    let owners = forced["metadata"]["managedFields"].as_array().expect("entries");
    let one = owners.iter().find(|o| o["manager"] == "one").expect("one still owns the image");
    assert!(one["fieldsV1"]["f:spec"].get("f:replicas").is_none());
}

#[test]
fn a_field_no_longer_applied_goes_unless_another_owns_it() {
    let mut server = Server::newest();
    let mut config = deployment(2, "x:1");
    config["metadata"]["labels"] = json!({"mine": "1", "shared": "1"});
    apply(&mut server, "one", &config);
    let shared = json!({"metadata": {"labels": {"shared": "2"}}});
    assert_eq!(server.call_as("PATCH", WEB, MERGE, &shared).0, 200);
    let (code, applied) = apply(&mut server, "one", &deployment(2, "x:1"));
    assert_eq!(code, 200);
    assert_eq!(applied["metadata"]["labels"], json!({"shared": "2"}));
}

#[test]
fn updates_are_tracked_by_user_agent_and_steal_from_appliers() {
    let mut server = Server::newest();
    apply(&mut server, "one", &deployment(2, "x:1"));
    assert_eq!(server.call_as("PATCH", WEB, MERGE, &json!({"spec": {"replicas": 7}})).0, 200);
    let (code, refused) = apply(&mut server, "one", &deployment(2, "x:1"));
    assert_eq!(code, 409);
    let message = refused["message"].as_str().unwrap_or("");
    assert!(message.contains("conflict with \"tester\" using apps/v1 at 2026-"), "{message}");
}

#[test]
fn an_apply_needs_a_manager_and_no_managed_fields() {
    let mut server = Server::newest();
    assert_eq!(server.call_as("PATCH", WEB, APPLY, &deployment(1, "x:1")).0, 422);
    let mut config = deployment(1, "x:1");
    config["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    assert_eq!(apply(&mut server, "one", &config).0, 400);
    let (code, _) = server.call_as("PATCH", &format!("{WEB}?force=true"), MERGE, &json!({}));
    assert_eq!(code, 422);
    config = deployment(1, "x:1");
    config["apiVersion"] = "apps/v1beta1".into();
    assert_eq!(apply(&mut server, "one", &config).0, 400);
}

#[test]
fn a_status_patch_leaves_the_rest_alone() {
    let mut server = Server::newest();
    server.create(DEPLOYMENTS, &deployment(1, "x:1"));
    let patch = json!({"spec": {"replicas": 9}, "status": {"replicas": 3}});
    let (code, _) = server.call_as("PATCH", &format!("{WEB}/status"), MERGE, &patch);
    assert_eq!(code, 200);
    let (_, scale) = server.get(&format!("{WEB}/scale"));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(1), &json!(3)));
}
