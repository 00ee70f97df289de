//! What the API server's decoder (Go's `encoding/json`) reads in more than one way, written in the
//! one way that the types of k8s-openapi read.

use serde_json::Value;

use super::{Schema, metadata_schema, schema};

/// Rewrites what the API server reads leniently in `object`: a null among texts is an empty text,
/// and base64 may have line breaks.
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
            Value::String(text) if node.get("format").is_some_and(|format| format == "byte") => {
                text.retain(|c| !is_line_break(c));
            }
            _ => {}
        }
    }

    /// An entry of a map or an item of a list: there a null is a value, as it is not in a field.
    fn plain_entry(&self, node: &Value, value: &mut Value) {
        let is_text = || self.resolve(node).get("type").is_some_and(|type_| type_ == "string");
        if value.is_null() && is_text() {
            *value = Value::String(String::new());
        } else {
            self.plain(node, value);
        }
    }
}

/// What Go's decoder of base64 skips.
pub(super) fn is_line_break(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_null_among_texts_is_an_empty_text() {
        let mut map = json!({"data": {"a": null}, "metadata": {"labels": null}});
        make_plain("", "v1", "ConfigMap", &mut map);
        assert_eq!(map, json!({"data": {"a": ""}, "metadata": {"labels": null}}));
        let mut pod = json!({"spec": {"containers": [
            {"args": [null, "b"], "image": null, "resources": {"limits": {"cpu": null}}}, null,
        ]}});
        make_plain("", "v1", "Pod", &mut pod);
        let wanted = json!({"spec": {"containers": [
            {"args": ["", "b"], "image": null, "resources": {"limits": {"cpu": null}}}, null,
        ]}});
        assert_eq!(pod, wanted);
    }

    #[test]
    fn base64_loses_its_line_breaks() {
        let mut secret = json!({"data": {"tls.crt": "aGVs\r\nbG8=\n"}, "stringData": {"a": "b\n"}});
        make_plain("", "v1", "Secret", &mut secret);
        assert_eq!(secret, json!({"data": {"tls.crt": "aGVsbG8="}, "stringData": {"a": "b\n"}}));
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
