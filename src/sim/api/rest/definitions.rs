//! Custom resources: a stored CustomResourceDefinition makes its resource appear
//! (`apiextensions-apiserver/pkg/apiserver/customresource_handler.go`).

use serde_json::{Map, Value, json};

use super::served;
use crate::sim::api::{Api, Kind, Obj, Part, Resource};

const GROUP: &str = "apiextensions.k8s.io";
const KIND: &str = "CustomResourceDefinition";

/// The kind served at `group` and `plural`, if any.
pub(super) fn kind_of(api: &mut Api, group: &str, plural: &str) -> Option<Kind> {
    if let Some(kind) = api.registry.by_path(group, plural)
        && !is_custom(api, kind)
    {
        return Some(kind);
    }
    let resource = resource_of(find(api, group, plural)?)?;
    Some(api.registry.add(resource))
}

/// Whether `version` of `resource` is served.
pub(super) fn is_served(api: &Api, resource: &Resource, version: &str) -> bool {
    versions(api, resource).iter().any(|served| served == version)
}

/// The versions of `resource` that are served, newest first.
pub(super) fn versions(api: &Api, resource: &Resource) -> Vec<String> {
    match find(api, &resource.group, &resource.plural) {
        Some(definition) => {
            let listed = definition.get("spec").and_then(|s| s.get("versions"));
            let listed = listed.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let served = listed.iter().filter(|v| v["served"].as_bool().unwrap_or(false));
            served.filter_map(|v| v["name"].as_str().map(str::to_owned)).collect()
        }
        None => served::versions(api.profile, &resource.group, &resource.kind, &resource.version),
    }
}

/// Whether objects of `kind` are custom resources.
pub(super) fn is_custom(api: &Api, kind: Kind) -> bool {
    let group = &api.registry.resource(kind).group;
    // Built-in groups have no dot or end in k8s.io (api-conventions, "API groups").
    group.contains('.') && !group.ends_with(".k8s.io")
        || find(api, group, &api.registry.resource(kind).plural).is_some()
}

/// Registers the resource of a definition that was just written, and reports it as established.
pub(super) fn on_write(api: &mut Api, object: &Obj) {
    let Obj::Other(definition) = object else { return };
    if api.registry.by_kind(GROUP, KIND) != Some(definition.kind) {
        return;
    }
    let Some(resource) = resource_of(&definition.body) else { return };
    let names = definition.body.get("spec").and_then(|spec| spec.get("names")).cloned();
    let version = resource.version.clone();
    api.registry.add(resource);
    let is_established = definition
        .body
        .get("status")
        .and_then(|status| status.get("acceptedNames"))
        .is_some_and(|accepted| Some(accepted) == names.as_ref());
    if is_established {
        return;
    }
    let mut established = definition.as_ref().clone();
    established.body.insert("status".into(), status_json(api, names, &version));
    // Only the status is written; the definition itself has passed validation.
    let _ = api.update_object(Obj::Other(established.into()), Part::Status, false);
}

fn status_json(api: &Api, names: Option<Value>, version: &str) -> Value {
    let now = api.now.timestamp().to_string();
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "lastTransitionTime": now,
            "reason": reason, "message": message,
        })
    };
    json!({
        "acceptedNames": names,
        "storedVersions": [version],
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    })
}

/// The kind of CustomResourceDefinitions.
fn definitions_kind(api: &Api) -> Option<Kind> {
    api.registry.by_kind(GROUP, KIND)
}

/// Resources of all stored definitions.
pub(super) fn register_all(api: &mut Api) {
    let Some(kind) = definitions_kind(api) else { return };
    let resources: Vec<Resource> = api
        .stored()
        .objects(kind, None)
        .filter_map(|object| match object {
            Obj::Other(definition) => resource_of(&definition.body),
            _ => None,
        })
        .collect();
    for resource in resources {
        api.registry.add(resource);
    }
}

/// The body of the stored definition of `plural` in `group`.
fn find<'a>(api: &'a Api, group: &str, plural: &str) -> Option<&'a Map<String, Value>> {
    if group.is_empty() {
        return None;
    }
    let name = format!("{plural}.{group}");
    match api.object(definitions_kind(api)?, "", &name)? {
        Obj::Other(definition) => Some(&definition.body),
        _ => None,
    }
}

fn resource_of(definition: &Map<String, Value>) -> Option<Resource> {
    let spec = definition.get("spec")?;
    let names = spec.get("names")?;
    let versions = spec.get("versions")?.as_array()?;
    let stored = versions.iter().find(|v| v["storage"].as_bool().unwrap_or(false))?;
    let subresources = &stored["subresources"];
    let owned = |value: &Value| value.as_str().map(str::to_owned);
    let short = names.get("shortNames").and_then(Value::as_array);
    Some(Resource {
        group: owned(spec.get("group")?)?,
        version: owned(&stored["name"])?,
        kind: owned(names.get("kind")?)?,
        plural: owned(names.get("plural")?)?,
        namespaced: spec.get("scope").and_then(Value::as_str) == Some("Namespaced"),
        short_names: short.into_iter().flatten().filter_map(owned).collect(),
        has_status: subresources.get("status").is_some(),
        has_scale: subresources.get("scale").is_some(),
    })
}
