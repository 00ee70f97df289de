//! What a cluster serves: the version of a kind to talk to, found by asking.

use kube::Client;
use kube::api::ApiResource;

use crate::k8s::served::built_in;

/// The newest version in which the cluster serves a kind of Kubernetes' own; `None` if it serves
/// none. EndpointSlice, HorizontalPodAutoscaler and PodDisruptionBudget have different ones from
/// 1.20 to 1.37.
///
/// # Errors
/// What the API server answered, other than that it has no such group.
pub async fn served(
    client: &Client,
    group: &str,
    kind: &str,
) -> Result<Option<ApiResource>, kube::Error> {
    for known in built_in().filter(|each| each.group == group && each.kind == kind) {
        let api_version = known.api_version();
        let listed = if group.is_empty() {
            client.list_core_api_resources(known.version).await
        } else {
            client.list_api_group_resources(&api_version).await
        };
        let list = match listed {
            Ok(list) => list,
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => return Err(error),
        };
        // Subresources have the kind of what they change, as in `deployments/scale`.
        let mut resources = list.resources.iter();
        if let Some(found) = resources.find(|each| each.kind == kind && !each.name.contains('/')) {
            return Ok(Some(ApiResource {
                group: group.to_owned(),
                version: known.version.to_owned(),
                api_version,
                kind: kind.to_owned(),
                plural: found.name.clone(),
            }));
        }
    }
    Ok(None)
}
