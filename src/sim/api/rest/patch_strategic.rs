//! Strategic merge patch (`apimachinery/pkg/util/strategicpatch/patch.go`).

use serde_json::{Map, Value};

use super::lists::{is_strategic_set, same_item, strategic_key};
use crate::sim::api::Status;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Applies `patch` to `target`; both are objects.
pub(super) fn merge(target: &mut Value, patch: &Value) -> Result<(), Status> {
    let (Some(target), Some(patch)) = (target.as_object_mut(), patch.as_object()) else {
        return Ok(());
    };
    merge_object(&mut Vec::new(), target, patch)
}

fn merge_object<'p>(
    path: &mut Vec<&'p str>,
    target: &mut Map<String, Value>,
    patch: &'p Map<String, Value>,
) -> Result<(), Status> {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            *target = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            target.clear();
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => {
            return Err(Status::bad_request(format!("Unknown patch type found: {other}")));
        }
    }
    if let Some(kept) = patch.get(RETAIN_KEYS).and_then(Value::as_array) {
        target.retain(|key, _| kept.iter().any(|k| k.as_str() == Some(key)));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_PRIMITIVES) {
            delete_primitives(target, list, value);
        } else if !key.starts_with('$') {
            path.push(key);
            merge_field(path, target, key, value)?;
            path.pop();
        }
    }
    for (key, order) in patch {
        if let Some(list) = key.strip_prefix(ELEMENT_ORDER) {
            path.push(list);
            set_order(path, target, list, order);
            path.pop();
        }
    }
    Ok(())
}

fn merge_field<'p>(
    path: &mut Vec<&'p str>,
    target: &mut Map<String, Value>,
    key: &str,
    value: &'p Value,
) -> Result<(), Status> {
    match (target.get_mut(key), value) {
        (_, Value::Null) => {
            target.remove(key);
        }
        (Some(Value::Object(old)), Value::Object(new)) => {
            merge_object(path, old, new)?;
            if new.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                target.remove(key);
            }
        }
        (Some(Value::Array(old)), Value::Array(new)) => merge_list(path, old, new)?,
        (_, Value::Object(new)) => {
            let mut fresh = Map::new();
            merge_object(path, &mut fresh, new)?;
            target.insert(key.to_owned(), fresh.into());
        }
        (_, Value::Array(new)) => {
            let mut fresh = Vec::new();
            merge_list(path, &mut fresh, new)?;
            target.insert(key.to_owned(), fresh.into());
        }
        (_, scalar) => {
            target.insert(key.to_owned(), scalar.clone());
        }
    }
    Ok(())
}

fn merge_list<'p>(
    path: &mut Vec<&'p str>,
    target: &mut Vec<Value>,
    patch: &'p [Value],
) -> Result<(), Status> {
    if is_strategic_set(path) {
        let new: Vec<&Value> = patch.iter().filter(|value| !target.contains(value)).collect();
        target.extend(new.into_iter().cloned());
        return Ok(());
    }
    let Some(key) = strategic_key(path) else {
        *target = patch.to_vec();
        return Ok(());
    };
    if patch.iter().any(|item| directive(item) == Some("replace")) {
        target.clear();
    }
    for item in patch {
        let Some(fields) = item.as_object() else {
            return Err(Status::bad_request("invalid JSON document"));
        };
        if directive(item) == Some("replace") {
            if fields.len() > 1 {
                target.push(Value::Object(without_directives(fields)));
            }
            continue;
        }
        if item.get(key).is_none() {
            let message = format!("map: {item} does not contain declared merge key: {key}");
            return Err(Status::new(422, "Invalid", message));
        }
        let place = target.iter().position(|old| same_item(old, item, &[key]));
        match (place, directive(item)) {
            (Some(place), Some("delete")) => {
                target.remove(place);
            }
            (None, Some("delete")) => {}
            (Some(place), _) => {
                if let Some(old) = target[place].as_object_mut() {
                    merge_object(path, old, fields)?;
                }
            }
            (None, _) => {
                let mut fresh = Map::new();
                merge_object(path, &mut fresh, fields)?;
                target.push(fresh.into());
            }
        }
    }
    Ok(())
}

fn directive(item: &Value) -> Option<&str> {
    item.get(DIRECTIVE)?.as_str()
}

fn delete_primitives(target: &mut Map<String, Value>, list: &str, gone: &Value) {
    if let (Some(old), Some(gone)) =
        (target.get_mut(list).and_then(Value::as_array_mut), gone.as_array())
    {
        old.retain(|value| !gone.contains(value));
    }
}

/// Sorts the elements that `order` names as it names them; others follow in their old order.
fn set_order(path: &[&str], target: &mut Map<String, Value>, list: &str, order: &Value) {
    let (Some(items), Some(order)) =
        (target.get_mut(list).and_then(Value::as_array_mut), order.as_array())
    else {
        return;
    };
    let key = strategic_key(path);
    let rank = |item: &Value| {
        let place = order.iter().position(|wanted| match key {
            Some(key) => same_item(wanted, item, &[key]),
            None => wanted == item,
        });
        place.unwrap_or(order.len())
    };
    items.sort_by_key(rank);
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    let kept = patch.iter().filter(|(key, value)| !key.starts_with('$') && !value.is_null());
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut target: Value, patch: Value) -> Value {
        merge(&mut target, &patch).expect("applies");
        target
    }

    #[test]
    fn containers_merge_by_name_and_env_inside_them() {
        let target = json!({"spec": {"containers": [
            {"name": "a", "image": "x:1", "env": [{"name": "K", "value": "1"}]}, {"name": "b"}]}});
        let patch = json!({"spec": {"containers": [
            {"name": "a", "image": "x:2", "env": [{"name": "L", "value": "2"}]}]}});
        let result = merged(target, patch);
        let first = &result["spec"]["containers"][0];
        assert_eq!(first["image"], "x:2");
        assert_eq!(first["env"].as_array().map(Vec::len), Some(2));
        assert_eq!(result["spec"]["containers"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn directives_delete_replace_and_order() {
        let list = || json!({"spec": {"volumes": [{"name": "a", "x": 1}, {"name": "b"}]}});
        let result =
            merged(list(), json!({"spec": {"volumes": [{"name": "a", "$patch": "delete"}]}}));
        assert_eq!(result, json!({"spec": {"volumes": [{"name": "b"}]}}));
        let result =
            merged(list(), json!({"spec": {"volumes": [{"name": "c"}, {"$patch": "replace"}]}}));
        assert_eq!(result, json!({"spec": {"volumes": [{"name": "c"}]}}));
        let order = json!({"spec": {"$setElementOrder/volumes": [{"name": "b"}, {"name": "a"}]}});
        assert_eq!(merged(list(), order)["spec"]["volumes"][0]["name"], "b");
    }

    #[test]
    fn retain_keys_and_null_drop_fields() {
        let target = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}});
        let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
        assert_eq!(merged(target, patch), json!({"spec": {"strategy": {"type": "Recreate"}}}));
        assert_eq!(merged(json!({"a": 1, "b": 2}), json!({"a": null})), json!({"b": 2}));
    }

    #[test]
    fn unkeyed_lists_are_replaced_and_a_missing_key_is_refused() {
        let result = merged(json!({"args": [1, 2]}), json!({"args": [3]}));
        assert_eq!(result, json!({"args": [3]}));
        let mut target = json!({"spec": {"containers": []}});
        let refused = merge(&mut target, &json!({"spec": {"containers": [{"image": "x"}]}}));
        assert_eq!(refused.expect_err("no key").code, 422);
    }
}
