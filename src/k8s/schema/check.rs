//! A value held against a schema: unknown fields and wrong types, in words.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::{Problem, Schema, near_match};
use crate::k8s::quantity;

/// `AM/api/resource/quantity.go:ErrFormatWrong`.
const QUANTITY_FORMAT: &str = "quantities must match the regular expression \
    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Everything in `object` that its kind has no field for, or that has the wrong type.
pub(super) fn problems(schema: &Schema, object: &Value) -> Vec<Problem> {
    let mut check = Check { schema, problems: Vec::new() };
    check.value(&schema.root, object, &mut String::new());
    check.problems
}

struct Check<'s> {
    schema: &'s Schema,
    problems: Vec<Problem>,
}

impl<'s> Check<'s> {
    fn value(&mut self, node: &'s Value, value: &Value, path: &mut String) {
        // A field set to null counts as absent.
        if value.is_null() {
            return;
        }
        let is_quantity =
            node.get("$ref").and_then(Value::as_str).is_some_and(|to| to.ends_with(".Quantity"));
        let node = self.schema.resolve(node);
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
                    self.value(each, item, path);
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
                (Some(field), _) | (None, Some(field)) => self.value(field, value, path),
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
        let wanted_words = match wanted {
            "object" => "a map",
            "array" => "a list",
            "string" => "a string",
            "boolean" => "true or false",
            "integer" => "a whole number",
            "number" => "a number",
            other => other,
        };
        let (what, hint) = match given {
            Value::Bool(value) if wanted == "string" => {
                (format!("the boolean {value}"), "; quote it")
            }
            Value::Number(number) if wanted == "string" => {
                (format!("the number {number}"), "; quote it")
            }
            Value::String(text) if matches!(wanted, "integer" | "boolean" | "number") => {
                let unquoted = match wanted {
                    "boolean" => text == "true" || text == "false",
                    _ => text.parse::<f64>().is_ok(),
                };
                (format!("the string {text:?}"), if unquoted { "; remove the quotes" } else { "" })
            }
            Value::Bool(value) => (format!("the boolean {value}"), ""),
            Value::Number(number) => (format!("the number {number}"), ""),
            Value::String(text) => (format!("the string {text:?}"), ""),
            Value::Array(_) => ("a list".to_owned(), ""),
            Value::Object(_) => ("a map".to_owned(), ""),
            Value::Null => ("nothing".to_owned(), ""),
        };
        self.problem(path, format!("expected {wanted_words}, found {what}{hint}"));
    }

    fn problem(&mut self, path: &str, message: String) {
        self.problems.push(Problem { path: path.to_owned(), message });
    }
}

fn is_int32(number: &serde_json::Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn is_quantity_text(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    quantity::bytes(&Quantity(unsigned.to_owned())).is_some()
}
