//! Which fields a kind has and of which type: the schemas of k8s-openapi, for strict checks that name
//! the field and the nearest one that exists.

mod check;
mod plain;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
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
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

pub use plain::make_plain;

/// How alike two names must be for one to be suggested for the other (Jaro-Winkler).
const NEAR_MATCH_MIN: f64 = 0.8;

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
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy", MutatingAdmissionPolicy);
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding", MutatingAdmissionPolicyBinding);
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", CustomResourceDefinition);
}

/// The schema of the metadata of every kind.
pub fn metadata_schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::of::<ObjectMeta>);
    &SCHEMA
}

impl Schema {
    fn of<T: schemars::JsonSchema>() -> Schema {
        Schema { root: schemars::schema_for!(T).to_value() }
    }

    /// Everything in `object` that the kind has no field for, or that has the wrong type.
    pub fn check(&self, object: &Value) -> Vec<Problem> {
        self.check_below("", object)
    }

    /// The same of the part of an object that lies at `path`.
    pub fn check_below(&self, path: &str, part: &Value) -> Vec<Problem> {
        check::problems(self, path, part)
    }

    /// Whether the kind has a field at `path`, as in `spec.template.spec.containers[].image`; a map
    /// has every key, and so has what takes any value.
    pub fn has_field(&self, path: &str) -> bool {
        self.node(path).is_some()
    }

    /// The names of the fields below `path`.
    pub fn fields_below(&self, path: &str) -> Vec<&str> {
        let fields = self.node(path).and_then(|node| node.get("properties")?.as_object());
        fields.into_iter().flat_map(|fields| fields.keys()).map(String::as_str).collect()
    }

    fn node(&self, path: &str) -> Option<&Value> {
        let mut node = self.resolve(&self.root);
        for part in path.split('.') {
            let (name, is_list) = match part.strip_suffix("[]") {
                Some(name) => (name, true),
                None => (part, false),
            };
            node = self.below(node, name)?;
            if is_list {
                node = self.resolve(node.get("items")?);
            }
        }
        Some(node)
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

/// The name of the schema that `node` stands for; empty if it is its own.
fn reference(node: &Value) -> &str {
    node.get("$ref").and_then(Value::as_str).unwrap_or("")
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
