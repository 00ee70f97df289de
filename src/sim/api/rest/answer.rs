//! Responses: objects in the version asked for, and `Status` bodies with their details.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::{Value, json};

use super::convert;
use crate::sim::api::{Api, Obj, Resource, Status};

/// `apiVersion` of a group and version.
pub(super) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// `object` as JSON in `version` of its API.
pub(super) fn object_json(api: &Api, object: &Obj, version: &str) -> Value {
    let resource = api.registry.resource(object.kind());
    let mut value = object.to_json();
    if version != resource.version {
        convert::to_served(resource, version, &mut value);
    }
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), api_version(&resource.group, version).into());
        map.insert("kind".into(), resource.kind.clone().into());
    }
    value
}

/// A response with a JSON body.
pub(super) fn json(code: u16, body: &Value) -> http::Response<Bytes> {
    // A Value always serialises: its keys are strings.
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    with_type(code, "application/json", bytes.into())
}

/// A response with a text body.
pub(super) fn text(code: u16, body: impl Into<Bytes>) -> http::Response<Bytes> {
    with_type(code, "text/plain", body.into())
}

fn with_type(code: u16, content_type: &'static str, body: Bytes) -> http::Response<Bytes> {
    let mut response = http::Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What a failed request was about, for `details`.
#[derive(Clone, Debug, Default)]
pub(super) struct Subject {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) plural: String,
    pub(super) name: String,
}

impl Subject {
    /// A request for the object `name` of `resource`.
    pub(super) fn new(resource: &Resource, name: Option<&str>) -> Self {
        Subject {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            plural: resource.plural.clone(),
            name: name.unwrap_or_default().to_owned(),
        }
    }
}

/// The body of a failure.
pub(super) fn failure_json(status: &Status, subject: &Subject) -> Value {
    let mut body = status.to_json();
    let Some(details) = body.get_mut("details").and_then(Value::as_object_mut) else {
        return body;
    };
    let (resource, name) = named_in(status)
        .unwrap_or_else(|| (qualified(&subject.plural, &subject.group), subject.name.clone()));
    let (mut kind, mut group) = match resource.split_once('.') {
        Some((plural, group)) => (plural.to_owned(), group.to_owned()),
        None => (resource, String::new()),
    };
    if status.reason == "Invalid" {
        // errors.go:NewInvalid names the kind, all others the resource.
        (kind, group) = (subject.kind.clone(), subject.group.clone());
    }
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details.insert(key.into(), value.into());
        }
    }
    body
}

/// The resource and name a message starts with: `pods "x" not found`.
fn named_in(status: &Status) -> Option<(String, String)> {
    if !matches!(status.reason, "NotFound" | "AlreadyExists") {
        return None;
    }
    let message = status.message.rsplit_once(": ").map_or(status.message.as_str(), |(_, m)| m);
    let (resource, rest) = message.split_once(" \"")?;
    let (name, _) = rest.split_once('"')?;
    (!resource.contains(' ')).then(|| (resource.to_owned(), name.to_owned()))
}

/// The response of a failure.
pub(super) fn failure(status: &Status, subject: &Subject) -> http::Response<Bytes> {
    let mut response = json(status.code, &failure_json(status, subject));
    if let Some(seconds) = status.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The body of a success that returns no object (`metav1.Status`).
pub(super) fn success_json(subject: &Subject, uid: Option<&str>) -> Value {
    let mut details = json!({ "name": subject.name, "kind": subject.plural });
    if !subject.group.is_empty() {
        details["group"] = subject.group.clone().into();
    }
    if let Some(uid) = uid {
        details["uid"] = uid.into();
    }
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    })
}

/// `deployments.apps`; `pods` in the core group.
pub(super) fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}
