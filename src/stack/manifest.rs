//! One object of a stack, as written.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::base::ObjectRef;

use super::yaml::Lines;

/// A place in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// An object, and where it stands.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Kind, namespace and name; namespace `default` where a namespaced kind names none.
    pub object_ref: ObjectRef,
    /// As written, as in `apps/v1`.
    pub api_version: String,
    /// The object.
    pub value: Value,
    /// Its file.
    pub file: PathBuf,
    /// Its first line, from 1.
    pub line: usize,
    pub(super) lines: Arc<Lines>,
    pub(super) prefix: String,
}

/// Kinds of Kubernetes' own groups that live outside namespaces.
const CLUSTER_SCOPED: &[&str] = &[
    "APIService",
    "CSIDriver",
    "CSINode",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
];

impl Manifest {
    /// Where `path` stands; where it is absent, its nearest parent.
    pub fn locate(&self, path: &str) -> Location {
        let mut path = path;
        loop {
            if let Some(&line) = self.lines.get(&self.full_path(path)) {
                return Location { file: self.file.clone(), line };
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return Location { file: self.file.clone(), line: self.line },
            }
        }
    }

    /// The group of its API version; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// The version without its group.
    pub fn version(&self) -> &str {
        self.api_version.rsplit('/').next().unwrap_or("")
    }

    fn full_path(&self, path: &str) -> String {
        match (self.prefix.is_empty(), path.is_empty()) {
            (true, _) => path.to_owned(),
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{}.{path}", self.prefix),
        }
    }
}

/// The namespace an object of `kind` is in; custom resources are taken as written.
pub(super) fn namespace_of(group: &str, kind: &str, written: Option<&str>) -> String {
    let built_in = !group.contains('.') || group.ends_with(".k8s.io");
    match written {
        _ if built_in && CLUSTER_SCOPED.contains(&kind) => String::new(),
        Some(namespace) => namespace.to_owned(),
        None if built_in => "default".to_owned(),
        None => String::new(),
    }
}
