//! Phase and conditions of a pod (`kubelet_pods.go:getPhase`, `status/generate.go`).

use k8s_openapi::api::core::v1::PodCondition;

use super::worker::{Ctr, Role, Seen, Worker};
use crate::k8s;
use crate::sim::profile::Profile;

/// Sandbox and network are reported from here on (PodReadyToStartContainers beta).
const SANDBOX_CONDITION_MINOR: u8 = 29;
/// A stopped pod gets a terminal phase from about here on (semantics 5.6).
const TERMINAL_PHASE_MINOR: u8 = 27;

impl Worker {
    pub(super) fn phase(&self, profile: Profile) -> &'static str {
        if self.failed.is_some() {
            return "Failed";
        }
        let stopped = self.ending.is_some_and(|ending| ending.stopped);
        if stopped && (profile.at_least(TERMINAL_PHASE_MINOR) || self.ending_completed()) {
            let mains = self.containers.iter().filter(|ctr| ctr.role != Role::Sidecar);
            return if mains.clone().all(Ctr::has_succeeded) { "Succeeded" } else { "Failed" };
        }
        let policy = self.restart_policy();
        let mut pending = false;
        for ctr in self.containers.iter().filter(|ctr| ctr.role != Role::Main) {
            match (&ctr.role, &ctr.seen) {
                (Role::Init, Seen::Ended(ended)) if ended.code == 0 => {}
                (Role::Init, Seen::Ended(_)) if policy == "Never" => return "Failed",
                (Role::Sidecar, Seen::Running { .. }) if ctr.started => {}
                (Role::Sidecar, Seen::Ended(_)) => {}
                _ => pending = true,
            }
        }
        let mains = || self.containers.iter().filter(|ctr| ctr.role == Role::Main);
        let n_running = mains().filter(|ctr| ctr.is_running()).count();
        let n_waiting = mains().filter(|ctr| ctr.seen == Seen::Nothing).count();
        if pending || n_waiting > 0 {
            "Pending"
        } else if n_running > 0 || policy == "Always" {
            "Running"
        } else if mains().all(Ctr::has_succeeded) {
            "Succeeded"
        } else if policy == "Never" {
            "Failed"
        } else {
            "Running"
        }
    }

    fn ending_completed(&self) -> bool {
        self.ending.is_some_and(|ending| ending.completed)
    }

    /// The conditions the kubelet owns, without times.
    pub(super) fn conditions(&self, profile: Profile) -> Vec<PodCondition> {
        let mut conditions = Vec::with_capacity(5);
        if profile.at_least(SANDBOX_CONDITION_MINOR) {
            let up = self.shown_ip.is_some() && !self.is_released();
            conditions.push(condition("PodReadyToStartContainers", up, None));
        }
        conditions.push(self.initialized_condition(profile));
        conditions.push(self.ready_condition());
        conditions.push(self.containers_ready_condition());
        conditions.push(condition("PodScheduled", true, None));
        conditions
    }

    fn has_run_to_its_end(&self) -> bool {
        self.ending_completed() && self.containers.iter().all(|ctr| ctr.has_succeeded())
    }

    fn initialized_condition(&self, profile: Profile) -> PodCondition {
        if self.has_run_to_its_end() {
            let reason = Some(("PodCompleted", String::new()));
            return condition("Initialized", true, reason);
        }
        if self.phase(profile) == "Failed" && self.failed.is_some() {
            return condition("Initialized", true, None);
        }
        let incomplete = self.containers.iter().filter(|ctr| match ctr.role {
            Role::Main => false,
            Role::Init => !ctr.has_succeeded() && !self.is_initialized(),
            Role::Sidecar => !ctr.started && !self.is_initialized(),
        });
        let names: Vec<&str> = incomplete.map(|ctr| ctr.name.as_str()).collect();
        if names.is_empty() {
            return condition("Initialized", true, None);
        }
        let message = format!("containers with incomplete status: [{}]", names.join(" "));
        condition("Initialized", false, Some(("ContainersNotInitialized", message)))
    }

    fn containers_ready_condition(&self) -> PodCondition {
        if self.has_run_to_its_end() {
            return condition("ContainersReady", false, Some(("PodCompleted", String::new())));
        }
        let counted = self.containers.iter().filter(|ctr| ctr.role != Role::Init);
        let names: Vec<&str> =
            counted.filter(|ctr| !ctr.is_ready()).map(|ctr| ctr.name.as_str()).collect();
        if names.is_empty() && self.failed.is_none() {
            return condition("ContainersReady", true, None);
        }
        let message = format!("containers with unready status: [{}]", names.join(" "));
        condition("ContainersReady", false, Some(("ContainersNotReady", message)))
    }

    /// Ready: all containers are, and all readiness gates are True (`GeneratePodReadyCondition`).
    pub(super) fn ready_condition(&self) -> PodCondition {
        let containers = self.containers_ready_condition();
        if containers.status != "True" {
            return PodCondition { type_: "Ready".to_owned(), ..containers };
        }
        let gates = self.pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
        let closed: Vec<String> = gates
            .filter_map(|gate| {
                let kind = &gate.condition_type;
                match k8s::pod_condition(&self.pod, kind) {
                    None => Some(format!(
                        "corresponding condition of pod readiness gate {kind:?} does not exist."
                    )),
                    Some(found) if found.status != "True" => Some(format!(
                        "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                        found.status
                    )),
                    Some(_) => None,
                }
            })
            .collect();
        if closed.is_empty() {
            return condition("Ready", true, None);
        }
        condition("Ready", false, Some(("ReadinessGatesNotReady", closed.join(", "))))
    }
}

impl Ctr {
    /// Readiness as the status shows it: the probe's result, or running when there is no probe
    /// (`prober_manager.go:UpdatePodStatus`).
    pub(super) fn is_ready(&self) -> bool {
        self.is_running() && self.started && (self.ready || !self.probes.has_readiness())
    }
}

fn condition(type_: &str, is_true: bool, reason: Option<(&str, String)>) -> PodCondition {
    let (reason, message) = match reason {
        Some((reason, message)) => (Some(reason.to_owned()), Some(message)),
        None => (None, None),
    };
    PodCondition {
        type_: type_.to_owned(),
        status: if is_true { "True" } else { "False" }.to_owned(),
        reason,
        message: message.filter(|message| !message.is_empty()),
        ..PodCondition::default()
    }
}
