//! Which resources the API serves: group, plural, scope, short names, by kind.

use std::collections::BTreeMap;

use super::Kind;

/// One resource as discovery describes it. Which versions are served depends on the profile.
#[derive(Clone, Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// The version the store keeps (and the newest served).
    pub version: String,
    /// Kind, as in `Deployment`.
    pub kind: String,
    /// Plural, as in `deployments`.
    pub plural: String,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Short names, as in `deploy`.
    pub short_names: Vec<String>,
    /// Whether a `/status` subresource exists.
    pub has_status: bool,
    /// Whether a `/scale` subresource exists.
    pub has_scale: bool,
}

/// The resources by kind index and by group and plural.
#[derive(Clone, Debug)]
pub struct Registry {
    resources: Vec<Resource>,
    by_path: BTreeMap<(String, String), Kind>,
}

/// (group, version, kind, plural, namespaced, short names, status, scale), indexed by `Kind`:
/// the typed kinds in the order of `object.rs`, then built-in kinds that are only stored.
type Row = (&'static str, &'static str, &'static str, &'static str, bool, &'static str, bool, bool);

const BUILT_IN: &[Row] = &[
    ("", "v1", "Namespace", "namespaces", false, "ns", true, false),
    ("", "v1", "Node", "nodes", false, "no", true, false),
    ("", "v1", "Pod", "pods", true, "po", true, false),
    ("", "v1", "Service", "services", true, "svc", true, false),
    ("", "v1", "Endpoints", "endpoints", true, "ep", false, false),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true, "", false, false),
    ("", "v1", "ConfigMap", "configmaps", true, "cm", false, false),
    ("", "v1", "Secret", "secrets", true, "", false, false),
    ("", "v1", "ServiceAccount", "serviceaccounts", true, "sa", false, false),
    ("", "v1", "PersistentVolume", "persistentvolumes", false, "pv", true, false),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true, "pvc", true, false),
    ("storage.k8s.io", "v1", "StorageClass", "storageclasses", false, "sc", false, false),
    ("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", false, "", true, false),
    ("storage.k8s.io", "v1", "CSIDriver", "csidrivers", false, "", false, false),
    ("storage.k8s.io", "v1", "CSINode", "csinodes", false, "", false, false),
    ("apps", "v1", "Deployment", "deployments", true, "deploy", true, true),
    ("apps", "v1", "ReplicaSet", "replicasets", true, "rs", true, true),
    ("apps", "v1", "StatefulSet", "statefulsets", true, "sts", true, true),
    ("apps", "v1", "DaemonSet", "daemonsets", true, "ds", true, false),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", true, "", false, false),
    ("batch", "v1", "Job", "jobs", true, "", true, false),
    ("batch", "v1", "CronJob", "cronjobs", true, "cj", true, false),
    (
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        true,
        "hpa",
        true,
        false,
    ),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true, "pdb", true, false),
    ("networking.k8s.io", "v1", "Ingress", "ingresses", true, "ing", true, false),
    ("networking.k8s.io", "v1", "IngressClass", "ingressclasses", false, "", false, false),
    ("coordination.k8s.io", "v1", "Lease", "leases", true, "", false, false),
    ("", "v1", "Event", "events", true, "ev", false, false),
    ("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", false, "pc", false, false),
    ("", "v1", "ResourceQuota", "resourcequotas", true, "quota", true, false),
    ("", "v1", "LimitRange", "limitranges", true, "limits", false, false),
    ("", "v1", "ReplicationController", "replicationcontrollers", true, "rc", true, true),
    ("", "v1", "PodTemplate", "podtemplates", true, "", false, false),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true, "netpol", true, false),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", true, "", false, false),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true, "", false, false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false, "", false, false),
    (
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
        false,
        "",
        false,
        false,
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
        "crd",
        true,
        false,
    ),
    ("apiregistration.k8s.io", "v1", "APIService", "apiservices", false, "", true, false),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
        "",
        false,
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
        "",
        false,
        false,
    ),
    ("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", false, "", false, false),
    ("metrics.k8s.io", "v1beta1", "PodMetrics", "pods", true, "", false, false),
    ("metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", false, "", false, false),
];

impl Default for Registry {
    fn default() -> Self {
        let mut registry = Registry { resources: Vec::new(), by_path: BTreeMap::new() };
        for &(group, version, kind, plural, namespaced, short, has_status, has_scale) in BUILT_IN {
            registry.add(Resource {
                group: group.into(),
                version: version.into(),
                kind: kind.into(),
                plural: plural.into(),
                namespaced,
                short_names: if short.is_empty() { Vec::new() } else { vec![short.into()] },
                has_status,
                has_scale,
            });
        }
        registry
    }
}

impl Registry {
    /// Adds a resource, or replaces the one with the same group and plural.
    pub fn add(&mut self, resource: Resource) -> Kind {
        let path = (resource.group.clone(), resource.plural.clone());
        if let Some(&kind) = self.by_path.get(&path) {
            self.resources[usize::from(kind.0)] = resource;
            return kind;
        }
        let kind = Kind(u16::try_from(self.resources.len()).unwrap_or(u16::MAX));
        self.resources.push(resource);
        self.by_path.insert(path, kind);
        kind
    }

    /// The resource of a kind.
    pub fn resource(&self, kind: Kind) -> &Resource {
        &self.resources[usize::from(kind.0)]
    }

    /// Whether the kind comes with the API server, not with a CustomResourceDefinition.
    pub fn is_built_in(&self, kind: Kind) -> bool {
        usize::from(kind.0) < BUILT_IN.len()
    }

    /// The kind served at `group` and `plural`.
    pub fn by_path(&self, group: &str, plural: &str) -> Option<Kind> {
        self.by_path.get(&(group.to_owned(), plural.to_owned())).copied()
    }

    /// The kind called `kind` in `group`.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<Kind> {
        let idx = self.resources.iter().position(|r| r.group == group && r.kind == kind)?;
        u16::try_from(idx).ok().map(Kind)
    }

    /// All resources with their kinds, in registry order.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &Resource)> {
        (0u16..).map(Kind).zip(&self.resources)
    }
}
