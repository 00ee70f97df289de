//! The order in which objects are applied. Kubernetes takes any order; this one spares retries.

use super::manifest::Manifest;

/// Kinds in apply order; custom resources come where `CUSTOM` stands, kinds not listed last.
const ORDER: [&str; 31] = [
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "CSIDriver",
    "IngressClass",
    "LimitRange",
    "ResourceQuota",
    CUSTOM,
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "NetworkPolicy",
    "Service",
    "Endpoints",
    "Pod",
    "ReplicaSet",
    "StatefulSet",
    "Deployment",
    "DaemonSet",
    "Job",
    "CronJob",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
];
/// A filesystem or a pool is what the claims after it wait for.
const CUSTOM: &str = "";

/// Sorts by kind; objects of one kind stay as written.
pub(super) fn sort(objects: &mut [Manifest]) {
    objects.sort_by_key(rank);
}

fn rank(manifest: &Manifest) -> usize {
    let kind = match manifest.custom_kind {
        Some(_) => CUSTOM,
        None => manifest.object_ref.kind.as_str(),
    };
    // Ingress and whatever is not listed come last.
    ORDER.iter().position(|each| *each == kind).unwrap_or(ORDER.len())
}
