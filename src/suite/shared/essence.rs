//! What of an object must be the same for the object to be as it was applied.

use std::collections::BTreeSet;

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::stack::Manifest;

use super::super::actions::RESTART_ANNOTATION;

/// What controllers fill in, by kind and pointer to the parent.
const FILLED_IN: [(&str, &str, &str); 3] = [
    // The token controller's, before 1.24.
    ("ServiceAccount", "", "secrets"),
    ("PersistentVolume", "/spec", "claimRef"),
    ("CustomResourceDefinition", "/spec", "conversion"),
];

/// The part of `object` that scenarios may not leave changed: everything but its status, what
/// controllers fill in, and labels and annotations that `manifest` does not set. With `autoscaled`
/// the number of replicas is left out too.
pub(super) fn essence(manifest: &Manifest, object: &DynamicObject, autoscaled: bool) -> Value {
    let mut value = object.data.clone();
    let kind = manifest.object_ref.kind.as_str();
    remove(&mut value, "", "status");
    for (of_kind, parent, field) in FILLED_IN {
        if of_kind == kind {
            remove(&mut value, parent, field);
        }
    }
    if autoscaled {
        remove(&mut value, "/spec", "replicas");
    }
    // A restart leaves its mark, which means nothing to the next scenario.
    remove(&mut value, "/spec/template/metadata/annotations", RESTART_ANNOTATION);
    let annotations = value.pointer("/spec/template/metadata/annotations");
    if annotations.and_then(Value::as_object).is_some_and(Map::is_empty) {
        remove(&mut value, "/spec/template/metadata", "annotations");
    }
    let applied = |part: &str, has: Option<&std::collections::BTreeMap<String, String>>| {
        let keys: BTreeSet<&str> = manifest
            .value
            .pointer(&format!("/metadata/{part}"))
            .and_then(Value::as_object)
            .map(|map| map.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let kept = has.into_iter().flatten().filter(|(key, _)| keys.contains(key.as_str()));
        kept.map(|(key, value)| (key.clone(), json!(value))).collect::<Map<_, _>>()
    };
    let labels = applied("labels", object.metadata.labels.as_ref());
    let annotations = applied("annotations", object.metadata.annotations.as_ref());
    if let Value::Object(map) = &mut value {
        map.insert("metadata".into(), json!({"labels": labels, "annotations": annotations}));
    }
    value
}

/// The operations that make `now` the same as `before`.
pub(super) fn way_back(before: &Value, now: &Value) -> json_patch::Patch {
    json_patch::diff(now, before)
}

/// The field that differs first, as in `/spec/replicas`.
pub(super) fn first_difference(before: &Value, now: &Value) -> Option<String> {
    way_back(before, now).0.first().map(|operation| operation.path().to_string())
}

fn remove(value: &mut Value, parent: &str, field: &str) {
    if let Some(Value::Object(map)) = value.pointer_mut(parent) {
        map.remove(field);
    }
}

#[cfg(test)]
mod tests {
    use crate::k8s::Profile;
    use crate::stack::Stack;

    use super::*;

    const YAML: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'nginx:1'}]}
";

    fn object(change: impl FnOnce(&mut Value)) -> DynamicObject {
        let mut value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web", "labels": {"app": "web"},
                "annotations": {"deployment.kubernetes.io/revision": "1"},
            },
            "spec": {
                "replicas": 2,
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"x": 1}},
            },
            "status": {"replicas": 2},
        });
        change(&mut value);
        serde_json::from_value(value).expect("an object")
    }

    fn differs(autoscaled: bool, change: impl FnOnce(&mut Value)) -> Option<String> {
        let stack = Stack::load_text("a.yaml", YAML, &Profile::NEWEST).expect("a stack");
        let before = essence(&stack.objects()[0], &object(|_| {}), autoscaled);
        first_difference(&before, &essence(&stack.objects()[0], &object(change), autoscaled))
    }

    #[test]
    fn what_controllers_write_and_a_restart_leave_no_difference() {
        let changed = differs(false, |value| {
            value["status"]["replicas"] = json!(1);
            value["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("7");
            value["spec"]["template"]["metadata"]["annotations"] =
                json!({ RESTART_ANNOTATION: "3" });
        });
        assert_eq!(changed, None);
    }

    #[test]
    fn what_a_scenario_left_is_named() {
        let replicas = |value: &mut Value| value["spec"]["replicas"] = json!(5);
        assert_eq!(differs(false, replicas).as_deref(), Some("/spec/replicas"));
        assert_eq!(differs(true, replicas), None);
        let gate = differs(false, |value| value["spec"]["template"]["spec"]["gates"] = json!([1]));
        assert_eq!(gate.as_deref(), Some("/spec/template/spec/gates"));
        let label = differs(false, |value| value["metadata"]["labels"]["app"] = json!("other"));
        assert_eq!(label.as_deref(), Some("/metadata/labels/app"));
    }
}
