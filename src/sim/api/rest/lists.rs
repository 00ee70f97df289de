//! How lists and maps merge: the struct tags of `k8s.io/api/*/types.go` that strategic merge patch and
//! server-side apply go by (semantics 1.5).

use serde_json::Value;

/// How server-side apply treats a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListType {
    /// Elements are told apart by these fields.
    Map(&'static [&'static str]),
    /// Elements are distinct scalars.
    Set,
    /// Replaced as a whole.
    Atomic,
}

/// The field names that lead to a list, without indexes.
pub(super) type Path<'a> = [&'a str];

/// The merge key of the list at `path` in a strategic merge patch; `None`: replaced.
pub(super) fn strategic_key(path: &Path<'_>) -> Option<&'static str> {
    let (last, parent) = last_two(path);
    Some(match last {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets"
        | "resourceClaims"
        | "schedulingGates"
        | "webhooks" => "name",
        "ports" if is_containers(parent) => "containerPort",
        "ports" if path == ["spec", "ports"] => "port",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" | "podIPs" | "hostIPs" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        "conditions" | "addresses" if parent == "status" => "type",
        "ownerReferences" if parent == "metadata" => "uid",
        _ => return None,
    })
}

/// Whether the list at `path` is a set of scalars in a strategic merge patch.
pub(super) fn is_strategic_set(path: &Path<'_>) -> bool {
    matches!(path, ["metadata", "finalizers"] | ["spec", "podCIDRs"])
}

/// How server-side apply treats the list at `path`; in a custom resource without a list type in its
/// schema all lists but those of the metadata are atomic.
pub(super) fn list_type(path: &Path<'_>, is_custom: bool) -> ListType {
    let (last, parent) = last_two(path);
    if matches!(path, ["metadata", "finalizers"]) {
        return ListType::Set;
    }
    if is_custom && parent != "metadata" {
        return ListType::Atomic;
    }
    match last {
        "ports" if is_containers(parent) => ListType::Map(&["containerPort", "protocol"]),
        "ports" if path == ["spec", "ports"] => ListType::Map(&["port", "protocol"]),
        "topologySpreadConstraints" => ListType::Map(&["topologyKey", "whenUnsatisfiable"]),
        "podCIDRs" => ListType::Set,
        _ => match strategic_key(path) {
            Some("name") => ListType::Map(&["name"]),
            Some("mountPath") => ListType::Map(&["mountPath"]),
            Some("devicePath") => ListType::Map(&["devicePath"]),
            Some("ip") => ListType::Map(&["ip"]),
            Some("type") => ListType::Map(&["type"]),
            Some("uid") => ListType::Map(&["uid"]),
            _ => ListType::Atomic,
        },
    }
}

/// Whether the map at `path` is one value to server-side apply (`+structType=atomic`).
pub(super) fn is_atomic_map(path: &Path<'_>, is_custom: bool) -> bool {
    let (last, _) = last_two(path);
    !is_custom
        && matches!(
            last,
            "selector"
                | "labelSelector"
                | "namespaceSelector"
                | "nodeSelector"
                | "fieldRef"
                | "resourceFieldRef"
                | "configMapKeyRef"
                | "secretKeyRef"
                | "secretRef"
                | "claimRef"
        )
}

/// The value of a key field, or what it defaults to (`+default` markers of list-map keys).
pub(super) fn key_value(item: &Value, key: &str) -> Option<Value> {
    match item.get(key) {
        Some(value) => Some(value.clone()),
        None if key == "protocol" => Some("TCP".into()),
        None => None,
    }
}

/// Whether both items have the same keys.
pub(super) fn same_item(a: &Value, b: &Value, keys: &[&str]) -> bool {
    keys.iter().all(|key| key_value(a, key).is_some() && key_value(a, key) == key_value(b, key))
}

fn last_two<'a>(path: &Path<'a>) -> (&'a str, &'a str) {
    match path {
        [.., parent, last] => (last, parent),
        [last] => (last, ""),
        [] => ("", ""),
    }
}

fn is_containers(field: &str) -> bool {
    matches!(field, "containers" | "initContainers" | "ephemeralContainers")
}
