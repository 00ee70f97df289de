//! Pods nobody looks after are removed (`ctl/podgc/gc_controller.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::base::{SimTime, secs};
use crate::k8s::is_terminating;
use crate::sim::api::{Change, DeleteOptions, Kind, Objects, Part, Status};
use crate::sim::context::Cx;

use super::node_lifecycle::mark_disrupted;
use super::{Controller, Key, Work};

/// `gcCheckPeriod`.
const PERIOD: Duration = secs(20);
/// A node must have been away this long (`quarantineTime`).
const QUARANTINE: Duration = secs(40);
/// `--terminated-pod-gc-threshold`.
const TERMINATED_MAX: usize = 12_500;
/// Pods get phase Failed and DisruptionTarget first (PodDisruptionConditions, on since 1.26).
const DISRUPTION_CONDITION_SINCE: u8 = 26;
/// NodeOutOfServiceVolumeDetach, on since 1.26.
const OUT_OF_SERVICE_SINCE: u8 = 26;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The collector; it has a single key.
#[derive(Debug, Default)]
pub(super) struct PodGc {
    /// Nodes that pods name and that do not exist, since when.
    missing: BTreeMap<String, SimTime>,
}

impl Controller for PodGc {
    fn name(&self) -> &'static str {
        "pod-gc"
    }

    fn start(&mut self, work: &mut Work, cx: &mut Cx<'_>) {
        let phase = cx.rng.between("pod-gc-phase", Duration::ZERO, PERIOD);
        work.add_after(Key::new("", ""), phase, cx);
    }

    fn on_change(&mut self, _: &Change, _: &Objects, _: &mut Work, _: &mut Cx<'_>) {}

    fn reconcile(
        &mut self,
        key: &Key,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        work.add_after(key.clone(), PERIOD, cx);
        collect_terminated(cache, cx);
        collect_terminating(cache, cx);
        self.collect_orphaned(cache, cx);
        Ok(())
    }
}

impl PodGc {
    /// Pods of nodes that are gone (`gcOrphaned`).
    fn collect_orphaned(&mut self, cache: &Objects, cx: &mut Cx<'_>) {
        let mut missing: BTreeSet<&str> = BTreeSet::new();
        for pod in cache.list::<Pod>() {
            let node = node_of(pod);
            if !node.is_empty() && cache.get::<Node>("", node).is_none() {
                missing.insert(node);
            }
        }
        self.missing.retain(|node, _| missing.contains(node.as_str()));
        for node in missing {
            self.missing.entry(node.to_owned()).or_insert(cx.now);
        }
        let gone = |node: &str| {
            let since = self.missing.get(node);
            since.is_some_and(|since| *since + QUARANTINE <= cx.now)
                && cx.api.get::<Node>("", node).is_none()
        };
        if self.missing.is_empty() {
            return;
        }
        let orphans: Vec<Arc<Pod>> =
            cache.list::<Pod>().filter(|pod| gone(node_of(pod))).cloned().collect();
        for pod in orphans {
            remove(&pod, "PodGC: node no longer exists", cx);
        }
    }
}

/// The oldest finished pods above the threshold (`gcTerminated`).
fn collect_terminated(cache: &Objects, cx: &mut Cx<'_>) {
    let finished = || cache.list::<Pod>().filter(|pod| is_finished(pod));
    let n_above = finished().count().saturating_sub(TERMINATED_MAX);
    if n_above == 0 {
        return;
    }
    let mut pods: Vec<Arc<Pod>> = finished().cloned().collect();
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    for pod in pods.iter().take(n_above) {
        remove(pod, "", cx);
    }
}

/// Deleted pods that no kubelet will finish: never bound, or on a node that was declared out of
/// service (`gcUnscheduledTerminating`, `gcTerminating`).
fn collect_terminating(cache: &Objects, cx: &mut Cx<'_>) {
    let out_of_service = cx.api.profile.at_least(OUT_OF_SERVICE_SINCE);
    let is_stuck = |pod: &&Arc<Pod>| {
        let node = node_of(pod);
        is_terminating(pod) && (node.is_empty() || out_of_service && is_out_of_service(node, cache))
    };
    let stuck: Vec<Arc<Pod>> = cache.list::<Pod>().filter(is_stuck).cloned().collect();
    for pod in stuck {
        remove(&pod, "", cx);
    }
}

fn is_out_of_service(node: &str, cache: &Objects) -> bool {
    let Some(node) = cache.get::<Node>("", node) else { return false };
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready =
        conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    !is_ready && taints.into_iter().flatten().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// `markFailedAndDeletePod`: with grace 0, so that the object goes at once.
fn remove(pod: &Pod, why: &str, cx: &mut Cx<'_>) {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let name = pod.metadata.name.as_deref().unwrap_or("");
    cx.trace.line(cx.now, "pod-gc", format_args!("remove {namespace}/{name}"));
    // What is refused here is found again 20 s later.
    if cx.api.profile.at_least(DISRUPTION_CONDITION_SINCE) && !is_finished(pod) {
        if !why.is_empty() {
            let _ = mark_disrupted(pod, "DeletionByPodGC", why, cx);
        }
        let _ = cx.api.patch::<Pod>(Part::Status, namespace, name, |pod| {
            pod.status.get_or_insert_default().phase = Some("Failed".to_owned());
        });
    }
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    let _ = cx.api.delete(Kind::POD, namespace, name, &options);
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::*;
    use super::*;
    use crate::sim::World;

    fn pod(world: &mut World) {
        let value: Value = json!({
            "metadata": {"name": "p", "namespace": SPACE},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "web:1"}]},
        });
        create::<Pod>(world, value);
    }

    fn exists(world: &mut World) -> bool {
        world.api().get::<Pod>(SPACE, "p").is_some()
    }

    #[test]
    fn pods_of_a_node_that_is_gone_are_removed_after_the_quarantine() {
        for minor in [20, 37] {
            let mut world = world(minor);
            pod(&mut world);
            advance(&mut world, 39_000);
            assert!(exists(&mut world), "1.{minor}: the node may still come");
            advance(&mut world, 45_000);
            assert!(!exists(&mut world), "1.{minor}: seen within 20 s, then 40 s, then 20 s");
        }
    }

    #[test]
    fn a_node_declared_out_of_service_gives_its_deleted_pods_up() {
        for minor in [25, 37] {
            let mut world = world(minor);
            create::<Node>(
                &mut world,
                json!({
                    "metadata": {"name": "n1"},
                    "spec": {"taints": [{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]},
                    "status": {"conditions": [{"type": "Ready", "status": "False"}]},
                }),
            );
            pod(&mut world);
            let options = DeleteOptions::default();
            world.api().delete(Kind::POD, SPACE, "p", &options).expect("it exists");
            advance(&mut world, 25_000);
            assert_eq!(exists(&mut world), minor == 25, "1.{minor}");
        }
    }

    #[test]
    fn pods_of_a_node_that_exists_stay() {
        let mut world = world(37);
        create::<Node>(&mut world, json!({"metadata": {"name": "n1"}}));
        pod(&mut world);
        advance(&mut world, 120_000);
        assert!(exists(&mut world));
    }
}
