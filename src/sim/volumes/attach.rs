//! Attach and detach (`ctl/volume/attachdetach/reconciler/reconciler.go`), and staging on the node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{AttachedVolume, Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::{
    VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec, VolumeAttachmentStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest as _, Sha256};

use crate::base::{SimTime, millis, secs};
use crate::sim::api::events::{Note, record};
use crate::sim::api::{DeleteOptions, Kind, Part};
use crate::sim::context::Cx;

use super::VolumesEvent;
use super::driver::Driver;
use super::provision::driver_of;

/// Period of the reconciler (`reconcilerLoopPeriod`).
const LOOP: Duration = millis(100);
/// From the end of the last pod to the kubelet's report that the volume is unmounted.
const UNMOUNT_TIME: (Duration, Duration) = (millis(200), secs(2));
/// A volume is detached without that report after this time (`maxWaitForUnmountDuration`).
const FORCED_AFTER: Duration = secs(360);
/// While a report is awaited the node is looked at again.
const RECHECK: Duration = secs(1);
/// Detaching at the driver.
const DETACH_TIME: (Duration, Duration) = (millis(100), secs(1));
/// Event source (`attach_detach_controller.go`).
const SOURCE: &str = "attachdetach-controller";
/// Sets its pods and volumes free at once (alpha 1.24, on by default since 1.26, GA 1.28).
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
const OUT_OF_SERVICE_SINCE: u8 = 26;

/// Where volumes are attached, and who wants them where.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    /// By volume and node.
    attached: BTreeMap<String, BTreeMap<String, Attachment>>,
    /// Pods, as namespace and name, by volume and node.
    wanted: BTreeMap<String, BTreeMap<String, BTreeSet<(String, String)>>>,
    /// Conflicts told already, by volume and node.
    told: BTreeSet<(String, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Attachment {
    /// When pods on the node can use it; `None` while it is being attached.
    ready_at: Option<SimTime>,
    /// Since when no pod wants it.
    idle_since: Option<SimTime>,
    is_detaching: bool,
}

/// A step of the reconciler for a volume and a node.
#[derive(Clone, Debug)]
pub(super) struct AttachStep {
    volume: String,
    node: String,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Attach,
    Attached,
    Release,
    Detached,
}

impl Attachments {
    /// A pod on `node` wants `volume`.
    pub(super) fn want(&mut self, volume: &str, node: &str, pod: (&str, &str), cx: &mut Cx<'_>) {
        let nodes = self.wanted.entry(volume.to_owned()).or_default();
        let pods = nodes.entry(node.to_owned()).or_default();
        if pods.insert((pod.0.to_owned(), pod.1.to_owned())) && pods.len() == 1 {
            if let Some(held) = self.held(volume, node) {
                held.idle_since = None;
            }
            self.soon(volume, node, What::Attach, cx);
        }
    }

    /// The pod is gone from `node`, or has ended there.
    pub(super) fn unwant(&mut self, volume: &str, node: &str, pod: (&str, &str), cx: &mut Cx<'_>) {
        let Some(nodes) = self.wanted.get_mut(volume) else { return };
        let Some(pods) = nodes.get_mut(node) else { return };
        if !pods.remove(&(pod.0.to_owned(), pod.1.to_owned())) || !pods.is_empty() {
            return;
        }
        nodes.remove(node);
        self.told.remove(&(volume.to_owned(), node.to_owned()));
        let now = cx.now;
        if let Some(held) = self.held(volume, node) {
            held.idle_since = Some(now);
            let delay = cx.rng.between("unmount", UNMOUNT_TIME.0, UNMOUNT_TIME.1);
            let step = AttachStep::new(volume, node, What::Release);
            cx.queue.after(delay, VolumesEvent::attach(step));
        }
    }

    /// Whether pods on `node` can use `volume` now.
    pub(super) fn is_usable(&self, volume: &str, node: &str, now: SimTime) -> bool {
        let held = self.attached.get(volume).and_then(|nodes| nodes.get(node));
        held.is_some_and(|a| !a.is_detaching && a.ready_at.is_some_and(|ready| ready <= now))
    }

    /// Whether `volume` is attached to some node.
    pub(super) fn is_staged(&self, volume: &str, now: SimTime) -> bool {
        self.attached.get(volume).is_some_and(|nodes| {
            nodes.values().any(|a| a.ready_at.is_some_and(|ready| ready <= now))
        })
    }

    /// Goes one step on.
    pub(super) fn step(&mut self, step: &AttachStep, cx: &mut Cx<'_>) {
        let (volume, node) = (step.volume.as_str(), step.node.as_str());
        match step.what {
            What::Attach => self.attach(volume, node, cx),
            What::Attached => self.attached(volume, node, cx),
            What::Release => self.release(volume, node, cx),
            What::Detached => self.detached(volume, node, cx),
        }
    }

    fn attach(&mut self, volume: &str, node: &str, cx: &mut Cx<'_>) {
        if !self.is_wanted(volume, node) || self.held(volume, node).is_some() {
            return;
        }
        let Some(object) = cx.api.get::<PersistentVolume>("", volume).cloned() else { return };
        let Some(driver) = attaching_driver(&object) else { return };
        let held_elsewhere = self.attached.get(volume).is_some_and(|nodes| !nodes.is_empty());
        if held_elsewhere && is_exclusive(&object) {
            self.tell_conflict(volume, node, cx);
            return;
        }
        let csi = object.spec.as_ref().and_then(|spec| spec.csi.as_ref());
        let (handle, attacher) =
            csi.map_or(("", ""), |csi| (csi.volume_handle.as_str(), csi.driver.as_str()));
        let attachment = VolumeAttachment {
            metadata: ObjectMeta {
                name: Some(attachment_name(handle, attacher, node)),
                ..ObjectMeta::default()
            },
            spec: VolumeAttachmentSpec {
                attacher: attacher.to_owned(),
                node_name: node.to_owned(),
                source: VolumeAttachmentSource {
                    persistent_volume_name: Some(volume.to_owned()),
                    inline_volume_spec: None,
                },
            },
            status: Some(VolumeAttachmentStatus::default()),
        };
        if cx.api.create(attachment).is_err() {
            return;
        }
        let idle = Attachment { ready_at: None, idle_since: None, is_detaching: false };
        self.attached.entry(volume.to_owned()).or_default().insert(node.to_owned(), idle);
        let (low, high) = driver.attach_time();
        let delay = cx.rng.between("attach-time", low, high);
        let step = AttachStep::new(volume, node, What::Attached);
        cx.queue.after(delay, VolumesEvent::attach(step));
    }

    fn attached(&mut self, volume: &str, node: &str, cx: &mut Cx<'_>) {
        let Some(object) = cx.api.get::<PersistentVolume>("", volume).cloned() else { return };
        let Some(driver) = attaching_driver(&object) else { return };
        let (low, high) = driver.mount_time();
        let ready = cx.now + cx.rng.between("mount-time", low, high);
        match self.held(volume, node) {
            Some(held) if !held.is_detaching => held.ready_at = Some(ready),
            _ => return,
        }
        let name = name_of(&object, node);
        // Refused only when the object has been deleted meanwhile.
        let _ = cx.api.patch::<VolumeAttachment>(Part::Status, "", &name, |attachment| {
            attachment.status.get_or_insert_default().attached = true;
        });
        let unique = unique_name(&object);
        let _ = cx.api.patch::<Node>(Part::Status, "", node, |node| {
            let status = node.status.get_or_insert_default();
            let volumes = status.volumes_attached.get_or_insert_default();
            if !volumes.iter().any(|attached| attached.name == unique) {
                volumes.push(AttachedVolume { name: unique, device_path: String::new() });
            }
        });
        let text = format!("AttachVolume.Attach succeeded for volume \"{volume}\" ");
        for pod in self.pods(volume, node, cx) {
            record(cx.api, &pod, Note::normal(SOURCE, "SuccessfulAttachVolume", text.clone()));
        }
    }

    /// No pod wants the volume there: it is detached once the node has let go of it.
    fn release(&mut self, volume: &str, node: &str, cx: &mut Cx<'_>) {
        if self.is_wanted(volume, node) {
            return;
        }
        let now = cx.now;
        let Some(held) = self.held(volume, node) else { return };
        let Some(idle_since) = held.idle_since else { return };
        if held.is_detaching {
            return;
        }
        let is_forced = now >= idle_since + FORCED_AFTER;
        if !is_forced && !has_let_go(node, cx) {
            let step = AttachStep::new(volume, node, What::Release);
            cx.queue.after(RECHECK, VolumesEvent::attach(step));
            return;
        }
        held.is_detaching = true;
        if is_forced {
            cx.trace.line(now, "attach", format_args!("forced detach of {volume} from {node}"));
        }
        let delay = cx.rng.between("detach-time", DETACH_TIME.0, DETACH_TIME.1);
        let step = AttachStep::new(volume, node, What::Detached);
        cx.queue.after(delay, VolumesEvent::attach(step));
    }

    fn detached(&mut self, volume: &str, node: &str, cx: &mut Cx<'_>) {
        if let Some(nodes) = self.attached.get_mut(volume) {
            nodes.remove(node);
            if nodes.is_empty() {
                self.attached.remove(volume);
            }
        }
        let object = cx.api.list::<VolumeAttachment>().find(|attachment| {
            attachment.spec.node_name == node
                && attachment.spec.source.persistent_volume_name.as_deref() == Some(volume)
        });
        if let Some(name) = object.and_then(|attachment| attachment.metadata.name.clone()) {
            let _ = cx.api.delete(Kind::VOLUME_ATTACHMENT, "", &name, &DeleteOptions::default());
        }
        if let Some(unique) = cx.api.get::<PersistentVolume>("", volume).map(|v| unique_name(v)) {
            let _ = cx.api.patch::<Node>(Part::Status, "", node, |node| {
                let status = node.status.get_or_insert_default();
                if let Some(volumes) = &mut status.volumes_attached {
                    volumes.retain(|attached| attached.name != unique);
                }
            });
        }
        let waiting: Vec<String> =
            self.wanted.get(volume).into_iter().flat_map(BTreeMap::keys).cloned().collect();
        for node in waiting {
            self.soon(volume, &node, What::Attach, cx);
        }
    }

    /// `reportMultiAttachError`, once for a volume and a node.
    fn tell_conflict(&mut self, volume: &str, node: &str, cx: &mut Cx<'_>) {
        if !self.told.insert((volume.to_owned(), node.to_owned())) {
            return;
        }
        let others: Vec<(String, String)> = self
            .wanted
            .get(volume)
            .into_iter()
            .flatten()
            .filter(|(other, _)| other.as_str() != node)
            .flat_map(|(_, pods)| pods.iter().cloned())
            .collect();
        for pod in self.pods(volume, node, cx) {
            let space = pod.metadata.namespace.as_deref().unwrap_or("");
            let (here, there): (Vec<_>, Vec<_>) = others.iter().partition(|(ns, _)| ns == space);
            let names: Vec<&str> = here.iter().map(|(_, name)| name.as_str()).collect();
            let why = match (names.is_empty(), there.len()) {
                (true, 0) => "Volume is already exclusively attached to one node and can't be \
                              attached to another"
                    .to_owned(),
                (true, n) => {
                    format!("Volume is already used by {n} pod(s) in different namespaces")
                }
                (false, 0) => format!("Volume is already used by pod(s) {}", names.join(", ")),
                (false, n) => format!(
                    "Volume is already used by pod(s) {} and {n} pod(s) in different namespaces",
                    names.join(", ")
                ),
            };
            let text = format!("Multi-Attach error for volume \"{volume}\" {why}");
            record(cx.api, &pod, Note::warning(SOURCE, "FailedAttachVolume", text));
        }
    }

    fn pods(&self, volume: &str, node: &str, cx: &Cx<'_>) -> Vec<Pod> {
        let pods = self.wanted.get(volume).and_then(|nodes| nodes.get(node));
        let pods = pods.into_iter().flatten();
        pods.filter_map(|(ns, name)| cx.api.get::<Pod>(ns, name).map(|pod| Pod::clone(pod)))
            .collect()
    }

    fn is_wanted(&self, volume: &str, node: &str) -> bool {
        self.wanted.get(volume).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn held(&mut self, volume: &str, node: &str) -> Option<&mut Attachment> {
        self.attached.get_mut(volume)?.get_mut(node)
    }

    fn soon(&self, volume: &str, node: &str, what: What, cx: &mut Cx<'_>) {
        let delay = cx.rng.between("attach-loop", Duration::ZERO, LOOP);
        cx.queue.after(delay, VolumesEvent::attach(AttachStep::new(volume, node, what)));
    }
}

impl AttachStep {
    fn new(volume: &str, node: &str, what: What) -> Self {
        AttachStep { volume: volume.to_owned(), node: node.to_owned(), what }
    }
}

/// The driver of a volume that has to be attached; folders of a node do not.
pub(super) fn attaching_driver(volume: &PersistentVolume) -> Option<Driver> {
    driver_of(volume).filter(|driver| *driver != Driver::LocalPath)
}

/// Only one node at a time (`operation_executor: isMultiAttachForbidden`).
fn is_exclusive(volume: &PersistentVolume) -> bool {
    let spec = volume.spec.as_ref();
    let modes = spec.and_then(|spec| spec.access_modes.as_deref()).unwrap_or(&[]);
    !modes.is_empty() && !modes.iter().any(|m| m == "ReadWriteMany" || m == "ReadOnlyMany")
}

/// Whether the node has reported the volume unmounted (`status.volumesInUse`): a healthy kubelet
/// does so before its pod's object goes; one that is lost never does.
fn has_let_go(node: &str, cx: &Cx<'_>) -> bool {
    let Some(node) = cx.api.get::<Node>("", node) else { return true };
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready =
        conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let is_out = cx.api.profile.at_least(OUT_OF_SERVICE_SINCE)
        && taints.into_iter().flatten().any(|taint| taint.key == OUT_OF_SERVICE);
    is_ready || is_out
}

fn name_of(volume: &PersistentVolume, node: &str) -> String {
    let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    csi.map_or_else(String::new, |csi| attachment_name(&csi.volume_handle, &csi.driver, node))
}

/// `pkg/volume/csi/csi_attacher.go:getAttachmentName`.
fn attachment_name(handle: &str, driver: &str, node: &str) -> String {
    let digest = Sha256::digest(format!("{handle}{driver}{node}"));
    digest.iter().fold("csi-".to_owned(), |name, byte| name + &format!("{byte:02x}"))
}

/// `pkg/volume/util/util.go:GetUniqueVolumeName`.
fn unique_name(volume: &PersistentVolume) -> String {
    let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    csi.map_or_else(String::new, |csi| {
        format!("kubernetes.io/csi/{}^{}", csi.driver, csi.volume_handle)
    })
}
