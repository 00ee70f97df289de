//! Watches: initial state, selectors, order, bookmarks, time-outs, lost history.

use k8s_openapi::api::core::v1::ConfigMap;

use super::*;
use crate::sim::api::Part;

#[test]
fn a_watch_starts_with_the_state_and_follows_with_a_lag() {
    let mut server = Server::newest();
    server.config_map("a", &json!({"kept": "1"}), &json!({}));
    let id = server.watch(&format!("{MAPS}?watch=1&labelSelector=kept"));
    let (lines, _) = server.lines(id);
    assert_eq!(types(&lines), ["ADDED"]);
    server.config_map("b", &json!({"kept": "1"}), &json!({}));
    assert!(server.lines(id).0.is_empty(), "nothing arrives at once");
    server.wait_millis(25);
    let (lines, _) = server.lines(id);
    assert_eq!(types(&lines), ["ADDED"]);
    assert_eq!(lines[0]["object"]["metadata"]["name"], "b");
    assert_eq!(lines[0]["object"]["kind"], "ConfigMap");
}

#[test]
fn entering_and_leaving_a_selector_are_added_and_deleted() {
    let mut server = Server::newest();
    let created = server.config_map("settings", &json!({}), &json!({}));
    let revision = created["metadata"]["resourceVersion"].as_str().expect("a revision");
    let id = server
        .watch(&format!("{MAPS}?watch=true&labelSelector=app%3Dx&resourceVersion={revision}"));
    for label in ["x", "x", "y"] {
        let patch = json!({"metadata": {"labels": {"app": label}}, "data": {"at": label}});
        assert_eq!(server.call_as("PATCH", MAP, MERGE, &patch).0, 200);
    }
    server.wait_millis(50);
    let (lines, _) = server.lines(id);
    assert_eq!(types(&lines), ["ADDED", "DELETED"]);
    let last = &lines[1]["object"];
    assert_eq!(last["data"]["at"], "x", "the state before it left");
    let (_, now) = server.get(MAP);
    assert_eq!(last["metadata"]["resourceVersion"], now["metadata"]["resourceVersion"]);
}

#[test]
fn a_watch_resumes_after_a_revision() {
    let mut server = Server::newest();
    let first = server.config_map("a", &json!({}), &json!({}));
    server.config_map("b", &json!({}), &json!({}));
    server.call("DELETE", &format!("{MAPS}/a"), &Value::Null);
    let revision = first["metadata"]["resourceVersion"].as_str().expect("a revision");
    let id = server.watch(&format!("{MAPS}?watch=1&resourceVersion={revision}"));
    server.wait_millis(50);
    let (lines, _) = server.lines(id);
    assert_eq!(types(&lines), ["ADDED", "DELETED"], "each change once");
}

#[test]
fn history_that_is_gone_is_an_error_event_and_the_end() {
    let mut server = Server::newest();
    server.config_map("settings", &json!({}), &json!({}));
    for n in 0..20_010 {
        let change = |map: &mut ConfigMap| {
            map.data.get_or_insert_default().insert("n".into(), n.to_string());
        };
        let patched = server.world.api().patch(Part::Main, "default", "settings", change);
        assert!(patched.is_ok_and(|map| map.is_some()));
    }
    let id = server.watch(&format!("{MAPS}?watch=1&resourceVersion=2"));
    let (lines, has_ended) = server.lines(id);
    assert_eq!(types(&lines), ["ERROR"]);
    assert_eq!(lines[0]["object"]["code"], 410);
    assert_eq!(lines[0]["object"]["reason"], "Expired");
    assert!(has_ended);
    let list = format!("{MAPS}?resourceVersion=2&resourceVersionMatch=Exact");
    assert_eq!(server.get(&list).0, 410);
}

#[test]
fn bookmarks_come_before_the_end_and_the_end_in_time() {
    let mut server = Server::newest();
    let id = server.watch(&format!(
        "{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=90&labelSelector=none"
    ));
    server.wait_millis(89_000);
    let (lines, has_ended) = server.lines(id);
    assert_eq!((types(&lines), has_ended), (vec!["BOOKMARK", "BOOKMARK"], false));
    server.wait_millis(1_000);
    assert!(server.lines(id).1);
    server.config_map("late", &json!({"none": "1"}), &json!({}));
    server.wait_millis(100);
    assert!(server.lines(id).0.is_empty());
}

#[test]
fn a_streaming_list_ends_with_an_annotated_bookmark() {
    let query = "watch=1&sendInitialEvents=true&labelSelector=none";
    let mut server = Server::newest();
    let id = server.watch(&format!("{MAPS}?{query}&resourceVersionMatch=NotOlderThan"));
    let (lines, _) = server.lines(id);
    let mark = &lines[0]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"];
    assert_eq!(mark, "true");
    let (code, _) = server.get(&format!("{MAPS}?{query}"));
    assert_eq!(code, 422);
    let mut server = Server::oldest();
    let id = server.watch(&format!("{MAPS}?{query}"));
    assert!(server.lines(id).0.is_empty(), "1.20 does not know the parameter");
}

#[test]
fn a_closed_watch_hears_nothing() {
    let mut server = Server::newest();
    let id = server.watch(&format!("{MAPS}?watch=1"));
    server.config_map("a", &json!({}), &json!({}));
    server.world.close_watch(id);
    server.lines(id);
    server.wait_millis(100);
    assert!(server.lines(id).0.is_empty());
}
