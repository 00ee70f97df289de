//! One object of a stack and where it is written.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::base::ObjectRef;
use crate::base::yaml::Node;
use crate::k8s::CustomKind;

/// A file and a line, counted from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, as found below the path that was given.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One object of a stack.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Kind, namespace and name; a namespaced object that names no namespace lies in `default`.
    pub object_ref: ObjectRef,
    /// The version it is written in.
    pub api_version: String,
    /// The object as it is sent.
    pub value: Value,
    /// The file it is written in.
    pub file: PathBuf,
    /// The line it begins at.
    pub line: usize,
    pub(super) custom_kind: Option<CustomKind>,
    pub(super) node: Arc<Node>,
}

impl Manifest {
    /// The group of its API version; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Whether its kind is none of Kubernetes' own.
    pub fn is_custom(&self) -> bool {
        self.custom_kind.is_some()
    }

    /// Where `path` is written, or the nearest part above it that is.
    pub fn locate(&self, path: &str) -> Location {
        Location { file: self.file.clone(), line: self.node.line_of(path) }
    }
}
