//! Recreate: all old pods are gone as objects before a new one starts (`deployment/recreate.go`).

use crate::sim::api::{Objects, Status};
use crate::sim::context::Cx;

use super::super::owned::uid;
use super::arithmetic::{actual, replicas, size, total};
use super::controller::{OldPods, Rollout};
use super::status::is_complete;

impl Rollout {
    /// One step (`rolloutRecreate`).
    pub fn recreate(
        &mut self,
        pods: &OldPods<'_>,
        cache: &Objects,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        self.sync_revision(false, cache, cx)?;
        let mut scaled_down = false;
        for old in self.old.iter().filter(|set| size(set) > 0) {
            scaled_down |= self.resize(old, 0, cx)?;
        }
        if scaled_down || self.old_pods_exist(pods) {
            return self.sync_rollout_status(cx);
        }
        if self.new.is_none() {
            self.sync_revision(true, cache, cx)?;
        }
        if let Some(new) = self.new.clone() {
            self.resize(&new, replicas(&self.d), cx)?;
        }
        if self.d.status.as_ref().is_some_and(|status| is_complete(&self.d, status)) {
            self.clean_history(cx)?;
        }
        self.sync_rollout_status(cx)
    }

    /// Whether a pod of an old ReplicaSet exists, terminating ones included (`oldPodsRunning`).
    fn old_pods_exist(&self, pods: &OldPods<'_>) -> bool {
        total(&self.old, actual) > 0 || self.old.iter().any(|set| pods.exist(uid(&set.metadata)))
    }
}
