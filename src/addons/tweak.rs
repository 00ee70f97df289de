//! Changes to upstream's objects, found by kind and name; what is not there is left alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::AddOn;
use super::document::Document;
use super::pins::Pin;
use super::which::Storage;
use crate::base::Error;
use crate::k8s::rook;

/// On the node that owns the port mappings of a kind cluster, by kind's own custom.
pub(super) const INGRESS_NODE_LABEL: &str = "ingress-ready";
/// Says of an object that we made it.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "seatrial");
/// Keeps three copies of a pool on three hosts; with fewer devices fewer.
const POOL_SIZE: usize = 3;

const NO_CLUSTER: &str = "\
add-on rook-ceph: no CephCluster among the files of --addons; add one as in Seatrial's
manifests/addons/rook-ceph/cluster.yaml, with its Ceph image; on kind its devices are filled in";
const NO_DEVICES: &str = "\
Rook would take disks of this cluster's hosts; install Rook-Ceph yourself, or name the devices in a
CephCluster below --addons DIR";

/// How pods mount CephFS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CephMount {
    /// By the kernel of the host.
    #[default]
    Kernel,
    /// By whatever the node has: ceph-fuse where the kernel lacks the module.
    Fuse,
}

/// What an engine knows of the cluster that add-ons go to.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// A kind cluster: the kubelets' certificates are self-signed.
    pub kind: bool,
    /// A cluster that others use: what they have in it is neither changed nor labelled as ours.
    pub borrowed: bool,
    /// The one device that Ceph may take on each node, as in `/dev/loop7`, by node name.
    pub devices: BTreeMap<String, PathBuf>,
    /// How pods mount CephFS.
    pub ceph_mount: CephMount,
    /// Labels for everything that is made, beside `app.kubernetes.io/managed-by: seatrial`.
    pub labels: BTreeMap<String, String>,
    /// The stack's storage.
    pub storage: Storage,
}

/// What the objects of `addon` become on the cluster of `setup`.
///
/// # Errors
/// Usage: Rook's files have no CephCluster, and none is pinned.
pub(super) fn tweaked(
    addon: AddOn,
    pin: Option<&Pin>,
    documents: &[Document],
    setup: &Setup,
) -> Result<Vec<Document>, Error> {
    let mut documents = documents.to_vec();
    match addon {
        AddOn::IngressNginx => {}
        AddOn::MetricsServer if setup.kind => documents.iter_mut().for_each(trust_kubelets),
        AddOn::MetricsServer => {}
        AddOn::RookCeph => change_rook(pin, &mut documents, setup)?,
    }
    for document in &mut documents {
        label(document, setup);
    }
    Ok(documents)
}

/// Puts the controller of ingress-nginx on the node with the port mappings.
pub(super) fn pin_to_ingress_node(documents: &mut [Document]) {
    let controllers = documents
        .iter_mut()
        .filter(|document| document.is("Deployment", "ingress-nginx-controller"));
    for controller in controllers {
        if let Some(selector) =
            entry(&mut controller.value, &["spec", "template", "spec", "nodeSelector"])
        {
            selector.insert(INGRESS_NODE_LABEL.to_owned(), json!("true"));
        }
    }
}

/// Lets metrics-server read kubelets whose certificates nobody signed.
fn trust_kubelets(document: &mut Document) {
    const FLAG: &str = "--kubelet-insecure-tls";
    if !document.is("Deployment", "metrics-server") {
        return;
    }
    // The program is known by its flags: another program of that name would not take this one.
    let containers =
        document.containers_mut().filter(|container| container["name"] == "metrics-server");
    for container in containers {
        let Some(args) = container.get_mut("args").and_then(Value::as_array_mut) else { continue };
        let is_flag =
            |arg: &Value, flag: &str| arg.as_str().is_some_and(|arg| arg.starts_with(flag));
        let is_upstream = args.iter().any(|arg| is_flag(arg, "--kubelet-"));
        if is_upstream && !args.iter().any(|arg| is_flag(arg, FLAG)) {
            args.push(json!(FLAG));
        }
    }
}

fn change_rook(
    pin: Option<&Pin>,
    documents: &mut Vec<Document>,
    setup: &Setup,
) -> Result<(), Error> {
    for document in documents.iter_mut() {
        match document.kind() {
            "ConfigMap" if document.name() == "rook-ceph-operator-config" => {
                change_operator_config(document, setup);
            }
            "OperatorConfig" => {
                if let Some(spec) = entry(&mut document.value, &["spec", "driverSpecDefaults"]) {
                    change_driver(spec, setup);
                    spec.insert("snapshotPolicy".to_owned(), json!("none"));
                    if let Some(plugin) = child(spec, "controllerPlugin") {
                        plugin.insert("replicas".to_owned(), json!(1));
                    }
                }
            }
            "Driver" => {
                if let Some(spec) = entry(&mut document.value, &["spec"]) {
                    change_driver(spec, setup);
                }
            }
            _ => {}
        }
    }
    if !documents.iter().any(|document| document.kind() == "CephCluster") {
        let Some(pin) = pin else { return Err(Error::usage(NO_CLUSTER)) };
        documents.push(our_cluster(pin)?);
    }
    for document in documents.iter_mut().filter(|each| each.kind() == "CephCluster") {
        change_cluster(document, pin, setup);
    }
    let has_groups = documents.iter().any(|document| {
        let plural = rook::plural(rook::GROUP, "CephFilesystemSubVolumeGroup").unwrap_or("");
        document.is("CustomResourceDefinition", &format!("{plural}.{}", rook::GROUP))
    });
    if has_groups {
        documents.extend(subvolume_groups(&setup.storage));
    }
    Ok(())
}

/// Before Rook 1.20 the settings of CSI stand here too; keys that are not there have moved.
fn change_operator_config(document: &mut Document, setup: &Setup) {
    let Some(data) = entry(&mut document.value, &["data"]) else { return };
    if !setup.devices.is_empty() {
        data.insert("ROOK_CEPH_ALLOW_LOOP_DEVICES".to_owned(), json!("true"));
    }
    let kernel = (setup.ceph_mount == CephMount::Kernel).to_string();
    let moved = [
        ("CSI_PROVISIONER_REPLICAS", "1"),
        ("CSI_ENABLE_CEPHFS_SNAPSHOTTER", "false"),
        ("CSI_ENABLE_RBD_SNAPSHOTTER", "false"),
        ("CSI_ENABLE_NFS_SNAPSHOTTER", "false"),
        ("CSI_ENABLE_VOLUME_GROUP_SNAPSHOT", "false"),
        ("CSI_FORCE_CEPHFS_KERNEL_CLIENT", kernel.as_str()),
    ];
    for (key, value) in moved {
        if let Some(old) = data.get_mut(key) {
            *old = json!(value);
        }
    }
}

/// The API knows `kernel` and `autodetect`; the latter falls back to ceph-fuse.
fn change_driver(spec: &mut Map<String, Value>, setup: &Setup) {
    if setup.ceph_mount == CephMount::Fuse
        && let Some(client) = spec.get_mut("cephFsClientType")
    {
        *client = json!("autodetect");
    }
}

fn our_cluster(pin: &Pin) -> Result<Document, Error> {
    let text = include_str!("../../manifests/addons/rook-ceph/cluster.yaml");
    let mut documents = Document::all_in("manifests/addons/rook-ceph/cluster.yaml", text)?;
    let mut cluster = documents
        .pop()
        .ok_or_else(|| Error::environment("manifests/addons/rook-ceph/cluster.yaml is empty"))?;
    cluster.value["spec"]["cephVersion"]["image"] = json!(pin.ceph);
    Ok(cluster)
}

/// Gives a cluster the devices of `setup` and no other.
fn change_cluster(cluster: &mut Document, pin: Option<&Pin>, setup: &Setup) {
    if is_external(cluster) {
        return;
    }
    let Some(spec) = entry(&mut cluster.value, &["spec"]) else { return };
    if let Some(ceph) = pin.and_then(|pin| pin.ceph.as_ref())
        && let Some(image) =
            spec.get_mut("cephVersion").and_then(|version| version.get_mut("image"))
    {
        *image = json!(ceph);
    }
    if setup.devices.is_empty() {
        return;
    }
    let nodes: Vec<Value> = setup
        .devices
        .iter()
        .map(|(node, device)| json!({"name": node, "devices": [{"name": device}]}))
        .collect();
    let n_nodes = nodes.len();
    spec.insert(
        "storage".to_owned(),
        json!({"useAllNodes": false, "useAllDevices": false, "nodes": nodes}),
    );
    if n_nodes < POOL_SIZE
        && let Some(config) = child(spec, "cephConfig")
        && let Some(global) = child(config, "global")
    {
        global.insert("osd_pool_default_size".to_owned(), json!(n_nodes.to_string()));
        global.insert("osd_pool_default_min_size".to_owned(), json!("1"));
    }
}

/// Whether the daemons of a CephCluster run somewhere else.
pub(super) fn is_external(cluster: &Document) -> bool {
    cluster.value.pointer("/spec/external/enable") == Some(&Value::Bool(true))
}

/// Refuses a CephCluster that would take disks that nobody gave it.
///
/// # Errors
/// Usage: which one, and what in it.
pub(super) fn check_disks(documents: &[Document]) -> Result<(), Error> {
    let clusters =
        documents.iter().filter(|each| each.kind() == "CephCluster" && !is_external(each));
    for cluster in clusters {
        check_storage(&cluster.value["spec"]["storage"]).map_err(|why| {
            let place = format!("{}: {}", cluster.file, cluster.object_ref());
            Error::usage(format!("{place}: {why}\n{NO_DEVICES}"))
        })?;
    }
    Ok(())
}

/// Refuses storage that picks disks by itself, and storage without any.
fn check_storage(storage: &Value) -> Result<(), String> {
    let picks = ["useAllDevices", "deviceFilter", "devicePathFilter"];
    let nodes = storage["nodes"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    for place in std::iter::once(storage).chain(nodes) {
        for key in picks {
            let value = &place[key];
            if *value == true || value.as_str().is_some_and(|filter| !filter.is_empty()) {
                return Err(format!("storage.{key} picks disks by itself"));
            }
        }
    }
    let has_sets =
        storage["storageClassDeviceSets"].as_array().is_some_and(|sets| !sets.is_empty());
    if nodes.is_empty() && !has_sets {
        return Err("no devices for its data".to_owned());
    }
    Ok(())
}

/// The group that the CSI driver makes its volumes in, for filesystems whose stack brings none.
fn subvolume_groups(storage: &Storage) -> impl Iterator<Item = Document> {
    let lone = storage.filesystems.difference(&storage.grouped);
    lone.map(|(namespace, name)| {
        Document::ours(json!({
            "apiVersion": format!("{}/v1", rook::GROUP),
            "kind": "CephFilesystemSubVolumeGroup",
            "metadata": {"name": format!("{name}-csi"), "namespace": namespace},
            "spec": {"name": "csi", "filesystemName": name},
        }))
    })
}

/// `name:tag` of `name:tag@sha256:...`; what has no tag keeps its digest, or it would float.
pub(super) fn without_digest(image: &str) -> &str {
    match image.split_once('@') {
        Some((name, _)) if name.rsplit('/').next().is_some_and(|last| last.contains(':')) => name,
        _ => image,
    }
}

fn label(document: &mut Document, setup: &Setup) {
    let Some(labels) = entry(&mut document.value, &["metadata", "labels"]) else { return };
    labels.insert(MANAGED_BY.0.to_owned(), json!(MANAGED_BY.1));
    for (key, value) in &setup.labels {
        labels.insert(key.clone(), json!(value));
    }
}

/// The map at `path`, made where it is missing; `None` where something else is in its place.
fn entry<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut map = value.as_object_mut()?;
    for part in path {
        map = child(map, part)?;
    }
    Some(map)
}

fn child<'a>(map: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    let value = map.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}
