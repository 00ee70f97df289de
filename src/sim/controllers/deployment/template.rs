//! When two pod templates are the same, and the hash of one
//! (`deployment_util.go:EqualIgnoreHash`, `controller_utils.go:ComputeHash`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use crate::k8s;

/// The label that tells the pods of one template from those of another.
pub const HASH_LABEL: &str = "pod-template-hash";

/// Whether two templates are semantically equal, not counting the hash label.
pub fn equal_ignoring_hash(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let (a, b) = (without_hash(a), without_hash(b));
    a == b || canonical(&a) == canonical(&b)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|m| m.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    template
}

/// The template as JSON in which what means the same is written the same.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("creationTimestamp");
    }
    prune(&mut value, "");
    value
}

/// Drops what is empty and writes quantities in one form; `parent` is the key `value` stands under.
fn prune(value: &mut Value, parent: &str) {
    match value {
        Value::Object(map) => {
            for (key, child) in map.iter_mut() {
                let is_amounts = matches!(parent, "limits" | "requests");
                if let (true, Value::String(text)) = (is_amounts, &*child)
                    && let Some(amount) = k8s::milli(&Quantity(text.clone()))
                {
                    *child = Value::from(amount);
                }
                prune(child, key);
            }
            // `emptyDir: {}` chooses something; an empty map or list elsewhere chooses nothing.
            map.retain(|key, child| !is_empty(child) || key == "emptyDir");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| prune(item, parent)),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// FNV-1a over the template (and the collision count), in the alphabet of generated names:
/// equal templates give equal hashes.
pub fn hash(template: &PodTemplateSpec, collision_count: Option<i32>) -> String {
    let dump = canonical(&without_hash(template)).to_string();
    let mut sum = fnv1a(0x811c_9dc5, dump.as_bytes());
    if let Some(count) = collision_count {
        sum = fnv1a(sum, &i64::from(count).to_le_bytes());
    }
    safe_encode(&sum.to_string())
}

fn fnv1a(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Each byte through the alphabet of generated names (`rand.SafeEncodeString`).
fn safe_encode(text: &str) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    text.bytes().map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])).collect()
}

/// FNV-1a of arbitrary bytes, encoded likewise.
pub fn hash_bytes(bytes: &[u8], collision_count: Option<i32>) -> String {
    let mut sum = fnv1a(0x811c_9dc5, bytes);
    if let Some(count) = collision_count {
        sum = fnv1a(sum, &i64::from(count).to_le_bytes());
    }
    safe_encode(&sum.to_string())
}

/// `template` with the hash label.
pub fn with_hash(template: &PodTemplateSpec, hash: &str) -> PodTemplateSpec {
    let mut template = template.clone();
    let meta = template.metadata.get_or_insert_default();
    label(&mut meta.labels, hash);
    template
}

/// Adds the hash label.
pub fn label(labels: &mut Option<BTreeMap<String, String>>, hash: &str) {
    labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.to_owned());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(cpu: &str, image: &str) -> PodTemplateSpec {
        let value = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{
                "name": "web", "image": image, "resources": {"requests": {"cpu": cpu}},
            }]},
        });
        serde_json::from_value(value).expect("a template")
    }

    #[test]
    fn the_hash_label_and_spelling_do_not_count() {
        let a = template("1", "nginx");
        let b = with_hash(&template("1000m", "nginx"), "abc");
        assert!(equal_ignoring_hash(&a, &b));
        assert_eq!(hash(&a, None), hash(&b, None));
        assert!(!equal_ignoring_hash(&a, &template("1", "nginx:2")));
    }

    #[test]
    fn a_collision_count_changes_the_hash() {
        let a = template("1", "nginx");
        assert_ne!(hash(&a, None), hash(&a, Some(1)));
        assert!(hash(&a, None).bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b)));
    }
}
