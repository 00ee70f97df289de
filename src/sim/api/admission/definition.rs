//! Custom resources: a CustomResourceDefinition adds its resource to the registry
//! (`apiextensions-apiserver/pkg/controller/{status,establish}`, without their lag).

use serde_json::{Value, json};

use crate::sim::api::{Api, Resource, Untyped};

/// Whether `object` is a CustomResourceDefinition.
pub(in crate::sim::api) fn is_definition(api: &Api, object: &Untyped) -> bool {
    let resource = api.registry.resource(object.kind);
    resource.group == "apiextensions.k8s.io" && resource.kind == "CustomResourceDefinition"
}

/// Serves what the definition describes; one without names or versions serves nothing.
pub(in crate::sim::api) fn register(api: &mut Api, definition: &Untyped) {
    if let Some(spec) = definition.body.get("spec")
        && let Some(resource) = resource(spec)
    {
        api.registry.add(resource);
    }
}

fn resource(spec: &Value) -> Option<Resource> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let names = spec.get("names")?;
    let versions = spec.get("versions")?.as_array()?;
    let stored = |version: &&Value| version.get("storage") == Some(&json!(true));
    let version = versions.iter().find(stored).or_else(|| versions.first())?;
    let subresource = |name: &str| {
        version.get("subresources").and_then(|all| all.get(name)).is_some_and(|s| !s.is_null())
    };
    let short_names = names.get("shortNames").and_then(Value::as_array);
    Some(Resource {
        group: spec.get("group").and_then(text)?,
        version: version.get("name").and_then(text)?,
        kind: names.get("kind").and_then(text)?,
        plural: names.get("plural").and_then(text)?,
        namespaced: spec.get("scope").and_then(Value::as_str) != Some("Cluster"),
        short_names: short_names.into_iter().flatten().filter_map(text).collect(),
        has_status: subresource("status"),
        has_scale: subresource("scale"),
    })
}
