//! Kubernetes' own API groups: their kinds, and which minor serves which version (Kubernetes'
//! deprecated API migration guide; semantics 1.14, 7.8).

use super::Profile;

/// One kind in one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version, as in `v1beta1`.
    pub version: &'static str,
    /// Kind, as in `Ingress`.
    pub kind: &'static str,
    /// Plural, as in `ingresses`.
    pub plural: &'static str,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    /// The first minor that serves it.
    since: u8,
    /// The first minor that no longer does.
    until: u8,
}

/// Served by every minor that is modelled, and by the newest.
const ALWAYS: (u8, u8) = (0, u8::MAX);
const ADMISSION: &str = "admissionregistration.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// Group, version, kind, plural, namespaced, minors.
type Row = (&'static str, &'static str, &'static str, &'static str, bool, (u8, u8));

/// The version to write comes first: the newest, and autoscaling/v1 after the beta that can say more.
const ROWS: &[Row] = &[
    ("", "v1", "Binding", "bindings", true, ALWAYS),
    ("", "v1", "ComponentStatus", "componentstatuses", false, ALWAYS),
    ("", "v1", "ConfigMap", "configmaps", true, ALWAYS),
    ("", "v1", "Endpoints", "endpoints", true, ALWAYS),
    ("", "v1", "Event", "events", true, ALWAYS),
    ("", "v1", "LimitRange", "limitranges", true, ALWAYS),
    ("", "v1", "Namespace", "namespaces", false, ALWAYS),
    ("", "v1", "Node", "nodes", false, ALWAYS),
    ("", "v1", "PersistentVolume", "persistentvolumes", false, ALWAYS),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true, ALWAYS),
    ("", "v1", "Pod", "pods", true, ALWAYS),
    ("", "v1", "PodTemplate", "podtemplates", true, ALWAYS),
    ("", "v1", "ReplicationController", "replicationcontrollers", true, ALWAYS),
    ("", "v1", "ResourceQuota", "resourcequotas", true, ALWAYS),
    ("", "v1", "Secret", "secrets", true, ALWAYS),
    ("", "v1", "Service", "services", true, ALWAYS),
    ("", "v1", "ServiceAccount", "serviceaccounts", true, ALWAYS),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", true, ALWAYS),
    ("apps", "v1", "DaemonSet", "daemonsets", true, ALWAYS),
    ("apps", "v1", "Deployment", "deployments", true, ALWAYS),
    ("apps", "v1", "ReplicaSet", "replicasets", true, ALWAYS),
    ("apps", "v1", "StatefulSet", "statefulsets", true, ALWAYS),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", HPAS, true, (23, u8::MAX)),
    ("autoscaling", "v2beta2", "HorizontalPodAutoscaler", HPAS, true, (12, 26)),
    ("autoscaling", "v1", "HorizontalPodAutoscaler", HPAS, true, ALWAYS),
    ("autoscaling", "v2beta1", "HorizontalPodAutoscaler", HPAS, true, (8, 25)),
    ("batch", "v1", "Job", "jobs", true, ALWAYS),
    ("batch", "v1", "CronJob", "cronjobs", true, (21, u8::MAX)),
    ("batch", "v1beta1", "CronJob", "cronjobs", true, (8, 25)),
    ("certificates.k8s.io", "v1", "CertificateSigningRequest", CSRS, false, ALWAYS),
    ("certificates.k8s.io", "v1beta1", "CertificateSigningRequest", CSRS, false, (0, 22)),
    ("certificates.k8s.io", "v1", "ClusterTrustBundle", BUNDLES, false, (37, u8::MAX)),
    ("certificates.k8s.io", "v1", "PodCertificateRequest", POD_CSRS, true, (37, u8::MAX)),
    ("coordination.k8s.io", "v1", "Lease", "leases", true, ALWAYS),
    ("coordination.k8s.io", "v1beta1", "Lease", "leases", true, (0, 22)),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true, (21, u8::MAX)),
    ("discovery.k8s.io", "v1beta1", "EndpointSlice", "endpointslices", true, (17, 25)),
    ("events.k8s.io", "v1", "Event", "events", true, ALWAYS),
    ("events.k8s.io", "v1beta1", "Event", "events", true, (0, 25)),
    ("networking.k8s.io", "v1", "Ingress", "ingresses", true, ALWAYS),
    ("networking.k8s.io", "v1beta1", "Ingress", "ingresses", true, (14, 22)),
    ("networking.k8s.io", "v1", "IngressClass", "ingressclasses", false, ALWAYS),
    ("networking.k8s.io", "v1beta1", "IngressClass", "ingressclasses", false, (18, 22)),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true, ALWAYS),
    ("networking.k8s.io", "v1", "IPAddress", "ipaddresses", false, (33, u8::MAX)),
    ("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", false, (33, u8::MAX)),
    ("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", false, ALWAYS),
    ("node.k8s.io", "v1beta1", "RuntimeClass", "runtimeclasses", false, (14, 25)),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true, (21, u8::MAX)),
    ("policy", "v1beta1", "PodDisruptionBudget", "poddisruptionbudgets", true, (0, 25)),
    ("policy", "v1beta1", "PodSecurityPolicy", "podsecuritypolicies", false, (0, 25)),
    (RBAC, "v1", "ClusterRole", "clusterroles", false, ALWAYS),
    (RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", false, ALWAYS),
    (RBAC, "v1", "Role", "roles", true, ALWAYS),
    (RBAC, "v1", "RoleBinding", "rolebindings", true, ALWAYS),
    (RBAC, "v1beta1", "ClusterRole", "clusterroles", false, (0, 22)),
    (RBAC, "v1beta1", "ClusterRoleBinding", "clusterrolebindings", false, (0, 22)),
    (RBAC, "v1beta1", "Role", "roles", true, (0, 22)),
    (RBAC, "v1beta1", "RoleBinding", "rolebindings", true, (0, 22)),
    ("resource.k8s.io", "v1", "DeviceClass", "deviceclasses", false, (34, u8::MAX)),
    ("resource.k8s.io", "v1", "DeviceTaintRule", "devicetaintrules", false, (37, u8::MAX)),
    ("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims", true, (34, u8::MAX)),
    ("resource.k8s.io", "v1", "ResourceClaimTemplate", CLAIM_TEMPLATES, true, (34, u8::MAX)),
    ("resource.k8s.io", "v1", "ResourceSlice", "resourceslices", false, (34, u8::MAX)),
    ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", false, ALWAYS),
    ("scheduling.k8s.io", "v1beta1", "PriorityClass", "priorityclasses", false, (0, 22)),
    ("storage.k8s.io", "v1", "CSIDriver", "csidrivers", false, ALWAYS),
    ("storage.k8s.io", "v1beta1", "CSIDriver", "csidrivers", false, (0, 22)),
    ("storage.k8s.io", "v1", "CSINode", "csinodes", false, ALWAYS),
    ("storage.k8s.io", "v1beta1", "CSINode", "csinodes", false, (0, 22)),
    ("storage.k8s.io", "v1", "CSIStorageCapacity", CAPACITIES, true, (24, u8::MAX)),
    ("storage.k8s.io", "v1beta1", "CSIStorageCapacity", CAPACITIES, true, (21, 27)),
    ("storage.k8s.io", "v1", "StorageClass", "storageclasses", false, ALWAYS),
    ("storage.k8s.io", "v1beta1", "StorageClass", "storageclasses", false, (0, 22)),
    ("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", false, ALWAYS),
    ("storage.k8s.io", "v1beta1", "VolumeAttachment", "volumeattachments", false, (0, 22)),
    ("storage.k8s.io", "v1", "VolumeAttributesClass", ATTRIBUTES, false, (34, u8::MAX)),
    (ADMISSION, "v1", "MutatingWebhookConfiguration", MUTATING, false, ALWAYS),
    (ADMISSION, "v1beta1", "MutatingWebhookConfiguration", MUTATING, false, (0, 22)),
    (ADMISSION, "v1", "ValidatingWebhookConfiguration", VALIDATING, false, ALWAYS),
    (ADMISSION, "v1beta1", "ValidatingWebhookConfiguration", VALIDATING, false, (0, 22)),
    (ADMISSION, "v1", "ValidatingAdmissionPolicy", POLICIES, false, (30, u8::MAX)),
    (ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", BINDINGS, false, (30, u8::MAX)),
    (ADMISSION, "v1", "MutatingAdmissionPolicy", MUTATIONS, false, (36, u8::MAX)),
    (ADMISSION, "v1", "MutatingAdmissionPolicyBinding", MUTATION_BINDINGS, false, (36, u8::MAX)),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", DEFINITIONS, false, ALWAYS),
    ("apiextensions.k8s.io", "v1beta1", "CustomResourceDefinition", DEFINITIONS, false, (0, 22)),
    ("apiregistration.k8s.io", "v1", "APIService", "apiservices", false, ALWAYS),
    ("apiregistration.k8s.io", "v1beta1", "APIService", "apiservices", false, (0, 22)),
    // Gone before 1.20; kept to name what replaces them.
    ("extensions", "v1beta1", "Ingress", "ingresses", true, (0, 22)),
    ("extensions", "v1beta1", "Deployment", "deployments", true, (0, 16)),
    ("extensions", "v1beta1", "DaemonSet", "daemonsets", true, (0, 16)),
    ("extensions", "v1beta1", "ReplicaSet", "replicasets", true, (0, 16)),
    ("extensions", "v1beta1", "NetworkPolicy", "networkpolicies", true, (0, 16)),
    ("apps", "v1beta2", "Deployment", "deployments", true, (0, 16)),
    ("apps", "v1beta2", "StatefulSet", "statefulsets", true, (0, 16)),
    ("apps", "v1beta2", "DaemonSet", "daemonsets", true, (0, 16)),
    ("apps", "v1beta2", "ReplicaSet", "replicasets", true, (0, 16)),
    ("apps", "v1beta1", "Deployment", "deployments", true, (0, 16)),
    ("apps", "v1beta1", "StatefulSet", "statefulsets", true, (0, 16)),
];

const HPAS: &str = "horizontalpodautoscalers";
const CSRS: &str = "certificatesigningrequests";
const BUNDLES: &str = "clustertrustbundles";
const POD_CSRS: &str = "podcertificaterequests";
const CAPACITIES: &str = "csistoragecapacities";
const CLAIM_TEMPLATES: &str = "resourceclaimtemplates";
const ATTRIBUTES: &str = "volumeattributesclasses";
const MUTATING: &str = "mutatingwebhookconfigurations";
const VALIDATING: &str = "validatingwebhookconfigurations";
const POLICIES: &str = "validatingadmissionpolicies";
const BINDINGS: &str = "validatingadmissionpolicybindings";
const MUTATIONS: &str = "mutatingadmissionpolicies";
const MUTATION_BINDINGS: &str = "mutatingadmissionpolicybindings";
const DEFINITIONS: &str = "customresourcedefinitions";

/// Every kind of Kubernetes' own groups in every version, newest version of a kind first.
pub fn built_in() -> impl Iterator<Item = Served> {
    ROWS.iter().map(|&(group, version, kind, plural, namespaced, (since, until))| Served {
        group,
        version,
        kind,
        plural,
        namespaced,
        since,
        until,
    })
}

/// Whether `group` is one of Kubernetes' own. Others that end in `k8s.io` (`gateway.networking`,
/// `snapshot.storage`) hold custom resources.
pub fn is_built_in_group(group: &str) -> bool {
    ROWS.iter().any(|row| row.0 == group)
}

impl Served {
    /// Whether `profile` serves it.
    pub fn is_served_by(&self, profile: Profile) -> bool {
        (self.since..self.until).contains(&profile.minor())
    }

    /// `group/version`, as `apiVersion` spells it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

impl Profile {
    /// Whether this minor serves `kind` of `group` in `version`.
    pub fn serves(self, group: &str, version: &str, kind: &str) -> bool {
        built_in().any(|each| {
            each.group == group
                && each.version == version
                && each.kind == kind
                && each.is_served_by(self)
        })
    }

    /// The `apiVersion` to write instead of one that this minor does not serve.
    pub fn replacement(self, group: &str, kind: &str) -> Option<String> {
        let here = built_in().filter(|each| each.group == group && group != "extensions");
        // Kinds of `extensions` moved to other groups.
        let elsewhere = built_in().filter(|each| each.group != "extensions");
        here.chain(elsewhere)
            .find(|each| each.kind == kind && each.is_served_by(self))
            .map(|each| each.api_version())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_and_go() {
        let oldest = Profile::OLDEST;
        let newest = Profile::NEWEST;
        let hpa = "HorizontalPodAutoscaler";
        assert!(!oldest.serves("autoscaling", "v2", hpa));
        assert!(oldest.serves("autoscaling", "v2beta2", hpa));
        assert_eq!(oldest.replacement("autoscaling", hpa).as_deref(), Some("autoscaling/v2beta2"));
        assert_eq!(newest.replacement("autoscaling", hpa).as_deref(), Some("autoscaling/v2"));
        assert!(!newest.serves("policy", "v1beta1", "PodDisruptionBudget"));
        assert_eq!(oldest.replacement("batch", "CronJob").as_deref(), Some("batch/v1beta1"));
        let moved = newest.replacement("extensions", "Ingress");
        assert_eq!(moved.as_deref(), Some("networking.k8s.io/v1"));
        assert_eq!(newest.replacement("policy", "PodSecurityPolicy"), None);
    }

    #[test]
    fn policies_that_mutate_came_after_those_that_validate() {
        let serves = |minor: &str, kind| {
            let profile: Profile = minor.parse().expect("a minor that is modelled");
            profile.serves(ADMISSION, "v1", kind)
        };
        assert!(serves("1.30", "ValidatingAdmissionPolicy"));
        for kind in ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"] {
            assert!(!serves("1.35", kind) && serves("1.36", kind), "{kind}");
        }
    }

    #[test]
    fn custom_groups_are_not_ours() {
        assert!(is_built_in_group("networking.k8s.io"));
        assert!(!is_built_in_group("gateway.networking.k8s.io"));
        assert!(!is_built_in_group("ceph.rook.io"));
    }
}
