//! Fields a kind does not have (`fieldValidation=Strict|Warn`, semantics 1.7).

use serde_json::Value;

use crate::sim::api::Status;

/// Paths in `given` that reading it as a typed object dropped; `known` is that object written again.
pub(super) fn unknown_fields(given: &Value, known: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare("", given, known, &mut paths);
    paths
}

fn compare(path: &str, given: &Value, known: &Value, paths: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match known.get(key) {
                    Some(known) => compare(&path, value, known, paths),
                    // An empty value of a known field may be left out when it is written.
                    None if is_empty(value) => {}
                    None => paths.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (idx, (given, known)) in given.iter().zip(known).enumerate() {
                compare(&format!("{path}[{idx}]"), given, known, paths);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// 400 as `fieldValidation=Strict` answers.
pub(super) fn refusal(unknown: &[String]) -> Status {
    let list: Vec<String> =
        unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    Status::bad_request(format!("strict decoding error: {}", list.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dropped_fields_are_named_with_their_path() {
        let given = json!({"spec": {"containers": [{"name": "a", "imagePolicy": "x"}]}, "x": null});
        let known = json!({"spec": {"containers": [{"name": "a"}]}});
        let unknown = unknown_fields(&given, &known);
        assert_eq!(unknown, ["spec.containers[0].imagePolicy"]);
        assert_eq!(
            refusal(&unknown).message,
            "strict decoding error: unknown field \"spec.containers[0].imagePolicy\""
        );
    }
}
