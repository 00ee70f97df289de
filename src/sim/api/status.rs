//! API errors: the `Status` bodies of the API server (`apimachinery/pkg/api/errors/errors.go`).

use serde_json::{Value, json};

use super::object::Obj;

/// One cause of an invalid object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, ...
    pub reason: &'static str,
    /// Dotted field path.
    pub field: String,
    /// The message without the field path.
    pub message: String,
}

/// A failed request: HTTP code, reason and message as the API server words them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// `NotFound`, `Conflict`, `Invalid`, ...
    pub reason: &'static str,
    /// The message clients print.
    pub message: String,
    /// What is wrong with which field.
    pub causes: Vec<Cause>,
    /// `details.retryAfterSeconds`.
    pub retry_after_seconds: Option<u32>,
}

impl Status {
    /// A status with no causes.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Status {
            code,
            reason,
            message: message.into(),
            causes: Vec::new(),
            retry_after_seconds: None,
        }
    }

    /// 404 for `resource` (`pods`, `deployments.apps`).
    pub fn not_found(resource: &str, name: &str) -> Self {
        Status::new(404, "NotFound", format!("{resource} \"{name}\" not found"))
    }

    /// 409 for a name that is taken.
    pub fn already_exists(resource: &str, name: &str) -> Self {
        Status::new(409, "AlreadyExists", format!("{resource} \"{name}\" already exists"))
    }

    /// 409 for a stale resourceVersion.
    pub fn conflict(resource: &str, name: &str) -> Self {
        Status::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {resource} \"{name}\": the object has been modified; \
                 please apply your changes to the latest version and try again"
            ),
        )
    }

    /// 409 for an object that is not the one with the uid the client names.
    pub fn other_uid(resource: &str, name: &str, wanted: &str, stored: &Obj) -> Self {
        let uid = stored.meta().uid.as_deref().unwrap_or("");
        let message = format!(
            "Operation cannot be fulfilled on {resource} \"{name}\": Precondition failed: UID in \
             precondition: {wanted}, UID in object meta: {uid}"
        );
        Status::new(409, "Conflict", message)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Status::new(400, "BadRequest", message)
    }

    /// 422 with its causes; `kind` is `Pod` or `Deployment.apps`.
    pub fn invalid(kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let texts: Vec<String> =
            causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{kind} \"{name}\" is invalid: {list}");
        Status { causes, ..Status::new(422, "Invalid", message) }
    }

    /// The body the API server sends.
    pub fn to_json(&self) -> Value {
        let mut details = serde_json::Map::new();
        if !self.causes.is_empty() {
            let causes: Vec<Value> = self
                .causes
                .iter()
                .map(|c| json!({"reason": c.reason, "field": c.field, "message": c.message}))
                .collect();
            details.insert("causes".into(), causes.into());
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".into(), seconds.into());
        }
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "details": details, "code": self.code,
        })
    }
}
