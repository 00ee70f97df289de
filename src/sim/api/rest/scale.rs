//! `/scale`: replicas of a workload as `autoscaling/v1 Scale` (`registry/apps/*/storage/storage.go:ScaleREST`).

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::answer::json as respond;
use super::call::Call;
use super::patch as patching;
use super::verbs::write;
use crate::k8s::selector_string;
use crate::sim::api::{Api, Obj, Part, Status};

type Reply = Result<http::Response<Bytes>, Status>;

/// GET.
pub(super) fn get(api: &Api, call: &Call<'_>) -> Reply {
    Ok(respond(200, &scale_of(api, call, &call.stored(api)?)))
}

/// PUT.
pub(super) fn update(api: &mut Api, call: &Call<'_>) -> Reply {
    let scale = call.body_value()?;
    store(api, call, &scale)
}

/// PATCH.
pub(super) fn patch(api: &mut Api, call: &Call<'_>) -> Reply {
    let scale = scale_of(api, call, &call.stored(api)?);
    let scale = patching::patched(api, call, scale)?;
    store(api, call, &scale)
}

fn store(api: &mut Api, call: &Call<'_>, scale: &Value) -> Reply {
    let stored = call.stored(api)?;
    if scale["kind"].as_str().is_some_and(|kind| kind != "Scale") {
        let kind = &scale["kind"];
        return Err(Status::bad_request(format!("expected kind Scale, got {kind}")));
    }
    let replicas = match scale.get("spec").and_then(|spec| spec.get("replicas")) {
        None | Some(Value::Null) => 0,
        Some(value) => match value.as_i64().and_then(|n| i32::try_from(n).ok()) {
            Some(n) if n >= 0 => n,
            _ => {
                let message = format!(
                    "Scale.autoscaling \"{}\" is invalid: spec.replicas: Invalid value: {value}: \
                     must be greater than or equal to 0",
                    call.object_name()
                );
                return Err(Status::new(422, "Invalid", message));
            }
        },
    };
    let version = scale["metadata"]["resourceVersion"].as_str().filter(|v| !v.is_empty());
    let stored_version = stored.meta().resource_version.as_deref();
    if version.is_some() && version != stored_version {
        return Err(Status::conflict(&api.resource_name(call.kind), call.object_name()));
    }
    let mut value = call.render(api, &stored);
    value["spec"]["replicas"] = replicas.into();
    let (object, _) = call.decode(api, value)?;
    let updated = write(api, call, &stored, object, Part::Main)?;
    Ok(respond(200, &scale_of(api, call, &updated)))
}

fn scale_of(api: &Api, call: &Call<'_>, object: &Obj) -> Value {
    let value = call.render(api, object);
    let meta = &value["metadata"];
    let mut kept = serde_json::Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta.get(key) {
            kept.insert(key.into(), value.clone());
        }
    }
    let count = |part: &str| value[part]["replicas"].as_i64().unwrap_or(0);
    let mut status = json!({ "replicas": count("status") });
    let selector = match &value["spec"]["selector"] {
        // ReplicationControllers select by a plain map.
        Value::Object(map)
            if !map.contains_key("matchLabels") && !map.contains_key("matchExpressions") =>
        {
            let pairs = map.iter().filter_map(|(key, v)| Some(format!("{key}={}", v.as_str()?)));
            Some(pairs.collect::<Vec<_>>().join(","))
        }
        selector => serde_json::from_value::<LabelSelector>(selector.clone())
            .ok()
            .map(|selector| selector_string(&selector)),
    };
    if let Some(selector) = selector.filter(|s| !s.is_empty()) {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": kept,
        "spec": { "replicas": count("spec") }, "status": status,
    })
}
