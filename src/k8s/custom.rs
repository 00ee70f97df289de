//! Kinds outside Kubernetes' own groups.

/// A kind outside Kubernetes' own groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CustomKind {
    /// API group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Plural: from its definition if there is one, else the usual one.
    pub plural: String,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
}
