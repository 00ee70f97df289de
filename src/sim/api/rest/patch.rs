//! PATCH: which patch type, applied to which document (`endpoints/handlers/patch.go`).

use bytes::Bytes;
use serde_json::Value;

use super::answer::json;
use super::call::Call;
use super::verbs::{with_warnings, write};
use super::{definitions, patch_apply, patch_strategic};
use crate::sim::api::{Api, Part, Status};

/// Most operations of a JSON patch (`endpoints/handlers/patch.go:maxJSONPatchOperations`).
const JSON_PATCH_MAX: usize = 10_000;

/// PATCH of an object or its status.
pub(super) fn patch(
    api: &mut Api,
    call: &Call<'_>,
    part: Part,
) -> Result<http::Response<Bytes>, Status> {
    if call.content_type == "application/apply-patch+yaml" {
        return patch_apply::apply(api, call, part);
    }
    if call.query.flag("force") {
        return Err(super::managed::invalid_patch_options(
            "force",
            "FieldValueForbidden",
            "Forbidden: may not be specified for non-apply patch",
        ));
    }
    let patched = patched_value(api, call)?;
    let stored = call.stored(api)?;
    let (mut object, unknown) = call.decode(api, patched)?;
    call.settle_key(&mut object)?;
    let updated = write(api, call, &stored, object, part)?;
    Ok(with_warnings(json(200, &call.render(api, &updated)), &unknown))
}

fn patched_value(api: &Api, call: &Call<'_>) -> Result<Value, Status> {
    let stored = call.stored(api)?;
    patched(api, call, call.render(api, &stored))
}

/// `document` with the patch of the request applied; also for documents that are not stored (Scale).
pub(super) fn patched(api: &Api, call: &Call<'_>, mut document: Value) -> Result<Value, Status> {
    match call.content_type.as_str() {
        "application/json-patch+json" => {
            apply_json_patch(api, call, &mut document)?;
        }
        "application/merge-patch+json" => {
            json_patch::merge(&mut document, &patch_object(call)?);
        }
        "application/strategic-merge-patch+json" if !definitions::is_custom(api, call.kind) => {
            patch_strategic::merge(&mut document, &patch_object(call)?)?;
        }
        other => return Err(unsupported(api, call, other)),
    }
    Ok(document)
}

fn patch_object(call: &Call<'_>) -> Result<Value, Status> {
    let patch = call.body_value()?;
    if patch.is_object() {
        return Ok(patch);
    }
    Err(Status::bad_request("error decoding patch: the patch must be a JSON object"))
}

fn apply_json_patch(api: &Api, call: &Call<'_>, document: &mut Value) -> Result<(), Status> {
    let patch: json_patch::Patch = serde_json::from_slice(call.body)
        .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
    if patch.0.len() > JSON_PATCH_MAX {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {JSON_PATCH_MAX}, got {}",
            patch.0.len()
        );
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    json_patch::patch(document, &patch).map_err(|e| {
        let name = call.object_name();
        let kind = api.kind_name(call.kind);
        let message = format!("{kind} \"{name}\" is invalid: the server rejected our request due to an error in our request: {e}");
        Status::new(422, "Invalid", message)
    })
}

fn unsupported(api: &Api, call: &Call<'_>, given: &str) -> Status {
    let mut known = vec!["application/json-patch+json", "application/merge-patch+json"];
    if !definitions::is_custom(api, call.kind) {
        known.push("application/strategic-merge-patch+json");
    }
    known.push("application/apply-patch+yaml");
    let message = format!(
        "the body of the request was in an unknown format ({given}) - accepted media types include: {}",
        known.join(", ")
    );
    Status::new(415, "UnsupportedMediaType", message)
}
