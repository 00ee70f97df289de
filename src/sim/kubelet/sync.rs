//! One sync of a pod: what the relist shows, what the status says, what is to be done
//! (`pkg/kubelet/kubelet.go:syncPod`, `kuberuntime_manager.go:computePodActions`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::PodEvent;
use super::agent::Desk;
use super::node::MAX_PODS;
use super::start::Task;
use super::worker::{Ctr, Ended, Role, Seen, Worker};
use crate::base::{SimTime, millis, secs};
use crate::k8s;
use crate::sim::machines::{ContainerId, ProcessState};

/// From the watch event to the first sync of the pod's worker (semantics 5.2, estimate).
const DISPATCH_TIME: (Duration, Duration) = (millis(1), millis(10));
/// Re-sync after a failed one: 10 s times U(1, 1.5) (`pod_workers.go:wrapUp`).
const RETRY_TIME: (Duration, Duration) = (secs(10), secs(15));
/// Exit code containerd shows for a process that a power cut ended.
const LOST_EXIT_CODE: i32 = 255;
/// Restartable init containers are on by default from here (SidecarContainers beta).
const SIDECAR_MINOR: u8 = 29;
/// Back-off ends with a sync at its expiry instead of the next retry (kubernetes PR 133066).
const EXACT_BACKOFF_MINOR: u8 = 35;

impl Worker {
    /// The kubelet sees the pod for the first time (`HandlePodAdditions`).
    pub(super) fn on_added(&mut self, desk: &mut Desk<'_, '_>) {
        let sidecars = desk.agent.profile.at_least(SIDECAR_MINOR);
        for ctr in self.containers.iter_mut().filter(|ctr| ctr.role == Role::Sidecar && !sidecars) {
            ctr.role = Role::Init;
        }
        self.adopt_status(desk.now());
        self.start_time = Some(desk.now());
        if self.pod.metadata.deletion_timestamp.is_some() {
            self.plan_termination(desk);
            return;
        }
        if let Some(refusal) = admission_failure(&self.pod, desk) {
            desk.warn(&self.pod, refusal.0, refusal.1.clone());
            self.failed = Some(refusal);
            self.refresh_status(desk);
            return;
        }
        self.start_probers_early(desk);
        let delay = desk.draw(DISPATCH_TIME);
        self.request_sync(desk.now() + delay, desk);
    }

    /// After a boot of the node the restart counts go on from what the API knows, and main
    /// containers that ran are seen as ended.
    fn adopt_status(&mut self, now: SimTime) {
        let Some(status) = &self.pod.status else { return };
        let known = status.init_container_statuses.iter().flatten();
        for old in known.chain(status.container_statuses.iter().flatten()) {
            let id = old.container_id.as_deref().and_then(|id| id.strip_prefix("containerd://"));
            let id = id.and_then(|id| u64::from_str_radix(id, 16).ok()).map(ContainerId);
            let Some(ctr) = self.containers.iter_mut().find(|ctr| ctr.name == old.name) else {
                continue;
            };
            ctr.restarts = old.restart_count + i32::from(id.is_some());
            if let Some(id) = id.filter(|_| ctr.role == Role::Main) {
                let (code, oom_killed) = (LOST_EXIT_CODE, false);
                ctr.seen = Seen::Ended(Ended { id, code, oom_killed, started_at: now, at: now });
            }
        }
    }

    /// The pod has changed at the API, or is gone from it.
    pub(super) fn on_change(
        &mut self,
        pod: &Arc<Pod>,
        revision: u64,
        deleted: bool,
        desk: &mut Desk<'_, '_>,
    ) {
        if revision < self.revision {
            return;
        }
        self.revision = revision;
        self.pod = Arc::clone(pod);
        if deleted {
            self.on_removed(desk);
        } else if pod.metadata.deletion_timestamp.is_some() {
            self.plan_termination(desk);
        } else if self.needs_reconcile() {
            let delay = desk.draw(DISPATCH_TIME);
            self.request_sync(desk.now() + delay, desk);
        }
    }

    /// Whether the API shows another readiness than the kubelet would report
    /// (`status_manager.go:NeedToReconcilePodReadiness`, `needsReconcile`).
    fn needs_reconcile(&self) -> bool {
        let Some(status) = &self.status else { return false };
        if self.status_due.is_some() {
            return false;
        }
        let wanted = self.ready_condition().status;
        let reported = status.conditions.iter().flatten().find(|c| c.type_ == "Ready");
        let stored = k8s::pod_condition(&self.pod, "Ready");
        reported.is_some_and(|c| c.status != wanted) || stored.is_some_and(|c| c.status != wanted)
    }

    /// Asks for a sync at `at`. Two syncs of a pod have a relist between them (`managePodLoop`).
    pub(super) fn request_sync(&mut self, at: SimTime, desk: &mut Desk<'_, '_>) {
        if self.task.is_some() {
            self.sync_wanted = true;
            return;
        }
        let mut at = at.max(desk.now());
        if self.synced_at > SimTime::ZERO {
            at = at.max(desk.agent.relist_after(self.synced_at) + millis(5));
        }
        if self.sync_due.is_none_or(|due| at < due) {
            self.sync_due = Some(at);
            desk.at(at, self.key, PodEvent::Sync);
        }
    }

    pub(super) fn on_sync(&mut self, desk: &mut Desk<'_, '_>) {
        if self.sync_due != Some(desk.now()) {
            return;
        }
        self.sync_due = None;
        if self.task.is_some() {
            self.sync_wanted = true;
            return;
        }
        self.observe(desk);
        for ctr in &mut self.containers {
            ctr.shown_trouble = ctr.trouble.clone();
        }
        self.shown_ip = self.ip.clone();
        self.refresh_status(desk);
        if self.ending.is_some() || self.failed.is_some() {
            return;
        }
        if self.has_completed() {
            self.complete(desk);
            return;
        }
        self.trigger_readiness(desk);
        (self.sync_failed, self.retry_at) = (false, None);
        self.todo.clear();
        if self.mounted.is_none() {
            self.begin_mount(desk);
        } else if self.ip.is_none() {
            self.begin_sandbox(desk);
        } else {
            self.act(desk);
        }
    }

    /// Takes over what the runtime shows now.
    pub(super) fn observe(&mut self, desk: &mut Desk<'_, '_>) {
        for idx in 0..self.containers.len() {
            let Some(id) = self.containers[idx].id else { continue };
            let since = desk.machines.started_at(id).unwrap_or_default();
            let seen = match desk.machines.state(id) {
                None => continue,
                Some(ProcessState::Running) => Seen::Running { since },
                Some(&ProcessState::Exited { code, oom_killed, at }) => {
                    Seen::Ended(Ended { id, code, oom_killed, started_at: since, at })
                }
            };
            if self.containers[idx].seen == seen {
                continue;
            }
            let runs = matches!(seen, Seen::Running { .. });
            let ctr = &mut self.containers[idx];
            if let Seen::Ended(before) = std::mem::replace(&mut ctr.seen, seen)
                && before.id != id
            {
                ctr.last = Some(before);
            }
            (ctr.ready, ctr.started, ctr.doomed) = (false, runs && !ctr.probes.has_startup(), None);
            self.on_seen(idx, runs, desk);
        }
    }

    /// What is to be killed or started, then the next step.
    pub(super) fn act(&mut self, desk: &mut Desk<'_, '_>) {
        let doomed: Vec<usize> = (0..self.containers.len())
            .filter(|&idx| {
                self.containers[idx].doomed.is_some() && self.containers[idx].is_running()
            })
            .collect();
        if !doomed.is_empty() {
            self.begin_task(Task::Kill, None, desk);
            for idx in doomed {
                self.kill_doomed(idx, desk);
            }
            return;
        }
        self.todo = self.next_to_start();
        self.start_next(desk);
    }

    /// The containers to start now, in order.
    fn next_to_start(&mut self) -> Vec<usize> {
        let mut wanted = Vec::new();
        let initialized = self.is_initialized();
        for (idx, ctr) in self.containers.iter().enumerate() {
            match ctr.role {
                Role::Init if initialized || ctr.has_succeeded() => {}
                Role::Init => {
                    if self.may_start(ctr) {
                        wanted.push(idx);
                    }
                    return wanted;
                }
                Role::Sidecar => {
                    if !ctr.is_running() {
                        wanted.push(idx);
                    }
                    let up = ctr.is_running() && ctr.started;
                    if !initialized && !up {
                        return wanted;
                    }
                }
                Role::Main => {
                    if self.may_start(ctr) {
                        wanted.push(idx);
                    }
                }
            }
        }
        wanted
    }

    /// `ShouldContainerBeRestarted`.
    fn may_start(&self, ctr: &Ctr) -> bool {
        match &ctr.seen {
            Seen::Running { .. } => false,
            Seen::Nothing => true,
            Seen::Ended(ended) => match self.restart_policy() {
                "Never" => false,
                "OnFailure" => ended.code != 0,
                _ => true,
            },
        }
    }

    /// Whether the main containers may run: all init containers are done, or a main one has begun.
    pub(super) fn is_initialized(&self) -> bool {
        let begun = |ctr: &Ctr| ctr.role == Role::Main && ctr.id.is_some();
        self.containers.iter().any(begun)
            || self.containers.iter().all(|ctr| match ctr.role {
                Role::Init => ctr.has_succeeded(),
                Role::Sidecar => ctr.is_running() && ctr.started,
                Role::Main => true,
            })
    }

    /// Whether the pod has run to its end: nothing runs and nothing may start again.
    fn has_completed(&self) -> bool {
        if self.restart_policy() == "Always" {
            return false;
        }
        let failed = |ctr: &Ctr| {
            ctr.role == Role::Init && matches!(&ctr.seen, Seen::Ended(e) if e.code != 0)
        };
        if self.restart_policy() == "Never" && self.containers.iter().any(failed) {
            return true;
        }
        let ended = |ctr: &Ctr| matches!(ctr.seen, Seen::Ended(_)) && !self.may_start(ctr);
        self.containers.iter().filter(|ctr| ctr.role == Role::Main).all(ended)
    }

    /// The sync is over.
    pub(super) fn finish_sync(&mut self, desk: &mut Desk<'_, '_>) {
        self.synced_at = desk.now();
        if self.terminate_due {
            self.schedule_termination(desk);
            return;
        }
        if std::mem::take(&mut self.sync_wanted) {
            self.request_sync(desk.now(), desk);
        }
        if self.sync_failed {
            let retry = desk.now() + desk.draw(RETRY_TIME);
            let exact = self.retry_at.filter(|_| desk.agent.profile.at_least(EXACT_BACKOFF_MINOR));
            self.request_sync(exact.unwrap_or(retry), desk);
        }
    }

    /// The main process of a container has ended.
    pub(super) fn on_exit(&mut self, idx: usize, id: ContainerId, desk: &mut Desk<'_, '_>) {
        let Some(ctr) = self.containers.get_mut(idx).filter(|ctr| ctr.id == Some(id)) else {
            return;
        };
        let was_killed = ctr.kill.take().is_some();
        if self.ending.is_some() {
            self.on_stopped(desk);
        } else if was_killed {
            self.on_doomed_killed(desk);
        } else {
            let noticed = desk.noticed_at();
            self.request_sync(noticed, desk);
        }
    }
}

/// The kubelet's own admission (`lifecycle/predicate.go`): room for the pod's requests, the node's
/// labels. Reason and message of a refusal.
fn admission_failure(pod: &Pod, desk: &Desk<'_, '_>) -> Option<(&'static str, String)> {
    let selector = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        let empty = std::collections::BTreeMap::new();
        let node = desk.cx.api.get::<k8s_openapi::api::core::v1::Node>("", &desk.agent.name)?;
        let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
        if !k8s::matches_labels(selector, labels) {
            let message = "Predicate NodeAffinity failed".to_owned();
            return Some(("NodeAffinity", message));
        }
    }
    let others = || desk.agent.workers.values().filter(|worker| !worker.is_released());
    let pods = others().count() as u64;
    if pods >= MAX_PODS {
        let text = "Node didn't have enough resource: pods, requested: 1, used: ";
        return Some(("OutOfpods", format!("{text}{pods}, capacity: {MAX_PODS}")));
    }
    let used = others().map(|worker| requests(&worker.pod)).fold((0, 0), add);
    let wanted = requests(pod);
    let refuse = |reason, name: &str, wanted: u64, used: u64, capacity: u64| {
        let message = format!(
            "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, \
             capacity: {capacity}"
        );
        Some((reason, message))
    };
    let spec = &desk.agent.spec;
    if wanted.0 > 0 && used.0 + wanted.0 > spec.cpu_milli {
        return refuse("OutOfcpu", "cpu", wanted.0, used.0, spec.cpu_milli);
    }
    if wanted.1 > 0 && used.1 + wanted.1 > spec.memory_bytes {
        return refuse("OutOfmemory", "memory", wanted.1, used.1, spec.memory_bytes);
    }
    None
}

fn add(left: (u64, u64), right: (u64, u64)) -> (u64, u64) {
    (left.0 + right.0, left.1 + right.1)
}

/// CPU in thousandths and memory in bytes that the containers request.
fn requests(pod: &Pod) -> (u64, u64) {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let each = containers.filter_map(|container| {
        let requests = container.resources.as_ref()?.requests.as_ref()?;
        let cpu = requests.get("cpu").and_then(k8s::milli).unwrap_or(0);
        Some((cpu, requests.get("memory").and_then(k8s::bytes).unwrap_or(0)))
    });
    each.fold((0, 0), add)
}
