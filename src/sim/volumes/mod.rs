//! Volumes: the storage side of the cluster: CephFS-like and RBD-like provisioners, attach and detach.
//! Owns: which claim gets a volume when, and where a volume is attached; data lives in `machines`.
//! Imports: base, k8s, sim::api. Never: sim::kubelet, sim::controllers, sim::net.
//! Time and errors: a provisioner that lacks its filesystem or pool leaves the claim pending with an event.
//! Source: Rook v1.20 and ceph-csi, pkg/controller/volume/attachdetach. Proof: tests/conformance volume_*.

mod attach;
mod driver;
mod expand;
mod provision;
mod rook;
#[cfg(test)]
mod static_tests;
mod system;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Secret};

use crate::k8s::{claim_phase, claim_volume, pod_claims};

use super::api::{Change, ChangeType, Obj};
use super::bootstrap::ClusterSpec;
use super::context::Cx;
use attach::{AttachStep, Attachments, attaching_driver};
use driver::Driver;
pub use driver::has_driver;
use expand::{ExpandStep, Expansions};
use provision::{ProvisionStep, Provisioning};
use rook::{Operator, OperatorStep};
pub(crate) use system::standard_class;

/// What is due at the storage side.
#[derive(Clone, Debug)]
pub struct VolumesEvent(Due);

#[derive(Clone, Debug)]
enum Due {
    Provision(ProvisionStep),
    Delete(String),
    Operator(OperatorStep),
    Attach(AttachStep),
    Expand(ExpandStep),
}

impl VolumesEvent {
    fn provision(step: ProvisionStep) -> Self {
        VolumesEvent(Due::Provision(step))
    }

    fn delete(volume: String) -> Self {
        VolumesEvent(Due::Delete(volume))
    }

    fn rook(step: OperatorStep) -> Self {
        VolumesEvent(Due::Operator(step))
    }

    fn attach(step: AttachStep) -> Self {
        VolumesEvent(Due::Attach(step))
    }

    fn expand(step: ExpandStep) -> Self {
        VolumesEvent(Due::Expand(step))
    }
}

/// Whether a pod's volumes can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountState {
    /// All are there: the volume identity by pod volume name (see `machines::Mount::volume`).
    Ready(Vec<(String, String)>),
    /// Some are not yet attached or bound; the kubelet asks again. The text is that of its
    /// FailedMount event.
    Waiting(String),
}

/// Provisioners, attach/detach, Rook's operator.
#[derive(Debug)]
pub struct Volumes {
    provisioning: Provisioning,
    operator: Operator,
    attachments: Attachments,
    expansions: Expansions,
    /// The running pods that use a claim, by namespace and claim, then by pod.
    users: BTreeMap<(String, String), BTreeMap<String, Use>>,
}

/// A placed pod's use of a claim.
#[derive(Clone, Debug)]
struct Use {
    node: String,
    /// The claim's volume, once it was asked for.
    volume: Option<String>,
}

impl Volumes {
    /// The storage side of a cluster.
    pub fn new(spec: &ClusterSpec) -> Self {
        Volumes {
            provisioning: Provisioning::default(),
            operator: Operator::new(spec.nodes.iter().filter(|node| !node.control_plane).count()),
            attachments: Attachments::default(),
            expansions: Expansions::default(),
            users: BTreeMap::new(),
        }
    }

    /// Starts periodic work: there is none.
    pub fn start(&mut self, _cx: &mut Cx<'_>) {}

    /// A claim, volume, class, pod or custom resource has changed.
    pub fn on_change(&mut self, change: &Change, cx: &mut Cx<'_>) {
        let is_gone = change.change_type == ChangeType::Deleted;
        match &change.object {
            Obj::Pod(pod) => self.on_pod(pod, is_gone, cx),
            Obj::PersistentVolumeClaim(claim) if !is_gone => {
                self.provisioning.on_claim(claim, cx);
                self.expansions.on_claim(claim, cx);
                // It may have been bound after its pods came.
                let namespace = claim.metadata.namespace.clone().unwrap_or_default();
                let name = claim.metadata.name.clone().unwrap_or_default();
                self.want_all(&(namespace, name), cx);
            }
            Obj::PersistentVolume(volume) if !is_gone => self.provisioning.on_volume(volume, cx),
            Obj::StorageClass(class) if change.change_type == ChangeType::Added => {
                let name = class.metadata.name.as_deref().unwrap_or("");
                let waiting: Vec<Arc<PersistentVolumeClaim>> = cx
                    .api
                    .list::<PersistentVolumeClaim>()
                    .filter(|claim| crate::k8s::claim_class(claim) == name)
                    .cloned()
                    .collect();
                for claim in waiting {
                    self.provisioning.on_claim(&claim, cx);
                }
            }
            Obj::Other(object) => self.operator.on_change(object, is_gone, cx),
            _ => {}
        }
    }

    /// Something is due.
    pub fn on_event(&mut self, event: VolumesEvent, cx: &mut Cx<'_>) {
        match event.0 {
            Due::Provision(step) => self.provisioning.step(step, cx),
            Due::Delete(volume) => self.provisioning.delete(volume, cx),
            Due::Operator(step) => self.operator.step(step, cx),
            Due::Attach(step) => self.attachments.step(&step, cx),
            Due::Expand(step) => self.expansions.step(step, &self.attachments, cx),
        }
    }

    /// Whether the claims of `pod` on `node` can be mounted now (claims only; the kubelet handles
    /// emptyDir, ConfigMap, Secret and the like itself).
    pub fn mounts(&self, pod: &Pod, node: &str, cx: &Cx<'_>) -> MountState {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        let mut mounted = Vec::new();
        for (volume, claim_name) in pod_claims(pod) {
            match self.mount(namespace, volume, &claim_name, node, cx) {
                Ok(identity) => mounted.push((volume.to_owned(), identity)),
                Err(reason) => return MountState::Waiting(reason),
            }
        }
        MountState::Ready(mounted)
    }

    /// Whether the volume of this identity is a disk with a filesystem of the ext family: that of
    /// ceph-csi's RBD images unless the class names another (`internal/rbd/nodeserver.go`).
    pub fn is_ext(&self, identity: &str, cx: &Cx<'_>) -> bool {
        let volume = identity.strip_prefix("pv/");
        let volume = volume.and_then(|name| cx.api.get::<PersistentVolume>("", name));
        let csi = volume.and_then(|volume| volume.spec.as_ref()?.csi.as_ref());
        csi.is_some_and(|csi| {
            let fs_type = csi.fs_type.as_deref().unwrap_or("ext4");
            Driver::of(&csi.driver) == Some(Driver::Rbd) && fs_type.starts_with("ext")
        })
    }

    fn mount(
        &self,
        namespace: &str,
        volume_name: &str,
        claim_name: &str,
        node: &str,
        cx: &Cx<'_>,
    ) -> Result<String, String> {
        // The kubelet reads the claim from the API server (`desired_state_of_world_populator.go`).
        let Some(claim) = cx.api.get::<PersistentVolumeClaim>(namespace, claim_name) else {
            let why = format!("persistentvolumeclaim \"{claim_name}\" not found");
            return Err(process_error(namespace, claim_name, &why));
        };
        let name = claim_volume(claim);
        if claim_phase(claim) != "Bound" || name.is_empty() {
            return Err(process_error(namespace, claim_name, "PVC is not bound"));
        }
        let Some(volume) = cx.api.get::<PersistentVolume>("", name) else {
            let why = format!("failed to fetch PV {name} from API server: not found");
            return Err(process_error(namespace, claim_name, &why));
        };
        if let Some(driver) = unknown_driver(volume) {
            return Err(format!(
                "MountVolume.MountDevice failed for volume \"{name}\" : kubernetes.io/csi: \
                 driver name {driver} not found in the list of registered CSI drivers"
            ));
        }
        if attaching_driver(volume).is_some() {
            if !self.attachments.is_usable(name, node, cx.now) {
                return Err(format!(
                    "Unable to attach or mount volumes: unmounted volumes=[{volume_name}], \
                     unattached volumes=[{volume_name}]: timed out waiting for the condition"
                ));
            }
            stage_secret(volume, name, cx)?;
        }
        let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
        let is_served = csi.is_some_and(|csi| Driver::of(&csi.driver) == Some(Driver::CephFs));
        Ok(match path_on_node(volume) {
            Some(path) => format!("hostPath/{node}{path}"),
            None if is_served => format!("server/{name}"),
            None => format!("pv/{name}"),
        })
    }

    /// Keeps `users`, and asks for the volumes where they are used.
    fn on_pod(&mut self, pod: &Pod, is_gone: bool, cx: &mut Cx<'_>) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
        let name = pod.metadata.name.as_deref().unwrap_or("");
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("");
        if node.is_empty() {
            return;
        }
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let uses = !is_gone && !matches!(phase, Some("Succeeded" | "Failed"));
        for (_, claim_name) in pod_claims(pod) {
            let key = (namespace.to_owned(), claim_name);
            if uses {
                let pods = self.users.entry(key.clone()).or_default();
                if !pods.contains_key(name) {
                    pods.insert(name.to_owned(), Use { node: node.to_owned(), volume: None });
                    self.want(&key, name, cx);
                }
                continue;
            }
            let Some(pods) = self.users.get_mut(&key) else { continue };
            let ended = pods.remove(name);
            if pods.is_empty() {
                self.users.remove(&key);
            }
            if let Some(Use { node, volume: Some(volume) }) = ended {
                self.attachments.unwant(&volume, &node, (namespace, name), cx);
            }
        }
    }

    /// Asks for a claim's volume wherever its pods are; those of an unbound claim wait.
    fn want_all(&mut self, key: &(String, String), cx: &mut Cx<'_>) {
        let waiting: Vec<String> = self
            .users
            .get(key)
            .into_iter()
            .flatten()
            .filter(|(_, used)| used.volume.is_none())
            .map(|(pod, _)| pod.clone())
            .collect();
        for pod in waiting {
            self.want(key, &pod, cx);
        }
    }

    /// Asks for a claim's volume where a pod of it is.
    fn want(&mut self, key: &(String, String), pod: &str, cx: &mut Cx<'_>) {
        let Some(claim) = cx.api.get::<PersistentVolumeClaim>(&key.0, &key.1) else { return };
        let name = claim_volume(claim).to_owned();
        let object = cx.api.get::<PersistentVolume>("", &name);
        if object.is_none_or(|object| attaching_driver(object).is_none()) {
            return;
        }
        if let Some(used) = self.users.get_mut(key).and_then(|pods| pods.get_mut(pod)) {
            used.volume = Some(name.clone());
            self.attachments.want(&name, &used.node, (&key.0, pod), cx);
        }
    }
}

/// The CSI driver of a volume that no node has (`pkg/volume/csi/csi_client.go:newCsiDriverClient`).
fn unknown_driver(volume: &PersistentVolume) -> Option<&str> {
    let csi = volume.spec.as_ref()?.csi.as_ref()?;
    attaching_driver(volume).is_none().then_some(csi.driver.as_str())
}

/// The folder of a volume that is part of whatever node mounts it
/// (`pkg/volume/hostpath/host_path.go`, `pkg/volume/local/local.go`).
fn path_on_node(volume: &PersistentVolume) -> Option<&str> {
    let spec = volume.spec.as_ref()?;
    let host = spec.host_path.as_ref().map(|source| source.path.as_str());
    host.or_else(|| spec.local.as_ref().map(|source| source.path.as_str()))
}

fn process_error(namespace: &str, claim: &str, why: &str) -> String {
    format!("Unable to attach or mount volumes: error processing PVC {namespace}/{claim}: {why}")
}

/// The secret that staging needs (`pkg/volume/csi/csi_attacher.go:MountDevice`).
fn stage_secret(volume: &PersistentVolume, name: &str, cx: &Cx<'_>) -> Result<(), String> {
    let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    let Some(reference) = csi.and_then(|csi| csi.node_stage_secret_ref.as_ref()) else {
        return Ok(());
    };
    let space = reference.namespace.as_deref().unwrap_or("");
    let secret = reference.name.as_deref().unwrap_or("");
    if cx.api.get::<Secret>(space, secret).is_some() {
        return Ok(());
    }
    Err(format!(
        "MountVolume.MountDevice failed for volume \"{name}\" : fetching NodeStageSecretRef \
         {space}/{secret} failed: kubernetes.io/csi: failed to find the secret {secret} in the \
         namespace {space} with error: secrets \"{secret}\" not found"
    ))
}
