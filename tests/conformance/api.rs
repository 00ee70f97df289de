//! API machinery: verbs, versions, conflicts, patches, watches, deletion.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::pin_mut;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service};
use kube::Api;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::json;

use super::body::{Body, body};
use super::support::{Cluster, Outcome, deployment, ensure, from_json, images, pause, refusal};

fn text(e: kube::Error) -> String {
    e.to_string()
}

fn config_map(name: &str, data: serde_json::Value) -> Result<ConfigMap, String> {
    from_json(json!({"metadata": {"name": name}, "data": data}))
}

async fn create_sets_uid_version_and_time(cluster: &Cluster) -> Outcome {
    let made: ConfigMap = cluster.create(json!({"metadata": {"name": "a"}})).await?;
    ensure(made.metadata.uid.is_some(), "no uid")?;
    ensure(made.metadata.resource_version.is_some(), "no resourceVersion")?;
    ensure(made.metadata.creation_timestamp.is_some(), "no creationTimestamp")
}

async fn generated_names_have_five_symbols(cluster: &Cluster) -> Outcome {
    let made: ConfigMap = cluster.create(json!({"metadata": {"generateName": "a-"}})).await?;
    let name = made.metadata.name.unwrap_or_default();
    let suffix = name.strip_prefix("a-").ok_or("the base is kept")?;
    let allowed = suffix.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c));
    ensure(suffix.len() == 5 && allowed, format!("name {name}"))
}

async fn a_taken_name_is_refused(cluster: &Cluster) -> Outcome {
    let api: Api<ConfigMap> = cluster.api();
    let object = config_map("a", json!({}))?;
    api.create(&PostParams::default(), &object).await.map_err(text)?;
    let status = refusal(api.create(&PostParams::default(), &object).await)?;
    ensure(status.code == 409 && status.reason == "AlreadyExists", format!("{status:?}"))?;
    ensure(status.message == "configmaps \"a\" already exists", status.message)
}

async fn a_missing_object_is_not_found(cluster: &Cluster) -> Outcome {
    let api: Api<Deployment> = cluster.api();
    let status = refusal(api.get("nobody").await)?;
    ensure(status.code == 404, format!("{status:?}"))?;
    ensure(status.message == "deployments.apps \"nobody\" not found", status.message)
}

async fn a_stale_version_conflicts(cluster: &Cluster) -> Outcome {
    let api: Api<ConfigMap> = cluster.api();
    let first = api
        .create(&PostParams::default(), &config_map("a", json!({"k": "1"}))?)
        .await
        .map_err(text)?;
    let mut second = first.clone();
    second.data = Some(BTreeMap::from([("k".into(), "2".into())]));
    api.replace("a", &PostParams::default(), &second).await.map_err(text)?;
    let mut third = first;
    third.data = Some(BTreeMap::from([("k".into(), "3".into())]));
    let status = refusal(api.replace("a", &PostParams::default(), &third).await)?;
    ensure(status.code == 409 && status.reason == "Conflict", format!("{status:?}"))
}

async fn an_update_without_change_keeps_the_version(cluster: &Cluster) -> Outcome {
    let api: Api<ConfigMap> = cluster.api();
    let made = api
        .create(&PostParams::default(), &config_map("a", json!({"k": "1"}))?)
        .await
        .map_err(text)?;
    let again = api.replace("a", &PostParams::default(), &made).await.map_err(text)?;
    let versions = (made.metadata.resource_version, again.metadata.resource_version);
    ensure(versions.0 == versions.1, format!("{versions:?}"))
}

async fn merge_patch_deletes_with_null(cluster: &Cluster) -> Outcome {
    cluster
        .create::<ConfigMap>(json!({"metadata": {"name": "a"}, "data": {"k": "1", "l": "2"}}))
        .await?;
    let patched: ConfigMap = cluster.merge("a", json!({"data": {"k": null, "m": "3"}})).await?;
    let keys: Vec<String> = patched.data.unwrap_or_default().into_keys().collect();
    ensure(keys == ["l", "m"], format!("{keys:?}"))
}

async fn json_patch_tests_before_it_writes(cluster: &Cluster) -> Outcome {
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "a"}, "data": {"k": "1"}})).await?;
    let patch = |value: &str| {
        from_json::<json_patch::Patch>(json!([
            {"op": "test", "path": "/data/k", "value": value},
            {"op": "replace", "path": "/data/k", "value": "2"},
        ]))
    };
    let api: Api<ConfigMap> = cluster.api();
    let params = PatchParams::default();
    let refused = api.patch("a", &params, &Patch::Json::<()>(patch("9")?)).await;
    ensure(refusal(refused)?.code == 422, "a failed test is 422")?;
    let patched = api.patch("a", &params, &Patch::Json::<()>(patch("1")?)).await.map_err(text)?;
    ensure(patched.data.unwrap_or_default()["k"] == "2", "the value is replaced")
}

async fn strategic_patch_merges_containers_by_name(cluster: &Cluster) -> Outcome {
    cluster.create::<Deployment>(deployment("a", 0, pause())).await?;
    let api: Api<Deployment> = cluster.api();
    let patch = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "second", "image": images().pause},
    ]}}}});
    let patched =
        api.patch("a", &PatchParams::default(), &Patch::Strategic(&patch)).await.map_err(text)?;
    let spec = patched.spec.template.spec.ok_or("no pod spec")?;
    let mut names: Vec<String> = spec.containers.into_iter().map(|c| c.name).collect();
    names.sort();
    ensure(names == ["pause", "second"], format!("{names:?}"))
}

async fn apply_conflicts_over_foreign_fields(cluster: &Cluster) -> Outcome {
    let api: Api<ConfigMap> = cluster.api();
    let object = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}});
    let one = PatchParams::apply("one");
    api.patch("a", &one, &Patch::Apply(object("1"))).await.map_err(text)?;
    let two = PatchParams::apply("two");
    let status = refusal(api.patch("a", &two, &Patch::Apply(object("2"))).await)?;
    ensure(status.code == 409 && status.message.contains(".data.k"), format!("{status:?}"))?;
    let forced = api.patch("a", &two.force(), &Patch::Apply(object("2"))).await.map_err(text)?;
    ensure(forced.data.unwrap_or_default()["k"] == "2", "force takes the field over")
}

async fn dropping_an_applied_field_removes_it(cluster: &Cluster) -> Outcome {
    let api: Api<ConfigMap> = cluster.api();
    let params = PatchParams::apply("one");
    let object = |data: serde_json::Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    api.patch("a", &params, &Patch::Apply(object(json!({"k": "1", "l": "2"}))))
        .await
        .map_err(text)?;
    let left =
        api.patch("a", &params, &Patch::Apply(object(json!({"l": "2"})))).await.map_err(text)?;
    let keys: Vec<String> = left.data.unwrap_or_default().into_keys().collect();
    ensure(keys == ["l"], format!("{keys:?}"))
}

async fn a_watch_replays_from_a_version(cluster: &Cluster) -> Outcome {
    let api: Api<ConfigMap> = cluster.api();
    let start = api.list(&ListParams::default()).await.map_err(text)?;
    let version = start.metadata.resource_version.ok_or("a list has a version")?;
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "a"}})).await?;
    cluster.merge::<ConfigMap>("a", json!({"data": {"k": "1"}})).await?;
    cluster.delete::<ConfigMap>("a").await?;
    let params = WatchParams::default().timeout(30);
    let stream = api.watch(&params, &version).await.map_err(text)?;
    pin_mut!(stream);
    let mut seen = Vec::new();
    while seen.len() < 3
        && let Some(event) = stream.next().await
    {
        match event.map_err(text)? {
            WatchEvent::Added(_) => seen.push("ADDED"),
            WatchEvent::Modified(_) => seen.push("MODIFIED"),
            WatchEvent::Deleted(_) => seen.push("DELETED"),
            other => return Err(format!("unexpected {other:?}")),
        }
    }
    ensure(seen == ["ADDED", "MODIFIED", "DELETED"], format!("{seen:?}"))
}

async fn leaving_a_selector_is_a_deletion(cluster: &Cluster) -> Outcome {
    let api: Api<ConfigMap> = cluster.api();
    let made: ConfigMap =
        cluster.create(json!({"metadata": {"name": "a", "labels": {"x": "1"}}})).await?;
    let version = made.metadata.resource_version.ok_or("no version")?;
    let params = WatchParams::default().labels("x=1").timeout(30);
    let stream = api.watch(&params, &version).await.map_err(text)?;
    pin_mut!(stream);
    cluster.merge::<ConfigMap>("a", json!({"metadata": {"labels": {"x": "2"}}})).await?;
    match stream.next().await {
        Some(Ok(WatchEvent::Deleted(_))) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

async fn field_selectors_name_known_fields_only(cluster: &Cluster) -> Outcome {
    let api: Api<ConfigMap> = cluster.api();
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "a"}})).await?;
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "b"}})).await?;
    let named = ListParams::default().fields("metadata.name=b");
    let found = api.list(&named).await.map_err(text)?;
    ensure(found.items.len() == 1, format!("{} found", found.items.len()))?;
    let refused = api.list(&ListParams::default().fields("data.k=1")).await;
    ensure(refusal(refused)?.code == 400, "an unknown field is refused")
}

async fn finalizers_hold_an_object(cluster: &Cluster) -> Outcome {
    let held = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    cluster.create::<ConfigMap>(held).await?;
    cluster.delete::<ConfigMap>("a").await?;
    let marked: ConfigMap = cluster.get("a").await?;
    ensure(marked.metadata.deletion_timestamp.is_some(), "it is marked")?;
    cluster.merge::<ConfigMap>("a", json!({"metadata": {"finalizers": null}})).await?;
    cluster.until_gone::<ConfigMap>("a", std::time::Duration::from_secs(5)).await
}

async fn generation_counts_spec_changes_only(cluster: &Cluster) -> Outcome {
    let made: Deployment = cluster.create(deployment("a", 0, pause())).await?;
    ensure(made.metadata.generation == Some(1), "it starts at 1")?;
    let labelled: Deployment =
        cluster.merge("a", json!({"metadata": {"labels": {"x": "1"}}})).await?;
    ensure(labelled.metadata.generation == Some(1), "a label does not count")?;
    let scaled: Deployment = cluster.merge("a", json!({"spec": {"paused": true}})).await?;
    ensure(scaled.metadata.generation == Some(2), format!("{:?}", scaled.metadata.generation))
}

async fn defaults_are_shown(cluster: &Cluster) -> Outcome {
    let made: Deployment = cluster.create(deployment("a", 0, pause())).await?;
    let spec = made.spec;
    ensure(spec.progress_deadline_seconds == Some(600), "progressDeadlineSeconds 600")?;
    ensure(spec.revision_history_limit == Some(10), "revisionHistoryLimit 10")?;
    let pod = spec.template.spec.ok_or("no pod spec")?;
    ensure(pod.restart_policy.as_deref() == Some("Always"), "restartPolicy Always")?;
    let pulls = pod.containers.first().and_then(|c| c.image_pull_policy.as_deref());
    ensure(pulls == Some("IfNotPresent"), format!("imagePullPolicy {pulls:?}"))
}

async fn a_selector_must_match_its_template(cluster: &Cluster) -> Outcome {
    let mut object = deployment("a", 1, pause());
    object["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
    let object: Deployment = from_json(object)?;
    let api: Api<Deployment> = cluster.api();
    let status = refusal(api.create(&PostParams::default(), &object).await)?;
    let expected = "`selector` does not match template `labels`";
    ensure(status.code == 422 && status.message.contains(expected), status.message)
}

async fn a_pod_spec_is_immutable(cluster: &Cluster) -> Outcome {
    cluster.create::<Pod>(super::support::pod("a", pause())).await?;
    let api: Api<Pod> = cluster.api();
    let patch = json!({"spec": {"hostNetwork": true}});
    let status = refusal(api.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await)?;
    ensure(
        status.code == 422 && status.message.contains("pod updates may not change"),
        status.message,
    )
}

async fn services_get_addresses_and_node_ports(cluster: &Cluster) -> Outcome {
    let service: Service = cluster
        .create(json!({
            "metadata": {"name": "a"},
            "spec": {"type": "NodePort", "selector": {"app": "a"}, "ports": [{"port": 80}]},
        }))
        .await?;
    let spec = service.spec.ok_or("no spec")?;
    ensure(spec.cluster_ip.is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()), "no address")?;
    let port = spec.ports.unwrap_or_default().first().and_then(|p| p.node_port);
    ensure(port.is_some_and(|p| (30000..=32767).contains(&p)), format!("node port {port:?}"))
}

async fn scale_is_a_view_on_replicas(cluster: &Cluster) -> Outcome {
    cluster.create::<Deployment>(deployment("a", 0, pause())).await?;
    let api: Api<Deployment> = cluster.api();
    let patch = json!({"spec": {"replicas": 2}});
    api.patch_scale("a", &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(text)?;
    let scale = api.get_scale("a").await.map_err(text)?;
    ensure(scale.spec.and_then(|s| s.replicas) == Some(2), "the scale shows it")?;
    let object: Deployment = cluster.get("a").await?;
    ensure(object.spec.replicas == Some(2), "the object has it")
}

async fn dry_run_stores_nothing(cluster: &Cluster) -> Outcome {
    let api: Api<ConfigMap> = cluster.api();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&params, &config_map("a", json!({}))?).await.map_err(text)?;
    ensure(api.get_opt("a").await.map_err(text)?.is_none(), "it was stored")
}

async fn a_terminating_namespace_takes_nothing_and_goes(cluster: &Cluster) -> Outcome {
    let spaces: Api<Namespace> = Api::all(cluster.client.clone());
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "a"}})).await?;
    spaces.delete(&cluster.namespace, &DeleteParams::default()).await.map_err(text)?;
    let api: Api<ConfigMap> = cluster.api();
    let status = refusal(api.create(&PostParams::default(), &config_map("b", json!({}))?).await)?;
    ensure(status.code == 403, format!("{status:?}"))?;
    for _ in 0..300 {
        if spaces.get_opt(&cluster.namespace).await.map_err(text)?.is_none() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Err("the namespace is still there after a minute".into())
}

pub fn bodies() -> Vec<Body> {
    vec![
        body!(create_sets_uid_version_and_time),
        body!(generated_names_have_five_symbols),
        body!(a_taken_name_is_refused),
        body!(a_missing_object_is_not_found),
        body!(a_stale_version_conflicts),
        body!(an_update_without_change_keeps_the_version),
        body!(merge_patch_deletes_with_null),
        body!(json_patch_tests_before_it_writes),
        body!(strategic_patch_merges_containers_by_name),
        body!(apply_conflicts_over_foreign_fields),
        body!(dropping_an_applied_field_removes_it),
        body!(a_watch_replays_from_a_version),
        body!(leaving_a_selector_is_a_deletion),
        body!(field_selectors_name_known_fields_only),
        body!(finalizers_hold_an_object),
        body!(generation_counts_spec_changes_only),
        body!(defaults_are_shown),
        body!(a_selector_must_match_its_template),
        body!(a_pod_spec_is_immutable),
        body!(services_get_addresses_and_node_ports),
        body!(scale_is_a_view_on_replicas),
        body!(dry_run_stores_nothing),
        body!(a_terminating_namespace_takes_nothing_and_goes),
    ]
}
