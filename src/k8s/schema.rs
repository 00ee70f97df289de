//! Which fields a kind has and of which type: the schemas of k8s-openapi, for strict checks that name
//! the field and the nearest one that exists.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler as HorizontalPodAutoscalerV1;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim,
    Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, StorageClass, VolumeAttachment};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::quantity;

/// How alike two names must be for one to be suggested for the other (Jaro-Winkler).
const NEAR_MATCH_MIN: f64 = 0.8;
/// `AM/api/resource/quantity.go:ErrFormatWrong`.
const QUANTITY_FORMAT: &str = "quantities must match the regular expression \
    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// A field that a kind does not have, or a value of the wrong type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, as in `spec.template.spec.containers[0].image`.
    pub path: String,
    /// What is wrong, in a sentence.
    pub message: String,
}

/// The fields of one kind, below which the fields of its parts.
#[derive(Debug)]
pub struct Schema {
    root: Value,
}

macro_rules! schemas {
    ($(($group:literal, $version:literal, $kind:literal, $typed:ty $(, $old:literal)*);)+) => {
        /// The schema of a kind in a version; versions of one shape share it.
        pub fn schema(group: &str, version: &str, kind: &str) -> Option<&'static Schema> {
            match (group, kind, version) {
                // The one kind with two versions that k8s-openapi knows.
                ("autoscaling", "HorizontalPodAutoscaler", "v1") => {
                    static SCHEMA: LazyLock<Schema> =
                        LazyLock::new(Schema::of::<HorizontalPodAutoscalerV1>);
                    Some(&SCHEMA)
                }
                $(($group, $kind, $version $(| $old)*) => {
                    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of::<$typed>);
                    Some(&SCHEMA)
                })+
                _ => None,
            }
        }
    };
}

schemas! {
    ("", "v1", "ConfigMap", ConfigMap);
    ("", "v1", "Endpoints", Endpoints);
    ("", "v1", "LimitRange", LimitRange);
    ("", "v1", "Namespace", Namespace);
    ("", "v1", "Node", Node);
    ("", "v1", "PersistentVolume", PersistentVolume);
    ("", "v1", "PersistentVolumeClaim", PersistentVolumeClaim);
    ("", "v1", "Pod", Pod);
    ("", "v1", "PodTemplate", PodTemplate);
    ("", "v1", "ReplicationController", ReplicationController);
    ("", "v1", "ResourceQuota", ResourceQuota);
    ("", "v1", "Secret", Secret);
    ("", "v1", "Service", Service);
    ("", "v1", "ServiceAccount", ServiceAccount);
    ("apps", "v1", "ControllerRevision", ControllerRevision);
    ("apps", "v1", "DaemonSet", DaemonSet);
    ("apps", "v1", "Deployment", Deployment);
    ("apps", "v1", "ReplicaSet", ReplicaSet);
    ("apps", "v1", "StatefulSet", StatefulSet);
    ("autoscaling", "v2", "HorizontalPodAutoscaler", HorizontalPodAutoscaler, "v2beta2");
    ("batch", "v1", "Job", Job);
    ("batch", "v1", "CronJob", CronJob, "v1beta1");
    ("coordination.k8s.io", "v1", "Lease", Lease, "v1beta1");
    ("discovery.k8s.io", "v1", "EndpointSlice", EndpointSlice);
    ("networking.k8s.io", "v1", "Ingress", Ingress);
    ("networking.k8s.io", "v1", "IngressClass", IngressClass, "v1beta1");
    ("networking.k8s.io", "v1", "NetworkPolicy", NetworkPolicy);
    ("node.k8s.io", "v1", "RuntimeClass", RuntimeClass, "v1beta1");
    ("policy", "v1", "PodDisruptionBudget", PodDisruptionBudget, "v1beta1");
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", ClusterRole, "v1beta1");
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", ClusterRoleBinding, "v1beta1");
    ("rbac.authorization.k8s.io", "v1", "Role", Role, "v1beta1");
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", RoleBinding, "v1beta1");
    ("scheduling.k8s.io", "v1", "PriorityClass", PriorityClass, "v1beta1");
    ("storage.k8s.io", "v1", "CSIDriver", CSIDriver, "v1beta1");
    ("storage.k8s.io", "v1", "CSINode", CSINode, "v1beta1");
    ("storage.k8s.io", "v1", "StorageClass", StorageClass, "v1beta1");
    ("storage.k8s.io", "v1", "VolumeAttachment", VolumeAttachment, "v1beta1");
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", MutatingWebhookConfiguration);
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", ValidatingWebhookConfiguration);
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", ValidatingAdmissionPolicy);
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding", ValidatingAdmissionPolicyBinding);
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", CustomResourceDefinition);
}

impl Schema {
    fn of<T: schemars::JsonSchema>() -> Schema {
        Schema { root: schemars::schema_for!(T).to_value() }
    }

    /// Everything in `object` that the kind has no field for, or that has the wrong type.
    pub fn check(&self, object: &Value) -> Vec<Problem> {
        let mut check = Check { schema: self, problems: Vec::new() };
        check.value(&self.root, object, &mut String::new());
        check.problems
    }

    /// Whether the kind has a field at `path`, as in `spec.template.spec.containers[].image`; a map
    /// has every key, and so has what takes any value.
    pub fn has_field(&self, path: &str) -> bool {
        let mut node = self.resolve(&self.root);
        for part in path.split('.') {
            let (name, is_list) = match part.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (part, false),
            };
            let Some(next) = self.below(node, name) else { return false };
            node = next;
            if is_list {
                match node.get("items") {
                    Some(items) => node = self.resolve(items),
                    None => return false,
                }
            }
        }
        true
    }

    fn below<'s>(&'s self, node: &'s Value, name: &str) -> Option<&'s Value> {
        if let Some(field) = node.get("properties").and_then(|all| all.get(name)) {
            return Some(self.resolve(field));
        }
        node.get("additionalProperties").map(|entry| self.resolve(entry))
    }

    /// Follows `$ref`.
    fn resolve<'s>(&'s self, node: &'s Value) -> &'s Value {
        match node.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                self.root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null)
            }
            None => node,
        }
    }
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

/// The one of `known` most like `name`, if it is alike enough.
pub fn near_match<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let wanted = name.to_lowercase();
    let scored: BTreeMap<u64, &str> = known
        .map(|each| (strsim::jaro_winkler(&wanted, &each.to_lowercase()), each))
        .filter(|(score, _)| *score >= NEAR_MATCH_MIN)
        // Scores are positive, so their bits order as they do; the first of equals stays.
        .fold(BTreeMap::new(), |mut all, (score, each)| {
            all.entry(score.to_bits()).or_insert(each);
            all
        });
    scored.last_key_value().map(|(_, each)| *each)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(kind: &str, object: &Value) -> Vec<String> {
        let group = if kind == "Deployment" { "apps" } else { "" };
        let schema = schema(group, "v1", kind).expect("a schema");
        let found = schema.check(object);
        found.into_iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
    }

    #[test]
    fn unknown_fields_have_near_matches() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "spec": {"replcas": 3, "template": {"spec": {"containers": [{"imagePullPolice": "x"}]}}}});
        assert_eq!(
            problems("Deployment", &object),
            [
                "spec.replcas: unknown field; did you mean `replicas`?",
                "spec.template.spec.containers[0].imagePullPolice: unknown field; did you mean \
                 `imagePullPolicy`?",
            ]
        );
    }

    #[test]
    fn types_are_named_in_words() {
        let object = json!({"spec": {"replicas": "3", "paused": 1, "template": []}});
        assert_eq!(
            problems("Deployment", &object),
            [
                "spec.paused: expected true or false, found the number 1",
                "spec.replicas: expected a whole number, found the string \"3\"; remove the quotes",
                "spec.template: expected a map, found a list",
            ]
        );
    }

    #[test]
    fn quantities_and_ports_take_both() {
        let object = json!({"spec": {"containers": [{
            "resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "much"}},
            "livenessProbe": {"httpGet": {"port": "http"}, "tcpSocket": {"port": 80}},
        }]}});
        let found = problems("Pod", &object);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("spec.containers[0].resources.requests.cpu: \"much\" is no"));
    }

    #[test]
    fn paths_are_found() {
        let pod = schema("", "v1", "Pod").expect("a schema");
        assert!(pod.has_field("spec.containers[].readinessProbe.httpGet.path"));
        assert!(pod.has_field("metadata.labels.app"));
        assert!(!pod.has_field("spec.containers[].readyProbe"));
    }
}
