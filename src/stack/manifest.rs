//! One object of a stack and where it is written.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::yaml::Node;
use crate::base::ObjectRef;

/// A file and a line, counted from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, as found below the path that was given.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
}

/// A kind outside Kubernetes' own groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CustomKind {
    /// API group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Plural: from the definition if the stack has it, else the usual one.
    pub plural: String,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
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
    pub(super) plural: String,
    pub(super) custom_kind: Option<CustomKind>,
    pub(super) node: Arc<Node>,
}

impl Manifest {
    /// Where `path` is written, or the nearest part above it that is.
    pub fn locate(&self, path: &str) -> Location {
        Location { file: self.file.clone(), line: self.node.line_of(path) }
    }
}
