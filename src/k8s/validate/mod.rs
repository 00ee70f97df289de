//! Validation with the API server's messages (`pkg/apis/*/validation/validation.go`, semantics 1.12):
//! pure checks of one object, run by the simulated API server and, before anything is applied, by
//! the manifest loader. Objects are expected to carry their defaults.

mod autoscaling;
mod container;
mod cron;
mod errors;
mod handler;
mod ingress;
mod manifest;
mod meta;
mod pod;
mod scheduling;
mod service;
mod storage;
pub mod text;
mod update;
mod volume;
mod workload;

pub use autoscaling::{autoscaler, autoscaler_v1};
pub use errors::{Errors, FieldError, Path};
pub use ingress::{ingress, ingress_class};
pub use manifest::manifest;
pub use meta::{NameRule, annotations, labels, metadata};
pub use pod::{pod, pod_template};
pub use service::{DEFAULT_NODE_PORTS, service};
pub use storage::{persistent_volume, persistent_volume_claim, storage_class};
pub use update::{
    claim_update, config_map_update, daemon_set_update, deployment_update, metadata_update,
    pod_update, replica_set_update, secret_update, service_update, stateful_set_update,
    storage_class_update,
};
pub use workload::{
    cron_job, daemon_set, deployment, disruption_budget, job, replica_set, stateful_set,
};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

/// All data of a Secret or ConfigMap together, in bytes (`core.MaxSecretSize`).
const DATA_BYTES_MAX: usize = 1 << 20;

/// `ValidateConfigMap`.
pub fn config_map(map: &ConfigMap, errors: &mut Errors) {
    let mut size = 0;
    for (key, text) in map.data.iter().flatten() {
        data_key(key, "data", errors);
        if map.binary_data.as_ref().is_some_and(|data| data.contains_key(key)) {
            let root = Path::root("data");
            errors.invalid(&root.key(key), quoted(key), "duplicate of key present in binaryData");
        }
        size += text.len();
    }
    for (key, bytes) in map.binary_data.iter().flatten() {
        data_key(key, "binaryData", errors);
        size += bytes.0.len();
    }
    if size > DATA_BYTES_MAX {
        errors.too_long(&Path::root(""), DATA_BYTES_MAX);
    }
}

/// `ValidateSecret`: keys, size, and the keys that its type demands.
pub fn secret(secret: &Secret, errors: &mut Errors) {
    let data = secret.data.as_ref();
    for key in data.into_iter().flat_map(|data| data.keys()) {
        data_key(key, "data", errors);
    }
    let size: usize = data.into_iter().flat_map(|data| data.values()).map(|b| b.0.len()).sum();
    let root = Path::root("data");
    if size > DATA_BYTES_MAX {
        errors.too_long(&root, DATA_BYTES_MAX);
    }
    let has = |key: &str| data.is_some_and(|data| data.contains_key(key));
    let demanded: &[&str] = match secret.type_.as_deref() {
        Some("kubernetes.io/tls") => &["tls.crt", "tls.key"],
        Some("kubernetes.io/dockercfg") => &[".dockercfg"],
        Some("kubernetes.io/dockerconfigjson") => &[".dockerconfigjson"],
        Some("kubernetes.io/ssh-auth") => &["ssh-privatekey"],
        Some("kubernetes.io/basic-auth") if !has("username") && !has("password") => {
            errors.required(&root.key("username"), "");
            errors.required(&root.key("password"), "");
            &[]
        }
        _ => &[],
    };
    for key in demanded.iter().filter(|key| !has(key)) {
        errors.required(&root.key(key), "");
    }
}

fn data_key(key: &str, field: &'static str, errors: &mut Errors) {
    for why in text::config_map_key(key) {
        errors.invalid(&Path::root(field).key(key), quoted(key), &why);
    }
}

/// A text as messages show it.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}
