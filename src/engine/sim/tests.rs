//! The engine through `kube::Client`, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::json;

use super::{SimEngine, run};
use crate::base::secs;
use crate::engine::Engine as _;
use crate::sim::ClusterSpec;
use crate::sim::profile::Profile;

fn spec() -> ClusterSpec {
    ClusterSpec { keep_trace: true, ..ClusterSpec::new(Profile::NEWEST, 3) }
}

fn named<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

/// Creates, watches, patches in all four ways and deletes a ConfigMap; returns what the watch saw.
async fn exercise(engine: Arc<SimEngine>) -> Result<Vec<String>, kube::Error> {
    let client = engine.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = named(json!({"metadata": {"name": "shop"}}));
    namespaces.create(&PostParams::default(), &namespace).await?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "shop");
    let watching = maps.clone();
    let watch = tokio::spawn(async move {
        let params = WatchParams::default().labels("app=web").timeout(60);
        let stream = watching.watch(&params, "0").await?.boxed();
        let seen: Vec<String> = stream
            .map_ok(|event| match event {
                WatchEvent::Added(map) => format!("added {:?}", map.data),
                WatchEvent::Modified(map) => format!("modified {:?}", map.data),
                WatchEvent::Deleted(map) => format!("deleted {:?}", map.data),
                other => format!("{other:?}"),
            })
            .try_collect()
            .await?;
        Ok::<_, kube::Error>(seen)
    });
    let map: ConfigMap = named(json!({
        "metadata": {"name": "settings", "labels": {"app": "web"}}, "data": {"a": "1"},
    }));
    maps.create(&PostParams::default(), &map).await?;
    let params = PatchParams::apply("tester");
    maps.patch("settings", &params, &Patch::Merge(json!({"data": {"b": "2"}}))).await?;
    let strategic = Patch::Strategic(json!({"data": {"a": null}}));
    maps.patch("settings", &PatchParams::default(), &strategic).await?;
    let operations = named(json!([{"op": "add", "path": "/data/c", "value": "3"}]));
    maps.patch("settings", &PatchParams::default(), &Patch::Json::<()>(operations)).await?;
    let applied = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings"}, "data": {"d": "4"},
    });
    let result = maps.patch("settings", &params, &Patch::Apply(applied)).await?;
    let expected = [("b", "2"), ("c", "3"), ("d", "4")];
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(result.data, Some(expected));
    let listed = maps.list(&ListParams::default().labels("app=web")).await?;
    assert_eq!(listed.items.len(), 1);
    maps.delete("settings", &DeleteParams::default()).await?;
    let missing = maps.get("settings").await.expect_err("deleted");
    assert!(missing.to_string().contains("configmaps \"settings\" not found"), "{missing}");
    watch.await.expect("the watch task does not panic")
}

#[test]
fn a_client_reads_writes_and_watches() {
    let ran = run(&spec(), 1, exercise).expect("runs");
    let seen = ran.value.expect("no request fails");
    // Four patches between creation and deletion, then a bookmark shortly before the end.
    assert_eq!(seen.len(), 7, "{seen:?}");
    assert!(seen[0].starts_with("added") && seen[5].starts_with("deleted"), "{seen:?}");
    assert!(seen[6].starts_with("Bookmark"), "{seen:?}");
    assert!(ran.virtual_time >= secs(60), "the watch lasts its minute: {:?}", ran.virtual_time);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let hash = |seed| run(&spec(), seed, exercise).expect("runs").trace_hash;
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}

#[test]
fn a_dropped_watch_is_closed() {
    let ran = run(&spec(), 1, async |engine: Arc<SimEngine>| {
        let namespaces: Api<Namespace> = Api::all(engine.client());
        let stream = namespaces.watch(&WatchParams::default(), "0").await.expect("opens");
        drop(stream);
        let namespace = named(json!({"metadata": {"name": "shop"}}));
        namespaces.create(&PostParams::default(), &namespace).await.expect("creates");
        tokio::time::sleep(secs(1)).await;
        engine.elapsed()
    });
    assert!(ran.expect("runs").value >= Duration::from_secs(1));
}
