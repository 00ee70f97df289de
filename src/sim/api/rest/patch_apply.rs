//! Server-side apply (`endpoints/handlers/patch.go:applyPatcher`, structured-merge-diff `merge/update.go`).

use bytes::Bytes;
use serde_json::{Map, Value};

use super::answer::json;
use super::call::Call;
use super::fields::{Fields, difference, item_key};
use super::lists::{ListType, is_atomic_map, list_type, same_item};
use super::managed::{self, Owner};
use super::verbs::with_warnings;
use super::{definitions, scaled};
use crate::sim::api::{Api, Obj, Part, Status};

/// The owner of what an object had before anyone's fields were tracked (`fieldmanager/skipnonapplied.go`).
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Applies the configuration in the body.
pub(super) fn apply(
    api: &mut Api,
    call: &Call<'_>,
    part: Part,
) -> Result<http::Response<Bytes>, Status> {
    if call.query.get("fieldManager").is_none() {
        return Err(managed::invalid_patch_options(
            "fieldManager",
            "FieldValueRequired",
            "Required value: is required for apply patch",
        ));
    }
    let config = read_config(call)?;
    let (mut sent, unknown) = call.decode(api, config.clone())?;
    call.settle_key(&mut sent)?;
    let is_custom = definitions::is_custom(api, call.kind);
    let mut own = managed::sender(api, call, true);
    own.fields = Fields::of(&config, is_custom);
    managed::keep_part(&mut own.fields, part, call.resource.has_status);
    let (code, object) = match call.stored(api) {
        Err(missing) if part == Part::Status => return Err(missing),
        Err(_) => {
            managed::set_owners(&mut sent, vec![own]);
            let created = api.create_object(sent, call.dry_run)?;
            if !call.dry_run {
                definitions::on_write(api, &created);
            }
            (201, created)
        }
        Ok(stored) => (200, update(api, call, &stored, &config, own, part)?),
    };
    Ok(with_warnings(json(code, &call.render(api, &object)), &unknown))
}

fn read_config(call: &Call<'_>) -> Result<Value, Status> {
    let config: Value = serde_yaml::from_slice(call.body)
        .map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?;
    let Some(map) = config.as_object() else {
        return Err(Status::bad_request(
            "error decoding YAML: the configuration must be an object",
        ));
    };
    if managed::carries_managed_fields(&config) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    for field in ["apiVersion", "kind"] {
        if map.get(field).and_then(Value::as_str).is_none() {
            return Err(Status::bad_request(format!(
                "invalid object type: Object '{field}' is missing in the apply configuration"
            )));
        }
    }
    Ok(config)
}

fn update(
    api: &mut Api,
    call: &Call<'_>,
    stored: &Obj,
    config: &Value,
    mut own: Owner,
    part: Part,
) -> Result<Obj, Status> {
    let is_custom = definitions::is_custom(api, call.kind);
    let live = call.render(api, stored);
    let mut merged = live.clone();
    merge(&mut Vec::new(), &mut merged, config, is_custom);
    let mut owners = recorded_owners(api, call, stored, &live, is_custom);
    let place = owners.iter().position(|owner| managed::is_same(owner, &own));
    let previous = place.map(|place| owners.remove(place));
    let changed = difference(&live, &merged, is_custom).changed;
    let conflicts = conflicts(&owners, &changed);
    if !conflicts.is_empty() && !call.query.flag("force") {
        return Err(managed::conflict(&conflicts));
    }
    for owner in &mut owners {
        owner.fields.remove(&changed);
    }
    if let Some(previous) = &previous {
        let mut dropped = previous.fields.clone();
        dropped.remove(&own.fields);
        for owner in &owners {
            dropped.remove(&owner.fields);
        }
        dropped.remove_from(&mut merged);
        if previous.fields == own.fields && merged == live {
            // Nothing to write: the entry keeps its time.
            own.time.clone_from(&previous.time);
        }
    }
    owners.push(own);
    let (mut object, _) = call.decode(api, merged)?;
    call.settle_key(&mut object)?;
    managed::set_owners(&mut object, owners);
    keep_order(stored, &mut object);
    let updated = api.update_object(object, part, call.dry_run)?;
    if !call.dry_run && part == Part::Main {
        definitions::on_write(api, &updated);
    }
    Ok(updated)
}

/// The entries of the stored object, and those of writers that do not come through REST.
fn recorded_owners(
    api: &Api,
    call: &Call<'_>,
    stored: &Obj,
    live: &Value,
    is_custom: bool,
) -> Vec<Owner> {
    let mut owners = managed::owners(stored);
    if owners.is_empty() {
        let mut before = managed::sender(api, call, false);
        before.manager = BEFORE_FIRST_APPLY.into();
        before.subresource = None;
        before.fields = Fields::of(live, is_custom);
        managed::keep_part(&mut before.fields, Part::Main, call.resource.has_status);
        owners.push(before);
    }
    if let Some(autoscaler) = scaled::autoscaler_entry(api, stored) {
        for owner in &mut owners {
            owner.fields.remove(&autoscaler.fields);
        }
        owners.push(autoscaler);
    }
    owners
}

/// Entries that only changed places are the same entries.
fn keep_order(stored: &Obj, object: &mut Obj) {
    let old = stored.meta().managed_fields.as_deref().unwrap_or(&[]);
    let Some(new) = object.meta_mut().managed_fields.as_mut() else { return };
    new.sort_by_key(|entry| {
        let is_same = |old: &&_| *old == entry;
        old.iter().position(|old| is_same(&old)).unwrap_or(old.len())
    });
}

/// (owner, path) of every changed field that another manager owns.
fn conflicts(owners: &[Owner], changed: &Fields) -> Vec<(String, String)> {
    let of_owner = |owner: &Owner| -> Vec<(String, String)> {
        let name = managed::printed(owner);
        let paths = owner.fields.common(changed).paths();
        paths.into_iter().map(|path| (name.clone(), path)).collect()
    };
    owners.iter().flat_map(of_owner).collect()
}

/// Merges an applied configuration into a live value.
fn merge<'v>(path: &mut Vec<&'v str>, live: &mut Value, config: &'v Value, is_custom: bool) {
    match (live, config) {
        (_, Value::Null) => {}
        (Value::Object(live), Value::Object(config)) if !is_atomic_map(path, is_custom) => {
            for (key, value) in config.iter().filter(|(_, value)| !value.is_null()) {
                path.push(key);
                let slot = live.entry(key.clone()).or_insert_with(|| empty_like(value));
                merge(path, slot, value, is_custom);
                path.pop();
            }
        }
        (Value::Array(live), Value::Array(config)) => match list_type(path, is_custom) {
            ListType::Atomic => live.clone_from(config),
            ListType::Set => {
                let new: Vec<&Value> = config.iter().filter(|item| !live.contains(item)).collect();
                live.extend(new.into_iter().cloned());
            }
            ListType::Map(keys) => {
                for item in config {
                    if item_key(item, keys).is_none() {
                        continue;
                    }
                    match live.iter_mut().find(|old| same_item(old, item, keys)) {
                        Some(old) => merge(path, old, item, is_custom),
                        None => live.push(item.clone()),
                    }
                }
            }
        },
        (live, config) => live.clone_from(config),
    }
}

fn empty_like(value: &Value) -> Value {
    match value {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    }
}
