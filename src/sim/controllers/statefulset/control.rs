//! One sync: ordinals up, condemned pods down, then the update
//! (`stateful_set_control.go:updateStatefulSet`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};

use crate::base::secs;
use crate::k8s::{self, Rounding, scaled_value};
use crate::sim::api::{Objects, Status};
use crate::sim::context::Cx;

use super::super::owned::{is_finished, name, phase, ready_since};
use super::pods::{self, is_healthy, is_running_and_ready, ordinal, revision_of};
use super::revision::{Revisions, template_of};
use super::status::is_on_delete;

/// minReadySeconds acts from this minor (semantics 3.8).
const MIN_READY_SINCE: u8 = 23;
/// spec.ordinals.start acts from this minor (StatefulSetStartOrdinal beta).
const START_ORDINAL_SINCE: u8 = 27;
/// rollingUpdate.maxUnavailable acts from this minor (semantics 3.8).
const MAX_UNAVAILABLE_SINCE: u8 = 35;
/// Succeeded pods are made anew like failed ones from this minor (`isFailed`, `isSucceeded`).
const SUCCEEDED_RECREATED_SINCE: u8 = 28;

/// The numbers of the status.
#[derive(Debug, Default)]
pub struct Tally {
    /// Pods, terminating ones included.
    pub replicas: i32,
    /// Running and Ready ones, terminating ones included.
    pub ready: i32,
    /// Those Ready for minReadySeconds.
    pub available: i32,
    /// Pods of the current revision that are not terminating.
    pub current: i32,
    /// Pods of the update revision that are not terminating.
    pub updated: i32,
    /// Name of the current revision.
    pub current_revision: String,
    /// Name of the update revision.
    pub update_revision: String,
}

/// One sync of one set.
#[derive(Debug)]
pub struct Control<'a> {
    /// The set as seen.
    pub set: &'a StatefulSet,
    /// Its revisions.
    pub revisions: &'a Revisions,
    /// Pods with a wished ordinal.
    pub replicas: BTreeMap<i32, Arc<Pod>>,
    /// Pods beyond them, by ordinal.
    pub condemned: BTreeMap<i32, Arc<Pod>>,
    /// The numbers so far.
    pub tally: Tally,
    /// When to look again although nothing changes.
    pub look_again: Option<Duration>,
}

impl<'a> Control<'a> {
    /// Sorts the pods of a set.
    pub fn new(
        set: &'a StatefulSet,
        revisions: &'a Revisions,
        pods: Vec<Arc<Pod>>,
        cx: &Cx<'_>,
    ) -> Self {
        let tally = Tally {
            current_revision: name(&revisions.current.metadata).to_owned(),
            update_revision: name(&revisions.update.metadata).to_owned(),
            ..Tally::default()
        };
        let mut control = Control {
            set,
            revisions,
            replicas: BTreeMap::new(),
            condemned: BTreeMap::new(),
            tally,
            look_again: None,
        };
        let wanted = control.ordinals(cx);
        for pod in pods {
            let Some(ordinal) = ordinal(name(&pod.metadata), name(&set.metadata)) else { continue };
            control.count(&pod, cx);
            let list = if wanted.contains(&ordinal) {
                &mut control.replicas
            } else {
                &mut control.condemned
            };
            list.insert(ordinal, pod);
        }
        control
    }

    fn ordinals(&self, cx: &Cx<'_>) -> std::ops::Range<i32> {
        let start = self.set.spec.ordinals.as_ref().and_then(|o| o.start);
        let start = start.filter(|_| cx.api.profile.at_least(START_ORDINAL_SINCE)).unwrap_or(0);
        start..start.saturating_add(self.set.spec.replicas.unwrap_or(1))
    }

    fn count(&mut self, pod: &Pod, cx: &Cx<'_>) {
        self.tally.replicas += 1;
        if is_running_and_ready(pod) {
            self.tally.ready += 1;
            self.tally.available += i32::from(self.wait_for(pod, cx).is_none());
        }
        if !phase(pod).is_empty() && !k8s::is_terminating(pod) {
            self.count_revision(revision_of(pod), 1);
        }
    }

    fn count_revision(&mut self, revision: &str, n: i32) {
        if revision == self.tally.current_revision {
            self.tally.current += n;
        }
        if revision == self.tally.update_revision {
            self.tally.updated += n;
        }
    }

    /// How long until a Ready pod is available; `None` when it is.
    fn wait_for(&self, pod: &Pod, cx: &Cx<'_>) -> Option<Duration> {
        let seconds = self.set.spec.min_ready_seconds.unwrap_or(0);
        if seconds <= 0 || !cx.api.profile.at_least(MIN_READY_SINCE) {
            return None;
        }
        let due = ready_since(pod)? + secs(u64::try_from(seconds).unwrap_or(0));
        (due >= cx.now).then(|| due.since(cx.now) + secs(1))
    }

    fn is_ordered(&self) -> bool {
        self.set.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    /// The lowest ordinal an update touches.
    fn partition(&self) -> i32 {
        let strategy = self.set.spec.update_strategy.as_ref();
        strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.partition).unwrap_or(0)
    }

    /// All steps; each returns whether the next may follow.
    pub fn run(&mut self, cache: &Objects, cx: &mut Cx<'_>) -> Result<(), Status> {
        if self.set.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        if !self.fill(cache, cx)? || !self.shrink(cx)? || is_on_delete(self.set) {
            return Ok(());
        }
        self.update(cx)
    }

    /// Creates what is missing, from the lowest ordinal up.
    fn fill(&mut self, cache: &Objects, cx: &mut Cx<'_>) -> Result<bool, Status> {
        for ordinal in self.ordinals(cx) {
            if let Some(pod) = self.replicas.get(&ordinal).cloned()
                && self.must_be_made_anew(&pod, cx)
            {
                pods::delete(self.set, &pod, false, cx)?;
                self.tally.replicas -= 1;
                self.count_revision(revision_of(&pod), -1);
                self.replicas.remove(&ordinal);
            }
            let Some(pod) = self.replicas.get(&ordinal) else {
                self.create(ordinal, cache, cx)?;
                if self.is_ordered() {
                    return Ok(false);
                }
                continue;
            };
            if !self.is_ordered() {
                continue;
            }
            if k8s::is_terminating(pod) || !is_running_and_ready(pod) {
                return Ok(false);
            }
            if let Some(wait) = self.wait_for(pod, cx) {
                self.look_again = Some(wait);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn must_be_made_anew(&self, pod: &Pod, cx: &Cx<'_>) -> bool {
        let ends = phase(pod) == "Failed"
            || is_finished(pod) && cx.api.profile.at_least(SUCCEEDED_RECREATED_SINCE);
        ends && !k8s::is_terminating(pod)
    }

    /// Creates the pod of an ordinal from the revision it should have (`newVersionedStatefulSetPod`).
    fn create(&mut self, ordinal: i32, cache: &Objects, cx: &mut Cx<'_>) -> Result<(), Status> {
        let stays_behind = !is_on_delete(self.set) && ordinal < self.partition();
        let old: Option<PodTemplateSpec> =
            if stays_behind { template_of(&self.revisions.current) } else { None };
        let (template, revision) = match &old {
            Some(template) => (template, self.tally.current_revision.clone()),
            None => (&self.set.spec.template, self.tally.update_revision.clone()),
        };
        pods::create(self.set, ordinal, template, &revision, cache, cx)?;
        self.tally.replicas += 1;
        self.count_revision(&revision, 1);
        Ok(())
    }

    /// Removes condemned pods from the highest ordinal down, in order one at a time.
    fn shrink(&mut self, cx: &mut Cx<'_>) -> Result<bool, Status> {
        let all = self.replicas.values().chain(self.condemned.values());
        let first_unhealthy = all
            .filter(|pod| !is_healthy(pod))
            .filter_map(|pod| ordinal(name(&pod.metadata), name(&self.set.metadata)))
            .min();
        for (n, pod) in self.condemned.clone().iter().rev() {
            if k8s::is_terminating(pod) {
                if self.is_ordered() {
                    return Ok(false);
                }
                continue;
            }
            if self.is_ordered() && !is_running_and_ready(pod) && first_unhealthy != Some(*n) {
                return Ok(false);
            }
            pods::delete(self.set, pod, true, cx)?;
            self.count_revision(revision_of(pod), -1);
            if self.is_ordered() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deletes pods of a wrong revision from the highest ordinal down to the partition.
    fn update(&mut self, cx: &mut Cx<'_>) -> Result<(), Status> {
        let max_unavailable = self.max_unavailable(cx);
        let n_unhealthy = self.replicas.values().filter(|pod| !is_healthy(pod)).count();
        let mut budget = max_unavailable.map(|max| max.saturating_sub(n_unhealthy));
        let partition = self.partition();
        for (_, pod) in self.replicas.clone().range(partition..).rev() {
            let is_old = revision_of(pod) != self.tally.update_revision;
            match &mut budget {
                // At most maxUnavailable at once.
                Some(0) => return Ok(()),
                Some(left) if is_old && !k8s::is_terminating(pod) => {
                    *left -= 1;
                    pods::delete(self.set, pod, false, cx)?;
                    self.count_revision(revision_of(pod), -1);
                }
                Some(_) => {}
                None if is_old && !k8s::is_terminating(pod) => {
                    pods::delete(self.set, pod, false, cx)?;
                    self.count_revision(revision_of(pod), -1);
                    return Ok(());
                }
                None if !is_healthy(pod) => return Ok(()),
                None => {
                    if let Some(wait) = self.wait_for(pod, cx) {
                        self.look_again = Some(wait);
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// How many pods may be down in an update, where the field acts and is set.
    fn max_unavailable(&self, cx: &Cx<'_>) -> Option<usize> {
        let strategy = self.set.spec.update_strategy.as_ref();
        let value = strategy.and_then(|s| s.rolling_update.as_ref()?.max_unavailable.as_ref())?;
        let total = self.set.spec.replicas.unwrap_or(1);
        let max = scaled_value(value, total, Rounding::Down)?.max(1);
        cx.api.profile.at_least(MAX_UNAVAILABLE_SINCE).then(|| usize::try_from(max).unwrap_or(1))
    }
}
