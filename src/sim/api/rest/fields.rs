//! Sets of fields, as managedFields keeps them (`sigs.k8s.io/structured-merge-diff/fieldpath`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::lists::{ListType, is_atomic_map, key_value, list_type};

/// A set of field paths as a tree; keys are written as in FieldsV1 (`f:spec`, `k:{"name":"a"}`, `v:"x"`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    is_member: bool,
    children: BTreeMap<String, Fields>,
}

/// Metadata that nobody owns (`fieldmanager/stripmeta.go`).
const UNTRACKED: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "selfLink",
    "generation",
    "resourceVersion",
    "managedFields",
    "clusterName",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// Paths that a write gave a new value, and paths it took away.
#[derive(Clone, Debug, Default)]
pub(super) struct Difference {
    pub(super) changed: Fields,
    pub(super) removed: Fields,
}

impl Fields {
    /// All fields of an object.
    pub(super) fn of(object: &Value, is_custom: bool) -> Fields {
        fields_of(&mut Vec::new(), &trackable(object), is_custom)
    }

    /// Reads FieldsV1.
    pub(super) fn from_json(value: &Value) -> Fields {
        let Some(map) = value.as_object() else { return Fields::default() };
        let children: BTreeMap<String, Fields> = map
            .iter()
            .filter(|(key, _)| key.as_str() != ".")
            .map(|(key, value)| (key.clone(), Fields::from_json(value)))
            .collect();
        Fields { is_member: children.is_empty() || map.contains_key("."), children }
    }

    /// As FieldsV1.
    pub(super) fn to_json(&self) -> Value {
        let own = (self.is_member && !self.children.is_empty())
            .then(|| (".".to_owned(), Value::Object(Map::new())));
        let children = self.children.iter().map(|(key, child)| (key.clone(), child.to_json()));
        Value::Object(own.into_iter().chain(children).collect())
    }

    /// Whether the set has no path.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_member && self.children.is_empty()
    }

    /// Adds all paths of `other`.
    pub(super) fn add(&mut self, other: &Fields) {
        self.is_member |= other.is_member;
        for (key, child) in &other.children {
            self.children.entry(key.clone()).or_default().add(child);
        }
    }

    /// Removes all paths of `other`.
    pub(super) fn remove(&mut self, other: &Fields) {
        self.is_member &= !other.is_member;
        for (key, child) in &other.children {
            if let Some(own) = self.children.get_mut(key) {
                own.remove(child);
                if own.is_empty() {
                    self.children.remove(key);
                }
            }
        }
    }

    /// The paths that are in both sets.
    pub(super) fn common(&self, other: &Fields) -> Fields {
        let children = self.children.iter().filter_map(|(key, child)| {
            let both = child.common(other.children.get(key)?);
            (!both.is_empty()).then(|| (key.clone(), both))
        });
        let children = children.collect();
        Fields { is_member: self.is_member && other.is_member, children }
    }

    /// Only the part below the top-level field `field`.
    pub(super) fn keep_top(&mut self, keep: impl Fn(&str) -> bool) {
        self.children.retain(|key, _| keep(key.strip_prefix("f:").unwrap_or(key)));
    }

    /// Every path as messages write it: `.spec.containers[name="a"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        if self.is_member {
            paths.push(prefix.to_owned());
        }
        for (key, child) in &self.children {
            child.collect_paths(&format!("{prefix}{}", printed(key)), paths);
        }
    }

    /// Takes the fields of this set out of `object`.
    pub(super) fn remove_from(&self, object: &mut Value) {
        for (key, child) in &self.children {
            match object {
                Value::Object(map) => {
                    let Some(field) = key.strip_prefix("f:") else { continue };
                    if child.is_member {
                        map.remove(field);
                    } else if let Some(value) = map.get_mut(field) {
                        child.remove_from(value);
                    }
                }
                Value::Array(items) => child.remove_item(key, items),
                _ => {}
            }
        }
    }

    fn remove_item(&self, key: &str, items: &mut Vec<Value>) {
        let Some(place) = items.iter().position(|item| is_item(key, item)) else { return };
        if self.is_member {
            items.remove(place);
        } else {
            self.remove_from(&mut items[place]);
        }
    }

    fn leaf() -> Fields {
        Fields { is_member: true, children: BTreeMap::new() }
    }
}

fn printed(key: &str) -> String {
    if let Some(field) = key.strip_prefix("f:") {
        return format!(".{field}");
    }
    if let Some(value) = key.strip_prefix("v:") {
        return format!("[={value}]");
    }
    let keys: Option<Value> = key.strip_prefix("k:").and_then(|k| serde_json::from_str(k).ok());
    let pairs = keys.as_ref().and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
    format!("[{}]", pairs.join(","))
}

fn is_item(key: &str, item: &Value) -> bool {
    if let Some(value) = key.strip_prefix("v:") {
        return serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item);
    }
    let keys: Option<Value> = key.strip_prefix("k:").and_then(|k| serde_json::from_str(k).ok());
    keys.as_ref().and_then(Value::as_object).is_some_and(|keys| {
        keys.iter().all(|(key, value)| key_value(item, key).as_ref() == Some(value))
    })
}

/// The key of a list item in FieldsV1; `None` when a key field is missing.
pub(super) fn item_key(item: &Value, keys: &[&str]) -> Option<String> {
    let values: Option<Map<String, Value>> =
        keys.iter().map(|key| Some(((*key).to_owned(), key_value(item, key)?))).collect();
    Some(format!("k:{}", Value::Object(values?)))
}

/// `object` without what nobody owns.
pub(super) fn trackable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
        if let Some(meta) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.retain(|key, _| !UNTRACKED.contains(&key.as_str()));
            if meta.is_empty() {
                map.remove("metadata");
            }
        }
    }
    object
}

fn fields_of<'v>(path: &mut Vec<&'v str>, value: &'v Value, is_custom: bool) -> Fields {
    let mut fields = Fields::default();
    match value {
        Value::Object(map) if !map.is_empty() && !is_atomic_map(path, is_custom) => {
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                path.push(key);
                fields.children.insert(format!("f:{key}"), fields_of(path, value, is_custom));
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => match list_type(path, is_custom) {
            ListType::Atomic => return Fields::leaf(),
            ListType::Set => {
                fields.children =
                    items.iter().map(|item| (format!("v:{item}"), Fields::leaf())).collect();
            }
            ListType::Map(keys) => {
                for item in items {
                    let Some(key) = item_key(item, keys) else { continue };
                    let mut child = fields_of(path, item, is_custom);
                    child.is_member = true;
                    fields.children.insert(key, child);
                }
            }
        },
        _ => return Fields::leaf(),
    }
    fields
}

/// What a write from `old` to `new` changed and removed.
pub(super) fn difference(old: &Value, new: &Value, is_custom: bool) -> Difference {
    let (old, new) = (trackable(old), trackable(new));
    let mut difference = Difference::default();
    compare(&mut Vec::new(), Some(&old), Some(&new), is_custom, &mut difference);
    difference
}

fn compare<'v>(
    path: &mut Vec<&'v str>,
    old: Option<&'v Value>,
    new: Option<&'v Value>,
    is_custom: bool,
    out: &mut Difference,
) {
    match (old, new) {
        (None, None) => {}
        (None, Some(new)) => out.changed = fields_of(path, new, is_custom),
        (Some(old), None) => out.removed = fields_of(path, old, is_custom),
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) if !is_atomic_map(path, is_custom) => {
            let added = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(added) {
                path.push(key);
                let child = compare_child(path, a.get(key), b.get(key), is_custom);
                path.pop();
                out.put(format!("f:{key}"), child);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => match list_type(path, is_custom) {
            ListType::Atomic => out.changed = Fields::leaf(),
            ListType::Set => {
                let missing = |from: &[Value], of: &[Value]| Fields {
                    is_member: false,
                    children: from
                        .iter()
                        .filter(|item| !of.contains(item))
                        .map(|item| (format!("v:{item}"), Fields::leaf()))
                        .collect(),
                };
                (out.changed, out.removed) = (missing(b, a), missing(a, b));
            }
            ListType::Map(keys) => {
                let by_key = |items: &'v [Value]| -> BTreeMap<String, &'v Value> {
                    items.iter().filter_map(|item| Some((item_key(item, keys)?, item))).collect()
                };
                let (a, b) = (by_key(a), by_key(b));
                let added = b.keys().filter(|key| !a.contains_key(*key));
                for key in a.keys().chain(added) {
                    let (old, new) = (a.get(key).copied(), b.get(key).copied());
                    let mut child = compare_child(path, old, new, is_custom);
                    child.changed.is_member |= old.is_none();
                    child.removed.is_member |= new.is_none();
                    out.put(key.clone(), child);
                }
            }
        },
        (Some(_), Some(new)) => out.changed = fields_of(path, new, is_custom),
    }
}

fn compare_child<'v>(
    path: &mut Vec<&'v str>,
    old: Option<&'v Value>,
    new: Option<&'v Value>,
    is_custom: bool,
) -> Difference {
    let mut child = Difference::default();
    compare(path, old, new, is_custom, &mut child);
    child
}

impl Difference {
    /// Whether nothing differs.
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }

    fn put(&mut self, key: String, child: Difference) {
        if !child.changed.is_empty() {
            self.changed.children.insert(key.clone(), child.changed);
        }
        if !child.removed.is_empty() {
            self.removed.children.insert(key, child.removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str, replicas: u64) -> Value {
        json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "web", "image": image,
                "ports": [{"containerPort": 80}]}]}}}})
    }

    #[test]
    fn a_set_reads_back_from_fields_v1() {
        let fields = Fields::of(&deployment("a", 1), false);
        assert_eq!(Fields::from_json(&fields.to_json()), fields);
        let json = fields.to_json();
        assert_eq!(json["f:spec"]["f:selector"], json!({}));
        let containers = &json["f:spec"]["f:template"]["f:spec"]["f:containers"];
        let ports = &containers["k:{\"name\":\"web\"}"]["f:ports"];
        assert!(ports.get("k:{\"containerPort\":80,\"protocol\":\"TCP\"}").is_some());
    }

    #[test]
    fn a_difference_names_the_leaves() {
        let diff = difference(&deployment("a", 1), &deployment("b", 1), false);
        let path = ".spec.template.spec.containers[name=\"web\"].image";
        assert_eq!(diff.changed.paths(), [path]);
        assert!(diff.removed.is_empty());
        let mut without = deployment("a", 1);
        if let Some(spec) = without["spec"].as_object_mut() {
            spec.remove("replicas");
        }
        let diff = difference(&deployment("a", 1), &without, false);
        assert_eq!(diff.removed.paths(), [".spec.replicas"]);
    }

    #[test]
    fn a_set_can_be_taken_out_of_an_object() {
        let mut object = deployment("a", 1);
        let fields = Fields::of(
            &json!({"spec": {"replicas": 1, "template": {"spec": {
            "containers": [{"name": "web"}]}}}}),
            false,
        );
        fields.remove_from(&mut object);
        assert!(object["spec"].get("replicas").is_none());
        assert_eq!(object["spec"]["template"]["spec"]["containers"], json!([]));
    }
}
