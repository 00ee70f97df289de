//! The Rook operator: filesystems and pools become Ready, or do not
//! (`rook pkg/operator/ceph/file`, `pkg/operator/ceph/pool`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::{millis, secs};
use crate::sim::api::{Kind, Obj, Part, Untyped};
use crate::sim::context::Cx;

use super::VolumesEvent;
use super::driver::{ROOK_GROUP, custom};

/// From a watch event to the first status.
const REACTION: (Duration, Duration) = (millis(100), secs(2));
/// Making the pools, starting the MDS pods: 20 to 60 s on a small cluster (estimate).
const WORK_TIME: (Duration, Duration) = (secs(20), secs(60));
/// A reconcile that cannot go on is tried again (`opcontroller.WaitForRequeueIfCephClusterNotReady`).
const RETRY: Duration = secs(10);

/// What the operator is working on, and the generation it has seen.
#[derive(Debug, Default)]
pub(super) struct Operator {
    seen: BTreeMap<(Kind, String, String), (String, i64)>,
    /// Hosts with an OSD: the workers.
    n_osd_hosts: u64,
}

/// A step of the operator for one custom resource.
#[derive(Clone, Debug)]
pub(super) struct OperatorStep {
    kind: Kind,
    namespace: String,
    name: String,
    uid: String,
    is_built: bool,
}

impl Operator {
    pub(super) fn new(n_osd_hosts: usize) -> Self {
        Operator { seen: BTreeMap::new(), n_osd_hosts: n_osd_hosts as u64 }
    }

    /// A custom resource has changed.
    pub(super) fn on_change(&mut self, object: &Arc<Untyped>, is_gone: bool, cx: &mut Cx<'_>) {
        let resource = cx.api.registry.resource(object.kind);
        let ours = ["CephFilesystem", "CephBlockPool"].contains(&resource.kind.as_str());
        if resource.group != ROOK_GROUP || !ours {
            return;
        }
        let meta = &object.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let name = meta.name.clone().unwrap_or_default();
        let key = (object.kind, namespace.clone(), name.clone());
        let version = (meta.uid.clone().unwrap_or_default(), meta.generation.unwrap_or_default());
        if is_gone {
            self.seen.remove(&key);
            return;
        }
        if self.seen.get(&key) == Some(&version) {
            return;
        }
        let uid = version.0.clone();
        self.seen.insert(key, version);
        let step = OperatorStep { kind: object.kind, namespace, name, uid, is_built: false };
        let delay = cx.rng.between("rook-reaction", REACTION.0, REACTION.1);
        cx.queue.after(delay, VolumesEvent::rook(step));
    }

    /// Goes one step on.
    pub(super) fn step(&mut self, step: OperatorStep, cx: &mut Cx<'_>) {
        let found = cx.api.object(step.kind, &step.namespace, &step.name);
        let Some(Obj::Other(object)) = found.cloned() else { return };
        if object.metadata.uid.as_deref() != Some(&step.uid) {
            return;
        }
        if !custom(cx.api, "CephCluster").any(|(namespace, ..)| namespace == step.namespace) {
            cx.queue.after(RETRY, VolumesEvent::rook(step));
            return;
        }
        if step.is_built {
            set_phase(&object, "Ready", cx);
            return;
        }
        if object.body.get("status").is_none_or(|status| status["phase"] != "Ready") {
            set_phase(&object, "Progressing", cx);
        }
        let spec = object.body.get("spec").unwrap_or(&Value::Null);
        if largest_size(spec) > self.n_osd_hosts {
            // Placement groups stay inactive for want of hosts (addons D7, D9).
            cx.queue.after(RETRY, VolumesEvent::rook(step));
            return;
        }
        let delay = cx.rng.between("rook-work", WORK_TIME.0, WORK_TIME.1);
        cx.queue.after(delay, VolumesEvent::rook(OperatorStep { is_built: true, ..step }));
    }
}

/// The most replicas a pool of the spec asks for.
fn largest_size(spec: &Value) -> u64 {
    let data = spec["dataPools"].as_array().map_or(&[][..], Vec::as_slice);
    let pools = data.iter().chain([&spec["metadataPool"], spec]);
    pools.filter_map(|pool| pool["replicated"]["size"].as_u64()).max().unwrap_or(1)
}

fn set_phase(object: &Arc<Untyped>, phase: &str, cx: &mut Cx<'_>) {
    if object.body.get("status").is_some_and(|status| status["phase"] == phase) {
        return;
    }
    let mut changed = Untyped::clone(object);
    let status = changed.body.entry("status").or_insert_with(|| Value::Object(Map::new()));
    status["phase"] = json!(phase);
    status["observedGeneration"] = json!(object.metadata.generation);
    // A conflict cannot happen: the object was read at this instant.
    let _ = cx.api.update_object(Obj::Other(Arc::new(changed)), Part::Status, false);
}
