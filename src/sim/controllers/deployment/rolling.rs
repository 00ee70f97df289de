//! RollingUpdate: up by the surge, down by what is available (`deployment/rolling.go`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;

use crate::sim::api::{Objects, Status};
use crate::sim::context::Cx;

use super::arithmetic::{
    available, max_unavailable, new_set_size, replicas, size, sort_by_age, total,
};
use super::controller::Rollout;
use super::status::is_complete;

impl Rollout {
    /// One step: at most one kind of action a sync (`rolloutRolling`).
    pub fn roll(&mut self, cache: &Objects, cx: &mut Cx<'_>) -> Result<(), Status> {
        self.sync_revision(true, cache, cx)?;
        if self.grow_new(cx)? || self.shrink_old(cx)? {
            return self.sync_rollout_status(cx);
        }
        if self.d.status.as_ref().is_some_and(|status| is_complete(&self.d, status)) {
            self.clean_history(cx)?;
        }
        self.sync_rollout_status(cx)
    }

    /// `reconcileNewReplicaSet`.
    pub fn grow_new(&mut self, cx: &mut Cx<'_>) -> Result<bool, Status> {
        let Some(new) = self.new.clone() else { return Ok(false) };
        let wanted = replicas(&self.d);
        let new_size = match size(&new) {
            n if n == wanted => return Ok(false),
            n if n > wanted => wanted,
            n => new_set_size(&self.d, n, total(&self.all(), size)),
        };
        self.resize(&new, new_size, cx)
    }

    /// `reconcileOldReplicaSets`.
    fn shrink_old(&mut self, cx: &mut Cx<'_>) -> Result<bool, Status> {
        let Some(new) = self.new.clone() else { return Ok(false) };
        let mut active = self.old.clone();
        active.retain(|set| size(set) > 0);
        if active.is_empty() {
            return Ok(false);
        }
        let min_available = replicas(&self.d) - max_unavailable(&self.d);
        let new_unavailable = size(&new) - available(&new);
        let budget = total(&self.all(), size) - min_available - new_unavailable;
        if budget <= 0 {
            return Ok(false);
        }
        sort_by_age(&mut active);
        let n_unhealthy = self.drop_unhealthy(&mut active, budget, cx)?;
        let all_available = total(active.iter().chain([&new]), available);
        let n_scaled = self.drop_surplus(&active, all_available - min_available, cx)?;
        Ok(n_unhealthy + n_scaled > 0)
    }

    /// Removes pods that are not available, oldest ReplicaSet first (`cleanupUnhealthyReplicas`).
    fn drop_unhealthy(
        &self,
        old: &mut [Arc<ReplicaSet>],
        budget: i32,
        cx: &mut Cx<'_>,
    ) -> Result<i32, Status> {
        let mut n_dropped = 0;
        for set in old.iter_mut() {
            let n_unhealthy = size(set) - available(set);
            let n = n_unhealthy.min(budget - n_dropped);
            if n <= 0 {
                continue;
            }
            *set = self.scale_set(set, size(set) - n, cx)?.0;
            n_dropped += n;
        }
        Ok(n_dropped)
    }

    /// Removes available pods beyond the minimum (`scaleDownOldReplicaSetsForRollingUpdate`).
    fn drop_surplus(
        &self,
        old: &[Arc<ReplicaSet>],
        budget: i32,
        cx: &mut Cx<'_>,
    ) -> Result<i32, Status> {
        let mut n_dropped = 0;
        for set in old {
            let n = size(set).min(budget - n_dropped);
            if n <= 0 {
                continue;
            }
            self.scale_set(set, size(set) - n, cx)?;
            n_dropped += n;
        }
        Ok(n_dropped)
    }
}
