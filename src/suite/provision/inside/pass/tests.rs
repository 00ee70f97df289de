//! The sweep inside a cluster that others use, on the simulator; its API breaks where a test says so.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use http::{Method, Response};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::client::Body;
use serde_json::{Value, json};

use super::super::Inside;
use super::*;
use crate::addons::{self, AddOn, Plan, Source};
use crate::engine::Engine as _;
use crate::engine::host::InClusters as _;
use crate::engine::sim::{self, ClusterSpec, SimEngine};
use crate::k8s::Profile;
use crate::stack::{Applier, Stack};
use crate::suite::provision::borrow;

const LEASE: &str = "run-1";

/// Runs `body` with the client of a simulated cluster that has a namespace of somebody's.
fn on_a_cluster<T>(body: impl AsyncFnOnce(Client) -> T) -> T {
    let spec = ClusterSpec::new(Profile::NEWEST, 2);
    let ran = sim::run(&spec, 1, async |engine: Arc<SimEngine>| {
        let client = engine.client();
        apply(&client, &[theirs(json!({"apiVersion": "v1", "kind": "Namespace"}), "")]).await;
        body(client).await
    });
    ran.expect("a simulator").value
}

/// `object` called `shop`, without our label.
fn theirs(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["name"] = json!("shop");
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// `object` of ours, in the namespace of somebody else.
fn ours(mut object: Value, name: &str) -> Value {
    object["metadata"] =
        json!({"name": name, "namespace": "shop", "labels": { LEASE_LABEL: LEASE }});
    object
}

fn pod() -> Value {
    let spec = json!({"containers": [{"name": "web", "image": "nginx:1.27"}]});
    json!({"apiVersion": "v1", "kind": "Pod", "spec": spec})
}

fn map() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}})
}

async fn apply(client: &Client, objects: &[Value]) {
    let mut applier = Applier::new(client.clone());
    for object in objects {
        let applied = applier.apply(object).await;
        applied.unwrap_or_else(|error| panic!("{}: {object}", error.reason()));
    }
}

/// `client`, but requests for which `answer` has a status and a text get these.
fn broken(
    client: &Client,
    answer: impl Fn(&Method, &str) -> Option<(u16, &'static str)> + Send + Sync + 'static,
) -> Client {
    let (client, answer) = (client.clone(), Arc::new(answer));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, answer) = (client.clone(), Arc::clone(&answer));
        async move {
            match answer(request.method(), request.uri().path()) {
                None => client.send(request).await,
                Some((code, text)) => {
                    let body = Body::from(text.as_bytes().to_vec());
                    let response = Response::builder().status(code).body(body);
                    Ok(response.expect("a response"))
                }
            }
        }
    });
    Client::new(service, "default")
}

/// What has our label.
async fn left(client: &Client) -> BTreeSet<String> {
    let pass = Pass::new(client, LEASE);
    let mut found = BTreeSet::new();
    for version in versions(client).await.expect("an answer") {
        let group = pinned_group(client, &version).await.expect("a group");
        for (resource, capabilities) in group.recommended_resources() {
            if !capabilities.supports_operation(verbs::DELETE) {
                continue;
            }
            let Ok(objects) = pass.list(&resource, &capabilities).await else { panic!("no list") };
            let names = objects.iter().map(|each| format!("{} {}", resource.kind, each.name_any()));
            found.extend(names);
        }
    }
    found
}

#[test]
fn bare_pods_and_endpoints_of_ours_go_and_derived_ones_are_left_to_their_controllers() {
    on_a_cluster(async |client: Client| {
        let template = json!({"metadata": {"labels": {"app": "web", LEASE_LABEL: LEASE}}, "spec": pod()["spec"]});
        let web = json!({"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
        let port = json!([{"port": 80}]);
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.9.9.9"]}],
        });
        apply(
            &client,
            &[
                theirs(pod(), "shop"),
                ours(pod(), "bare"),
                ours(json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": web}), "web"),
                ours(json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": port, "selector": {"app": "web"}}}), "web"),
                ours(slice, "bare"),
                ours(json!({"apiVersion": "v1", "kind": "Endpoints"}), "bare"),
            ],
        )
        .await;
        tokio::time::sleep(secs(60)).await;
        let before = left(&client).await;
        for wanted in ["Pod bare", "EndpointSlice bare", "Endpoints bare", "Endpoints web"] {
            assert!(before.contains(wanted), "no {wanted} in {before:?}");
        }
        let derived = before.iter().filter(|name| name.contains(" web-")).count();
        assert!(derived >= 4, "a ReplicaSet, two pods and a slice: {before:?}");

        // Deleting what its controller would make again is a race.
        let deleted = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&deleted);
        let watched = broken(&client, move |method, path| {
            if method == Method::DELETE {
                log.lock().expect("no panic").push(path.to_owned());
            }
            None
        });
        let unseen = remove_labelled(&watched, LEASE).await;
        assert!(unseen.unwrap_or_else(|error| panic!("{error}")).is_empty());

        assert_eq!(left(&client).await, BTreeSet::new());
        let deleted = deleted.lock().expect("no panic").clone();
        let is_derived = |path: &&String| path.ends_with("endpoints/web") || path.contains("/web-");
        assert_eq!(deleted.iter().find(is_derived), None);
        let pods: Api<Pod> = Api::namespaced(client, "shop");
        assert!(pods.get("shop").await.is_ok(), "somebody else's pod went too");
    });
}

#[test]
fn a_volume_whose_class_keeps_it_goes_with_our_claim_and_stays_with_others() {
    on_a_cluster(async |client: Client| {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "keeps"},
            "provisioner": "rancher.io/local-path", "reclaimPolicy": "Retain",
            "volumeBindingMode": "WaitForFirstConsumer",
        });
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "spec": {
                "storageClassName": "keeps", "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        });
        let using = |name: &str| {
            let mut pod = pod();
            let source = json!({"claimName": name});
            pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": source}]);
            pod["spec"]["containers"][0]["volumeMounts"] =
                json!([{"name": "data", "mountPath": "/data"}]);
            pod
        };
        apply(&client, &[class, theirs(claim.clone(), "shop"), ours(claim, "data")]).await;
        apply(&client, &[theirs(using("shop"), "shop"), ours(using("data"), "web")]).await;
        tokio::time::sleep(secs(60)).await;
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        assert_eq!(volumes.list(&ListParams::default()).await.expect("a list").items.len(), 2);

        remove_labelled(&client, LEASE).await.unwrap_or_else(|error| panic!("{error}"));

        assert_eq!(left(&client).await, BTreeSet::new());
        let volumes = volumes.list(&ListParams::default()).await.expect("a list").items;
        let [kept] = &volumes[..] else { panic!("{volumes:?}") };
        let spec = kept.spec.as_ref().expect("a spec");
        assert_eq!(spec.persistent_volume_reclaim_policy.as_deref(), Some("Retain"));
        let of = spec.claim_ref.as_ref().and_then(|claim| claim.name.as_deref());
        assert_eq!(of, Some("shop"));
    });
}

const GIZMOS: &str = r#"{
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "gizmos.example.com"},
    "spec": {
        "group": "example.com", "scope": "Cluster",
        "names": {"kind": "Gizmo", "listKind": "GizmoList", "plural": "gizmos", "singular": "gizmo"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]
    }
}"#;

#[test]
fn an_api_that_is_out_of_order_is_passed_over_and_named() {
    on_a_cluster(async |client: Client| {
        apply(&client, &[serde_json::from_str(GIZMOS).expect("a definition")]).await;
        apply(&client, &[ours(map(), "settings")]).await;
        tokio::time::sleep(secs(10)).await;
        let down = broken(&client, |_, path| {
            let is_down = ["/apis/metrics.k8s.io/", "/apis/example.com/"];
            is_down.iter().any(|api| path.starts_with(api)).then_some((503, "service unavailable"))
        });
        let unseen = remove_labelled(&down, LEASE).await;
        let unseen = unseen.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(unseen, ["example.com/v1 (out of order)"]);
        assert_eq!(left(&client).await, BTreeSet::new());
    });
}

#[tokio::test]
async fn a_cluster_that_is_gone_is_asked_once_and_the_way_out_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    let text = "{apiVersion: v1, kind: Config, clusters: [{name: gone, cluster: {server: \
                'http://127.0.0.1:9'}}], contexts: [{name: gone, context: {cluster: gone, user: me}}], \
                users: [{name: me, user: {}}]}";
    std::fs::write(&kubeconfig, text).expect("written");
    let inside = Inside {
        tell: Arc::new(|_| ()),
        signals: None,
        leases: folder.path().to_owned(),
        is_patient: false,
    };
    let removed = inside.remove(LEASE, kubeconfig.to_str().expect("text"), "gone").await;
    let error = removed.expect_err("nobody is there").to_string();
    let told = format!(
        "they have the label {LEASE_LABEL}={LEASE}; if the cluster is gone for good, delete {}",
        folder.path().join("run-1.json").display()
    );
    assert!(error.starts_with("its cluster does not answer") && error.ends_with(&told), "{error}");
}

#[test]
fn custom_objects_go_before_what_may_finalize_them() {
    on_a_cluster(async |client: Client| {
        let gizmo = json!({
            "apiVersion": "example.com/v1", "kind": "Gizmo",
            "metadata": {
                "name": "shop", "labels": { LEASE_LABEL: LEASE }, "finalizers": ["example.com/operator"],
            },
        });
        apply(&client, &[serde_json::from_str(GIZMOS).expect("a definition")]).await;
        tokio::time::sleep(secs(10)).await;
        apply(&client, &[gizmo, ours(map(), "operator")]).await;
        let mut pass = Pass::new(&client, LEASE);
        pass.run(true).await.expect("an answer");
        assert_eq!(pass.left, ["still there: Gizmo shop"]);
        let both = ["ConfigMap operator", "Gizmo shop"].map(str::to_owned);
        assert_eq!(left(&client).await, BTreeSet::from(both));
        // An operator that is dead holds nothing back for good.
        remove_labelled(&client, LEASE).await.expect_err("the finalizer stays");
        assert_eq!(left(&client).await, BTreeSet::from(["Gizmo shop".to_owned()]));
    });
}

#[test]
fn what_this_user_may_see_of_a_kind_is_found_and_the_rest_is_named() {
    on_a_cluster(async |client: Client| {
        let secret = json!({"apiVersion": "v1", "kind": "Secret"});
        apply(&client, &[ours(secret, "password"), ours(map(), "settings")]).await;
        let bounded = broken(&client, |_, path| {
            let is_elsewhere = path.ends_with("/secrets") && !path.contains("/namespaces/shop/");
            (is_elsewhere || path.ends_with("clusterroles")).then_some((403, "not you"))
        });
        let unseen = remove_labelled(&bounded, LEASE).await;
        let unseen = unseen.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(unseen, ["clusterroles.rbac.authorization.k8s.io (forbidden)"]);
        assert_eq!(left(&client).await, BTreeSet::new());

        // Who may see nothing does not know that nothing is left.
        let stranger = broken(&client, |method, path| {
            let is_list = method == Method::GET && !path.ends_with("/v1") && path != "/apis";
            is_list.then_some((403, "not you"))
        });
        let error = remove_labelled(&stranger, LEASE).await.expect_err("it cannot know");
        assert!(error.to_string().contains("nor the namespaces can be listed"), "{error}");
    });
}

#[test]
fn other_failures_leave_the_sweep_incomplete_and_keep_nothing_else_from_going() {
    on_a_cluster(async |client: Client| {
        apply(&client, &[ours(map(), "settings")]).await;
        let failing = broken(&client, |_, path| match path {
            "/apis/apps/v1" => Some((503, "overloaded")),
            "/apis/batch/v1/jobs" => Some((500, "no storage")),
            _ => None,
        });
        let error = remove_labelled(&failing, LEASE).await.expect_err("it cannot know");
        let text = error.to_string();
        let named = "seen: apps/v1: overloaded (503), jobs.batch: no storage (500)";
        assert!(text.contains(named), "{text}");
        assert_eq!(left(&client).await, BTreeSet::new());
    });
}

#[test]
fn an_add_on_in_a_namespace_of_somebody_elses_goes_and_the_namespace_stays() {
    on_a_cluster(async |client: Client| {
        apply(&client, &[theirs(json!({"apiVersion": "v1", "kind": "Secret"}), "shop")]).await;
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join(AddOn::IngressNginx.name());
        std::fs::create_dir(&own).expect("made");
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
        let mut settings = map();
        settings["metadata"] = json!({"name": "settings", "namespace": "shop"});
        let add_on = json!({"apiVersion": "v1", "kind": "List", "items": [namespace, settings]});
        std::fs::write(own.join("a.yaml"), add_on.to_string()).expect("written");
        let source = Source::Folder(folder.path().to_owned());
        let wanted = BTreeSet::from([AddOn::IngressNginx]);
        let loaded = addons::load(&wanted, Profile::NEWEST, &source).await.expect("loaded");
        let stack = Stack::load_text("stack.yaml", &map_text(), &Profile::NEWEST).expect("a stack");
        let plan = Plan { addons: loaded, setup: borrow::setup(LEASE, &stack), probe: None };
        addons::install(&client, &plan).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(left(&client).await, BTreeSet::from(["ConfigMap settings".to_owned()]));

        remove_labelled(&client, LEASE).await.unwrap_or_else(|error| panic!("{error}"));

        assert_eq!(left(&client).await, BTreeSet::new());
        let secrets: Api<Secret> = Api::namespaced(client, "shop");
        assert!(secrets.get("shop").await.is_ok(), "somebody else's secret went too");
    });
}

/// A stack that needs nothing.
fn map_text() -> String {
    ours(map(), "settings").to_string()
}
