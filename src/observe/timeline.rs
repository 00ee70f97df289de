//! The timeline: what happened to pods and nodes, on one clock.

use k8s_openapi::api::core::v1::Pod;

use crate::base::ObjectRef;
use crate::k8s::{is_pod_ready, is_terminating, memory_kills};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The API knows the pod.
    Created,
    /// The pod was there, and Ready, when the watch began: since when, nobody saw.
    Found,
    /// The pod's Ready condition became true.
    Ready,
    /// The pod's Ready condition became false.
    NotReady,
    /// The pod was marked for deletion.
    Deleted,
    /// A container of the pod was killed for its memory, and may have been started again since.
    OutOfMemory,
    /// The object is gone.
    Gone,
    /// A fact that only the engine knows, as in `ListenerClosed`.
    Fact(String),
}

impl What {
    /// The node has no power any more.
    pub fn node_lost() -> Self {
        What::Fact("NodeLost".into())
    }
}

/// Something that happened, when, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds from the start of the trial.
    pub at_ms: u64,
    /// What happened.
    pub what: What,
    /// To whom.
    pub object: ObjectRef,
}

/// Everything that happened in a trial, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    moments: Vec<Moment>,
}

impl Timeline {
    /// A timeline of `moments`, in any order.
    pub fn new(mut moments: Vec<Moment>) -> Self {
        moments.sort_by_key(|moment| moment.at_ms);
        Timeline { moments }
    }

    /// All moments, oldest first.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// The moments from `from_ms` to `to_ms`, both included.
    pub fn between(&self, from_ms: u64, to_ms: u64) -> &[Moment] {
        let from = self.moments.partition_point(|moment| moment.at_ms < from_ms);
        let to = self.moments.partition_point(|moment| moment.at_ms <= to_ms);
        self.moments.get(from..to).unwrap_or(&[])
    }

    /// What is known of a pod that was there already when it was seen first, at `at_ms`.
    pub fn found(at_ms: u64, pod: &Pod) -> Vec<Moment> {
        let mut moments = Timeline::pod_moments(at_ms, None, Some(pod));
        moments.retain(|moment| matches!(moment.what, What::Ready | What::Deleted));
        for moment in &mut moments {
            if moment.what == What::Ready {
                moment.what = What::Found;
            }
        }
        moments
    }

    /// What changed for a pod between two states seen one after the other at `at_ms`.
    pub fn pod_moments(at_ms: u64, old: Option<&Pod>, new: Option<&Pod>) -> Vec<Moment> {
        let Some(meta) = new.or(old).map(|pod| &pod.metadata) else { return Vec::new() };
        let object = ObjectRef::new(
            "Pod",
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        );
        let mut whats = Vec::new();
        match (old, new) {
            (_, None) => whats.push(What::Gone),
            (old, Some(new)) => {
                if old.is_none() {
                    whats.push(What::Created);
                }
                let (was, is) = (old.is_some_and(is_pod_ready), is_pod_ready(new));
                if is && !was {
                    whats.push(What::Ready);
                } else if was && !is {
                    whats.push(What::NotReady);
                }
                let known = |id: &str| old.is_none_or(|old| memory_kills(old).any(|old| old == id));
                if !memory_kills(new).all(known) {
                    whats.push(What::OutOfMemory);
                }
                if is_terminating(new) && !old.is_some_and(is_terminating) {
                    whats.push(What::Deleted);
                }
            }
        }
        whats.into_iter().map(|what| Moment { at_ms, what, object: object.clone() }).collect()
    }
}
