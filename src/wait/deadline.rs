//! Deadlines: how long a condition may take, and why that long.

use std::time::Duration;

use crate::base::secs;

/// How long a wait may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Time allowed.
    pub within: Duration,
    /// Why that long.
    pub because: &'static str,
}

impl Deadline {
    /// `within`, for the reason `because`.
    pub const fn new(within: Duration, because: &'static str) -> Self {
        Deadline { within, because }
    }
}

/// A whole stack, from nothing to serving.
pub const STACK_READY: Deadline =
    Deadline::new(secs(600), "provisioning 60 s, database initialisation, image pulls");
/// A rollout of a few replicas; the Deployment's own progress deadline is as long.
pub const ROLLOUT: Deadline =
    Deadline::new(secs(600), "progressDeadlineSeconds is 600 s unless set");
/// A pod that was scheduled runs.
pub const POD_STARTED: Deadline = Deadline::new(secs(180), "image pull, mounts and start");
/// A deleted pod is gone.
pub const POD_GONE: Deadline =
    Deadline::new(secs(180), "grace period plus the kubelet's removal lag (1 to 12 s in 1.20)");
/// Deleted pods have successors that are ready.
pub const POD_REPLACED: Deadline =
    Deadline::new(secs(300), "grace period of a StatefulSet's pod, detach and attach, start");
/// Traffic follows a change of readiness.
pub const TRAFFIC_REACHES: Deadline =
    Deadline::new(secs(30), "ingress-nginx follows within 4.3 s, kube-proxy within 1.2 s");
/// A lost node is noticed.
pub const NODE_DETECTED: Deadline =
    Deadline::new(secs(90), "grace 40 s (50 s from 1.32) and the 5 s monitor period");
/// Replicas of a lost node run elsewhere.
pub const REPLICAS_RETURN: Deadline =
    Deadline::new(secs(480), "the taint is tolerated for 300 s, then pods start elsewhere");
/// A node that was started again is Ready.
pub const NODE_BACK: Deadline = Deadline::new(secs(120), "boot, kubelet start, lease renewal");
/// A pod is evicted.
pub const EVICTED: Deadline =
    Deadline::new(secs(120), "a budget that was spent counts again once the last pod is replaced");
/// The autoscaler asks for more replicas.
pub const HPA_REACTION: Deadline =
    Deadline::new(secs(180), "two scrapes of 15 s, a sync of 15 s, and damping while pods start");
/// The autoscaler asks for fewer, beyond its stabilisation window.
pub const SCALE_DOWN_SLACK: Deadline =
    Deadline::new(secs(150), "metrics fall within 45 s, several syncs of 15 s");
