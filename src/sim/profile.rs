//! Profiles: what differs between Kubernetes minors and matters to a verdict.

pub use crate::k8s::Profile;
