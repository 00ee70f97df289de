//! GET, POST, PUT and DELETE of objects (`apiserver/pkg/endpoints/handlers/{create,update,delete}.go`).

use bytes::Bytes;
use serde_json::Value;

use super::answer::{json, success_json};
use super::call::Call;
use super::{definitions, list, managed};
use crate::sim::api::status::Cause;
use crate::sim::api::{
    Api, DeleteOptions, Deletion, Kind, Obj, Part, Propagation, Status, defaults,
};

/// Kinds a PUT may create (`registry/**/strategy.go:AllowCreateOnUpdate`).
const CREATE_ON_UPDATE: &[&str] = &[
    "Endpoints",
    "Event",
    "LimitRange",
    "Service",
    "Lease",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "RuntimeClass",
];
/// Kinds whose PUT must carry a resourceVersion (`registry/**/strategy.go:AllowUnconditionalUpdate`).
const CONDITIONAL_UPDATE: &[&str] = &[
    "PodDisruptionBudget",
    "Lease",
    "CSIDriver",
    "CSINode",
    "VolumeAttachment",
    "RuntimeClass",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
];
/// Kinds whose deletion answers with the object (`registry/**/storage.go:ReturnDeletedObject`).
const RETURN_DELETED: &[Kind] = &[
    Kind::PERSISTENT_VOLUME,
    Kind::PERSISTENT_VOLUME_CLAIM,
    Kind::STORAGE_CLASS,
    Kind::NAMESPACE,
    Kind::SERVICE_ACCOUNT,
    Kind::CSI_DRIVER,
    Kind::CSI_NODE,
    Kind::VOLUME_ATTACHMENT,
];

type Reply = Result<http::Response<Bytes>, Status>;

/// GET of one object.
pub(super) fn get(api: &Api, call: &Call<'_>) -> Reply {
    list::check_not_older(api, call.query.get("resourceVersion"))?;
    Ok(json(200, &call.render(api, &call.stored(api)?)))
}

/// POST.
pub(super) fn create(api: &mut Api, call: &Call<'_>) -> Reply {
    let (mut object, unknown) = call.decode(api, call.body_value()?)?;
    call.settle_key(&mut object)?;
    if object.meta().resource_version.as_deref().is_some_and(|v| !v.is_empty()) {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Status::new(500, "InternalError", message));
    }
    let created = create_decoded(api, call, object)?;
    Ok(with_warnings(json(201, &call.render(api, &created)), &unknown))
}

fn create_decoded(api: &mut Api, call: &Call<'_>, mut object: Obj) -> Result<Obj, Status> {
    managed::track_create(api, call, &mut object);
    let created = api.create_object(object, call.dry_run)?;
    if !call.dry_run {
        definitions::on_write(api, &created);
    }
    Ok(created)
}

/// PUT of an object or its status.
pub(super) fn update(api: &mut Api, call: &Call<'_>, part: Part) -> Reply {
    let (mut object, unknown) = call.decode(api, call.body_value()?)?;
    call.settle_key(&mut object)?;
    let stored = match call.stored(api) {
        Ok(stored) => stored,
        Err(missing) => {
            let creates = CREATE_ON_UPDATE.contains(&call.resource.kind.as_str());
            if !creates || part == Part::Status {
                return Err(missing);
            }
            object.meta_mut().resource_version = None;
            let created = create_decoded(api, call, object)?;
            return Ok(json(201, &call.render(api, &created)));
        }
    };
    check_conditional(api, call, &object)?;
    let updated = write(api, call, &stored, object, part)?;
    Ok(with_warnings(json(200, &call.render(api, &updated)), &unknown))
}

fn check_conditional(api: &Api, call: &Call<'_>, object: &Obj) -> Result<(), Status> {
    let has_version = object.meta().resource_version.as_deref().is_some_and(|v| !v.is_empty());
    let must = CONDITIONAL_UPDATE.contains(&call.resource.kind.as_str())
        || definitions::is_custom(api, call.kind);
    if has_version || !must {
        return Ok(());
    }
    let cause = Cause {
        reason: "FieldValueInvalid",
        field: "metadata.resourceVersion".into(),
        message: "Invalid value: 0x0: must be specified for an update".into(),
    };
    Err(Status::invalid(&api.kind_name(call.kind), call.object_name(), vec![cause]))
}

/// Writes `object` over `stored` and books who owns which field now.
pub(super) fn write(
    api: &mut Api,
    call: &Call<'_>,
    stored: &Obj,
    mut object: Obj,
    part: Part,
) -> Result<Obj, Status> {
    keep_identity(stored, &mut object);
    defaults::apply(&mut object, &api.profile);
    managed::track_update(api, call, stored, &mut object, part);
    let updated = api.update_object(object, part, call.dry_run)?;
    if !call.dry_run && part == Part::Main {
        definitions::on_write(api, &updated);
    }
    Ok(updated)
}

/// Fields that a client cannot change (`registry/rest/update.go:BeforeUpdate`); a uid it names is
/// compared by the store.
fn keep_identity(stored: &Obj, object: &mut Obj) {
    let old = stored.meta();
    let meta = object.meta_mut();
    if meta.uid.as_deref().unwrap_or("").is_empty() {
        meta.uid.clone_from(&old.uid);
    }
    meta.creation_timestamp.clone_from(&old.creation_timestamp);
    meta.deletion_timestamp.clone_from(&old.deletion_timestamp);
    meta.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
}

/// DELETE of one object.
pub(super) fn delete(api: &mut Api, call: &Call<'_>) -> Reply {
    let (options, dry_run) = delete_options(api, call)?;
    let stored = call.stored(api)?;
    check_revision(api, call, &stored)?;
    if call.dry_run || dry_run {
        return Ok(json(200, &call.render(api, &stored)));
    }
    remove_instances(api, call);
    let deletion = api.delete(call.kind, call.space(), call.object_name(), &options)?;
    Ok(match deletion {
        Deletion::Marked(object) => json(200, &call.render(api, &object)),
        Deletion::Removed(object)
            if RETURN_DELETED.contains(&call.kind) || call.kind == Kind::POD =>
        {
            json(200, &call.render(api, &object))
        }
        Deletion::Removed(object) => {
            json(200, &success_json(&call.subject(), object.meta().uid.as_deref()))
        }
    })
}

/// Custom resources go with their definition
/// (`apiextensions-apiserver/pkg/controller/finalizer/crd_finalizer.go`).
fn remove_instances(api: &mut Api, call: &Call<'_>) {
    if call.resource.kind != "CustomResourceDefinition" {
        return;
    }
    let Some((plural, group)) = call.object_name().split_once('.') else { return };
    let Some(kind) = definitions::kind_of(api, group, plural) else { return };
    let keys: Vec<(String, String)> = api
        .stored()
        .objects(kind, None)
        .map(|object| (object.namespace().to_owned(), object.name().to_owned()))
        .collect();
    for (namespace, name) in keys {
        // An instance that is held by a finalizer stays behind, as the real finalizer reports.
        let _ = api.delete(kind, &namespace, &name, &DeleteOptions::default());
    }
}

/// DELETE of a collection: lists, then deletes one by one.
pub(super) fn delete_collection(api: &mut Api, call: &Call<'_>) -> Reply {
    let (options, dry_run) = delete_options(api, call)?;
    let selection = call.selection()?;
    let selected: Vec<Obj> = api
        .stored()
        .objects(call.kind, call.namespace.as_deref())
        .filter(|object| selection.matches(object))
        .cloned()
        .collect();
    if !call.dry_run && !dry_run {
        for object in &selected {
            match api.delete(call.kind, object.namespace(), object.name(), &options) {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
    }
    Ok(json(200, &list::render(api, call, &selected, api.revision(), None)))
}

/// DeleteOptions from the body and the query.
fn delete_options(api: &Api, call: &Call<'_>) -> Result<(DeleteOptions, bool), Status> {
    let body = if call.body.is_empty() { Value::Null } else { call.body_value()? };
    let query_grace = call.query.get("gracePeriodSeconds").and_then(|s| s.parse().ok());
    let policy = body.get("propagationPolicy").and_then(Value::as_str);
    let policy = policy.or(call.query.get("propagationPolicy"));
    let orphan = body.get("orphanDependents").and_then(Value::as_bool);
    let orphan =
        orphan.or(call.query.has("orphanDependents").then(|| call.query.flag("orphanDependents")));
    let propagation = match (policy, orphan) {
        (Some(_), Some(_)) => {
            return Err(invalid_options(
                "propagationPolicy",
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        (Some("Background"), None) | (None, Some(false)) => Some(Propagation::Background),
        (Some("Foreground"), None) => Some(Propagation::Foreground),
        (Some("Orphan"), None) | (None, Some(true)) => Some(Propagation::Orphan),
        (Some(other), None) => {
            let known = "\"Background\", \"Foreground\", \"Orphan\"";
            let detail = format!("Unsupported value: \"{other}\": supported values: {known}");
            return Err(invalid_options("propagationPolicy", &detail));
        }
        (None, None) => default_propagation(api, call),
    };
    let options = DeleteOptions {
        grace_period_seconds: body
            .get("gracePeriodSeconds")
            .and_then(Value::as_i64)
            .or(query_grace),
        uid: precondition(&body, "uid"),
        propagation,
    };
    let dry_run = body.get("dryRun").and_then(Value::as_array).is_some_and(|d| !d.is_empty());
    Ok((options, dry_run))
}

/// core/v1 ReplicationController and batch/v1 Job leave their dependents alone by default
/// (`registry/**/strategy.go:DefaultGarbageCollectionPolicy`).
fn default_propagation(_api: &Api, call: &Call<'_>) -> Option<Propagation> {
    let orphans = matches!(call.resource.kind.as_str(), "ReplicationController" | "Job")
        || call.resource.kind == "CronJob" && call.version == "v1beta1";
    orphans.then_some(Propagation::Orphan)
}

fn precondition(body: &Value, key: &str) -> Option<String> {
    body.get("preconditions")?.get(key)?.as_str().map(str::to_owned)
}

fn check_revision(api: &Api, call: &Call<'_>, stored: &Obj) -> Result<(), Status> {
    if call.body.is_empty() {
        return Ok(());
    }
    let Some(wanted) = precondition(&call.body_value()?, "resourceVersion") else { return Ok(()) };
    let current = stored.meta().resource_version.as_deref().unwrap_or("");
    if wanted == current {
        return Ok(());
    }
    let resource = api.resource_name(call.kind);
    let name = call.object_name();
    let message = format!(
        "Operation cannot be fulfilled on {resource} \"{name}\": Precondition failed: \
         ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {current}"
    );
    Err(Status::new(409, "Conflict", message))
}

fn invalid_options(field: &str, message: &str) -> Status {
    let cause =
        Cause { reason: "FieldValueInvalid", field: field.to_owned(), message: message.to_owned() };
    Status::invalid("DeleteOptions.meta.k8s.io", "", vec![cause])
}

/// Adds a `Warning` header a field (`fieldValidation=Warn`, RFC 7234 5.5).
pub(super) fn with_warnings(
    mut response: http::Response<Bytes>,
    unknown: &[String],
) -> http::Response<Bytes> {
    for path in unknown {
        let text = format!("299 - \"unknown field \\\"{path}\\\"\"");
        if let Ok(value) = http::HeaderValue::from_str(&text) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
    response
}

/// PUT of `/finalize`: only `spec.finalizers` is written, and the namespace goes when none is left
/// (`registry/core/namespace/storage/storage.go:FinalizeREST`).
pub(super) fn finalize(api: &mut Api, call: &Call<'_>) -> Reply {
    let (sent, _) = call.decode(api, call.body_value()?)?;
    let (Obj::Namespace(sent), mut object) = (sent, call.stored(api)?) else {
        return Err(Status::bad_request("expected a Namespace"));
    };
    if let Obj::Namespace(namespace) = &mut object {
        let finalizers = sent.spec.as_ref().and_then(|spec| spec.finalizers.clone());
        let namespace = std::sync::Arc::make_mut(namespace);
        namespace.spec.get_or_insert_default().finalizers = finalizers;
    }
    let updated = api.update_object(object, Part::Finalize, call.dry_run)?;
    Ok(json(200, &call.render(api, &updated)))
}
