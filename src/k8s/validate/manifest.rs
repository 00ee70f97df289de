//! A manifest as the API server would take it: decoded, defaulted, validated.

use k8s_openapi::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Errors, NameRule};
use crate::k8s::{Profile, defaults};

/// What validation refuses of `value`, a `kind` of `group` in a version of the stored shape.
///
/// # Errors
/// Why it cannot be decoded.
pub fn manifest(
    group: &str,
    version: &str,
    kind: &str,
    value: Value,
    profile: Profile,
) -> Result<Errors, String> {
    let mut errors = Errors::default();
    let found = &mut errors;
    match (group, kind) {
        ("", "Pod") => run(value, defaults::pod, |o| super::pod(o, profile, found)),
        ("", "Service") => {
            run(value, |o| defaults::service(o, profile), |o| super::service(o, profile, found))
        }
        ("", "Secret") => run(value, defaults::secret, |o| {
            meta(o, NameRule::of(group, kind, profile), found);
            super::secret(o, found);
        }),
        ("", "ConfigMap") => run(
            value,
            |_| {},
            |o| {
                meta(o, NameRule::of(group, kind, profile), found);
                super::config_map(o, found);
            },
        ),
        ("", "PersistentVolumeClaim") => run(value, defaults::persistent_volume_claim, |o| {
            super::persistent_volume_claim(o, found);
        }),
        ("", "PersistentVolume") => {
            run(value, defaults::persistent_volume, |o| super::persistent_volume(o, found))
        }
        ("storage.k8s.io", "StorageClass") => {
            run(value, defaults::storage_class, |o| super::storage_class(o, found))
        }
        ("apps", "Deployment") => {
            run(value, defaults::deployment, |o| super::deployment(o, profile, found))
        }
        ("apps", "ReplicaSet") => {
            run(value, defaults::replica_set, |o| super::replica_set(o, profile, found))
        }
        ("apps", "StatefulSet") => run(
            value,
            |o| defaults::stateful_set(o, profile),
            |o| super::stateful_set(o, profile, found),
        ),
        ("apps", "DaemonSet") => run(
            value,
            |o| defaults::daemon_set(o, profile),
            |o| super::daemon_set(o, profile, found),
        ),
        ("batch", "Job") => {
            run(value, |o| defaults::job(o, profile), |o| super::job(o, profile, found))
        }
        ("batch", "CronJob") => {
            run(value, defaults::cron_job, |o| super::cron_job(o, profile, found))
        }
        ("autoscaling", "HorizontalPodAutoscaler") if version == "v1" => {
            run(value, |_| {}, |o| super::autoscaler_v1(o, profile, found))
        }
        ("autoscaling", "HorizontalPodAutoscaler") => {
            run(value, defaults::autoscaler, |o| super::autoscaler(o, profile, found))
        }
        ("policy", "PodDisruptionBudget") => {
            run(value, |_| {}, |o| super::disruption_budget(o, found))
        }
        ("networking.k8s.io", "Ingress") => {
            run(value, |_| {}, |o| super::ingress(o, profile, found))
        }
        ("networking.k8s.io", "IngressClass") => {
            run(value, |_| {}, |o| super::ingress_class(o, found))
        }
        _ => {
            let namespaced = crate::k8s::served::built_in()
                .any(|each| each.group == group && each.kind == kind && each.namespaced);
            let metadata = value.get("metadata").cloned().unwrap_or_default();
            serde_json::from_value(metadata).map_err(|error| format!("metadata: {error}")).map(
                |parsed| {
                    super::metadata(&parsed, NameRule::of(group, kind, profile), namespaced, found);
                },
            )
        }
    }?;
    Ok(errors)
}

fn run<T: DeserializeOwned + Resource>(
    mut value: Value,
    default: impl FnOnce(&mut T),
    check: impl FnOnce(&T),
) -> Result<(), String> {
    // The type takes its own version only; an older one of the same shape comes here as well.
    if let Some(version) = value.get_mut("apiVersion") {
        *version = T::API_VERSION.into();
    }
    let mut object: T = serde_json::from_value(value).map_err(|error| error.to_string())?;
    default(&mut object);
    check(&object);
    Ok(())
}

fn meta<T>(object: &T, rule: NameRule, errors: &mut Errors)
where
    T: k8s_openapi::Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>,
{
    super::metadata(object.metadata(), rule, true, errors);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_older_version_of_the_same_shape_is_taken() {
        let budget = json!({
            "apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
        });
        let oldest = Profile::OLDEST;
        let errors = manifest("policy", "v1beta1", "PodDisruptionBudget", budget, oldest);
        assert!(errors.expect("it is decoded").into_vec().is_empty());
    }
}
