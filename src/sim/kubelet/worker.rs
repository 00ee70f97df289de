//! The worker of one pod: what the kubelet knows of it (`pkg/kubelet/pod_workers.go`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};

use super::backoff::Backoff;
use super::prober::Probes;
use super::start::Task;
use super::terminate::{Ending, Kill};
use crate::base::SimTime;
use crate::sim::machines::ContainerId;

/// A container that has ended, as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) id: ContainerId,
    pub(super) code: i32,
    pub(super) oom_killed: bool,
    pub(super) started_at: SimTime,
    pub(super) at: SimTime,
}

/// What the last relist showed of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    Running { since: SimTime },
    Ended(Ended),
}

/// How a container takes part in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the next starts.
    Init,
    /// Starts among the init containers and stays (init container with restartPolicy Always).
    Sidecar,
    Main,
}

/// Why a container does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// One container of the pod.
#[derive(Debug)]
pub(super) struct Ctr {
    pub(super) name: String,
    pub(super) role: Role,
    /// Index in the list of its role in the spec.
    pub(super) spec_idx: usize,
    /// The latest instance.
    pub(super) id: Option<ContainerId>,
    pub(super) seen: Seen,
    pub(super) last: Option<Ended>,
    pub(super) restarts: i32,
    /// Why the last try to start failed; shown from the next sync on.
    pub(super) trouble: Option<Trouble>,
    pub(super) shown_trouble: Option<Trouble>,
    pub(super) backoff: Backoff,
    pub(super) pull_backoff: Backoff,
    /// A probe wants it restarted; the text of the Killing event.
    pub(super) doomed: Option<String>,
    pub(super) started: bool,
    pub(super) ready: bool,
    pub(super) probes: Probes,
    pub(super) kill: Option<Kill>,
    /// Counts kills and hooks, so that what was due for an earlier one is ignored.
    pub(super) run: u32,
}

/// The worker of one pod.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) key: u64,
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) pod: Arc<Pod>,
    pub(super) revision: u64,
    pub(super) containers: Vec<Ctr>,
    pub(super) start_time: Option<SimTime>,
    /// Reason and message of a refusal by the kubelet's own admission, or of a failed pod.
    pub(super) failed: Option<(&'static str, String)>,
    pub(super) ip: Option<String>,
    /// The status shows the address from the sync after the sandbox's creation on.
    pub(super) shown_ip: Option<String>,
    /// Volume identities by name, once all volumes are mounted.
    pub(super) mounted: Option<Vec<(String, String)>>,
    pub(super) mount_tries: u32,
    pub(super) mounting_since: SimTime,
    pub(super) task: Option<Task>,
    pub(super) task_number: u32,
    /// Containers that the present sync still has to start.
    pub(super) todo: Vec<usize>,
    pub(super) sync_failed: bool,
    /// When a container in back-off may start.
    pub(super) retry_at: Option<SimTime>,
    pub(super) sync_wanted: bool,
    pub(super) sync_due: Option<SimTime>,
    pub(super) synced_at: SimTime,
    pub(super) ending: Option<Ending>,
    pub(super) terminate_due: bool,
    pub(super) status: Option<PodStatus>,
    pub(super) status_due: Option<SimTime>,
    pub(super) is_gone: bool,
}

impl Worker {
    pub(super) fn new(key: u64, pod: &Arc<Pod>, revision: u64) -> Self {
        let meta = &pod.metadata;
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let inits = spec.init_containers.iter().flatten().enumerate().map(|(idx, container)| {
            let stays = container.restart_policy.as_deref() == Some("Always");
            Ctr::new(container, if stays { Role::Sidecar } else { Role::Init }, idx)
        });
        let mains = spec.containers.iter().enumerate();
        let mains = mains.map(|(idx, container)| Ctr::new(container, Role::Main, idx));
        Worker {
            key,
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            pod: Arc::clone(pod),
            revision,
            containers: inits.chain(mains).collect(),
            start_time: None,
            failed: None,
            ip: None,
            shown_ip: None,
            mounted: None,
            mount_tries: 0,
            mounting_since: SimTime::ZERO,
            task: None,
            task_number: 0,
            todo: Vec::new(),
            sync_failed: false,
            retry_at: None,
            sync_wanted: false,
            sync_due: None,
            synced_at: SimTime::ZERO,
            ending: None,
            terminate_due: false,
            status: None,
            status_due: None,
            is_gone: false,
        }
    }

    /// The container's spec.
    pub(super) fn spec_of<'a>(&self, pod: &'a Pod, idx: usize) -> Option<&'a Container> {
        let spec = pod.spec.as_ref()?;
        let ctr = self.containers.get(idx)?;
        match ctr.role {
            Role::Main => spec.containers.get(ctr.spec_idx),
            Role::Init | Role::Sidecar => spec.init_containers.as_ref()?.get(ctr.spec_idx),
        }
    }

    pub(super) fn restart_policy(&self) -> &str {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
    }

    pub(super) fn uses_host_network(&self) -> bool {
        self.pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true))
    }

    /// `spec.terminationGracePeriodSeconds`.
    pub(super) fn spec_grace(&self) -> i64 {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30)
    }
}

impl Ctr {
    fn new(container: &Container, role: Role, spec_idx: usize) -> Self {
        Ctr {
            name: container.name.clone(),
            role,
            spec_idx,
            id: None,
            seen: Seen::Nothing,
            last: None,
            restarts: 0,
            trouble: None,
            shown_trouble: None,
            backoff: Backoff::default(),
            pull_backoff: Backoff::default(),
            doomed: None,
            started: false,
            ready: false,
            probes: Probes::new(container),
            kill: None,
            run: 0,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.seen, Seen::Running { .. })
    }

    /// Whether it has ended for good with exit code 0.
    pub(super) fn has_succeeded(&self) -> bool {
        matches!(&self.seen, Seen::Ended(ended) if ended.code == 0)
    }
}
