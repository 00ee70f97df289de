//! A value held against a schema: unknown fields and wrong types, in words.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::{Problem, Schema, near_match, reference};
use crate::k8s::quantity;

/// `AM/api/resource/quantity.go:ErrFormatWrong`.
const QUANTITY_FORMAT: &str = "quantities must match the regular expression \
    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Everything in `part`, which lies at `path`, that `schema` has no field for or wants otherwise.
pub(super) fn problems(schema: &Schema, path: &str, part: &Value) -> Vec<Problem> {
    let is_secret = part.get("kind").is_some_and(|kind| kind == "Secret");
    let mut check = Check { schema, shows_values: !is_secret, problems: Vec::new() };
    check.value(&schema.root, part, &mut path.to_owned());
    check.problems
}

struct Check<'s> {
    schema: &'s Schema,
    /// Not those of a Secret: messages end up in logs.
    shows_values: bool,
    problems: Vec<Problem>,
}

impl<'s> Check<'s> {
    /// A field; set to null, it counts as absent.
    fn value(&mut self, node: &'s Value, value: &Value, path: &mut String) {
        if !value.is_null() {
            self.entry(node, value, path);
        }
    }

    /// An item of a list or an entry of a map, where null is a value.
    fn entry(&mut self, node: &'s Value, value: &Value, path: &mut String) {
        let reference = reference(node);
        // Its schema says `object`, but it takes any value: a default, an example, one of an enum.
        if reference.ends_with(".apiextensions.v1.JSON") {
            return;
        }
        let is_quantity = reference.ends_with(".Quantity");
        let node = self.schema.resolve(node);
        if let Some(Value::Array(choices)) = node.get("oneOf") {
            self.one_of(choices, value, path);
            return;
        }
        if node.get("x-kubernetes-int-or-string").is_some() {
            self.scalar_or_text(value, is_quantity, path);
            return;
        }
        match (node.get("type").and_then(Value::as_str), value) {
            (Some("object"), Value::Object(map)) => self.object(node, map, path),
            (Some("array"), Value::Array(items)) => {
                let Some(each) = node.get("items") else { return };
                let len = path.len();
                for (idx, item) in items.iter().enumerate() {
                    path.push_str(&format!("[{idx}]"));
                    self.entry(each, item, path);
                    path.truncate(len);
                }
            }
            (Some("string"), Value::String(text)) => self.text(node, text, path),
            (Some("boolean"), Value::Bool(_)) | (Some("number"), Value::Number(_)) => {}
            (Some("integer"), Value::Number(number)) => self.integer(node, number, path),
            (Some(wanted), given) => self.wrong_type(wanted, given, path),
            // No type: any value.
            (None, _) => {}
        }
    }

    /// A value of a type that is written in one of several ways, each of another JSON type.
    fn one_of(&mut self, choices: &'s [Value], value: &Value, path: &mut String) {
        let wanted = |choice: &'s Value| self.schema.resolve(choice).get("type")?.as_str();
        let given = match value {
            Value::Object(_) => "object",
            Value::Array(_) => "array",
            Value::Bool(_) => "boolean",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Null => "null",
        };
        match choices.iter().find(|choice| wanted(choice) == Some(given)) {
            Some(choice) => self.value(choice, value, path),
            None => {
                let known: Vec<&str> = choices.iter().filter_map(wanted).map(in_words).collect();
                self.wrong_type(&known.join(" or "), value, path);
            }
        }
    }

    fn object(&mut self, node: &'s Value, map: &serde_json::Map<String, Value>, path: &mut String) {
        let fields = node.get("properties").and_then(Value::as_object);
        let entries = node.get("additionalProperties").filter(|entry| entry.is_object());
        // An object without any declared field takes all.
        if fields.is_none() && entries.is_none() {
            return;
        }
        let len = path.len();
        for (key, value) in map {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
            match (fields.and_then(|fields| fields.get(key)), entries) {
                (Some(field), _) => self.value(field, value, path),
                (None, Some(entry)) => self.entry(entry, value, path),
                (None, None) => {
                    let known = fields.into_iter().flat_map(|fields| fields.keys());
                    let hint = near_match(key, known.map(String::as_str))
                        .map(|near| format!("; did you mean `{near}`?"))
                        .unwrap_or_default();
                    self.problem(path, format!("unknown field{hint}"));
                }
            }
            path.truncate(len);
        }
    }

    fn scalar_or_text(&mut self, value: &Value, is_quantity: bool, path: &str) {
        match value {
            Value::String(text) if is_quantity && !is_quantity_text(text) => {
                self.problem(path, format!("{text:?} is no quantity: {QUANTITY_FORMAT}"));
            }
            Value::Number(number) if !is_quantity && !is_int32(number) => {
                self.problem(path, format!("{number} is no whole number of 32 bits"));
            }
            Value::String(_) | Value::Number(_) => {}
            other => self.wrong_type("number or string", other, path),
        }
    }

    fn text(&mut self, node: &Value, text: &str, path: &str) {
        let is_base64 = |text: &str| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(text).is_ok()
        };
        match node.get("format").and_then(Value::as_str) {
            Some("byte") if !is_base64(text) => {
                self.problem(path, "not base64; plain text belongs in `stringData`".to_owned());
            }
            Some("date-time") if text.parse::<jiff::Timestamp>().is_err() => {
                self.problem(path, format!("{text:?} is no time as in 2026-01-31T12:00:00Z"));
            }
            _ => {}
        }
    }

    fn integer(&mut self, node: &Value, number: &serde_json::Number, path: &str) {
        let fits = match node.get("format").and_then(Value::as_str) {
            Some("int32") => is_int32(number),
            _ => number.as_i64().is_some(),
        };
        if !fits {
            self.problem(path, format!("{number} is no whole number in range"));
        }
    }

    fn wrong_type(&mut self, wanted: &str, given: &Value, path: &str) {
        let wanted_words = in_words(wanted);
        let hint = match given {
            Value::Bool(_) | Value::Number(_) if wanted == "string" => "; quote it",
            Value::String(text) if is_quoted(text, wanted) => "; remove the quotes",
            _ => "",
        };
        // What should be quoted may be a password.
        let shows_values = self.shows_values && wanted != "string";
        let what = match given {
            Value::Bool(value) if shows_values => format!("the boolean {value}"),
            Value::Number(number) if shows_values => format!("the number {number}"),
            Value::String(text) if shows_values => format!("the string {text:?}"),
            Value::Bool(_) => "a boolean".to_owned(),
            Value::Number(_) => "a number".to_owned(),
            Value::String(_) => "a string".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a map".to_owned(),
            Value::Null => "nothing".to_owned(),
        };
        self.problem(path, format!("expected {wanted_words}, found {what}{hint}"));
    }

    fn problem(&mut self, path: &str, message: String) {
        self.problems.push(Problem { path: path.to_owned(), message });
    }
}

/// Whether `text` would be of the JSON type `wanted` without its quotes.
fn is_quoted(text: &str, wanted: &str) -> bool {
    match wanted {
        "boolean" => text == "true" || text == "false",
        "integer" | "number" => text.parse::<f64>().is_ok(),
        _ => false,
    }
}

/// A JSON type as messages call it.
fn in_words(wanted: &str) -> &str {
    match wanted {
        "object" => "a map",
        "array" => "a list",
        "string" => "a string",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        other => other,
    }
}

fn is_int32(number: &serde_json::Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn is_quantity_text(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    quantity::bytes(&Quantity(unsigned.to_owned())).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::k8s::schema::schema;

    /// What is wrong with the schema that a definition gives its `spec`.
    fn in_definition(spec: &Value) -> Vec<String> {
        let schema =
            schema("apiextensions.k8s.io", "v1", "CustomResourceDefinition").expect("a schema");
        let properties = json!({"spec": spec});
        let root = json!({"type": "object", "properties": properties});
        let version = json!({"name": "v1", "schema": {"openAPIV3Schema": root}});
        let found = schema.check(&json!({"spec": {"versions": [version]}}));
        let below = "spec.versions[0].schema.openAPIV3Schema.properties.spec.";
        let path = |problem: &Problem| problem.path.trim_start_matches(below).to_owned();
        found.iter().map(|each| format!("{}: {}", path(each), each.message)).collect()
    }

    #[test]
    fn defaults_and_enums_of_a_definition_are_any_value() {
        let speed = json!({"type": "string", "enum": ["fast", 1, null], "default": "fast"});
        let sizes = json!({"type": "array", "default": [1], "example": true});
        let spec = json!({"properties": {"speed": speed, "sizes": sizes}});
        assert_eq!(in_definition(&spec), [""; 0]);
    }

    #[test]
    fn base64_may_have_no_blanks() {
        let schema = schema("", "v1", "Secret").expect("a schema");
        assert_eq!(schema.check(&json!({"data": {"a": "aGVsbG8="}})), []);
        assert_eq!(schema.check(&json!({"data": {"a": "aGVs bG8="}})).len(), 1);
    }

    #[test]
    fn what_a_definition_writes_in_two_ways_is_checked_in_both() {
        let spec = json!({
            "additionalProperties": {"typ": "string"},
            "items": [{"type": "string"}, {"type": 1}],
            "dependencies": {"a": ["b"], "c": {"type": true}},
        });
        assert_eq!(
            in_definition(&spec),
            [
                "additionalProperties.typ: unknown field; did you mean `type`?",
                "dependencies.c.type: expected a string, found a boolean; quote it",
                "items[1].type: expected a string, found a number; quote it",
            ]
        );
        let spec = json!({"additionalProperties": "yes", "items": false});
        assert_eq!(
            in_definition(&spec),
            [
                "additionalProperties: expected a map or true or false, found the string \"yes\"",
                "items: expected a map or a list, found the boolean false",
            ]
        );
    }
}
