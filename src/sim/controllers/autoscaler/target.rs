//! The scale subresource of the workload an autoscaler points at.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::sim::api::{Api, Part, Status};

/// A workload's size as `/scale` shows it.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    pub(super) replicas: u32,
    pub(super) selector: LabelSelector,
}

/// Reads `/scale` of the target. The controller asks the API server, not its cache.
pub(super) fn read(
    api: &Api,
    namespace: &str,
    target: &CrossVersionObjectReference,
) -> Result<Scale, String> {
    let name = target.name.as_str();
    let found = match (group(target), target.kind.as_str()) {
        ("apps", "Deployment") => api
            .get::<Deployment>(namespace, name)
            .map(|workload| (workload.spec.replicas, workload.spec.selector.clone())),
        ("apps", "ReplicaSet") => api
            .get::<ReplicaSet>(namespace, name)
            .map(|workload| (workload.spec.replicas, workload.spec.selector.clone())),
        ("apps", "StatefulSet") => api
            .get::<StatefulSet>(namespace, name)
            .map(|workload| (workload.spec.replicas, workload.spec.selector.clone())),
        (group, kind) => return Err(no_scale(api, group, kind, target)),
    };
    let Some((replicas, selector)) = found else {
        let plural = format!("{}s.apps", target.kind.to_lowercase());
        return Err(format!("{plural} \"{name}\" not found"));
    };
    Ok(Scale { replicas: u32::try_from(replicas.unwrap_or(1)).unwrap_or(0), selector })
}

/// Writes `spec.replicas` as a PUT of `/scale` does.
pub(super) fn write(
    api: &mut Api,
    namespace: &str,
    target: &CrossVersionObjectReference,
    replicas: u32,
) -> Result<(), Status> {
    let name = target.name.as_str();
    let size = i32::try_from(replicas).ok();
    match target.kind.as_str() {
        "Deployment" => {
            api.patch::<Deployment>(Part::Main, namespace, name, |workload| {
                workload.spec.replicas = size;
            })?;
        }
        "ReplicaSet" => {
            api.patch::<ReplicaSet>(Part::Main, namespace, name, |workload| {
                workload.spec.replicas = size;
            })?;
        }
        _ => {
            api.patch::<StatefulSet>(Part::Main, namespace, name, |workload| {
                workload.spec.replicas = size;
            })?;
        }
    }
    Ok(())
}

fn group(target: &CrossVersionObjectReference) -> &str {
    let version = target.api_version.as_deref().unwrap_or("");
    version.split_once('/').map_or("", |(group, _)| group)
}

fn no_scale(api: &Api, group: &str, kind: &str, target: &CrossVersionObjectReference) -> String {
    match api.registry.by_kind(group, kind) {
        None if group.is_empty() => format!("no matches for kind \"{kind}\" in group \"\""),
        None => format!("no matches for kind \"{kind}\" in group \"{group}\""),
        Some(known) => format!(
            "the server could not find the requested resource (get {}/scale {})",
            api.resource_name(known),
            target.name
        ),
    }
}
