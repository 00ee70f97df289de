//! The pod status: made from what the kubelet has seen, written after a lag
//! (`kubelet_pods.go:generateAPIPodStatus`, `status/status_manager.go:syncPod`).

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::PodEvent;
use super::agent::Desk;
use super::start::shown_image;
use super::worker::{Ctr, Ended, Role, Seen, Worker};
use crate::base::{SimTime, millis};
use crate::k8s;
use crate::sim::api::Part;

/// From a new status to its write at the API server: GET and PATCH (semantics 0.2).
const WRITE_LAG: (Duration, Duration) = (millis(10), millis(40));

impl Worker {
    /// Makes the status anew; a changed one is written soon.
    pub(super) fn refresh_status(&mut self, desk: &mut Desk<'_, '_>) {
        let status = self.generate(desk);
        if self.status.as_ref() == Some(&status) && !self.needs_write() {
            return;
        }
        self.status = Some(status);
        if self.status_due.is_none() {
            let wanted = desk.now() + desk.draw(WRITE_LAG);
            let due = desk.agent.book_write(wanted);
            self.status_due = Some(due);
            desk.at(due, self.key, PodEvent::Status);
        }
    }

    /// Whether someone else has changed the readiness the kubelet wrote.
    fn needs_write(&self) -> bool {
        let ours = self.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut ours = ours.filter(|c| c.type_ == "Ready" || c.type_ == "ContainersReady");
        ours.any(|c| k8s::pod_condition(&self.pod, &c.type_).is_some_and(|s| s.status != c.status))
    }

    pub(super) fn on_status_due(&mut self, desk: &mut Desk<'_, '_>) {
        if self.status_due == Some(desk.now()) {
            self.write_status(desk);
        }
    }

    /// Writes the status now. Conditions of others are kept, as are the times of old flips.
    pub(super) fn write_status(&mut self, desk: &mut Desk<'_, '_>) {
        self.status_due = None;
        let Some(status) = &self.status else { return };
        let now = desk.now();
        let stored = desk.cx.api.get::<Pod>(&self.namespace, &self.name);
        if stored.is_none_or(|pod| pod.metadata.uid.as_deref() != Some(self.uid.as_str())) {
            return;
        }
        // A refusal of a status the kubelet made is a defect of the model; the pod then never
        // gets ready, which every scenario shows.
        let _ = desk.cx.api.patch::<Pod>(Part::Status, &self.namespace, &self.name, |pod| {
            let old = pod.status.take().unwrap_or_default();
            let conditions = merge(status.conditions.as_deref(), old.conditions.as_deref(), now);
            pod.status = Some(PodStatus {
                conditions: Some(conditions),
                qos_class: old.qos_class.or_else(|| status.qos_class.clone()),
                nominated_node_name: old.nominated_node_name,
                start_time: old.start_time.or_else(|| status.start_time.clone()),
                ..status.clone()
            });
        });
    }

    fn generate(&self, desk: &Desk<'_, '_>) -> PodStatus {
        let profile = desk.agent.profile;
        let phase = self.phase(profile);
        let mut status = PodStatus {
            phase: Some(phase.to_owned()),
            conditions: Some(self.conditions(profile)),
            start_time: self.start_time.map(time),
            qos_class: Some(qos_class(&self.pod).to_owned()),
            ..PodStatus::default()
        };
        if let Some((reason, message)) = &self.failed {
            status.reason = Some((*reason).to_owned());
            status.message = Some(format!("Pod was rejected: {message}"));
            return status;
        }
        let host = desk.agent.spec.ip.clone();
        if profile.at_least(28) {
            status.host_ips = Some(vec![HostIP { ip: host.clone() }]);
        }
        status.host_ip = Some(host);
        if let Some(ip) = self.shown_ip.as_ref().filter(|ip| !ip.is_empty()) {
            status.pod_ip = Some(ip.clone());
            status.pod_ips = Some(vec![PodIP { ip: ip.clone() }]);
        }
        let (mains, inits): (Vec<&Ctr>, Vec<&Ctr>) =
            self.containers.iter().partition(|ctr| ctr.role == Role::Main);
        let show = |ctrs: Vec<&Ctr>| -> Vec<ContainerStatus> {
            ctrs.into_iter().filter_map(|ctr| self.container_status(ctr)).collect()
        };
        status.container_statuses = Some(show(mains));
        if !inits.is_empty() {
            status.init_container_statuses = Some(show(inits));
        }
        status
    }

    fn container_status(&self, ctr: &Ctr) -> Option<ContainerStatus> {
        let idx = self.containers.iter().position(|other| std::ptr::eq(other, ctr))?;
        let image = self.spec_of(&self.pod, idx)?.image.clone().unwrap_or_default();
        let ended = match &ctr.seen {
            Seen::Ended(ended) => Some(ended),
            _ => None,
        };
        // A container that is to start again shows why it does not, once a try has failed.
        let waits = !ctr.is_running() && (ended.is_none() || ctr.shown_trouble.is_some());
        let (state, last) = if waits {
            let (reason, message) = match &ctr.shown_trouble {
                Some(trouble) => (trouble.reason, Some(trouble.message.clone())),
                None if self.has_inits() => ("PodInitializing", None),
                None => ("ContainerCreating", None),
            };
            let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
            let state = ContainerState { waiting: Some(waiting), ..ContainerState::default() };
            (state, ended.or(ctr.last.as_ref()))
        } else {
            (shown_state(&ctr.seen), ctr.last.as_ref())
        };
        let ran = match &ctr.seen {
            Seen::Nothing => None,
            Seen::Running { .. } => ctr.id,
            Seen::Ended(ended) => Some(ended.id),
        };
        let full = shown_image(&image);
        Some(ContainerStatus {
            name: ctr.name.clone(),
            image: if ran.is_some() { full.clone() } else { image },
            image_id: if ran.is_some() { full } else { String::new() },
            container_id: ran.map(|id| format!("containerd://{:064x}", id.0)),
            ready: if ctr.role == Role::Init { ctr.has_succeeded() } else { ctr.is_ready() },
            started: Some(ctr.is_running() && ctr.started),
            restart_count: ctr.restarts,
            state: Some(state),
            last_state: Some(last.map(terminated).unwrap_or_default()),
            ..ContainerStatus::default()
        })
    }

    fn has_inits(&self) -> bool {
        self.containers.iter().any(|ctr| ctr.role != Role::Main)
    }
}

fn time(at: SimTime) -> Time {
    Time(at.timestamp())
}

fn shown_state(seen: &Seen) -> ContainerState {
    match seen {
        Seen::Nothing => ContainerState::default(),
        Seen::Running { since } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(time(*since)) }),
            ..ContainerState::default()
        },
        Seen::Ended(ended) => terminated(ended),
    }
}

fn terminated(ended: &Ended) -> ContainerState {
    let reason = match ended {
        Ended { oom_killed: true, .. } => "OOMKilled",
        Ended { code: 0, .. } => "Completed",
        _ => "Error",
    };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: ended.code,
            reason: Some(reason.to_owned()),
            started_at: Some(time(ended.started_at)),
            finished_at: Some(time(ended.at)),
            container_id: Some(format!("containerd://{:064x}", ended.id.0)),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

/// Our conditions, each with the time of its last flip, and those of others
/// (`status_manager.go:mergePodStatus`, `updateLastTransitionTime`).
fn merge(
    ours: Option<&[PodCondition]>,
    old: Option<&[PodCondition]>,
    now: SimTime,
) -> Vec<PodCondition> {
    let (ours, old) = (ours.unwrap_or(&[]), old.unwrap_or(&[]));
    let mut merged: Vec<PodCondition> =
        old.iter().filter(|c| ours.iter().all(|o| o.type_ != c.type_)).cloned().collect();
    for condition in ours {
        let before = old.iter().find(|c| c.type_ == condition.type_);
        let kept = before.filter(|c| c.status == condition.status);
        let flipped = kept.and_then(|c| c.last_transition_time.clone());
        merged.push(PodCondition {
            last_transition_time: flipped.or_else(|| Some(time(now))),
            observed_generation: before.and_then(|c| c.observed_generation),
            ..condition.clone()
        });
    }
    merged
}

/// `pkg/apis/core/v1/helper/qos/qos.go:GetPodQOS`.
fn qos_class(pod: &Pod) -> &'static str {
    let Some(spec) = &pod.spec else { return "BestEffort" };
    let (mut any, mut guaranteed) = (false, true);
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let resources = container.resources.as_ref();
        for name in ["cpu", "memory"] {
            let limit = resources.and_then(|r| r.limits.as_ref()?.get(name)).and_then(k8s::milli);
            let request =
                resources.and_then(|r| r.requests.as_ref()?.get(name)).and_then(k8s::milli);
            any |= limit.is_some_and(|l| l > 0) || request.is_some_and(|r| r > 0);
            guaranteed &= limit.is_some_and(|l| l > 0) && request.is_none_or(|r| Some(r) == limit);
        }
    }
    match (any, guaranteed) {
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, _) => "BestEffort",
    }
}
