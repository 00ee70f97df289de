//! Discovery: `/version`, `/api`, `/apis` and the resource lists (semantics 1.14).

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{api_version, json as respond, text};
use super::definitions;
use super::path::Route;
use crate::sim::api::{Api, Resource};

/// `kubectl get all` (category tags in `registry/**/storage.go:Categories`).
const CATEGORY_ALL: &[&str] = &[
    "Pod",
    "Service",
    "ReplicationController",
    "DaemonSet",
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "HorizontalPodAutoscaler",
    "Job",
    "CronJob",
];
const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

/// Answers a discovery request; `None` for a group or version that is not served.
pub(super) fn answer(api: &Api, route: &Route) -> Option<http::Response<Bytes>> {
    Some(match route {
        Route::Version => respond(200, &version(api)),
        Route::Health => text(200, "ok"),
        Route::CoreVersions => respond(
            200,
            &json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs":
                    [{ "clientCIDR": "0.0.0.0/0", "serverAddress": "172.18.0.2:6443" }],
            }),
        ),
        Route::Groups => {
            let groups: Vec<Value> =
                groups(api).iter().map(|(group, versions)| group_json(group, versions)).collect();
            respond(200, &json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        Route::Group(group) => {
            let groups = groups(api);
            let mut body = group_json(group, groups.get(group)?);
            body["kind"] = "APIGroup".into();
            body["apiVersion"] = "v1".into();
            respond(200, &body)
        }
        Route::Resources(group, version) => respond(200, &resources(api, group, version)?),
        Route::Object(_) | Route::Unknown => return None,
    })
}

fn version(api: &Api) -> Value {
    let minor = api.profile.minor().to_string();
    json!({
        "major": "1", "minor": minor, "gitVersion": format!("v1.{minor}.0"),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "go1.25", "compiler": "gc", "platform": "linux/amd64",
    })
}

/// Served groups with their versions, newest first.
fn groups(api: &Api) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, resource) in api.registry.iter().filter(|(_, resource)| !resource.group.is_empty()) {
        for version in definitions::versions(api, resource) {
            let versions = groups.entry(resource.group.clone()).or_default();
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
    }
    groups
}

/// Stable before beta before alpha, then by number (`apimachinery/pkg/version/helpers.go`).
fn priority(version: &str) -> (u8, u64, u64) {
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let number = |text: &str| text.parse().unwrap_or(0);
    for (stage, rank) in [("beta", 2), ("alpha", 1)] {
        if let Some((major, minor)) = rest.split_once(stage) {
            return (rank, number(major), number(minor));
        }
    }
    (3, number(rest), 0)
}

fn group_json(group: &str, versions: &[String]) -> Value {
    let entry = |version: &String| json!({ "groupVersion": api_version(group, version), "version": version });
    let versions: Vec<Value> = versions.iter().map(entry).collect();
    json!({ "name": group, "preferredVersion": versions.first(), "versions": versions })
}

fn resources(api: &Api, group: &str, version: &str) -> Option<Value> {
    let served = api.registry.iter().filter(|(_, resource)| {
        resource.group == group && definitions::is_served(api, resource, version)
    });
    let mut entries: Vec<Value> = served.flat_map(|(_, resource)| entries(api, resource)).collect();
    if entries.is_empty() {
        return None;
    }
    entries.sort_by_key(|entry| entry["name"].as_str().unwrap_or("").to_owned());
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1",
        "groupVersion": api_version(group, version), "resources": entries,
    }))
}

fn entries(api: &Api, resource: &Resource) -> Vec<Value> {
    let is_metrics = resource.group == "metrics.k8s.io";
    let verbs = if is_metrics { &["get", "list"][..] } else { VERBS };
    let mut main = json!({
        "name": resource.plural, "singularName": resource.kind.to_lowercase(),
        "namespaced": resource.namespaced, "kind": resource.kind, "verbs": verbs,
    });
    if !resource.short_names.is_empty() {
        main["shortNames"] = json!(resource.short_names);
    }
    if CATEGORY_ALL.contains(&resource.kind.as_str()) {
        main["categories"] = json!(["all"]);
    }
    let sub = |name: &str, kind: &str, verbs: &[&str]| {
        json!({
            "name": format!("{}/{name}", resource.plural), "singularName": "",
            "namespaced": resource.namespaced, "kind": kind, "verbs": verbs,
        })
    };
    let mut entries = vec![main];
    if resource.has_status {
        entries.push(sub("status", &resource.kind, STATUS_VERBS));
    }
    if resource.has_scale {
        let mut scale = sub("scale", "Scale", STATUS_VERBS);
        (scale["group"], scale["version"]) = ("autoscaling".into(), "v1".into());
        entries.push(scale);
    }
    if resource.kind == "Pod" && resource.group.is_empty() {
        let mut eviction = sub("eviction", "Eviction", &["create"]);
        let version = if api.profile.at_least(22) { "v1" } else { "v1beta1" };
        (eviction["group"], eviction["version"]) = ("policy".into(), version.into());
        entries.push(eviction);
        entries.push(sub("binding", "Binding", &["create"]));
        entries.push(sub("log", "Pod", &["get"]));
    }
    entries
}
