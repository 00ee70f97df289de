//! Coverage: which fields the simulator acts on. A field is modelled, inert (no verdict depends on
//! it) or unmodelled; an unmodelled field makes the scenarios that depend on it `unknown`.

use Coverage::{Inert, Modelled, Unmodelled};

/// Where pods run.
pub const SCHEDULING: &str = "scheduling";
/// How pods start, get ready and stop.
pub const LIFECYCLE: &str = "lifecycle";
/// Which pod gets which request, and what it answers.
pub const TRAFFIC: &str = "traffic";
/// How many replicas there are.
pub const SCALING: &str = "scaling";
/// Where data lives.
pub const STORAGE: &str = "storage";
/// Certificates and redirects.
pub const TLS: &str = "tls";

/// What nobody has looked at may matter to anything.
const ALL: &[&str] = &[SCHEDULING, LIFECYCLE, TRAFFIC, SCALING, STORAGE, TLS];

/// What the simulator does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// The simulator acts on it.
    Modelled,
    /// It changes no verdict.
    Inert,
    /// It may change a verdict about these aspects, and the simulator does not act on it.
    Unmodelled(&'static [&'static str]),
}

/// A path and everything below it, unless a longer row says otherwise. A list is `name[]`.
type Row = (&'static str, Coverage);

/// Fields of every kind.
const META: &[Row] = &[
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

/// Fields of a pod's spec; templates have them below `spec.template.`.
const POD: &[Row] = &[
    ("spec.activeDeadlineSeconds", Unmodelled(&[LIFECYCLE])),
    ("spec.affinity", Modelled),
    ("spec.automountServiceAccountToken", Inert),
    ("spec.containers[].args", Modelled),
    ("spec.containers[].command", Modelled),
    ("spec.containers[].env", Modelled),
    ("spec.containers[].envFrom", Modelled),
    ("spec.containers[].image", Modelled),
    ("spec.containers[].imagePullPolicy", Modelled),
    ("spec.containers[].lifecycle", Modelled),
    ("spec.containers[].lifecycle.stopSignal", Unmodelled(&[LIFECYCLE])),
    ("spec.containers[].livenessProbe", Modelled),
    ("spec.containers[].livenessProbe.grpc", Unmodelled(&[LIFECYCLE])),
    ("spec.containers[].name", Modelled),
    ("spec.containers[].ports", Modelled),
    ("spec.containers[].readinessProbe", Modelled),
    ("spec.containers[].readinessProbe.grpc", Unmodelled(&[LIFECYCLE, TRAFFIC])),
    ("spec.containers[].resizePolicy", Inert),
    ("spec.containers[].resources", Modelled),
    ("spec.containers[].resources.claims", Unmodelled(&[SCHEDULING])),
    ("spec.containers[].restartPolicy", Unmodelled(&[LIFECYCLE])),
    ("spec.containers[].securityContext", Inert),
    ("spec.containers[].startupProbe", Modelled),
    ("spec.containers[].startupProbe.grpc", Unmodelled(&[LIFECYCLE])),
    ("spec.containers[].stdin", Inert),
    ("spec.containers[].stdinOnce", Inert),
    ("spec.containers[].terminationMessagePath", Inert),
    ("spec.containers[].terminationMessagePolicy", Inert),
    ("spec.containers[].tty", Inert),
    ("spec.containers[].volumeDevices", Unmodelled(&[STORAGE])),
    ("spec.containers[].volumeMounts", Modelled),
    ("spec.containers[].volumeMounts[].mountPropagation", Inert),
    ("spec.containers[].volumeMounts[].subPathExpr", Unmodelled(&[STORAGE])),
    ("spec.containers[].workingDir", Unmodelled(&[LIFECYCLE])),
    ("spec.dnsConfig", Unmodelled(&[TRAFFIC])),
    ("spec.dnsPolicy", Unmodelled(&[TRAFFIC])),
    ("spec.enableServiceLinks", Modelled),
    ("spec.ephemeralContainers", Inert),
    ("spec.hostAliases", Unmodelled(&[TRAFFIC])),
    ("spec.hostIPC", Inert),
    ("spec.hostNetwork", Unmodelled(&[TRAFFIC])),
    ("spec.hostPID", Inert),
    ("spec.hostUsers", Inert),
    ("spec.hostname", Modelled),
    ("spec.imagePullSecrets", Inert),
    ("spec.initContainers", Modelled),
    ("spec.nodeName", Modelled),
    ("spec.nodeSelector", Modelled),
    ("spec.os", Inert),
    ("spec.overhead", Modelled),
    ("spec.preemptionPolicy", Modelled),
    ("spec.priority", Modelled),
    ("spec.priorityClassName", Modelled),
    ("spec.readinessGates", Modelled),
    ("spec.resourceClaims", Unmodelled(&[SCHEDULING])),
    ("spec.resources", Unmodelled(&[SCHEDULING, LIFECYCLE, SCALING])),
    ("spec.restartPolicy", Modelled),
    ("spec.runtimeClassName", Unmodelled(&[LIFECYCLE])),
    ("spec.schedulerName", Unmodelled(&[SCHEDULING])),
    ("spec.schedulingGates", Modelled),
    ("spec.securityContext", Inert),
    ("spec.serviceAccount", Modelled),
    ("spec.serviceAccountName", Modelled),
    ("spec.setHostnameAsFQDN", Inert),
    ("spec.shareProcessNamespace", Unmodelled(&[LIFECYCLE])),
    ("spec.subdomain", Modelled),
    ("spec.terminationGracePeriodSeconds", Modelled),
    ("spec.tolerations", Modelled),
    ("spec.topologySpreadConstraints", Modelled),
    ("spec.volumes", Unmodelled(&[STORAGE])),
    ("spec.volumes[].configMap", Modelled),
    ("spec.volumes[].downwardAPI", Modelled),
    ("spec.volumes[].emptyDir", Modelled),
    ("spec.volumes[].hostPath", Modelled),
    ("spec.volumes[].name", Modelled),
    ("spec.volumes[].persistentVolumeClaim", Modelled),
    ("spec.volumes[].projected", Modelled),
    ("spec.volumes[].secret", Modelled),
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
    ("spec.externalName", Unmodelled(&[TRAFFIC])),
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
const INGRESS_ANNOTATIONS: &[(&str, Coverage)] = &[
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
    ("spec.dataSource", Unmodelled(&[STORAGE])),
    ("spec.dataSourceRef", Unmodelled(&[STORAGE])),
    ("spec.resources", Modelled),
    ("spec.selector", Modelled),
    ("spec.storageClassName", Modelled),
    ("spec.volumeAttributesClassName", Inert),
    ("spec.volumeMode", Modelled),
    ("spec.volumeName", Modelled),
];

const VOLUME: &[Row] = &[
    ("spec.accessModes", Modelled),
    ("spec.capacity", Modelled),
    ("spec.claimRef", Modelled),
    ("spec.csi", Modelled),
    ("spec.hostPath", Modelled),
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

const NAMESPACE: &[Row] = &[("spec.finalizers", Modelled)];
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
fn rows(group: &str, kind: &str) -> Option<(&'static [Row], bool)> {
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
fn whole_kind(group: &str, kind: &str) -> Coverage {
    match (group, kind) {
        ("ceph.rook.io", "CephFilesystem" | "CephBlockPool" | "CephCluster") => Modelled,
        ("apiextensions.k8s.io", _) => Modelled,
        ("rbac.authorization.k8s.io", _) => Inert,
        ("", "Event" | "Endpoints" | "PodTemplate") => Inert,
        ("discovery.k8s.io" | "events.k8s.io" | "coordination.k8s.io", _) => Inert,
        ("networking.k8s.io", "NetworkPolicy") => Unmodelled(&[TRAFFIC]),
        ("", "ResourceQuota" | "LimitRange") => Unmodelled(&[SCHEDULING, LIFECYCLE, SCALING]),
        ("apps", "DaemonSet") => Unmodelled(&[SCHEDULING, LIFECYCLE, TRAFFIC]),
        ("batch", _) => Unmodelled(&[LIFECYCLE, STORAGE]),
        ("", "ReplicationController") => Unmodelled(&[LIFECYCLE, TRAFFIC, SCALING]),
        ("admissionregistration.k8s.io", _) => Unmodelled(ALL),
        // What a custom resource does is unknown; it is reported and turns no scenario.
        (group, _) if !super::served::is_built_in_group(group) => Unmodelled(&[]),
        _ => Unmodelled(ALL),
    }
}

/// What the simulator does with the field at `path` (lists as `name[]`) of a kind, and the row that
/// says so: the field itself, or the part above it that is unmodelled as a whole.
pub fn of<'p>(group: &str, kind: &str, path: &'p str) -> (&'p str, Coverage) {
    let below_meta = longest(META, path);
    let Some((rows, has_template)) = rows(group, kind) else {
        return match below_meta {
            Some(found) => found,
            None => ("", whole_kind(group, kind)),
        };
    };
    if kind == "Ingress"
        && let Some(key) = path.strip_prefix("metadata.annotations.")
    {
        let listed = INGRESS_ANNOTATIONS.iter().find(|(each, _)| *each == key);
        let nginx = key.starts_with("nginx.ingress.kubernetes.io/");
        let other = if nginx { Unmodelled(&[TRAFFIC, TLS]) } else { Inert };
        return (path, listed.map_or(other, |(_, coverage)| *coverage));
    }
    let in_pod = match path.strip_prefix("spec.template.") {
        Some(rest) if has_template => longest(POD, rest)
            .map(|(row, coverage)| (&path[..path.len() - rest.len() + row.len()], coverage)),
        _ => None,
    };
    let found = longest(rows, path).or(in_pod).or(below_meta);
    found.unwrap_or((path, Unmodelled(ALL)))
}

/// The longest row that is `path` or above it, as a part of `path`.
fn longest<'p>(rows: &[Row], path: &'p str) -> Option<(&'p str, Coverage)> {
    let covers = |row: &&Row| {
        path.strip_prefix(row.0).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let row = rows.iter().filter(covers).max_by_key(|row| row.0.len())?;
    Some((&path[..row.0.len()], row.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::k8s::schema::{Schema, schema};

    #[test]
    fn every_row_names_a_field_of_its_kind() {
        let kinds = [
            ("", "v1", "Pod"),
            ("apps", "v1", "Deployment"),
            ("apps", "v1", "StatefulSet"),
            ("", "v1", "Service"),
            ("autoscaling", "v2", "HorizontalPodAutoscaler"),
            ("policy", "v1", "PodDisruptionBudget"),
            ("networking.k8s.io", "v1", "Ingress"),
            ("networking.k8s.io", "v1", "IngressClass"),
            ("", "v1", "PersistentVolumeClaim"),
            ("", "v1", "PersistentVolume"),
            ("storage.k8s.io", "v1", "StorageClass"),
            ("", "v1", "Secret"),
            ("", "v1", "Namespace"),
            ("", "v1", "ServiceAccount"),
            ("scheduling.k8s.io", "v1", "PriorityClass"),
        ];
        for (group, version, kind) in kinds {
            let newest = schema(group, version, kind).expect("a schema");
            let older = schema(group, "v1", kind);
            let (rows, _) = rows(group, kind).expect("rows");
            for (path, _) in rows.iter().filter(|row| row.0 != "binaryData") {
                let has_field = |schema: &Schema| schema.has_field(path);
                assert!(has_field(newest) || older.is_some_and(has_field), "{kind} has no {path}");
            }
        }
    }

    #[test]
    fn every_field_of_a_pod_spec_has_a_row() {
        let schema = schema("", "v1", "Pod").expect("a schema");
        let missing: Vec<String> = (schema.fields_below("spec").into_iter())
            .map(|field| format!("spec.{field}"))
            .filter(|path| longest(POD, path).is_none() && path != "spec.containers")
            .collect();
        // Newer than the semantics this table was drawn from: unmodelled for every aspect.
        assert_eq!(
            missing,
            ["spec.evictionResponders", "spec.hostnameOverride", "spec.schedulingGroup"]
        );
    }

    #[test]
    fn the_longest_row_decides() {
        let image = "spec.template.spec.containers[].image";
        assert_eq!(of("apps", "Deployment", image), (image, Modelled));
        let grpc = "spec.template.spec.containers[].readinessProbe.grpc.port";
        let (row, coverage) = of("apps", "Deployment", grpc);
        assert_eq!(row, "spec.template.spec.containers[].readinessProbe.grpc");
        assert_eq!(coverage, Unmodelled(&[LIFECYCLE, TRAFFIC]));
        let rewrite = "metadata.annotations.nginx.ingress.kubernetes.io/rewrite-target";
        let (_, coverage) = of("networking.k8s.io", "Ingress", rewrite);
        assert_eq!(coverage, Unmodelled(&[TRAFFIC, TLS]));
        assert_eq!(of("example.com", "Widget", "spec.size"), ("", Unmodelled(&[])));
        assert_eq!(of("example.com", "Widget", "metadata.name").1, Modelled);
    }
}
