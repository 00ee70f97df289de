//! GET, POST, PUT, DELETE, their errors and their dry runs.

use super::*;

#[test]
fn an_object_is_created_read_replaced_and_deleted() {
    let mut server = Server::newest();
    let created = server.config_map("settings", &json!({}), &json!({"a": "1"}));
    assert_eq!(created["kind"], "ConfigMap");
    assert_eq!(created["apiVersion"], "v1");
    assert!(created["metadata"]["uid"].is_string());
    let mut changed = created.clone();
    changed["data"]["a"] = "2".into();
    let (code, replaced) = server.call("PUT", MAP, &changed);
    assert_eq!((code, &replaced["data"]["a"]), (200, &json!("2")));
    let (code, stale) = server.call("PUT", MAP, &changed);
    assert_eq!(code, 409);
    assert_eq!(
        stale["message"],
        "Operation cannot be fulfilled on configmaps \"settings\": the object has been modified; \
         please apply your changes to the latest version and try again"
    );
    let (code, gone) = server.call("DELETE", MAP, &Value::Null);
    assert_eq!((code, &gone["status"]), (200, &json!("Success")));
    assert_eq!(gone["details"]["uid"], created["metadata"]["uid"]);
    let (code, missing) = server.get(MAP);
    assert_eq!(code, 404);
    assert_eq!(missing["message"], "configmaps \"settings\" not found");
    assert_eq!(missing["details"], json!({"name": "settings", "kind": "configmaps"}));
}

#[test]
fn a_put_that_changes_nothing_keeps_the_revision() {
    let mut server = Server::newest();
    let created = server.config_map("settings", &json!({}), &json!({"a": "1"}));
    let mut same = created.clone();
    if let Some(meta) = same["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
        meta.remove("managedFields");
    }
    let (code, replaced) = server.call("PUT", MAP, &same);
    assert_eq!(code, 200);
    assert_eq!(replaced["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
}

#[test]
fn mistakes_get_the_answers_of_the_api_server() {
    let mut server = Server::newest();
    server.config_map("settings", &json!({}), &json!({}));
    let (code, taken) = server.call("POST", MAPS, &json!({"metadata": {"name": "settings"}}));
    assert_eq!((code, &taken["reason"]), (409, &json!("AlreadyExists")));
    let (code, _) =
        server.call("POST", MAPS, &json!({"metadata": {"name": "a", "namespace": "b"}}));
    assert_eq!(code, 400);
    let (code, body) = server.call("PUT", MAP, &json!({"metadata": {"name": "other"}}));
    assert_eq!(code, 400);
    assert!(body["message"].as_str().is_some_and(|m| m.contains("does not match the name on")));
    let (code, _) =
        server.call("POST", MAPS, &json!({"kind": "Secret", "metadata": {"name": "a"}}));
    assert_eq!(code, 400);
    let (code, _) = server.call("POST", MAPS, &json!({"metadata": {"name": "a"}, "data": 1}));
    assert_eq!(code, 400);
    let (code, _) = server.call("POST", MAPS, &json!([1]));
    assert_eq!(code, 400);
    let (code, _) = server.call("POST", MAP, &json!({}));
    assert_eq!(code, 405);
    let (code, body) = server.get("/apis/none/v1/things");
    assert_eq!(code, 404);
    assert_eq!(body["message"], "the server could not find the requested resource");
    assert_eq!(server.get("/apis/apps/v9/deployments").0, 404);
}

#[test]
fn a_null_among_texts_is_an_empty_text() {
    let mut server = Server::newest();
    let labels = json!({"tier": null});
    let created = server.config_map("settings", &labels, &json!({"a": null}));
    assert_eq!(created["data"], json!({"a": ""}));
    assert_eq!(created["metadata"]["labels"], json!({"tier": ""}));
}

#[test]
fn base64_may_have_line_breaks() {
    let mut server = Server::newest();
    let secret = json!({"metadata": {"name": "tls"}, "data": {"tls.crt": "aGVs\nbG8=\n"}});
    let created = server.create("/api/v1/namespaces/default/secrets", &secret);
    assert_eq!(created["data"]["tls.crt"], "aGVsbG8=");
}

#[test]
fn a_dry_run_answers_and_stores_nothing() {
    let mut server = Server::newest();
    let body = json!({"metadata": {"name": "settings"}});
    let (code, _) = server.call("POST", &format!("{MAPS}?dryRun=All"), &body);
    assert_eq!(code, 201);
    assert_eq!(server.get(MAP).0, 404);
    assert_eq!(server.call("POST", &format!("{MAPS}?dryRun=Some"), &body).0, 422);
}

#[test]
fn unknown_fields_are_refused_warned_of_or_dropped() {
    let mut server = Server::newest();
    let mut body = deployment(1, "x:1");
    body["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always".into();
    let (code, refused) =
        server.call("POST", &format!("{DEPLOYMENTS}?fieldValidation=Strict"), &body);
    assert_eq!(code, 400);
    assert_eq!(
        refused["message"],
        "strict decoding error: unknown field \"spec.template.spec.containers[0].imagePolicy\""
    );
    let Served::Response(warned) = server.send("POST", DEPLOYMENTS, JSON, &body) else {
        panic!("no response");
    };
    assert_eq!(warned.status(), 201);
    assert!(warned.headers().contains_key("warning"));
}

#[test]
fn a_collection_is_deleted_by_selector() {
    let mut server = Server::newest();
    server.config_map("a", &json!({"app": "x"}), &json!({}));
    server.config_map("b", &json!({"app": "y"}), &json!({}));
    let (code, list) = server.call("DELETE", &format!("{MAPS}?labelSelector=app=x"), &Value::Null);
    assert_eq!((code, list["items"].as_array().map(Vec::len)), (200, Some(1)));
    assert_eq!(server.get(&format!("{MAPS}/a")).0, 404);
    assert_eq!(server.get(&format!("{MAPS}/b")).0, 200);
}

#[test]
fn deletion_options_are_honoured() {
    let mut server = Server::newest();
    server.config_map("settings", &json!({}), &json!({}));
    let (code, _) = server.call("DELETE", MAP, &json!({"preconditions": {"uid": "other"}}));
    assert_eq!(code, 409);
    let both = json!({"propagationPolicy": "Orphan", "orphanDependents": true});
    assert_eq!(server.call("DELETE", MAP, &both).0, 422);
    let (code, marked) = server.call("DELETE", MAP, &json!({"propagationPolicy": "Foreground"}));
    assert_eq!(code, 200);
    assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
}

#[test]
fn no_bytes_make_the_server_panic() {
    let mut server = Server::newest();
    let bodies: [&[u8]; 5] = [b"", b"{", b"\xff\xfe", b"null", b"{\"metadata\": []}"];
    let types = [JSON, MERGE, APPLY, "application/json-patch+json", "text/plain"];
    for body in bodies {
        for content_type in types {
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                for uri in [MAPS, MAP, WEB, "/api/v1/namespaces/default/pods/x/eviction"] {
                    let request = http::Request::builder()
                        .method(method)
                        .uri(format!("{uri}?fieldManager=x"))
                        .header("content-type", content_type)
                        .body(Bytes::from_static(body))
                        .expect("a valid request");
                    let Served::Response(response) = server.world.serve(&request) else {
                        panic!("a watch");
                    };
                    let is_deleting = method == "DELETE";
                    assert!(response.status().is_client_error() || is_deleting, "{response:?}");
                }
            }
        }
    }
}

#[test]
fn only_finalize_writes_the_finalizers_of_a_namespace() {
    let mut server = Server::newest();
    let created = server.create("/api/v1/namespaces", &json!({"metadata": {"name": "space"}}));
    let held = json!(["kubernetes"]);
    assert_eq!(created["spec"]["finalizers"], held);
    let path = "/api/v1/namespaces/space";
    let labelled = json!({"metadata": {"name": "space", "labels": {"a": "b"}}});
    let (code, replaced) = server.call("PUT", path, &labelled);
    assert_eq!((code, &replaced["spec"]["finalizers"]), (200, &held));
    assert_eq!(replaced["metadata"]["labels"]["a"], "b");
    let cleared = json!({"metadata": {"name": "space"}, "spec": {"finalizers": []}});
    let (_, replaced) = server.call("PUT", path, &cleared);
    assert_eq!(replaced["spec"]["finalizers"], held);
    let (code, finalized) = server.call("PUT", &format!("{path}/finalize"), &cleared);
    assert_eq!(code, 200);
    assert!(finalized["spec"].get("finalizers").is_none_or(|f| *f == json!([])), "{finalized}");
}

#[test]
fn a_put_for_another_object_of_the_same_name_is_refused() {
    let mut server = Server::newest();
    let first = server.config_map("settings", &json!({}), &json!({"a": "1"}));
    server.call("DELETE", MAP, &Value::Null);
    server.config_map("settings", &json!({}), &json!({"a": "2"}));
    let uid = first["metadata"]["uid"].as_str().unwrap_or("");
    let late = json!({"metadata": {"name": "settings", "uid": uid}, "data": {"a": "3"}});
    let (code, body) = server.call("PUT", MAP, &late);
    assert_eq!((code, &body["reason"]), (409, &json!("Conflict")));
    let wanted = format!("UID in precondition: {uid}, UID in object meta: ");
    assert!(body["message"].as_str().is_some_and(|m| m.contains(&wanted)), "{body}");
    assert_eq!(server.get(MAP).1["data"]["a"], "2");
}
