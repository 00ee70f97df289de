//! What kubectl takes and refuses, line by line.

use rstest::rstest;
use serde_json::json;

use super::*;

fn one(text: &str) -> Node {
    let (mut documents, error) = documents(text);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

#[test]
fn lines_are_kept() {
    let node = one("a: 1\r\nlist:\r\n  - x: 1\r\n    y.z: 2\r\n");
    assert_eq!(node.to_json(), json!({"a": 1, "list": [{"x": 1, "y.z": 2}]}));
    assert_eq!(node.line_of("a"), 1);
    assert_eq!(node.line_of("list"), 2);
    assert_eq!(node.line_of("list[0].x"), 3);
    assert_eq!(node.line_of("list[0].y.z"), 4);
    assert_eq!(node.line_of("list[0].missing.deeper"), 3);
}

#[test]
fn aliases_and_merge_keys() {
    let node = one("base: &b {a: 1, b: 2}\nx:\n  <<: *b\n  b: 3\nz: *b\n");
    let wanted = json!({"base": {"a": 1, "b": 2}, "x": {"a": 1, "b": 3}, "z": {"a": 1, "b": 2}});
    assert_eq!(node.to_json(), wanted);
}

#[test]
fn merged_maps_win_over_what_stands_before_them() {
    let node = one("b: &b {x: 1, v: 1}\nc: &c {x: 2, z: 2}\nd:\n  x: 0\n  <<: [*b, *c]\n  v: 3\n");
    assert_eq!(node.to_json()["d"], json!({"x": 1, "v": 3, "z": 2}));
}

#[rstest]
#[case::a_quoted_last_item("a: [\n  \"x\", \"y\"\n]", json!({"a": ["x", "y"]}))]
#[case::a_trailing_comma("a:\n  b: [\n    \"x\",\n  ]", json!({"a": {"b": ["x"]}}))]
#[case::an_item_below_its_key("a:\n  b: [\"x\",\n  \"y\"]", json!({"a": {"b": ["x", "y"]}}))]
#[case::a_quoted_text_below_its_key("a:\n  b: \"x\n  y\"", json!({"a": {"b": "x y"}}))]
#[case::a_brace_further_in("a: {\n    \"b\": \"c\"\n  }", json!({"a": {"b": "c"}}))]
#[case::json_with_tabs("{\n\t\"a\": 1\n}", json!({"a": 1}))]
#[case::a_brace_with_tabs("a:\n  b: {\n\t\"c\": [\n\t\t1\n\t],\n\n\td: x\n\t  y}\n", json!({"a": {"b": {"c": [1], "d": "x y"}}}))]
#[case::a_list_with_tabs("- a: [\n\t1,\n  2,\n\t3]\n", json!([{"a": [1, 2, 3]}]))]
#[case::json_with_a_pair_of_surrogates("{\"a\": \"\\ud83d\\ude00\"}", json!({"a": "\u{1f600}"}))]
fn what_kubectl_reads_is_read(#[case] text: &str, #[case] wanted: Value) {
    assert_eq!(one(text).to_json(), wanted);
}

#[rstest]
#[case::a_key("a:\n\tb: 1\n", 2)]
#[case::a_text("a:\n  b:\n\t\"c\"\n", 3)]
#[case::what_follows_a_brace("a:\n  b: {\n\t\"c\": 1\n\t}\n\td: 2\n", 5)]
fn tabs_indent_nothing_else(#[case] text: &str, #[case] line: usize) {
    let error = documents(text).1.expect("an error");
    assert_eq!((error.line, error.message.contains("tab")), (line, true), "{error:?}");
}

#[test]
fn objects_of_json_may_follow_one_another() {
    let (found, error) = documents("{\"a\": 1}\n{\n\"b\": 2} {\"c\":\n3}\n");
    assert!(error.is_none(), "{error:?}");
    let found: Vec<_> =
        found.iter().map(|node| (node.to_json(), node.line, node.line_of("b"))).collect();
    let wanted = [(json!({"a": 1}), 1, 1), (json!({"b": 2}), 2, 3), (json!({"c": 3}), 3, 3)];
    assert_eq!(found, wanted);
}

#[test]
fn growing_aliases_and_depth_are_bounded() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let each = format!("*a{}", n - 1);
        let list = [each.as_str(); 9].join(", ");
        text.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    assert!(documents(&text).1.is_some_and(|error| error.message.contains("values")));
    let deep = "[".repeat(1000);
    assert!(documents(&deep).1.is_some());
}

#[test]
fn duplicate_keys_are_refused() {
    let (_, error) = documents("a: 1\nb: 2\na: 3\n");
    let error = error.expect("an error");
    assert_eq!((error.line, error.message.as_str()), (3, "duplicate key `a`, first at line 1"));
}
