//! One request for a resource, resolved: kind, version, key, options, decoded bodies.

use bytes::Bytes;
use serde_json::Value;

use super::path::{ObjectPath, Query};
use super::selector::Selection;
use super::{answer, convert, definitions, strict};
use crate::k8s::schema::make_plain;
use crate::sim::api::status::Cause;
use crate::sim::api::{Api, Kind, Obj, Resource, Status};

/// Largest body the server reads (`apiserver/pkg/server/config.go:MaxRequestBodyBytes`).
const BODY_MAX: usize = 3 << 20;
/// Longest name of a field manager (`apimachinery/pkg/apis/meta/v1/validation`).
const MANAGER_MAX: usize = 128;

/// A resolved request.
#[derive(Debug)]
pub(super) struct Call<'r> {
    pub(super) kind: Kind,
    pub(super) resource: Resource,
    /// The version asked for.
    pub(super) version: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
    pub(super) query: Query,
    pub(super) content_type: String,
    pub(super) body: &'r Bytes,
    /// Who writes, for managedFields.
    pub(super) manager: String,
    /// Nothing is stored.
    pub(super) dry_run: bool,
}

/// The resource `path` asks for; `None` when this server does not serve it.
pub(super) fn resolve<'r>(
    api: &Api,
    path: ObjectPath,
    request: &'r http::Request<Bytes>,
) -> Option<Result<Call<'r>, Status>> {
    let kind = definitions::kind_of(api, &path.group, &path.plural)?;
    let resource = api.registry.resource(kind).clone();
    if !definitions::is_served(api, &resource, &path.version) {
        return None;
    }
    if !resource.namespaced && path.namespace.is_some() {
        return None;
    }
    let query = Query::parse(request.uri().query().unwrap_or(""));
    let header = |name: http::HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    };
    let content_type = header(http::header::CONTENT_TYPE);
    let content_type = content_type.split(';').next().unwrap_or("").trim().to_owned();
    let agent = header(http::header::USER_AGENT).split('/').next().unwrap_or("");
    let manager = query.get("fieldManager").unwrap_or(agent);
    let manager = if manager.is_empty() { "unknown" } else { manager };
    let manager: String = manager.chars().take(MANAGER_MAX).collect();
    let dry_run = match query.get("dryRun") {
        None => false,
        Some("All") => true,
        Some(other) => return Some(Err(bad_dry_run(other))),
    };
    if request.body().len() > BODY_MAX {
        let message = format!("Request entity too large: limit is {BODY_MAX}");
        return Some(Err(Status::new(413, "RequestEntityTooLarge", message)));
    }
    Some(Ok(Call {
        kind,
        resource,
        version: path.version,
        namespace: path.namespace,
        name: path.name,
        subresource: path.subresource,
        query,
        content_type,
        body: request.body(),
        manager,
        dry_run,
    }))
}

fn bad_dry_run(value: &str) -> Status {
    let cause = Cause {
        reason: "FieldValueNotSupported",
        field: "dryRun".into(),
        message: format!("Unsupported value: [\"{value}\"]: supported values: \"All\""),
    };
    Status::invalid("CreateOptions.meta.k8s.io", "", vec![cause])
}

impl Call<'_> {
    /// The namespace of the request; empty for cluster-scoped kinds.
    pub(super) fn space(&self) -> &str {
        self.namespace.as_deref().unwrap_or("")
    }

    /// The name in the path; empty when there is none.
    pub(super) fn object_name(&self) -> &str {
        self.name.as_deref().unwrap_or("")
    }

    /// The object the path names.
    pub(super) fn stored(&self, api: &Api) -> Result<Obj, Status> {
        let stored = api.object(self.kind, self.space(), self.object_name()).cloned();
        stored.ok_or_else(|| Status::not_found(&api.resource_name(self.kind), self.object_name()))
    }

    /// `object` in the version asked for.
    pub(super) fn render(&self, api: &Api, object: &Obj) -> Value {
        answer::object_json(api, object, &self.version)
    }

    /// The selectors of the query.
    pub(super) fn selection(&self) -> Result<Selection, Status> {
        let labels = self.query.get("labelSelector").unwrap_or("");
        let fields = self.query.get("fieldSelector").unwrap_or("");
        Selection::parse(&self.resource.kind, labels, fields)
    }

    /// What failures of this request are about.
    pub(super) fn subject(&self) -> answer::Subject {
        answer::Subject::new(&self.resource, self.name.as_deref())
    }

    /// The body as JSON; YAML is read too.
    pub(super) fn body_value(&self) -> Result<Value, Status> {
        if self.content_type.ends_with("yaml") {
            return serde_yaml::from_slice(self.body)
                .map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")));
        }
        serde_json::from_slice(self.body).map_err(|e| {
            Status::bad_request(format!("the object provided is unrecognized or malformed: {e}"))
        })
    }

    /// The object in `value`, which is written in the version asked for. The second part lists the
    /// fields that the kind does not have, when `fieldValidation` asks for them.
    pub(super) fn decode(&self, api: &Api, mut value: Value) -> Result<(Obj, Vec<String>), Status> {
        self.check_type(&value)?;
        let Some(map) = value.as_object_mut() else {
            return Err(self.unreadable("expected a JSON object"));
        };
        map.remove("apiVersion");
        map.remove("kind");
        if map.get("metadata").is_none_or(Value::is_null) {
            map.insert("metadata".into(), Value::Object(serde_json::Map::new()));
        }
        make_plain(&self.resource.group, &self.version, &self.resource.kind, &mut value);
        let given = self.validates_fields(api).then(|| value.clone());
        if self.version != self.resource.version {
            convert::from_served(&self.resource, &self.version, &mut value);
        }
        let object =
            Obj::from_json(self.kind, value).map_err(|e| self.unreadable(&e.to_string()))?;
        let unknown = match given {
            Some(given) if self.kind.0 < Kind::TYPED => {
                let mut known = object.to_json();
                if self.version != self.resource.version {
                    convert::to_served(&self.resource, &self.version, &mut known);
                }
                strict::unknown_fields(&given, &known)
            }
            _ => Vec::new(),
        };
        if !unknown.is_empty() && self.query.get("fieldValidation") == Some("Strict") {
            return Err(strict::refusal(&unknown));
        }
        Ok((object, unknown))
    }

    /// Unknown fields are looked for from 1.25 on, unless the client says `Ignore` (semantics 1.7).
    fn validates_fields(&self, api: &Api) -> bool {
        api.profile.at_least(25) && self.query.get("fieldValidation") != Some("Ignore")
    }

    fn check_type(&self, value: &Value) -> Result<(), Status> {
        let (kind, version) = (&self.resource.kind, &self.version);
        let expected = answer::api_version(&self.resource.group, version);
        if let Some(given) = value.get("kind").and_then(Value::as_str)
            && given != kind
        {
            let message = format!(
                "{given} in version \"{version}\" cannot be handled as a {kind}: \
                 converting ({given}) to ({kind}): unknown conversion"
            );
            return Err(Status::bad_request(message));
        }
        if let Some(given) = value.get("apiVersion").and_then(Value::as_str)
            && given != expected
        {
            let message = format!(
                "the API version in the data ({given}) does not match the expected API version \
                 ({expected})"
            );
            return Err(Status::bad_request(message));
        }
        Ok(())
    }

    fn unreadable(&self, error: &str) -> Status {
        let (kind, version) = (&self.resource.kind, &self.version);
        Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {error}"
        ))
    }

    /// Puts the key of the path into `object`, or refuses one that differs.
    pub(super) fn settle_key(&self, object: &mut Obj) -> Result<(), Status> {
        let meta = object.meta_mut();
        let given = meta.namespace.as_deref().unwrap_or("");
        let space = self.namespace.as_deref().unwrap_or("");
        if !self.resource.namespaced {
            meta.namespace = None;
        } else if given.is_empty() {
            meta.namespace = Some(space.to_owned());
        } else if given != space {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the \
                 request",
            ));
        }
        let Some(name) = self.name.as_deref() else { return Ok(()) };
        match meta.name.as_deref().unwrap_or("") {
            "" => meta.name = Some(name.to_owned()),
            given if given != name => {
                return Err(Status::bad_request(format!(
                    "the name of the object ({given}) does not match the name on the URL ({name})"
                )));
            }
            _ => {}
        }
        Ok(())
    }
}
