//! The fields of each kind besides pods.

use super::Coverage::{self, Inert, Modelled, Unmodelled};
use super::pods::POD;
use super::{ALL, LIFECYCLE, Row, SCALING, SCHEDULING, STORAGE, TRAFFIC};

/// Fields of every kind.
pub(super) const META: &[Row] = &[
    ("apiVersion", Inert),
    ("kind", Inert),
    ("metadata", Inert),
    ("metadata.name", Modelled),
    ("metadata.namespace", Modelled),
    ("metadata.labels", Modelled),
    ("metadata.finalizers", Modelled),
    ("metadata.ownerReferences", Modelled),
    ("status", Inert),
];

const DEPLOYMENT: &[Row] = &[
    ("spec.minReadySeconds", Modelled),
    ("spec.paused", Modelled),
    ("spec.progressDeadlineSeconds", Modelled),
    ("spec.replicas", Modelled),
    ("spec.revisionHistoryLimit", Modelled),
    ("spec.selector", Modelled),
    ("spec.strategy", Modelled),
    ("spec.template.metadata", Modelled),
];

const STATEFUL_SET: &[Row] = &[
    ("spec.minReadySeconds", Modelled),
    ("spec.ordinals", Unmodelled(&[LIFECYCLE, SCALING])),
    ("spec.persistentVolumeClaimRetentionPolicy", Unmodelled(&[STORAGE])),
    ("spec.podManagementPolicy", Modelled),
    ("spec.replicas", Modelled),
    ("spec.revisionHistoryLimit", Modelled),
    ("spec.selector", Modelled),
    ("spec.serviceName", Modelled),
    ("spec.template.metadata", Modelled),
    ("spec.updateStrategy", Modelled),
    ("spec.updateStrategy.rollingUpdate.maxUnavailable", Unmodelled(&[LIFECYCLE])),
    ("spec.volumeClaimTemplates", Modelled),
];

const SERVICE: &[Row] = &[
    ("metadata.annotations", Inert),
    ("spec.allocateLoadBalancerNodePorts", Modelled),
    ("spec.clusterIP", Modelled),
    ("spec.clusterIPs", Modelled),
    ("spec.externalIPs", Modelled),
    ("spec.externalName", Unmodelled(ALL)),
    ("spec.externalTrafficPolicy", Modelled),
    ("spec.healthCheckNodePort", Inert),
    ("spec.internalTrafficPolicy", Modelled),
    ("spec.ipFamilies", Inert),
    ("spec.ipFamilyPolicy", Inert),
    ("spec.loadBalancerClass", Inert),
    ("spec.loadBalancerIP", Inert),
    ("spec.loadBalancerSourceRanges", Unmodelled(&[TRAFFIC])),
    ("spec.ports", Modelled),
    ("spec.ports[].appProtocol", Inert),
    ("spec.publishNotReadyAddresses", Modelled),
    ("spec.selector", Modelled),
    ("spec.sessionAffinity", Modelled),
    ("spec.sessionAffinityConfig", Modelled),
    ("spec.trafficDistribution", Unmodelled(&[TRAFFIC])),
    ("spec.type", Modelled),
];

const AUTOSCALER: &[Row] = &[
    ("spec.behavior", Modelled),
    ("spec.maxReplicas", Modelled),
    ("spec.metrics", Modelled),
    ("spec.metrics[].external", Unmodelled(&[SCALING])),
    ("spec.metrics[].object", Unmodelled(&[SCALING])),
    ("spec.metrics[].pods", Unmodelled(&[SCALING])),
    ("spec.minReplicas", Modelled),
    ("spec.scaleTargetRef", Modelled),
    // What autoscaling/v1 has instead of metrics.
    ("spec.targetCPUUtilizationPercentage", Modelled),
];

const BUDGET: &[Row] = &[
    ("spec.maxUnavailable", Modelled),
    ("spec.minAvailable", Modelled),
    ("spec.selector", Modelled),
    ("spec.unhealthyPodEvictionPolicy", Unmodelled(&[LIFECYCLE])),
];

const INGRESS: &[Row] = &[
    ("spec.defaultBackend", Modelled),
    ("spec.defaultBackend.resource", Unmodelled(&[TRAFFIC])),
    ("spec.ingressClassName", Modelled),
    ("spec.rules", Modelled),
    ("spec.rules[].http.paths[].backend.resource", Unmodelled(&[TRAFFIC])),
    ("spec.tls", Modelled),
];

/// ingress-nginx's annotations; those not listed may change what a request meets.
pub(super) const INGRESS_ANNOTATIONS: &[(&str, Coverage)] = &[
    ("kubernetes.io/ingress.class", Modelled),
    ("nginx.ingress.kubernetes.io/force-ssl-redirect", Modelled),
    ("nginx.ingress.kubernetes.io/preserve-trailing-slash", Modelled),
    ("nginx.ingress.kubernetes.io/proxy-body-size", Modelled),
    ("nginx.ingress.kubernetes.io/proxy-connect-timeout", Modelled),
    ("nginx.ingress.kubernetes.io/proxy-next-upstream", Modelled),
    ("nginx.ingress.kubernetes.io/proxy-next-upstream-tries", Modelled),
    ("nginx.ingress.kubernetes.io/proxy-read-timeout", Modelled),
    ("nginx.ingress.kubernetes.io/proxy-send-timeout", Modelled),
    ("nginx.ingress.kubernetes.io/service-upstream", Modelled),
    ("nginx.ingress.kubernetes.io/ssl-redirect", Modelled),
];

const CLAIM: &[Row] = &[
    ("spec.accessModes", Modelled),
    ("spec.dataSource", Unmodelled(ALL)),
    ("spec.dataSourceRef", Unmodelled(ALL)),
    ("spec.resources", Modelled),
    ("spec.selector", Modelled),
    ("spec.storageClassName", Modelled),
    ("spec.volumeAttributesClassName", Unmodelled(ALL)),
    ("spec.volumeMode", Modelled),
    ("spec.volumeName", Modelled),
];

const VOLUME: &[Row] = &[
    ("spec.accessModes", Modelled),
    ("spec.capacity", Modelled),
    ("spec.claimRef", Modelled),
    ("spec.csi", Modelled),
    ("spec.hostPath", Modelled),
    ("spec.hostPath.type", Unmodelled(ALL)),
    ("spec.local", Modelled),
    ("spec.mountOptions", Inert),
    ("spec.nodeAffinity", Modelled),
    ("spec.persistentVolumeReclaimPolicy", Modelled),
    ("spec.storageClassName", Modelled),
    ("spec.volumeMode", Modelled),
];

const STORAGE_CLASS: &[Row] = &[
    ("allowVolumeExpansion", Modelled),
    ("allowedTopologies", Modelled),
    ("metadata.annotations", Modelled),
    ("mountOptions", Inert),
    ("parameters", Modelled),
    ("provisioner", Modelled),
    ("reclaimPolicy", Modelled),
    ("volumeBindingMode", Modelled),
];

const DATA: &[Row] = &[
    ("binaryData", Modelled),
    ("data", Modelled),
    ("immutable", Modelled),
    ("stringData", Modelled),
    ("type", Modelled),
];

const NAMESPACE: &[Row] = &[
    // Pod Security admission refuses pods (`pod-security-admission/admission/admission.go`).
    ("metadata.labels.pod-security.kubernetes.io/enforce", Unmodelled(ALL)),
    ("spec.finalizers", Modelled),
];
const INGRESS_CLASS: &[Row] = &[("spec.controller", Modelled), ("spec.parameters", Inert)];
const PRIORITY_CLASS: &[Row] = &[
    ("description", Inert),
    ("globalDefault", Modelled),
    ("preemptionPolicy", Modelled),
    ("value", Modelled),
];
const SERVICE_ACCOUNT: &[Row] =
    &[("automountServiceAccountToken", Inert), ("imagePullSecrets", Modelled), ("secrets", Inert)];

/// Rows of a kind besides those of every kind, and whether it has a pod template.
pub(super) fn rows(group: &str, kind: &str) -> Option<(&'static [Row], bool)> {
    let rows: (&'static [Row], bool) = match (group, kind) {
        ("", "Pod") => (POD, false),
        ("apps", "Deployment" | "ReplicaSet") => (DEPLOYMENT, true),
        ("apps", "StatefulSet") => (STATEFUL_SET, true),
        ("", "Service") => (SERVICE, false),
        ("autoscaling", "HorizontalPodAutoscaler") => (AUTOSCALER, false),
        ("policy", "PodDisruptionBudget") => (BUDGET, false),
        ("networking.k8s.io", "Ingress") => (INGRESS, false),
        ("networking.k8s.io", "IngressClass") => (INGRESS_CLASS, false),
        ("", "PersistentVolumeClaim") => (CLAIM, false),
        ("", "PersistentVolume") => (VOLUME, false),
        ("storage.k8s.io", "StorageClass") => (STORAGE_CLASS, false),
        ("", "ConfigMap" | "Secret") => (DATA, false),
        ("", "Namespace") => (NAMESPACE, false),
        ("", "ServiceAccount") => (SERVICE_ACCOUNT, false),
        ("scheduling.k8s.io", "PriorityClass") => (PRIORITY_CLASS, false),
        _ => return None,
    };
    Some(rows)
}

/// What the simulator does with objects of kinds that have no rows.
pub(super) fn whole_kind(group: &str, kind: &str) -> Coverage {
    match (group, kind) {
        ("ceph.rook.io", "CephFilesystem" | "CephBlockPool" | "CephCluster") => Modelled,
        ("apiextensions.k8s.io", _) => Modelled,
        ("rbac.authorization.k8s.io", _) => Inert,
        ("", "Event" | "PodTemplate") => Inert,
        ("events.k8s.io" | "coordination.k8s.io", _) => Inert,
        // Addresses written by hand lead to what is not of the stack.
        ("", "Endpoints") | ("discovery.k8s.io", _) => Unmodelled(ALL),
        ("apps", "DaemonSet") => Unmodelled(&[SCHEDULING, LIFECYCLE, TRAFFIC]),
        ("batch", _) => Unmodelled(&[LIFECYCLE, STORAGE]),
        ("", "ReplicationController") => Unmodelled(&[LIFECYCLE, TRAFFIC, SCALING]),
        ("admissionregistration.k8s.io", _) => Unmodelled(ALL),
        // These say what Prometheus reads and when it warns (Prometheus Operator, `Documentation/api.md`).
        ("monitoring.coreos.com", _) => Inert,
        // It makes Secrets (<https://cert-manager.io/docs/usage/certificate>), and `suite::sim` looks
        // whether one is missed.
        ("cert-manager.io", _) => Unmodelled(&[]),
        // Whatever a controller makes of a custom resource: policies, routes, sidecars, replicas.
        _ => Unmodelled(ALL),
    }
}
