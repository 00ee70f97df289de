//! Stopping containers and pods: preStop, stop signal, grace, teardown, removal
//! (`kuberuntime_container.go:killContainer`, `kubelet.go:syncTerminatingPod`).

use std::sync::Arc;
use std::time::Duration;

use super::PodEvent;
use super::agent::Desk;
use super::hook;
use super::start::Task;
use super::worker::{Role, Worker};
use crate::base::{ObjectRef, SimTime, millis, secs};
use crate::sim::api::{DeleteOptions, Kind};
use crate::sim::fact::FactKind;
use crate::sim::machines::ProcessState;

/// Pod worker and runtime, from the change's arrival to the first step of the kill (semantics 5.6).
const KILL_TIME: (Duration, Duration) = (millis(20), millis(80));
/// StopPodSandbox: CNI and pause container (semantics 5.6, estimate).
const TEARDOWN_TIME: (Duration, Duration) = (millis(20), millis(100));
/// Volumes, cgroup and status of a terminated pod, from 1.22 on (semantics 5.6: the object goes 1 to
/// 3 s after the last container).
const RELEASE_TIME: (Duration, Duration) = (millis(800), millis(1900));
/// Least time between stop signal and kill (`minimumGracePeriodInSeconds`).
const MIN_GRACE: Duration = secs(2);
/// Pod workers with a context that termination cancels, and re-issued kills (1.22).
const NEW_WORKERS_MINOR: u8 = 22;

/// Where the kill of one container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) began: SimTime,
    pub(super) grace: Duration,
    pub(super) signalled: bool,
}

/// Where the stop of a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) began: SimTime,
    pub(super) grace: Duration,
    pub(super) stopped: bool,
    pub(super) released: bool,
    /// The pod ran to its end; nobody deleted it.
    pub(super) completed: bool,
}

impl Worker {
    /// Whether the pod holds nothing of the node any more.
    pub(super) fn is_released(&self) -> bool {
        self.failed.is_some() || self.ending.is_some_and(|ending| ending.stopped)
    }

    /// The pod is marked for deletion: it is stopped, or its stop is hurried.
    pub(super) fn plan_termination(&mut self, desk: &mut Desk<'_, '_>) {
        let grace = Duration::from_secs(self.deletion_grace());
        if let Some(ending) = self.ending.filter(|ending| !ending.completed) {
            if grace < ending.grace && desk.agent.profile.at_least(NEW_WORKERS_MINOR) {
                self.hurry(grace, desk);
            }
            return;
        }
        if self.ending.is_some() || self.terminate_due {
            return;
        }
        self.terminate_due = true;
        if self.task.is_some() {
            if !desk.agent.profile.at_least(NEW_WORKERS_MINOR) {
                // The worker is busy; it looks again when its sync is over.
                return;
            }
            self.cancel_sync(desk);
        }
        self.schedule_termination(desk);
    }

    fn cancel_sync(&mut self, desk: &mut Desk<'_, '_>) {
        self.task = None;
        self.task_number += 1;
        self.todo.clear();
        if self.ip.is_some() {
            self.synced_at = desk.now();
        }
    }

    pub(super) fn schedule_termination(&mut self, desk: &mut Desk<'_, '_>) {
        let mut due = desk.now() + desk.draw(KILL_TIME);
        if self.synced_at > SimTime::ZERO {
            due = due.max(desk.agent.relist_after(self.synced_at));
        }
        desk.at(due, self.key, PodEvent::Terminate);
    }

    /// The object is gone from the API.
    pub(super) fn on_removed(&mut self, desk: &mut Desk<'_, '_>) {
        match self.ending {
            Some(ending) if ending.released => self.is_gone = true,
            Some(_) => self.hurry(Duration::ZERO, desk),
            None if self.failed.is_some() => self.is_gone = true,
            None => self.plan_termination(desk),
        }
    }

    fn deletion_grace(&self) -> u64 {
        let grace = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(self.spec_grace());
        u64::try_from(grace).unwrap_or(0)
    }

    pub(super) fn on_terminate(&mut self, desk: &mut Desk<'_, '_>) {
        if self.ending.is_some() {
            return;
        }
        let grace = Duration::from_secs(self.deletion_grace());
        self.end(grace, false, desk);
    }

    /// Nothing of the pod runs or may run again: what is left of it is torn down.
    pub(super) fn complete(&mut self, desk: &mut Desk<'_, '_>) {
        let grace = Duration::from_secs(u64::try_from(self.spec_grace()).unwrap_or(0));
        self.end(grace, true, desk);
    }

    fn end(&mut self, grace: Duration, completed: bool, desk: &mut Desk<'_, '_>) {
        self.terminate_due = false;
        let began = desk.now();
        self.ending = Some(Ending { began, grace, stopped: false, released: false, completed });
        if desk.agent.profile.at_least(NEW_WORKERS_MINOR) {
            self.stop_liveness();
        }
        // A kill for a restart that is under way becomes part of the stop.
        for idx in 0..self.containers.len() {
            if self.containers[idx].role != Role::Sidecar && self.containers[idx].kill.is_none() {
                self.begin_kill(idx, grace, true, None, desk);
            }
        }
        self.on_stopped(desk);
    }

    /// Begins the kill of a container, if it runs.
    fn begin_kill(
        &mut self,
        idx: usize,
        grace: Duration,
        with_hook: bool,
        message: Option<String>,
        desk: &mut Desk<'_, '_>,
    ) {
        let Some(id) = self.containers[idx].id else { return };
        if desk.machines.state(id) != Some(&ProcessState::Running) {
            return;
        }
        let pod = Arc::clone(&self.pod);
        let ctr = &mut self.containers[idx];
        let text = message.unwrap_or_else(|| format!("Stopping container {}", ctr.name));
        desk.normal(&pod, "Killing", text);
        ctr.run += 1;
        ctr.kill = Some(Kill { began: desk.now(), grace, signalled: false });
        let run = ctr.run;
        let lifecycle = self.spec_of(&pod, idx).and_then(|spec| spec.lifecycle.as_ref());
        let hook = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        match hook.filter(|_| with_hook && !grace.is_zero()) {
            Some(handler) => {
                desk.cx.fact(FactKind::PreStopStarted, self.object_ref());
                desk.at(desk.now() + grace, self.key, PodEvent::Grace(idx, run));
                hook::begin(self, idx, handler, desk);
            }
            None => self.signal(idx, desk),
        }
    }

    pub(super) fn object_ref(&self) -> ObjectRef {
        ObjectRef::new("Pod", self.namespace.as_str(), self.name.as_str())
    }

    /// The preStop hook has ended.
    pub(super) fn pre_stopped(&mut self, idx: usize, ok: bool, desk: &mut Desk<'_, '_>) {
        if self.containers[idx].kill.is_none_or(|kill| kill.signalled) {
            return;
        }
        if !ok {
            desk.warn(&self.pod, "FailedPreStopHook", "PreStopHook failed");
            desk.cx.fact(FactKind::PreStopFailed, self.object_ref());
        }
        self.signal(idx, desk);
    }

    /// The stop signal; what is left of the grace, at least two seconds, is the process's own.
    fn signal(&mut self, idx: usize, desk: &mut Desk<'_, '_>) {
        let ctr = &mut self.containers[idx];
        let (Some(kill), Some(id)) = (&mut ctr.kill, ctr.id) else { return };
        kill.signalled = true;
        let used = Duration::from_secs(desk.now().since(kill.began).as_secs());
        let left = kill.grace.saturating_sub(used).max(MIN_GRACE);
        ctr.run += 1;
        desk.at(desk.now() + left, self.key, PodEvent::Grace(idx, ctr.run));
        desk.machines.stop(id, desk.cx);
    }

    /// The time of a kill's stage is over: the hook is left behind, or the process is killed.
    pub(super) fn on_grace(&mut self, idx: usize, run: u32, desk: &mut Desk<'_, '_>) {
        let Some(ctr) = self.containers.get(idx).filter(|ctr| ctr.run == run) else { return };
        match (ctr.kill, ctr.id) {
            (Some(kill), _) if !kill.signalled => self.signal(idx, desk),
            (Some(_), Some(id)) => desk.machines.kill(id, desk.cx),
            _ => {}
        }
    }

    /// A second deletion with less grace, or a forced one: the kills under way are shortened.
    fn hurry(&mut self, grace: Duration, desk: &mut Desk<'_, '_>) {
        if let Some(ending) = &mut self.ending {
            ending.grace = ending.grace.min(grace);
        }
        for idx in 0..self.containers.len() {
            let ctr = &mut self.containers[idx];
            let Some(kill) = &mut ctr.kill else { continue };
            kill.grace = kill.grace.min(desk.now().since(kill.began) + grace);
            if !kill.signalled && grace.is_zero() {
                self.signal(idx, desk);
                continue;
            }
            let left = if kill.signalled { grace.max(MIN_GRACE) } else { grace };
            desk.at(desk.now() + left, self.key, PodEvent::Grace(idx, ctr.run));
        }
    }

    /// A failed liveness or startup probe: the container is stopped with hook and grace, and the
    /// same sync starts it again.
    pub(super) fn kill_doomed(&mut self, idx: usize, desk: &mut Desk<'_, '_>) {
        let message = self.containers[idx].doomed.take();
        if self.containers[idx].kill.is_some() {
            return;
        }
        let grace = self.probe_grace(idx, desk).unwrap_or_else(|| self.spec_grace());
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        self.begin_kill(idx, grace, true, message, desk);
        if self.containers[idx].kill.is_none() {
            self.on_doomed_killed(desk);
        }
    }

    /// One of the containers to be restarted has ended.
    pub(super) fn on_doomed_killed(&mut self, desk: &mut Desk<'_, '_>) {
        let waits = self.containers.iter().any(|ctr| ctr.kill.is_some());
        if waits || !matches!(self.task, Some(Task::Kill)) {
            return;
        }
        self.task = None;
        self.observe(desk);
        self.act(desk);
    }

    /// A container of a pod that is being stopped has ended: the next ones, or the teardown.
    pub(super) fn on_stopped(&mut self, desk: &mut Desk<'_, '_>) {
        let Some(ending) = self.ending.filter(|ending| !ending.stopped) else { return };
        let runs = |worker: &Worker, desk: &Desk<'_, '_>, idx: usize| {
            let id = worker.containers[idx].id;
            id.is_some_and(|id| desk.machines.state(id) == Some(&ProcessState::Running))
        };
        let alive: Vec<usize> =
            (0..self.containers.len()).filter(|&idx| runs(self, desk, idx)).collect();
        if alive.iter().any(|&idx| self.containers[idx].role != Role::Sidecar) {
            return;
        }
        // Sidecars go one by one, the last declared first, within the same grace
        // (`kuberuntime_termination_order.go`).
        if let Some(&idx) = alive.last() {
            if self.containers[idx].kill.is_none() {
                let used = desk.now().since(ending.began);
                let left = ending.grace.saturating_sub(used).max(MIN_GRACE);
                self.begin_kill(idx, left, true, None, desk);
            }
            return;
        }
        if let Some(ending) = &mut self.ending {
            ending.stopped = true;
        }
        let due = desk.now() + desk.draw(TEARDOWN_TIME);
        desk.at(due, self.key, PodEvent::Teardown);
    }

    /// The sandbox goes; what it takes until nothing is left depends on the minor (semantics 5.6).
    pub(super) fn on_teardown(&mut self, desk: &mut Desk<'_, '_>) {
        self.observe(desk);
        desk.machines.remove_sandbox(&self.uid, desk.cx);
        let now = desk.now();
        let due = if desk.agent.profile.at_least(NEW_WORKERS_MINOR) {
            self.refresh_status(desk);
            desk.agent.relist_after(now) + desk.draw(RELEASE_TIME)
        } else {
            let noticed = desk.noticed_at();
            self.request_sync(noticed, desk);
            // Containers and sandbox are removed at the second relist, the cgroup by housekeeping;
            // the object goes with the next full batch of statuses (`PodResourcesAreReclaimed`).
            let removed = desk.agent.relist_after(desk.agent.relist_after(now));
            let reclaimed = removed.max(desk.agent.housekeeping_after(now));
            desk.agent.batch_after(reclaimed)
        };
        desk.at(due, self.key, PodEvent::Reclaim);
    }

    /// Nothing is left on the node: the object is deleted for good.
    pub(super) fn on_reclaim(&mut self, desk: &mut Desk<'_, '_>) {
        desk.machines.forget_pod_volumes(&self.uid);
        if let Some(ending) = &mut self.ending {
            ending.released = true;
        }
        self.write_status(desk);
        let meta = &self.pod.metadata;
        if meta.deletion_timestamp.is_none() {
            return;
        }
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            uid: Some(self.uid.clone()),
            propagation: None,
        };
        let deleted = desk.cx.api.delete(Kind::POD, &self.namespace, &self.name, &options);
        if deleted.is_err() {
            // Another object bears the name by now, or none: there is nothing to wait for.
            self.is_gone = true;
        }
    }
}
