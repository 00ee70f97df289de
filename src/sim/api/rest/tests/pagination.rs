//! Lists: selectors, chunks, past revisions.

use super::*;

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

fn selected(uri: &str) -> String {
    format!("{MAPS}?labelSelector=kept&{uri}")
}

#[test]
fn a_list_is_selected_and_says_its_revision() {
    let mut server = Server::newest();
    server.config_map("a", &json!({"kept": "1"}), &json!({}));
    server.config_map("b", &json!({}), &json!({}));
    let (code, list) = server.get(&selected(""));
    assert_eq!((code, names(&list)), (200, vec!["a"]));
    assert_eq!(list["kind"], "ConfigMapList");
    assert!(list["items"][0].get("kind").is_none());
    let (_, list) = server.get(&format!("{MAPS}?fieldSelector=metadata.name%3Db"));
    assert_eq!(names(&list), ["b"]);
    assert_eq!(server.get(&format!("{MAPS}?fieldSelector=data.a%3Db")).0, 400);
}

#[test]
fn chunks_are_consistent_although_objects_change() {
    let mut server = Server::newest();
    for name in ["a", "b", "c"] {
        server.config_map(name, &json!({"kept": "1"}), &json!({}));
    }
    let (_, first) = server.get(&selected("limit=2"));
    assert_eq!(names(&first), ["a", "b"]);
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    server.call("DELETE", &format!("{MAPS}/c"), &Value::Null);
    server.config_map("d", &json!({"kept": "1"}), &json!({}));
    let (code, second) = server.get(&selected(&format!("limit=2&continue={token}")));
    assert_eq!((code, names(&second)), (200, vec!["c"]));
    assert!(second["metadata"].get("continue").is_none());
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let (code, _) = server.get(&selected(&format!("resourceVersion=5&continue={token}")));
    assert_eq!(code, 400);
    assert_eq!(server.get(&selected("continue=xyz")).0, 400);
}

#[test]
fn revisions_have_their_meanings() {
    let mut server = Server::newest();
    server.config_map("a", &json!({"kept": "1"}), &json!({}));
    let (_, list) = server.get(&selected(""));
    let revision = list["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned();
    server.config_map("b", &json!({"kept": "1"}), &json!({}));
    let exact = format!("resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(names(&server.get(&selected(&exact)).1), ["a"]);
    let (_, newer) = server.get(&selected(&format!("resourceVersion={revision}")));
    assert_eq!(names(&newer), ["a", "b"]);
    let (code, refused) = server.get(&selected("resourceVersion=999999999"));
    assert_eq!(code, 504);
    assert_eq!(refused["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(server.get(&selected("resourceVersionMatch=Exact")).0, 422);
    assert_eq!(server.get(&selected("resourceVersion=0&resourceVersionMatch=Exact")).0, 422);
}
