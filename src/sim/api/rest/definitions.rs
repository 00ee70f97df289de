//! Custom resources: a stored CustomResourceDefinition makes its resource appear
//! (`apiextensions-apiserver/pkg/apiserver/customresource_handler.go`).

use serde_json::{Map, Value, json};

use super::served;
use crate::sim::api::admission::definition;
use crate::sim::api::{Api, Kind, Obj, Part, Resource, Untyped};

/// The kind served at `group` and `plural`, if any.
pub(super) fn kind_of(api: &Api, group: &str, plural: &str) -> Option<Kind> {
    let kind = api.registry.by_path(group, plural)?;
    (!is_custom(api, kind) || find(api, group, plural).is_some()).then_some(kind)
}

/// Whether `version` of `resource` is served.
pub(super) fn is_served(api: &Api, resource: &Resource, version: &str) -> bool {
    versions(api, resource).iter().any(|served| served == version)
}

/// The versions of `resource` that are served, newest first.
pub(super) fn versions(api: &Api, resource: &Resource) -> Vec<String> {
    let kind = api.registry.by_path(&resource.group, &resource.plural);
    if !kind.is_some_and(|kind| is_custom(api, kind)) {
        return served::versions(api.profile, &resource.group, &resource.kind, &resource.version);
    }
    let definition = find(api, &resource.group, &resource.plural);
    let listed = definition.and_then(|definition| definition.get("spec")?.get("versions"));
    let listed = listed.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let served = listed.iter().filter(|v| v["served"].as_bool().unwrap_or(false));
    served.filter_map(|v| v["name"].as_str().map(str::to_owned)).collect()
}

/// Whether objects of `kind` are custom resources.
pub(super) fn is_custom(api: &Api, kind: Kind) -> bool {
    !api.registry.is_built_in(kind)
}

/// Serves what a definition that was just written describes, and reports it as established.
pub(super) fn on_write(api: &mut Api, object: &Obj) {
    let Obj::Other(definition) = object else { return };
    if !definition::is_definition(api, definition) {
        return;
    }
    definition::register(api, definition);
    let body = &definition.body;
    let names = body.get("spec").and_then(|spec| spec.get("names"));
    let accepted = body.get("status").and_then(|status| status.get("acceptedNames"));
    if names.is_none() || accepted == names {
        return;
    }
    let mut established = Untyped::clone(definition);
    established.body.insert("status".into(), status_json(api, body));
    // Only the status is written; the definition itself has passed validation.
    let _ = api.update_object(Obj::Other(established.into()), Part::Status, false);
}

fn status_json(api: &Api, definition: &Map<String, Value>) -> Value {
    let now = api.now.timestamp().to_string();
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": "True", "lastTransitionTime": now,
            "reason": reason, "message": message,
        })
    };
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    let stored = versions.iter().filter(|v| v["storage"].as_bool().unwrap_or(false));
    json!({
        "acceptedNames": spec["names"],
        "storedVersions": stored.map(|v| v["name"].clone()).collect::<Vec<_>>(),
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    })
}

/// The body of the stored definition of `plural` in `group`.
fn find<'a>(api: &'a Api, group: &str, plural: &str) -> Option<&'a Map<String, Value>> {
    let kind = api.registry.by_path("apiextensions.k8s.io", "customresourcedefinitions")?;
    let name = format!("{plural}.{group}");
    match api.object(kind, "", &name)? {
        Obj::Other(definition) => Some(&definition.body),
        _ => None,
    }
}
