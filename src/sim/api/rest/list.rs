//! LIST: selectors, chunks, and the meanings of resourceVersion
//! (`apiserver/pkg/storage/etcd3/store.go:GetList`, `cacher/cacher.go`; semantics 1.4).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{api_version, json as respond};
use super::call::Call;
use super::definitions;
use crate::sim::api::status::Cause;
use crate::sim::api::{Api, ChangeType, Obj, Status};

/// A place in a chunked list: the revision it is consistent with, and the last key given out.
struct Continue {
    revision: u64,
    after: (String, String),
}

/// LIST of a resource.
pub(super) fn list(api: &Api, call: &Call<'_>) -> Result<http::Response<Bytes>, Status> {
    let selection = call.selection()?;
    let token = call.query.get("continue").map(decode_token).transpose()?;
    let revision = snapshot_revision(api, call, token.as_ref())?;
    let space = call.namespace.as_deref();
    let mut objects: Vec<Obj> = match revision {
        None => api.stored().objects(call.kind, space).cloned().collect(),
        Some(revision) => objects_at(api, call, revision)?,
    };
    if let Some(token) = &token {
        objects.retain(|o| (o.namespace(), o.name()) > (&token.after.0, &token.after.1));
    }
    objects.retain(|object| selection.matches(object));
    let revision = revision.unwrap_or(api.revision());
    let limit = call.query.number("limit").filter(|limit| *limit > 0 && !reads_any(call));
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let more = match limit {
        Some(limit) if objects.len() > limit => {
            let n_left = objects.len() - limit;
            objects.truncate(limit);
            objects.last().map(|last| (token_after(revision, last), n_left))
        }
        _ => None,
    };
    Ok(respond(200, &render(api, call, &objects, revision, more)))
}

/// `resourceVersion=0`: whatever the cache has; `limit` is ignored.
fn reads_any(call: &Call<'_>) -> bool {
    call.query.get("resourceVersion") == Some("0") && !call.query.has("continue")
}

/// The past revision to read at; `None` for the present.
fn snapshot_revision(
    api: &Api,
    call: &Call<'_>,
    token: Option<&Continue>,
) -> Result<Option<u64>, Status> {
    let version = call.query.get("resourceVersion");
    let rule = call.query.get("resourceVersionMatch");
    if let Some(token) = token {
        if rule.is_some() {
            let detail = "Forbidden: resourceVersionMatch is forbidden for continue";
            return Err(invalid_options("resourceVersionMatch", "FieldValueForbidden", detail));
        }
        if version.is_some_and(|v| v != "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        return Ok(Some(token.revision));
    }
    match (version, rule) {
        (None, Some(_)) => {
            let detail =
                "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
            Err(invalid_options("resourceVersionMatch", "FieldValueForbidden", detail))
        }
        (Some("0"), Some("Exact")) => {
            let detail =
                "Forbidden: resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"";
            Err(invalid_options("resourceVersionMatch", "FieldValueForbidden", detail))
        }
        (Some(_), Some(rule)) if rule != "Exact" && rule != "NotOlderThan" => {
            let detail = format!(
                "Unsupported value: \"{rule}\": supported values: \"Exact\", \"NotOlderThan\", \"\""
            );
            Err(invalid_options("resourceVersionMatch", "FieldValueNotSupported", &detail))
        }
        (None | Some("0"), _) => Ok(None),
        (Some(version), rule) => {
            check_not_older(api, Some(version))?;
            // With a limit and no match rule, N has its old meaning: exactly N.
            let is_exact =
                rule == Some("Exact") || rule.is_none() && call.query.number("limit").is_some();
            Ok(if is_exact { version.parse().ok() } else { None })
        }
    }
}

/// Refuses a revision that is not a number or lies in the future.
pub(super) fn check_not_older(api: &Api, version: Option<&str>) -> Result<(), Status> {
    let Some(version) = version else { return Ok(()) };
    let current = api.revision();
    match version.parse::<u64>() {
        Err(_) => {
            let detail = format!(
                "Invalid value: \"{version}\": strconv.ParseUint: parsing \"{version}\": invalid syntax"
            );
            Err(invalid_options("resourceVersion", "FieldValueInvalid", &detail))
        }
        Ok(wanted) if wanted > current => {
            let message =
                format!("Timeout: Too large resource version: {wanted}, current: {current}");
            let cause = Cause {
                reason: "ResourceVersionTooLarge",
                field: String::new(),
                message: "Too large resource version".into(),
            };
            let status = Status::new(504, "Timeout", message);
            Err(Status { causes: vec![cause], retry_after_seconds: Some(1), ..status })
        }
        Ok(_) => Ok(()),
    }
}

/// The objects as they were at `revision`: the present with later changes undone.
fn objects_at(api: &Api, call: &Call<'_>, revision: u64) -> Result<Vec<Obj>, Status> {
    let Some(changes) = api.changes_since(revision) else {
        return Err(Status::new(
            410,
            "Expired",
            "The resourceVersion for the provided list is too old.",
        ));
    };
    let changes: Vec<_> = changes.filter(|c| c.object.kind() == call.kind).collect();
    let space = call.namespace.as_deref();
    let key = |object: &Obj| (object.namespace().to_owned(), object.name().to_owned());
    let present = api.stored().objects(call.kind, space);
    let mut objects: BTreeMap<(String, String), Obj> =
        present.map(|object| (key(object), object.clone())).collect();
    for change in changes.into_iter().rev() {
        if space.is_some_and(|space| space != change.object.namespace()) {
            continue;
        }
        match (change.change_type, &change.previous) {
            (ChangeType::Added, _) | (_, None) => objects.remove(&key(&change.object)),
            (_, Some(previous)) => objects.insert(key(previous), previous.clone()),
        };
    }
    Ok(objects.into_values().collect())
}

/// The list document.
pub(super) fn render(
    api: &Api,
    call: &Call<'_>,
    objects: &[Obj],
    revision: u64,
    more: Option<(String, usize)>,
) -> Value {
    let names_items = definitions::is_custom(api, call.kind);
    let items: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut item = call.render(api, object);
            // Items of built-in lists carry neither kind nor apiVersion.
            if let Some(map) = item.as_object_mut().filter(|_| !names_items) {
                map.remove("kind");
                map.remove("apiVersion");
            }
            item
        })
        .collect();
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if let Some((token, n_left)) = more {
        metadata["continue"] = token.into();
        if call.query.get("labelSelector").or(call.query.get("fieldSelector")).is_none() {
            metadata["remainingItemCount"] = n_left.into();
        }
    }
    json!({
        "kind": format!("{}List", call.resource.kind),
        "apiVersion": api_version(&call.resource.group, &call.version),
        "metadata": metadata,
        "items": items,
    })
}

fn token_after(revision: u64, last: &Obj) -> String {
    let token = json!({
        "v": "meta.k8s.io/v1", "rv": revision, "ns": last.namespace(), "start": last.name(),
    });
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn decode_token(text: &str) -> Result<Continue, Status> {
    let broken = || Status::bad_request("continue key is not valid: invalid token");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| broken())?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|_| broken())?;
    let owned = |key: &str| token[key].as_str().map(str::to_owned);
    let revision = token["rv"].as_u64().ok_or_else(broken)?;
    let after = owned("ns").zip(owned("start")).ok_or_else(broken)?;
    Ok(Continue { revision, after })
}

pub(super) fn invalid_options(field: &str, reason: &'static str, message: &str) -> Status {
    let cause = Cause { reason, field: field.to_owned(), message: message.to_owned() };
    Status::invalid("ListOptions.meta.k8s.io", "", vec![cause])
}
