//! Old versions of an API: written as the stored version and back (`pkg/apis/*/*/conversion.go`).

use serde_json::{Map, Value, json};

use crate::sim::api::Resource;

/// Rewrites `object` from the stored version to `version`.
pub(super) fn to_served(resource: &Resource, version: &str, object: &mut Value) {
    match (resource.kind.as_str(), version) {
        ("HorizontalPodAutoscaler", "v1") => autoscaler_to_v1(object),
        ("HorizontalPodAutoscaler", "v2beta1") => autoscaler_to_v2beta1(object),
        ("EndpointSlice", "v1beta1") => slice_to_v1beta1(object),
        ("Ingress", "v1beta1") => ingress_to_v1beta1(object),
        ("CustomResourceDefinition", "v1beta1") => definition_to_v1beta1(object),
        _ => {}
    }
}

/// Rewrites `object` from `version` to the stored version.
pub(super) fn from_served(resource: &Resource, version: &str, object: &mut Value) {
    match (resource.kind.as_str(), version) {
        ("HorizontalPodAutoscaler", "v1") => autoscaler_from_v1(object),
        ("HorizontalPodAutoscaler", "v2beta1") => autoscaler_from_v2beta1(object),
        ("EndpointSlice", "v1beta1") => slice_from_v1beta1(object),
        ("Ingress", "v1beta1") => ingress_from_v1beta1(object),
        ("CustomResourceDefinition", "v1beta1") => definition_from_v1beta1(object),
        _ => {}
    }
}

/// Annotations that carry what v1 and v2beta1 have no field for (`pkg/apis/autoscaling/annotations.go`).
const METRICS_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS_ANNOTATION: &str = "autoscaling.alpha.kubernetes.io/conditions";

fn part<'v>(object: &'v mut Value, name: &str) -> Option<&'v mut Map<String, Value>> {
    object.get_mut(name)?.as_object_mut()
}

fn annotate(object: &mut Value, key: &str, value: &Value) {
    if let Some(meta) = part(object, "metadata") {
        let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(key.into(), value.to_string().into());
        }
    }
}

fn take_annotation(object: &mut Value, key: &str) -> Option<Value> {
    let meta = part(object, "metadata")?;
    let annotations = meta.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        meta.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

/// Whether a metric is average CPU utilization over requests, the only one v1 has a field for.
fn cpu_utilization(metric: &Value) -> Option<&Value> {
    let resource = metric.get("resource").filter(|r| r["name"] == "cpu")?;
    resource.get("target").or(resource.get("current"))?.get("averageUtilization")
}

fn autoscaler_to_v1(object: &mut Value) {
    let (mut metrics, mut behavior, mut conditions) = (Vec::new(), None, None);
    if let Some(spec) = part(object, "spec") {
        if let Some(Value::Array(all)) = spec.remove("metrics") {
            for metric in all {
                match cpu_utilization(&metric) {
                    Some(percent) if !spec.contains_key("targetCPUUtilizationPercentage") => {
                        spec.insert("targetCPUUtilizationPercentage".into(), percent.clone());
                    }
                    _ => metrics.push(metric),
                }
            }
        }
        behavior = spec.remove("behavior");
    }
    if let Some(status) = part(object, "status") {
        if let Some(Value::Array(current)) = status.remove("currentMetrics")
            && let Some(percent) = current.iter().find_map(cpu_utilization)
        {
            status.insert("currentCPUUtilizationPercentage".into(), percent.clone());
        }
        conditions = status.remove("conditions");
    }
    if !metrics.is_empty() {
        annotate(object, METRICS_ANNOTATION, &Value::Array(metrics));
    }
    for (key, value) in [(BEHAVIOR_ANNOTATION, behavior), (CONDITIONS_ANNOTATION, conditions)] {
        if let Some(value) = value {
            annotate(object, key, &value);
        }
    }
}

fn autoscaler_from_v1(object: &mut Value) {
    let metrics = take_annotation(object, METRICS_ANNOTATION);
    let behavior = take_annotation(object, BEHAVIOR_ANNOTATION);
    let conditions = take_annotation(object, CONDITIONS_ANNOTATION);
    if let Some(spec) = part(object, "spec") {
        let mut all: Vec<Value> = match spec.remove("targetCPUUtilizationPercentage") {
            Some(percent) if !percent.is_null() => vec![json!({
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": { "type": "Utilization", "averageUtilization": percent },
                },
            })],
            _ => Vec::new(),
        };
        if let Some(Value::Array(more)) = metrics {
            all.extend(more);
        }
        if !all.is_empty() {
            spec.insert("metrics".into(), all.into());
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".into(), behavior);
        }
    }
    if let Some(status) = part(object, "status") {
        if let Some(percent) = status.remove("currentCPUUtilizationPercentage") {
            let current = json!([{
                "type": "Resource",
                "resource": { "name": "cpu", "current": { "averageUtilization": percent } },
            }]);
            status.insert("currentMetrics".into(), current);
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".into(), conditions);
        }
    }
}

/// The blocks of a metric that name a target, and what v2beta1 calls its fields there.
const METRIC_SOURCES: &[&str] = &["resource", "containerResource", "pods", "object", "external"];

fn autoscaler_to_v2beta1(object: &mut Value) {
    let mut behavior = None;
    if let Some(spec) = part(object, "spec") {
        each_metric(spec.get_mut("metrics"), |source, block| flatten(source, block, "target"));
        behavior = spec.remove("behavior");
    }
    if let Some(status) = part(object, "status") {
        let current = status.get_mut("currentMetrics");
        each_metric(current, |source, block| flatten(source, block, "current"));
    }
    if let Some(behavior) = behavior {
        annotate(object, BEHAVIOR_ANNOTATION, &behavior);
    }
}

fn autoscaler_from_v2beta1(object: &mut Value) {
    let behavior = take_annotation(object, BEHAVIOR_ANNOTATION);
    if let Some(spec) = part(object, "spec") {
        each_metric(spec.get_mut("metrics"), |source, block| unflatten(source, block, "target"));
        if let Some(behavior) = behavior {
            spec.insert("behavior".into(), behavior);
        }
    }
    if let Some(status) = part(object, "status") {
        let current = status.get_mut("currentMetrics");
        each_metric(current, |source, block| unflatten(source, block, "current"));
    }
}

fn each_metric(metrics: Option<&mut Value>, change: impl Fn(&str, &mut Map<String, Value>)) {
    for metric in metrics.and_then(Value::as_array_mut).into_iter().flatten() {
        for source in METRIC_SOURCES {
            if let Some(block) = part(metric, source) {
                change(source, block);
            }
        }
    }
}

/// `target: {averageUtilization}` to `targetAverageUtilization`, and `metric: {name}` to `metricName`.
fn flatten(source: &str, block: &mut Map<String, Value>, prefix: &str) {
    if source == "object"
        && let Some(described) = block.remove("describedObject")
    {
        block.insert("target".into(), described);
    }
    let values =
        block.remove(if prefix == "target" && source == "object" { "value" } else { prefix });
    for (key, value) in values.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let name = match key.as_str() {
            "averageUtilization" => "AverageUtilization",
            "averageValue" => "AverageValue",
            "value" => "Value",
            _ => continue,
        };
        block.insert(format!("{prefix}{name}"), value.clone());
    }
    if let Some(Value::Object(mut metric)) = block.remove("metric") {
        if let Some(name) = metric.remove("name") {
            block.insert("metricName".into(), name);
        }
        if let Some(selector) = metric.remove("selector") {
            let key = if source == "external" { "metricSelector" } else { "selector" };
            block.insert(key.into(), selector);
        }
    }
}

fn unflatten(source: &str, block: &mut Map<String, Value>, prefix: &str) {
    if source == "object"
        && let Some(described) = block.remove("target")
    {
        block.insert("describedObject".into(), described);
    }
    let mut values = Map::new();
    let names = [
        ("AverageUtilization", "averageUtilization", "Utilization"),
        ("AverageValue", "averageValue", "AverageValue"),
        ("Value", "value", "Value"),
    ];
    for (old, new, target_type) in names {
        let Some(value) = block.remove(&format!("{prefix}{old}")) else { continue };
        values.insert(new.into(), value);
        if prefix == "target" {
            values.insert("type".into(), target_type.into());
        }
    }
    if !values.is_empty() {
        block.insert(prefix.into(), values.into());
    }
    if let Some(name) = block.remove("metricName") {
        let mut metric = json!({ "name": name });
        let selector = block.remove("metricSelector").or_else(|| block.remove("selector"));
        if let Some(selector) = selector {
            metric["selector"] = selector;
        }
        block.insert("metric".into(), metric);
    }
}

const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

fn slice_to_v1beta1(object: &mut Value) {
    let endpoints = object.get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
        let mut topology = match endpoint.remove("deprecatedTopology") {
            Some(Value::Object(topology)) => topology,
            _ => Map::new(),
        };
        if let Some(node) = endpoint.get("nodeName") {
            topology.insert(HOSTNAME_LABEL.into(), node.clone());
        }
        if let Some(zone) = endpoint.remove("zone") {
            topology.insert(ZONE_LABEL.into(), zone);
        }
        if !topology.is_empty() {
            endpoint.insert("topology".into(), topology.into());
        }
    }
}

fn slice_from_v1beta1(object: &mut Value) {
    let endpoints = object.get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
        let Some(Value::Object(mut topology)) = endpoint.remove("topology") else { continue };
        if let Some(zone) = topology.remove(ZONE_LABEL) {
            endpoint.insert("zone".into(), zone);
        }
        if let Some(node) = topology.remove(HOSTNAME_LABEL) {
            endpoint.entry("nodeName").or_insert(node);
        }
        if !topology.is_empty() {
            endpoint.insert("deprecatedTopology".into(), topology.into());
        }
    }
}

fn ingress_to_v1beta1(object: &mut Value) {
    let Some(spec) = part(object, "spec") else { return };
    if let Some(mut backend) = spec.remove("defaultBackend") {
        backend_to_v1beta1(&mut backend);
        spec.insert("backend".into(), backend);
    }
    each_path(spec, |path| {
        if let Some(backend) = path.get_mut("backend") {
            backend_to_v1beta1(backend);
        }
    });
}

fn ingress_from_v1beta1(object: &mut Value) {
    let Some(spec) = part(object, "spec") else { return };
    if let Some(mut backend) = spec.remove("backend") {
        backend_from_v1beta1(&mut backend);
        spec.insert("defaultBackend".into(), backend);
    }
    each_path(spec, |path| {
        if let Some(backend) = path.get_mut("backend") {
            backend_from_v1beta1(backend);
        }
        // v1beta1 defaults it (`pkg/apis/networking/v1beta1/defaults.go`), v1 requires it.
        path.entry("pathType").or_insert_with(|| "ImplementationSpecific".into());
    });
}

fn each_path(spec: &mut Map<String, Value>, change: impl Fn(&mut Map<String, Value>)) {
    for rule in spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
        let paths = rule.get_mut("http").and_then(|http| http.get_mut("paths"));
        let paths = paths.and_then(Value::as_array_mut).into_iter().flatten();
        for path in paths.filter_map(Value::as_object_mut) {
            change(path);
        }
    }
}

fn backend_to_v1beta1(backend: &mut Value) {
    let Some(map) = backend.as_object_mut() else { return };
    let Some(service) = map.remove("service") else { return };
    let port = &service["port"];
    let port = if port["number"].is_null() { &port["name"] } else { &port["number"] };
    map.insert("serviceName".into(), service["name"].clone());
    map.insert("servicePort".into(), port.clone());
}

fn backend_from_v1beta1(backend: &mut Value) {
    let Some(map) = backend.as_object_mut() else { return };
    let (name, port) = (map.remove("serviceName"), map.remove("servicePort"));
    let Some(name) = name else { return };
    let port = match port {
        Some(Value::Number(number)) => json!({ "number": number }),
        Some(Value::String(name)) => json!({ "name": name }),
        _ => json!({}),
    };
    map.insert("service".into(), json!({ "name": name, "port": port }));
}

/// The version that v1beta1 names beside the list is the first of it.
fn definition_to_v1beta1(object: &mut Value) {
    let Some(spec) = part(object, "spec") else { return };
    let first = spec.get("versions").and_then(|versions| versions.get(0)?.get("name")).cloned();
    if let Some(first) = first {
        spec.insert("version".into(), first);
    }
}

/// What v1beta1 says once for all versions, v1 says for each
/// (`pkg/apis/apiextensions/v1beta1/conversion.go`, `defaults.go`).
fn definition_from_v1beta1(object: &mut Value) {
    let Some(spec) = part(object, "spec") else { return };
    let version = spec.remove("version");
    let common = [
        ("schema", spec.remove("validation")),
        ("subresources", spec.remove("subresources")),
        ("additionalPrinterColumns", spec.remove("additionalPrinterColumns")),
    ];
    if let (Some(version), None) = (version, spec.get("versions")) {
        let only = json!({ "name": version, "served": true, "storage": true });
        spec.insert("versions".into(), json!([only]));
    }
    let versions = spec.get_mut("versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten().filter_map(Value::as_object_mut) {
        for (field, value) in &common {
            if let (Some(value), None) = (value, version.get(*field)) {
                version.insert((*field).into(), value.clone());
            }
        }
    }
}
