//! Provisioning and deletion of volumes (`external-provisioner`,
//! `sig-storage-lib-external-provisioner/controller/controller.go`).

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, HostPathVolumeSource, NodeSelector, NodeSelectorRequirement,
    NodeSelectorTerm, ObjectReference, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeSpec, SecretReference, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttachment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::base::{millis, secs};
use crate::k8s::{claim_class, claim_volume, volume_phase};
use crate::sim::api::events::{Note, record};
use crate::sim::api::{DeleteOptions, Kind};
use crate::sim::context::Cx;

use super::VolumesEvent;
use super::driver::Driver;

/// First retry of a failed call; doubles (`--retry-interval-start`) ...
const RETRY_MIN: Duration = secs(1);
/// ... up to this (`--retry-interval-max`).
const RETRY_MAX: Duration = secs(300);
/// From a watch event to the driver's call.
const REACTION: (Duration, Duration) = (millis(5), millis(50));
/// Deleting a backend volume.
const DELETE_TIME: (Duration, Duration) = (millis(500), secs(3));

const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONERS: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];

/// Claims being provisioned by uid, with the failures so far, and volumes being deleted by name.
#[derive(Debug, Default)]
pub(super) struct Provisioning {
    claims: BTreeMap<String, u32>,
    deletions: BTreeMap<String, u32>,
}

/// A step of making a volume for a claim.
#[derive(Clone, Debug)]
pub(super) struct ProvisionStep {
    namespace: String,
    claim: String,
    uid: String,
    /// Whether the driver's call has succeeded and the object is to be written.
    is_made: bool,
}

impl Provisioning {
    /// A claim has changed.
    pub(super) fn on_claim(&mut self, claim: &PersistentVolumeClaim, cx: &mut Cx<'_>) {
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        if self.claims.contains_key(&uid) || wanted(claim, cx).is_none() {
            return;
        }
        self.claims.insert(uid.clone(), 0);
        let step = ProvisionStep {
            namespace: claim.metadata.namespace.clone().unwrap_or_default(),
            claim: claim.metadata.name.clone().unwrap_or_default(),
            uid,
            is_made: false,
        };
        let delay = cx.rng.between("provisioner", REACTION.0, REACTION.1);
        cx.queue.after(delay, VolumesEvent::provision(step));
    }

    /// Goes one step on.
    pub(super) fn step(&mut self, step: ProvisionStep, cx: &mut Cx<'_>) {
        let found = cx.api.get::<PersistentVolumeClaim>(&step.namespace, &step.claim).cloned();
        let found = found.filter(|claim| claim.metadata.uid.as_deref() == Some(&step.uid));
        let work = found.and_then(|claim| wanted(&claim, cx).map(|(d, class)| (claim, d, class)));
        let Some((claim, driver, class)) = work else {
            self.claims.remove(&step.uid);
            return;
        };
        if step.is_made {
            self.claims.remove(&step.uid);
            write_volume(&claim, driver, &class, cx);
            return;
        }
        let (space, name) = (&step.namespace, &step.claim);
        let text =
            format!("External provisioner is provisioning volume for claim \"{space}/{name}\"");
        record(cx.api, claim.as_ref(), Note::normal(driver.source(), "Provisioning", text));
        if let Some(refusal) = driver.refusal(&class, &claim, cx.api) {
            let class_name = claim_class(&claim);
            let text =
                format!("failed to provision volume with StorageClass \"{class_name}\": {refusal}");
            record(
                cx.api,
                claim.as_ref(),
                Note::warning(driver.source(), "ProvisioningFailed", text),
            );
            let n_failures = self.claims.entry(step.uid.clone()).or_default();
            let delay = backoff(*n_failures);
            *n_failures += 1;
            cx.queue.after(delay, VolumesEvent::provision(step));
            return;
        }
        let (low, high) = driver.create_time();
        let delay = cx.rng.between("provision-time", low, high);
        cx.queue.after(delay, VolumesEvent::provision(ProvisionStep { is_made: true, ..step }));
    }

    /// A volume has changed: a released one that is ours is deleted when its policy says so.
    pub(super) fn on_volume(&mut self, volume: &PersistentVolume, cx: &mut Cx<'_>) {
        let name = volume.metadata.name.as_deref().unwrap_or("");
        if !is_ours_to_delete(volume) || self.deletions.contains_key(name) {
            return;
        }
        self.deletions.insert(name.to_owned(), 0);
        let delay = cx.rng.between("delete-time", DELETE_TIME.0, DELETE_TIME.1);
        cx.queue.after(delay, VolumesEvent::delete(name.to_owned()));
    }

    /// Deletes a volume unless a node still holds it.
    pub(super) fn delete(&mut self, name: String, cx: &mut Cx<'_>) {
        let found = cx.api.get::<PersistentVolume>("", &name).cloned();
        let Some(volume) = found.filter(|volume| is_ours_to_delete(volume)) else {
            self.deletions.remove(&name);
            return;
        };
        let holder = cx
            .api
            .list::<VolumeAttachment>()
            .find(|a| a.spec.source.persistent_volume_name.as_deref() == Some(&name))
            .map(|attachment| attachment.spec.node_name.clone());
        let Some(node) = holder else {
            self.deletions.remove(&name);
            // Refused only when it is already gone.
            let _ = cx.api.delete(Kind::PERSISTENT_VOLUME, "", &name, &DeleteOptions::default());
            return;
        };
        let text = format!("persistentvolume {name} is still attached to node {node}");
        let source = driver_of(&volume).map_or("", Driver::source);
        record(cx.api, volume.as_ref(), Note::warning(source, "VolumeFailedDelete", text));
        let n_failures = self.deletions.entry(name.clone()).or_default();
        let delay = backoff(*n_failures);
        *n_failures += 1;
        cx.queue.after(delay, VolumesEvent::delete(name));
    }
}

fn backoff(n_failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << n_failures.min(16)).min(RETRY_MAX)
}

/// The driver and class when the claim waits for one of our drivers (`shouldProvision`).
fn wanted(claim: &PersistentVolumeClaim, cx: &Cx<'_>) -> Option<(Driver, StorageClass)> {
    if !claim_volume(claim).is_empty() || claim.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let annotations = claim.metadata.annotations.as_ref()?;
    let provisioner = PROVISIONERS.iter().find_map(|name| annotations.get(*name))?;
    let driver = Driver::of(provisioner)?;
    let class = cx.api.get::<StorageClass>("", claim_class(claim))?;
    let name = volume_name(claim);
    if cx.api.get::<PersistentVolume>("", &name).is_some() {
        // Made already; the binder has not come by yet.
        return None;
    }
    let delays = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    if delays && !annotations.contains_key(SELECTED_NODE) {
        return None;
    }
    Some((driver, StorageClass::clone(class)))
}

/// The driver that made a volume.
pub(super) fn driver_of(volume: &PersistentVolume) -> Option<Driver> {
    if let Some(csi) = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref()) {
        return Driver::of(&csi.driver);
    }
    Driver::of(volume.metadata.annotations.as_ref()?.get(PROVISIONED_BY)?)
}

fn is_ours_to_delete(volume: &PersistentVolume) -> bool {
    let spec = volume.spec.as_ref();
    let policy = spec.and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    let annotations = volume.metadata.annotations.as_ref();
    let is_made = annotations.is_some_and(|annotations| annotations.contains_key(PROVISIONED_BY));
    volume_phase(volume) == "Released"
        && policy == Some("Delete")
        && is_made
        && volume.metadata.deletion_timestamp.is_none()
        && driver_of(volume).is_some()
}

fn volume_name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or(""))
}

fn write_volume(
    claim: &PersistentVolumeClaim,
    driver: Driver,
    class: &StorageClass,
    cx: &mut Cx<'_>,
) {
    let name = volume_name(claim);
    let volume = PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            annotations: Some(BTreeMap::from([(
                PROVISIONED_BY.to_owned(),
                class.provisioner.clone(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(volume_spec(claim, driver, class, &name)),
        status: None,
    };
    if cx.api.create(volume).is_ok() {
        let text = format!("Successfully provisioned volume {name}");
        record(cx.api, claim, Note::normal(driver.source(), "ProvisioningSucceeded", text));
    }
}

fn volume_spec(
    claim: &PersistentVolumeClaim,
    driver: Driver,
    class: &StorageClass,
    name: &str,
) -> PersistentVolumeSpec {
    let wanted = claim.spec.clone().unwrap_or_default();
    let requests = wanted.resources.and_then(|resources| resources.requests);
    let mut spec = PersistentVolumeSpec {
        capacity: requests.map(|mut all| {
            all.retain(|resource, _| resource == "storage");
            all
        }),
        access_modes: wanted.access_modes,
        claim_ref: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            namespace: claim.metadata.namespace.clone(),
            name: claim.metadata.name.clone(),
            uid: claim.metadata.uid.clone(),
            resource_version: claim.metadata.resource_version.clone(),
            field_path: None,
        }),
        mount_options: class.mount_options.clone(),
        persistent_volume_reclaim_policy: Some(
            class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned()),
        ),
        storage_class_name: class.metadata.name.clone(),
        volume_mode: Some(wanted.volume_mode.unwrap_or_else(|| "Filesystem".to_owned())),
        ..PersistentVolumeSpec::default()
    };
    if driver == Driver::LocalPath {
        let annotations = claim.metadata.annotations.as_ref();
        let node = annotations.and_then(|all| all.get(SELECTED_NODE));
        place_locally(&mut spec, claim, name, node.map_or("", String::as_str));
    } else {
        spec.csi = Some(csi_source(class, name));
    }
    spec
}

/// local-path: a folder, and an affinity that pins whoever uses it.
fn place_locally(
    spec: &mut PersistentVolumeSpec,
    claim: &PersistentVolumeClaim,
    name: &str,
    node: &str,
) {
    let space = claim.metadata.namespace.as_deref().unwrap_or("");
    let claim_name = claim.metadata.name.as_deref().unwrap_or("");
    spec.host_path = Some(HostPathVolumeSource {
        path: format!("/var/local-path-provisioner/{name}_{space}_{claim_name}"),
        type_: Some("DirectoryOrCreate".to_owned()),
    });
    spec.node_affinity = Some(VolumeNodeAffinity {
        required: Some(NodeSelector {
            node_selector_terms: vec![NodeSelectorTerm {
                match_expressions: Some(vec![NodeSelectorRequirement {
                    key: "kubernetes.io/hostname".to_owned(),
                    operator: "In".to_owned(),
                    values: Some(vec![node.to_owned()]),
                }]),
                match_fields: None,
            }],
        }),
    });
}

fn csi_source(class: &StorageClass, name: &str) -> CSIPersistentVolumeSource {
    let empty = BTreeMap::new();
    let parameters = class.parameters.as_ref().unwrap_or(&empty);
    let secret = |role: &str| {
        let name = parameters.get(&format!("csi.storage.k8s.io/{role}-secret-name"))?;
        let namespace = parameters.get(&format!("csi.storage.k8s.io/{role}-secret-namespace"))?;
        Some(SecretReference { name: Some(name.clone()), namespace: Some(namespace.clone()) })
    };
    // Names of Kubernetes' own parameters are not handed to the driver.
    let mut attributes: BTreeMap<String, String> = parameters
        .iter()
        .filter(|(key, _)| !key.starts_with("csi.storage.k8s.io/"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let backend = name.replacen("pvc-", "csi-vol-", 1);
    attributes.insert("subvolumeName".to_owned(), backend.clone());
    CSIPersistentVolumeSource {
        driver: class.provisioner.clone(),
        volume_handle: backend,
        fs_type: parameters.get("csi.storage.k8s.io/fstype").cloned(),
        node_stage_secret_ref: secret("node-stage"),
        controller_expand_secret_ref: secret("controller-expand"),
        controller_publish_secret_ref: secret("controller-publish"),
        volume_attributes: Some(attributes),
        ..CSIPersistentVolumeSource::default()
    }
}
