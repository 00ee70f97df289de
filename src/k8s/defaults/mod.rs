//! Defaulting: what a GET shows after a minimal POST (`pkg/apis/*/v1/defaults.go`, semantics 2).
//! Each function is idempotent: an object that has its defaults comes out unchanged.

mod network;
mod pod;
mod scaling;
mod storage;
mod workload;

pub use network::{endpoint_slice, endpoints, service};
pub use pod::{pod, pod_spec};
pub use scaling::autoscaler;
pub use storage::{persistent_volume, persistent_volume_claim, storage_class};
pub use workload::{cron_job, daemon_set, deployment, job, replica_set, stateful_set};

use k8s_openapi::api::core::v1::{Namespace, Secret};

use super::Profile;

/// Label that every namespace carries with its own name since 1.21.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// `pkg/apis/core/v1/defaults.go:SetDefaults_Namespace`, `SetDefaults_NamespaceStatus`.
pub fn namespace(namespace: &mut Namespace, profile: Profile) {
    let status = namespace.status.get_or_insert_default();
    set(&mut status.phase, "Active");
    if profile.at_least(21)
        && let Some(name) = namespace.metadata.name.clone().filter(|name| !name.is_empty())
    {
        let labels = namespace.metadata.labels.get_or_insert_default();
        labels.entry(NAMESPACE_NAME_LABEL.to_owned()).or_insert(name);
    }
}

/// `SetDefaults_Secret`; `stringData` is folded into `data`
/// (`pkg/apis/core/v1/conversion.go:Convert_v1_Secret_To_core_Secret`).
pub fn secret(secret: &mut Secret) {
    set(&mut secret.type_, "Opaque");
    if let Some(texts) = secret.string_data.take() {
        let data = secret.data.get_or_insert_default();
        for (key, text) in texts {
            data.insert(key, k8s_openapi::ByteString(text.into_bytes()));
        }
    }
}

/// Sets a text field that is absent or empty.
fn set(field: &mut Option<String>, default: &str) {
    if field.as_deref().unwrap_or("").is_empty() {
        *field = Some(default.to_owned());
    }
}
