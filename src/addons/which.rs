//! Which add-ons a stack needs, and what of its storage rests on them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::AddOn;
use crate::base::ObjectRef;
use crate::k8s::rook;

/// Ends of the provisioner names of Ceph's drivers; before them stands the operator's namespace.
const CEPH_PROVISIONERS: [&str; 2] = ["cephfs.csi.ceph.com", "rbd.csi.ceph.com"];

/// The add-ons that a stack's objects (kind and object) need, each with the object that needs it.
pub fn needed<'a>(
    objects: impl IntoIterator<Item = (&'a str, &'a Value)>,
) -> BTreeMap<AddOn, ObjectRef> {
    let mut needed = BTreeMap::new();
    for (kind, object) in objects {
        let addon = match kind {
            "Ingress" => AddOn::IngressNginx,
            "HorizontalPodAutoscaler" if reads_resource_metrics(object) => AddOn::MetricsServer,
            "StorageClass" if is_of_ceph(object) => AddOn::RookCeph,
            _ if group(object) == rook::GROUP => AddOn::RookCeph,
            _ => continue,
        };
        let namespace = text(object, "/metadata/namespace");
        let by = ObjectRef::new(kind, namespace, text(object, "/metadata/name"));
        needed.entry(addon).or_insert(by);
    }
    needed
}

/// Whether the autoscaler looks at CPU or memory: `autoscaling/v1` can nothing else, and without
/// any metric CPU is the default.
fn reads_resource_metrics(autoscaler: &Value) -> bool {
    let Some(metrics) = autoscaler.pointer("/spec/metrics").and_then(Value::as_array) else {
        return true;
    };
    let is_resource =
        |metric: &Value| matches!(text(metric, "/type"), "Resource" | "ContainerResource");
    metrics.is_empty() || metrics.iter().any(is_resource)
}

fn is_of_ceph(class: &Value) -> bool {
    is_ceph_driver(text(class, "/provisioner"))
}

/// Whether a CSI driver or provisioner called `name` is one of Ceph's.
pub(super) fn is_ceph_driver(name: &str) -> bool {
    CEPH_PROVISIONERS.iter().any(|end| {
        name.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// What of a stack's storage rests on Rook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Its CephFilesystems, as namespace and name.
    pub filesystems: BTreeSet<(String, String)>,
    /// Those of them that the stack gives a subvolume group.
    pub grouped: BTreeSet<(String, String)>,
    /// Secrets that its StorageClasses name, as namespace and name; Rook makes them.
    pub secrets: BTreeSet<(String, String)>,
}

/// Finds the storage of a stack's objects (kind and object).
pub fn storage_of<'a>(objects: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Storage {
    let mut storage = Storage::default();
    for (kind, object) in objects {
        let namespace = text(object, "/metadata/namespace").to_owned();
        match kind {
            "CephFilesystem" => {
                let name = text(object, "/metadata/name").to_owned();
                storage.filesystems.insert((namespace, name));
            }
            "CephFilesystemSubVolumeGroup" => {
                let name = text(object, "/spec/filesystemName").to_owned();
                storage.grouped.insert((namespace, name));
            }
            "StorageClass" if is_of_ceph(object) => storage.secrets.extend(secrets(object)),
            _ => {}
        }
    }
    storage
}

fn secrets(class: &Value) -> Vec<(String, String)> {
    let Some(parameters) = class.get("parameters").and_then(Value::as_object) else {
        return Vec::new();
    };
    let secret = |(key, name): (&String, &Value)| {
        let role = key.strip_suffix("-secret-name")?;
        let namespace = parameters.get(&format!("{role}-secret-namespace"))?;
        Some((namespace.as_str()?.to_owned(), name.as_str()?.to_owned()))
    };
    parameters.iter().filter_map(secret).collect()
}

fn group(object: &Value) -> &str {
    text(object, "/apiVersion").split_once('/').map_or("", |(group, _)| group)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(objects: &[(&str, Value)]) -> Vec<(AddOn, String)> {
        let objects = objects.iter().map(|(kind, object)| (*kind, object));
        needed(objects).into_iter().map(|(addon, by)| (addon, by.to_string())).collect()
    }

    #[test]
    fn each_need_names_the_object_it_comes_from() {
        let objects = [
            ("Service", json!({"metadata": {"name": "web", "namespace": "shop"}})),
            ("Ingress", json!({"metadata": {"name": "web", "namespace": "shop"}})),
            (
                "HorizontalPodAutoscaler",
                json!({"metadata": {"name": "web", "namespace": "shop"},
                "spec": {"metrics": [{"type": "Resource"}]}}),
            ),
            (
                "StorageClass",
                json!({"metadata": {"name": "files"},
                "provisioner": "rook-ceph.cephfs.csi.ceph.com"}),
            ),
        ];
        let wanted = [
            (AddOn::IngressNginx, "Ingress shop/web".to_owned()),
            (AddOn::MetricsServer, "HorizontalPodAutoscaler shop/web".to_owned()),
            (AddOn::RookCeph, "StorageClass files".to_owned()),
        ];
        assert_eq!(named(&objects), wanted);
    }

    #[test]
    fn what_needs_nothing_asks_for_nothing() {
        let objects = [
            ("HorizontalPodAutoscaler", json!({"spec": {"metrics": [{"type": "External"}]}})),
            ("StorageClass", json!({"provisioner": "rancher.io/local-path"})),
            ("StorageClass", json!({"provisioner": "my-cephfs.csi.ceph.com"})),
        ];
        assert_eq!(named(&objects), []);
        let pool = json!({"apiVersion": "ceph.rook.io/v1", "metadata": {"name": "pool"}});
        assert_eq!(named(&[("CephBlockPool", pool)])[0].0, AddOn::RookCeph);
        let v1 = json!({"spec": {"targetCPUUtilizationPercentage": 50}});
        assert_eq!(named(&[("HorizontalPodAutoscaler", v1)])[0].0, AddOn::MetricsServer);
    }

    #[test]
    fn storage_lists_filesystems_and_secrets() {
        let class = json!({"provisioner": "rook-ceph.cephfs.csi.ceph.com", "parameters": {
            "fsName": "myfs",
            "csi.storage.k8s.io/provisioner-secret-name": "maker",
            "csi.storage.k8s.io/provisioner-secret-namespace": "rook-ceph",
            "csi.storage.k8s.io/node-stage-secret-name": "node",
            "csi.storage.k8s.io/node-stage-secret-namespace": "rook-ceph"}});
        let filesystem = json!({"metadata": {"name": "myfs", "namespace": "rook-ceph"}});
        let group = json!({"metadata": {"name": "g", "namespace": "rook-ceph"},
            "spec": {"filesystemName": "myfs"}});
        let pair = |name: &str| ("rook-ceph".to_owned(), name.to_owned());
        let objects = [("StorageClass", &class), ("CephFilesystem", &filesystem)];
        let storage = storage_of(objects);
        assert_eq!(storage.secrets, BTreeSet::from([pair("maker"), pair("node")]));
        assert_eq!(storage.filesystems, BTreeSet::from([pair("myfs")]));
        assert!(storage.grouped.is_empty());
        let storage = storage_of([("CephFilesystemSubVolumeGroup", &group)]);
        assert_eq!(storage.grouped, BTreeSet::from([pair("myfs")]));
    }
}
