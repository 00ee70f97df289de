//! managedFields: who set which field last (`endpoints/handlers/fieldmanager`; semantics 1.6).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};
use serde_json::Value;

use super::answer::api_version;
use super::call::Call;
use super::definitions;
use super::fields::{Fields, difference};
use crate::sim::api::status::Cause;
use crate::sim::api::{Api, Obj, Part, Status};

/// Update managers kept apart; the oldest beyond merge (`fieldmanager/capmanagers.go`).
const UPDATE_MANAGERS_MAX: usize = 10;
/// The manager that oldest updates merge into (`fieldmanager/capmanagers.go`).
const ANCIENT: &str = "ancient-changes";

/// What one manager owns through one kind of write.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Owner {
    pub(super) manager: String,
    pub(super) is_apply: bool,
    pub(super) api_version: String,
    pub(super) subresource: Option<String>,
    pub(super) time: Option<Time>,
    pub(super) fields: Fields,
}

/// The owners an object records.
pub(super) fn owners(object: &Obj) -> Vec<Owner> {
    let entries = object.meta().managed_fields.iter().flatten();
    entries
        .map(|entry| Owner {
            manager: entry.manager.clone().unwrap_or_default(),
            is_apply: entry.operation.as_deref() == Some("Apply"),
            api_version: entry.api_version.clone().unwrap_or_default(),
            subresource: entry.subresource.clone().filter(|s| !s.is_empty()),
            time: entry.time.clone(),
            fields: entry.fields_v1.as_ref().map(|f| Fields::from_json(&f.0)).unwrap_or_default(),
        })
        .collect()
}

/// Writes `owners` into `object`, without those that own nothing.
pub(super) fn set_owners(object: &mut Obj, mut owners: Vec<Owner>) {
    owners.retain(|owner| !owner.fields.is_empty());
    merge_ancient(&mut owners);
    let entries: Vec<ManagedFieldsEntry> = owners
        .into_iter()
        .map(|owner| ManagedFieldsEntry {
            api_version: Some(owner.api_version),
            fields_type: Some("FieldsV1".into()),
            fields_v1: Some(FieldsV1(owner.fields.to_json())),
            manager: Some(owner.manager),
            operation: Some(if owner.is_apply { "Apply" } else { "Update" }.into()),
            subresource: owner.subresource,
            time: owner.time,
        })
        .collect();
    object.meta_mut().managed_fields = (!entries.is_empty()).then_some(entries);
}

fn merge_ancient(owners: &mut Vec<Owner>) {
    while owners.iter().filter(|owner| !owner.is_apply).count() > UPDATE_MANAGERS_MAX {
        let oldest = owners
            .iter()
            .enumerate()
            .filter(|(_, owner)| !owner.is_apply && owner.manager != ANCIENT)
            .min_by_key(|(_, owner)| owner.time.as_ref().map(|time| time.0));
        let Some((place, _)) = oldest else { return };
        let mut old = owners.remove(place);
        match owners.iter_mut().find(|owner| owner.manager == ANCIENT) {
            Some(ancient) => ancient.fields.add(&old.fields),
            None => {
                old.manager = ANCIENT.into();
                owners.push(old);
            }
        }
    }
}

/// Everything a POST sent belongs to its sender.
pub(super) fn track_create(api: &Api, call: &Call<'_>, object: &mut Obj) {
    let is_custom = definitions::is_custom(api, call.kind);
    let mut owner = sender(api, call, false);
    owner.fields = Fields::of(&call.render(api, object), is_custom);
    keep_part(&mut owner.fields, Part::Main, call.resource.has_status);
    set_owners(object, vec![owner]);
}

/// What a PUT or PATCH changed belongs to its sender from now on.
pub(super) fn track_update(api: &Api, call: &Call<'_>, stored: &Obj, object: &mut Obj, part: Part) {
    if is_reset(object) {
        object.meta_mut().managed_fields = None;
        return;
    }
    let is_custom = definitions::is_custom(api, call.kind);
    let mut diff = difference(&call.render(api, stored), &call.render(api, object), is_custom);
    keep_part(&mut diff.changed, part, call.resource.has_status);
    keep_part(&mut diff.removed, part, call.resource.has_status);
    let mut owners = owners(stored);
    if diff.is_empty() {
        object.meta_mut().managed_fields.clone_from(&stored.meta().managed_fields);
        return;
    }
    let mut own = sender(api, call, false);
    if let Some(place) = owners.iter().position(|owner| is_same(owner, &own)) {
        own.fields = owners.remove(place).fields;
    }
    for owner in &mut owners {
        owner.fields.remove(&diff.changed);
        owner.fields.remove(&diff.removed);
    }
    own.fields.remove(&diff.removed);
    own.fields.add(&diff.changed);
    owners.push(own);
    set_owners(object, owners);
}

/// An explicit empty list, or one empty entry, stops the tracking.
fn is_reset(object: &Obj) -> bool {
    match object.meta().managed_fields.as_deref() {
        Some([]) => true,
        Some([one]) => *one == ManagedFieldsEntry::default(),
        _ => false,
    }
}

/// The sender of this request, owning nothing yet.
pub(super) fn sender(api: &Api, call: &Call<'_>, is_apply: bool) -> Owner {
    // Writes to a subresource are entries of their own from 1.22 on.
    let subresource = call.subresource.clone().filter(|_| api.profile.at_least(22));
    Owner {
        manager: call.manager.clone(),
        is_apply,
        api_version: api_version(&call.resource.group, &call.version),
        subresource,
        time: Some(Time(api.now.timestamp())),
        fields: Fields::default(),
    }
}

/// Whether both stand for the same entry.
pub(super) fn is_same(a: &Owner, b: &Owner) -> bool {
    a.manager == b.manager
        && a.is_apply == b.is_apply
        && a.subresource == b.subresource
        && (a.is_apply || a.api_version == b.api_version)
}

/// Drops the fields that a write to `part` does not store.
pub(super) fn keep_part(fields: &mut Fields, part: Part, has_status: bool) {
    match part {
        Part::Main if has_status => fields.keep_top(|top| top != "status"),
        Part::Main | Part::Finalize => {}
        Part::Status => fields.keep_top(|top| top == "status"),
    }
}

/// The 409 of an apply that would change others' fields.
pub(super) fn conflict(conflicts: &[(String, String)]) -> Status {
    let message = match conflicts {
        [(owner, path)] => format!("Apply failed with 1 conflict: conflict with {owner}: {path}"),
        many => {
            let mut managers: Vec<&String> = many.iter().map(|(owner, _)| owner).collect();
            managers.sort();
            managers.dedup();
            let mut lines = Vec::new();
            for manager in managers {
                lines.push(format!("conflicts with {manager}:"));
                let of_manager = many.iter().filter(|(owner, _)| owner == manager);
                lines.extend(of_manager.map(|(_, path)| format!("- {path}")));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let causes = conflicts.iter().map(|(owner, path)| Cause {
        reason: "FieldManagerConflict",
        field: path.clone(),
        message: format!("conflict with {owner}"),
    });
    Status { causes: causes.collect(), ..Status::new(409, "Conflict", message) }
}

/// An owner as conflict messages name it (`fieldmanager/conflict.go:printManager`).
pub(super) fn printed(owner: &Owner) -> String {
    let mut text = format!("{:?}", owner.manager);
    if let Some(subresource) = &owner.subresource {
        text.push_str(&format!(" with subresource {subresource:?}"));
    }
    if !owner.is_apply {
        text.push_str(&format!(" using {}", owner.api_version));
        if let Some(time) = &owner.time {
            text.push_str(&format!(" at {}", time.0));
        }
    }
    text
}

/// 422 for the options of a PATCH.
pub(super) fn invalid_patch_options(field: &str, reason: &'static str, message: &str) -> Status {
    let cause = Cause { reason, field: field.to_owned(), message: message.to_owned() };
    Status::invalid("PatchOptions.meta.k8s.io", "", vec![cause])
}

/// Whether a body carries managedFields, which an apply may not.
pub(super) fn carries_managed_fields(body: &Value) -> bool {
    let entries = body.get("metadata").and_then(|meta| meta.get("managedFields"));
    entries.and_then(Value::as_array).is_some_and(|entries| !entries.is_empty())
}
