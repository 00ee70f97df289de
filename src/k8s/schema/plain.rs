//! What the API server's decoder (Go's `encoding/json`) reads in more than one way, written in the
//! one way that the types of k8s-openapi read.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

use super::{Schema, metadata_schema, reference, schema};

/// `base64.StdEncoding`: bits after the last byte may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Rewrites what the API server reads leniently in `object`: a null in a list or a map is an empty
/// value, quantities may have blanks around them, and base64 line breaks.
pub fn make_plain(group: &str, version: &str, kind: &str, object: &mut Value) {
    if let Some(schema) = schema(group, version, kind) {
        schema.plain(&schema.root, object);
    } else if let Some(metadata) = object.get_mut("metadata") {
        let schema = metadata_schema();
        schema.plain(&schema.root, metadata);
    }
}

impl Schema {
    fn plain(&self, node: &Value, value: &mut Value) {
        let is_quantity = reference(node).ends_with(".Quantity");
        let node = self.resolve(node);
        match value {
            Value::Object(map) => {
                let fields = node.get("properties");
                for (key, value) in map {
                    if let Some(field) = fields.and_then(|fields| fields.get(key)) {
                        self.plain(field, value);
                    } else if let Some(entry) = node.get("additionalProperties") {
                        self.plain_entry(entry, value);
                    }
                }
            }
            Value::Array(items) => {
                let Some(each) = node.get("items") else { return };
                for item in items {
                    self.plain_entry(each, item);
                }
            }
            // Of the white space that `UnmarshalJSON` trims, only blanks are not escaped in JSON.
            Value::String(text) if is_quantity => *text = text.trim_matches(' ').to_owned(),
            Value::String(text) if node.get("format").is_some_and(|format| format == "byte") => {
                text.retain(|c| !matches!(c, '\r' | '\n'));
                if let Ok(bytes) = BASE64.decode(&*text) {
                    *text = BASE64.encode(bytes);
                }
            }
            _ => {}
        }
    }

    /// An entry of a map or an item of a list: there a null is a value, as it is not in a field.
    fn plain_entry(&self, node: &Value, value: &mut Value) {
        if value.is_null()
            && let Some(zero) = self.zero(node)
        {
            *value = zero;
        } else {
            self.plain(node, value);
        }
    }

    /// What null is decoded to where it is a value: what Go has before it decodes anything.
    fn zero(&self, node: &Value) -> Option<Value> {
        let reference = reference(node);
        // There null is itself a value, or no schema.
        if reference.contains(".apiextensions.v1.JSON") {
            return None;
        }
        if reference.ends_with(".Quantity") {
            return Some(json!("0"));
        }
        match self.resolve(node).get("type")?.as_str()? {
            "string" => Some(json!("")),
            "object" => Some(json!({})),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_null_in_a_list_or_a_map_is_an_empty_value() {
        let mut map = json!({"data": {"a": null}, "metadata": {"labels": null}});
        make_plain("", "v1", "ConfigMap", &mut map);
        assert_eq!(map, json!({"data": {"a": ""}, "metadata": {"labels": null}}));
        let mut pod = json!({"spec": {"containers": [
            {"args": [null, "b"], "image": null, "resources": {"limits": {"cpu": null}}}, null,
        ]}});
        make_plain("", "v1", "Pod", &mut pod);
        let wanted = json!({"spec": {"containers": [
            {"args": ["", "b"], "image": null, "resources": {"limits": {"cpu": "0"}}}, {},
        ]}});
        assert_eq!(pod, wanted);
    }

    #[test]
    fn quantities_lose_their_blanks() {
        let mut claim =
            json!({"spec": {"resources": {"requests": {"storage": " 1Gi ", "b": "1\n"}}}});
        make_plain("", "v1", "PersistentVolumeClaim", &mut claim);
        assert_eq!(claim["spec"]["resources"]["requests"], json!({"storage": "1Gi", "b": "1\n"}));
    }

    #[test]
    fn null_among_the_values_of_a_definition_stays() {
        let with = |schema: serde_json::Value| json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
        let schema = json!({"enum": ["a", null], "properties": {"b": null}});
        let mut definition = with(schema.clone());
        let (group, kind) = ("apiextensions.k8s.io", "CustomResourceDefinition");
        make_plain(group, "v1", kind, &mut definition);
        assert_eq!(definition, with(schema));
    }

    #[test]
    fn base64_loses_its_line_breaks_and_trailing_bits() {
        let mut secret = json!({
            "data": {"tls.crt": "aGVs\r\nbG8=\n", "bits": "YR==", "blank": "YQ ==", "bare": "YQ"},
            "stringData": {"a": "b\n"},
        });
        make_plain("", "v1", "Secret", &mut secret);
        let wanted = json!({
            "data": {"tls.crt": "aGVsbG8=", "bits": "YQ==", "blank": "YQ ==", "bare": "YQ"},
            "stringData": {"a": "b\n"},
        });
        assert_eq!(secret, wanted);
    }

    #[test]
    fn of_a_custom_resource_only_the_metadata_is_known() {
        let mut certificate =
            json!({"metadata": {"annotations": {"a": null}}, "spec": {"names": [null]}});
        make_plain("example.com", "v1", "Certificate", &mut certificate);
        let wanted = json!({"metadata": {"annotations": {"a": ""}}, "spec": {"names": [null]}});
        assert_eq!(certificate, wanted);
    }
}
