//! `metrics.k8s.io`: what metrics-server has measured (`kubernetes-sigs/metrics-server pkg/api`).

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::answer::json as respond;
use super::call::Call;
use crate::sim::api::{Api, Kind, Obj, Status};
use crate::sim::metrics::MetricsServer;

const GROUP: &str = "metrics.k8s.io";

/// Whether `call` is for metrics-server and not for the store.
pub(super) fn is_meant(call: &Call<'_>) -> bool {
    call.resource.group == GROUP
}

/// GET and LIST of pod and node metrics; nothing else is served.
pub(super) fn answer(
    api: &Api,
    metrics: &MetricsServer,
    call: &Call<'_>,
    method: &Method,
) -> Result<http::Response<Bytes>, Status> {
    if method != Method::GET || call.query.flag("watch") || call.subresource.is_some() {
        let message = "the server does not allow this method on the requested resource";
        return Err(Status::new(405, "MethodNotAllowed", message));
    }
    let (kind, all) = match call.resource.kind.as_str() {
        "PodMetrics" => (Kind::POD, metrics.pods(call.namespace.as_deref())),
        _ => (Kind::NODE, metrics.nodes()),
    };
    // Metrics are selected by, and show, the labels of the object they are about.
    let selection = call.selection()?;
    let subject = |document: &Value| -> Option<Obj> {
        let meta = &document["metadata"];
        let namespace = meta["namespace"].as_str().unwrap_or("");
        api.object(kind, namespace, meta["name"].as_str()?).cloned()
    };
    let is_named = |document: &Value| {
        call.name.as_deref().is_none_or(|name| document["metadata"]["name"] == name)
    };
    let mut items: Vec<Value> = all
        .into_iter()
        .filter(is_named)
        .filter_map(|mut document| {
            let object = subject(&document).filter(|object| selection.matches(object))?;
            if let Some(labels) = &object.meta().labels {
                document["metadata"]["labels"] = json!(labels);
            }
            Some(document)
        })
        .collect();
    if call.name.is_some() {
        return match items.pop() {
            Some(document) => Ok(respond(200, &document)),
            None => Err(missing(call)),
        };
    }
    Ok(respond(
        200,
        &json!({
            "kind": format!("{}List", call.resource.kind), "apiVersion": format!("{GROUP}/v1beta1"),
            "metadata": {}, "items": items,
        }),
    ))
}

fn missing(call: &Call<'_>) -> Status {
    let resource = format!("{}.{GROUP}", call.resource.kind.to_lowercase());
    let name = match call.space() {
        "" => call.object_name().to_owned(),
        namespace => format!("{namespace}/{}", call.object_name()),
    };
    Status::not_found(&resource, &name)
}
