//! The changes to files like upstream's, and installing on the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::tweak::{pin_to_ingress_node, tweaked};
use super::*;
use crate::base::Error;
use crate::engine::Engine as _;
use crate::engine::sim::{ClusterSpec, Profile, run};
use crate::stack::Stack;
use crate::wait;

const INGRESS: &str = include_str!("fixtures/ingress-nginx.yaml");
const METRICS: &str = include_str!("fixtures/metrics-server.yaml");
const ROOK: &str = include_str!("fixtures/rook-operator.yaml");

fn documents(text: &str) -> Vec<Document> {
    Document::all_in("fixture.yaml", text).expect("a fixture")
}

fn find<'a>(documents: &'a [Document], kind: &str) -> &'a Value {
    let found = documents.iter().find(|document| document.kind() == kind);
    &found.unwrap_or_else(|| panic!("no {kind}")).value
}

fn kind_setup(n_devices: usize) -> Setup {
    let device = |n: usize| (format!("w{n}"), PathBuf::from(format!("/dev/loop{n}")));
    Setup {
        kind: true,
        devices: (0..n_devices).map(device).collect(),
        labels: BTreeMap::from([("seatrial.dev/run".to_owned(), "a1".to_owned())]),
        ..Setup::default()
    }
}

fn newest(addon: AddOn) -> Pin {
    pin(addon, Profile::NEWEST).expect("pinned")
}

#[test]
fn the_ingress_controller_goes_to_the_node_with_the_ports() {
    let mut documents = documents(INGRESS);
    pin_to_ingress_node(&mut documents);
    let selector = find(&documents, "Deployment").pointer("/spec/template/spec/nodeSelector");
    assert_eq!(selector, Some(&json!({"kubernetes.io/os": "linux", "ingress-ready": "true"})));
}

#[test]
fn everything_that_is_made_carries_the_labels() {
    let changed = tweaked(AddOn::IngressNginx, None, &documents(INGRESS), &kind_setup(0));
    for document in changed.expect("changed") {
        let labels = &document.value["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/managed-by"], "seatrial", "{document:?}");
        assert_eq!(labels["seatrial.dev/run"], "a1", "{document:?}");
    }
}

#[test]
fn metrics_server_trusts_kubelets_on_kind_only_and_once() {
    let args = |setup: &Setup, documents: &[Document]| {
        let changed = tweaked(AddOn::MetricsServer, None, documents, setup).expect("changed");
        let args = find(&changed, "Deployment").pointer("/spec/template/spec/containers/0/args");
        (args.cloned().expect("arguments").to_string().matches("insecure-tls").count(), changed)
    };
    let upstream = documents(METRICS);
    let (n_flags, changed) = args(&kind_setup(0), &upstream);
    assert_eq!(n_flags, 1);
    assert_eq!(args(&kind_setup(0), &changed).0, 1);
    assert_eq!(args(&Setup::default(), &upstream).0, 0);
    let other = documents(&METRICS.replace("--kubelet-", "--other-"));
    assert_eq!(args(&kind_setup(0), &other).0, 0, "another program's flags were changed");
}

#[test]
fn rook_takes_the_named_devices_and_no_others() {
    let pin = newest(AddOn::RookCeph);
    let changed = tweaked(AddOn::RookCeph, Some(&pin), &documents(ROOK), &kind_setup(2));
    let changed = changed.expect("changed");
    let cluster = &find(&changed, "CephCluster")["spec"];
    assert_eq!(cluster["cephVersion"]["image"], "quay.io/ceph/ceph:v20.2.4");
    assert_eq!(
        cluster["storage"],
        json!({"useAllNodes": false, "useAllDevices": false, "nodes": [
            {"name": "w0", "devices": [{"name": "/dev/loop0"}]},
            {"name": "w1", "devices": [{"name": "/dev/loop1"}]}]})
    );
    assert_eq!(cluster["security"]["cephx"]["csi"]["keyType"], "aes");
    assert_eq!(cluster["mon"]["count"], 1);
    assert_eq!(cluster["cephConfig"]["global"]["osd_pool_default_size"], "2");
    let three = tweaked(AddOn::RookCeph, Some(&pin), &documents(ROOK), &kind_setup(3));
    let three = three.expect("changed");
    assert_eq!(
        find(&three, "CephCluster")["spec"]["cephConfig"]["global"]["osd_pool_default_size"],
        Value::Null
    );
}

#[test]
fn ceph_is_led_from_a_node_that_is_never_stopped() {
    let pin = newest(AddOn::RookCeph);
    let documents = documents(ROOK);
    let changed = tweaked(AddOn::RookCeph, Some(&pin), &documents, &kind_setup(3));
    let changed = changed.expect("changed");
    let placement = &find(&changed, "CephCluster")["spec"]["placement"];
    let role = json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"});
    let on = "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    for daemon in ["mon", "mgr"] {
        let terms = placement[daemon].pointer(on);
        assert_eq!(terms, Some(&json!([{"matchExpressions": [role]}])), "{daemon}");
        assert_eq!(placement[daemon]["tolerations"], json!([role]), "{daemon}");
    }
    assert_eq!(placement.as_object().map_or(0, |all| all.len()), 2, "disks are on workers");
    let elsewhere = tweaked(AddOn::RookCeph, Some(&pin), &documents, &Setup::default());
    let refused = elsewhere.and_then(|changed| super::tweak::check_disks(&changed));
    refused.expect_err("a cluster without such nodes would wait for its monitor for ever");
}

#[test]
fn rook_runs_its_drivers_lean() {
    let pin = newest(AddOn::RookCeph);
    let setup = Setup { ceph_mount: CephMount::Fuse, ..kind_setup(3) };
    let changed = tweaked(AddOn::RookCeph, Some(&pin), &documents(ROOK), &setup).expect("changed");
    let config = &find(&changed, "ConfigMap")["data"];
    assert_eq!(config["ROOK_CEPH_ALLOW_LOOP_DEVICES"], "true");
    assert_eq!(config["CSI_PROVISIONER_REPLICAS"], "1");
    assert_eq!(config["CSI_ENABLE_NFS_SNAPSHOTTER"], Value::Null, "a key was made up");
    let defaults = &find(&changed, "OperatorConfig")["spec"]["driverSpecDefaults"];
    assert_eq!(defaults["controllerPlugin"], json!({"priorityClassName": "high", "replicas": 1}));
    assert_eq!(defaults["snapshotPolicy"], "none");
    assert_eq!(defaults["cephFsClientType"], "autodetect");
}

#[test]
fn a_cluster_that_would_take_any_disk_is_refused_or_mended() {
    let greedy = "apiVersion: ceph.rook.io/v1\nkind: CephCluster\nmetadata: {name: c, namespace: rook-ceph}\n\
                  spec: {cephVersion: {image: 'quay.io/ceph/ceph:v20'}, storage: {useAllNodes: true, useAllDevices: true}}\n";
    let refused = |text: &str| {
        let changed = tweaked(AddOn::RookCeph, None, &documents(text), &Setup::default());
        let checked = changed.and_then(|changed| super::tweak::check_disks(&changed));
        checked.err().map(|error| error.to_string())
    };
    let text = refused(greedy).expect("refused");
    assert!(text.contains("storage.useAllDevices") && text.contains("--addons DIR"), "{text}");
    let filter = greedy.replace("useAllDevices: true", "deviceFilter: 'sd.'");
    assert!(refused(&filter).is_some_and(|text| text.contains("deviceFilter")));
    let in_node = greedy.replace("useAllDevices: true", "nodes: [{name: a, useAllDevices: true}]");
    assert!(refused(&in_node).is_some_and(|text| text.contains("useAllDevices")));
    let none = greedy.replace("useAllDevices: true", "useAllDevices: false");
    assert!(refused(&none).is_some_and(|text| text.contains("no devices")));
    let named = greedy.replace("useAllDevices: true", "nodes: [{name: a, devices: [{name: sdx}]}]");
    assert_eq!(refused(&named), None);
    let external = greedy.replace("storage:", "external: {enable: true}, storage:");
    assert_eq!(refused(&external), None);
    assert!(refused("").is_some_and(|text| text.contains("no CephCluster")));
    let wants = |text: &str| wants_devices(&[Loaded::for_test(AddOn::RookCeph, documents(text))]);
    assert!(wants(greedy) && wants("") && wants(&none) && !wants(&named) && !wants(&external));

    let pin = newest(AddOn::RookCeph);
    let mended = tweaked(AddOn::RookCeph, Some(&pin), &documents(greedy), &kind_setup(1));
    let mended = mended.expect("changed");
    assert_eq!(mended.len(), 1, "a second cluster was added");
    let spec = &find(&mended, "CephCluster")["spec"];
    assert_eq!(spec["storage"]["useAllDevices"], false);
    assert_eq!(spec["cephVersion"]["image"], "quay.io/ceph/ceph:v20.2.4", "the tag floats");
}

#[test]
fn a_file_system_without_a_group_gets_one() {
    let pin = newest(AddOn::RookCeph);
    let pair = |name: &str| ("rook-ceph".to_owned(), name.to_owned());
    let mut setup = kind_setup(3);
    setup.storage.filesystems = BTreeSet::from([pair("myfs"), pair("other")]);
    setup.storage.grouped = BTreeSet::from([pair("other")]);
    let changed = tweaked(AddOn::RookCeph, Some(&pin), &documents(ROOK), &setup).expect("changed");
    let groups: Vec<_> =
        changed.iter().filter(|each| each.kind() == "CephFilesystemSubVolumeGroup").collect();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].value["spec"], json!({"name": "csi", "filesystemName": "myfs"}));
}

#[test]
fn images_are_those_that_pods_ask_for() {
    let loaded = |addon: AddOn, text: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join(addon.name());
        std::fs::create_dir(&own).expect("made");
        std::fs::write(own.join("a.yaml"), text).expect("written");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let source = Source::Folder(folder.path().to_owned());
        let wanted = BTreeSet::from([addon]);
        runtime.block_on(load(&wanted, Profile::NEWEST, &source)).expect("loaded")
    };
    let external = "\n---\n{apiVersion: ceph.rook.io/v1, kind: CephCluster, metadata: {name: c}, \
                    spec: {external: {enable: true}, cephVersion: {image: none}}}\n";
    let mut addons = loaded(AddOn::IngressNginx, INGRESS);
    addons.extend(loaded(AddOn::RookCeph, &format!("{ROOK}{external}")));
    let images = images_of(&Plan { addons, setup: kind_setup(0), probe: None }).expect("images");
    let images: Vec<_> = images.iter().map(|image| tweak::without_digest(image)).collect();
    let wanted = [
        "docker.io/rook/ceph:v1.20.6",
        "quay.io/cephcsi/cephcsi:v3.17.0",
        "registry.k8s.io/ingress-nginx/controller:v1.15.1",
        "registry.k8s.io/ingress-nginx/kube-webhook-certgen:v1.6.9",
    ];
    assert_eq!(images, wanted);
}

/// Runs `body` with the simulator's client.
pub(super) fn on_sim<T>(body: impl AsyncFnOnce(Client) -> T) -> T {
    let spec = ClusterSpec::new(Profile::NEWEST, 3);
    run(&spec, 1, async |engine: Arc<crate::engine::sim::SimEngine>| body(engine.client()).await)
        .expect("a simulator")
        .value
}

/// A plan for one add-on, from the text of its only file.
pub(super) fn plan(addon: AddOn, text: &str, probe: Option<Probe>) -> Plan {
    let loaded = Loaded::for_test(addon, documents(text));
    Plan { addons: vec![loaded], setup: kind_setup(0), probe }
}

/// A front door that answers what `statuses` say, the last one for ever.
fn door(statuses: &'static [u16]) -> (Probe, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let probe: Probe = Arc::new(move || {
        let idx = counted.fetch_add(1, Ordering::SeqCst).min(statuses.len() - 1);
        Box::pin(async move { Ok(statuses[idx]) })
    });
    (probe, count)
}

const SMALL_INGRESS: &str = "\
{apiVersion: v1, kind: Namespace, metadata: {name: extra}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: extra}, data: {a: '1'}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: controller, namespace: ingress-nginx}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: ingress-nginx}}
  template:
    metadata: {labels: {app.kubernetes.io/name: ingress-nginx}}
    spec:
      nodeSelector: {kubernetes.io/os: linux}
      containers: [{name: controller, image: 'nginx:1.27'}]
";

#[test]
fn an_add_on_is_ready_when_the_front_door_answers() {
    let (probe, count) = door(&[502, 502, 404]);
    let installed = on_sim(async |client: Client| {
        let plan = plan(AddOn::IngressNginx, SMALL_INGRESS, Some(probe));
        install(&client, &plan).await?;
        // Again does no harm.
        install(&client, &plan).await?;
        let maps: Api<ConfigMap> = Api::namespaced(client, "extra");
        let map =
            maps.get("settings").await.map_err(|error| Error::environment(error.to_string()))?;
        assert_eq!(map.labels().get("seatrial.dev/run").map(String::as_str), Some("a1"));
        let controllers: Api<Deployment> = Api::namespaced(maps.into_client(), "ingress-nginx");
        controllers.get("controller").await.expect("applied");
        Ok::<_, Error>(())
    });
    installed.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(count.load(Ordering::SeqCst), 4, "three tries, then one");
}

#[test]
fn an_add_on_that_does_not_come_up_says_what_blocks() {
    let stuck = SMALL_INGRESS.replace("kubernetes.io/os: linux", "kubernetes.io/os: plan9");
    let error = on_sim(async |client: Client| {
        install(&client, &plan(AddOn::IngressNginx, &stuck, None)).await
    });
    let text = error.expect_err("it cannot run").to_string();
    assert!(
        text.starts_with("add-on ingress-nginx does not come up\nexpected: Deployment controller"),
        "{text}"
    );
    for part in [
        "within 300 s",
        "blocked: Deployment controller",
        "event: Pod controller-",
        "FailedScheduling",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn kubelets_of_a_borrowed_kind_cluster_are_trusted_too() {
    let args = on_sim(async |client: Client| {
        let mut plan = plan(AddOn::MetricsServer, METRICS, None);
        plan.setup = Setup { kind: false, borrowed: true, ..plan.setup };
        // The simulator's nodes are as kind's; it does not know the program, which never runs.
        install(&client, &plan).await.expect_err("no such program");
        let servers: Api<Deployment> = Api::namespaced(client, "kube-system");
        let server = servers.get("metrics-server").await.expect("applied");
        server.spec.template.spec.and_then(|spec| spec.containers[0].args.clone())
    });
    let args = args.expect("arguments");
    assert!(args.iter().any(|arg| arg == "--kubelet-insecure-tls"), "{args:?}");
}

#[test]
fn a_refused_object_is_named_with_its_file() {
    let error = on_sim(async |client: Client| {
        let text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: nowhere}}";
        install(&client, &plan(AddOn::MetricsServer, text, None)).await
    });
    let text = error.expect_err("refused").to_string();
    let wanted = "add-on metrics-server: fixture.yaml: ConfigMap nowhere/a: refused: ";
    assert!(text.starts_with(wanted) && text.contains("\"nowhere\" not found"), "{text}");
}

#[test]
fn custom_objects_wait_for_their_definitions() {
    let text = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gizmos.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {kind: Gizmo, listKind: GizmoList, plural: gizmos, singular: gizmo}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
---
{apiVersion: example.com/v1, kind: Gizmo, metadata: {name: one}, spec: {size: 3}}
---
{apiVersion: ceph.rook.io/v1, kind: CephCluster, metadata: {name: rook-ceph, namespace: rook-ceph}, spec: {external: {enable: true}}}
";
    let found: Result<Value, Error> = on_sim(async |client: Client| {
        let mut plan = plan(AddOn::RookCeph, text, None);
        // The simulator's cluster has it.
        let secret = ("rook-ceph".to_owned(), "rook-csi-cephfs-provisioner".to_owned());
        plan.setup.storage.secrets = BTreeSet::from([secret]);
        install(&client, &plan).await?;
        let request = http::Request::get("/apis/example.com/v1/gizmos/one").body(Vec::new());
        client
            .request(request.expect("a request"))
            .await
            .map_err(|error| Error::environment(error.to_string()))
    });
    assert_eq!(found.unwrap_or_else(|error| panic!("{error}"))["spec"]["size"], 3);
}

#[test]
fn what_a_cluster_has_is_found() {
    on_sim(async |client: Client| {
        let ingress = present(&client, AddOn::IngressNginx).await.expect("an answer");
        let ingress = ingress.expect("the simulator has it");
        assert_eq!((ingress.evidence.as_str(), ingress.trouble), ("IngressClass nginx", None));
        let ceph = present(&client, AddOn::RookCeph).await.expect("an answer");
        let ceph = ceph.expect("the simulator has it");
        assert_eq!(
            (ceph.evidence.as_str(), ceph.trouble),
            ("CephCluster rook-ceph/rook-ceph", None)
        );
        let status = Patch::Merge(json!({"status": {"ceph": {"health": "HEALTH_ERR"}}}));
        let clusters: Api<super::rook::CephCluster> = Api::namespaced(client.clone(), "rook-ceph");
        clusters
            .patch_status("rook-ceph", &PatchParams::default(), &status)
            .await
            .expect("patched");
        let ceph = present(&client, AddOn::RookCeph).await.expect("an answer");
        let trouble = ceph.and_then(|ceph| ceph.trouble).expect("trouble");
        assert!(trouble.contains("HEALTH_ERR"), "{trouble}");
    });
}

#[test]
fn ceph_volumes_are_unmounted_and_other_pods_stay() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/wordpress");
    let stack = Stack::load(&path, &Profile::NEWEST).expect("the reference stack");
    let needs = needed(stack.objects().iter().map(|m| (m.object_ref.kind.as_str(), &m.value)));
    assert_eq!(needs.len(), 3, "the reference stack needs all add-ons: {needs:?}");
    on_sim(async |client: Client| {
        stack.apply(&client).await.expect("applied");
        let bystander = Stack::load_text(
            "bystander.yaml",
            "{apiVersion: v1, kind: Pod, metadata: {name: bystander, namespace: default}, \
             spec: {containers: [{name: web, image: 'nginx:1.27'}]}}",
            &Profile::NEWEST,
        );
        bystander.expect("a pod").apply(&client).await.expect("applied");
        let pods: Api<Pod> = Api::namespaced(client.clone(), "wordpress");
        wait::until(&wait::Scope::all(pods.clone()), &wait::n_pods_ready(4), wait::STACK_READY)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let attachments: Api<VolumeAttachment> = Api::all(client.clone());
        let n_attached =
            attachments.list(&ListParams::default()).await.expect("listed").items.len();
        assert!(n_attached > 0, "nothing was attached");

        before_delete(&client).await.unwrap_or_else(|error| panic!("{error}"));

        assert_eq!(attachments.list(&ListParams::default()).await.expect("listed").items.len(), 0);
        assert_eq!(pods.list(&ListParams::default()).await.expect("listed").items.len(), 0);
        let others: Api<Pod> = Api::namespaced(client, "default");
        assert!(others.get("bystander").await.is_ok(), "somebody else's pod went too");
    });
}
