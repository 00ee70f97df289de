//! Scaling: one ReplicaSet, or several in proportion (`deployment/sync.go:scale`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;

use crate::sim::api::events::{self, Note};
use crate::sim::api::{DeleteOptions, Kind, Status};
use crate::sim::context::Cx;

use super::super::owned::{name, namespace};
use super::arithmetic::{
    DESIRED_REPLICAS, actual, annotated, available, is_rolling, max_total, proportion, replicas,
    size, sort_by_age, sort_by_size, total,
};
use super::controller::{COMPONENT, Rollout};
use super::revision::{annotate_replicas, revision};

/// Events name the size before from this minor (semantics 3.6).
const OLD_SIZE_SHOWN_SINCE: u8 = 26;
/// Which history goes first is decided by revision from this minor, by age before
/// (`sync.go:cleanupDeployment`).
const HISTORY_BY_REVISION_SINCE: u8 = 22;

impl Rollout {
    /// All ReplicaSets, old ones first.
    pub fn all(&self) -> Vec<Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new).map(Arc::clone).collect()
    }

    /// Whether spec.replicas has changed since an active ReplicaSet was last scaled
    /// (`isScalingEvent`).
    pub fn is_scaling(&self) -> bool {
        let active = self.old.iter().chain(&self.new).filter(|set| size(set) > 0);
        active
            .filter_map(|set| annotated(set, DESIRED_REPLICAS))
            .any(|desired| desired != replicas(&self.d))
    }

    /// Sets the size of a ReplicaSet; gives it back as written and whether its size changed
    /// (`scaleReplicaSet`).
    pub fn scale_set(
        &self,
        set: &Arc<ReplicaSet>,
        new_size: i32,
        cx: &mut Cx<'_>,
    ) -> Result<(Arc<ReplicaSet>, bool), Status> {
        let old_size = size(set);
        let mut copy = ReplicaSet::clone(set);
        annotate_replicas(&self.d, &mut copy);
        copy.spec.replicas = Some(new_size);
        if copy == **set {
            return Ok((Arc::clone(set), false));
        }
        let written = cx.api.update(copy)?;
        if old_size == new_size {
            return Ok((written, false));
        }
        let direction = if old_size < new_size { "up" } else { "down" };
        let set_name = name(&set.metadata);
        let mut message = format!("Scaled {direction} replica set {set_name} to {new_size}");
        if cx.api.profile.at_least(OLD_SIZE_SHOWN_SINCE) {
            message = format!("{message} from {old_size}");
        }
        events::record(cx.api, &self.d, Note::normal(COMPONENT, "ScalingReplicaSet", message));
        Ok((written, true))
    }

    /// The same, but a set that has the size already is not touched
    /// (`scaleReplicaSetAndRecordEvent`).
    pub fn resize(
        &self,
        set: &Arc<ReplicaSet>,
        new_size: i32,
        cx: &mut Cx<'_>,
    ) -> Result<bool, Status> {
        if size(set) == new_size {
            return Ok(false);
        }
        Ok(self.scale_set(set, new_size, cx)?.1)
    }

    /// Follows a change of spec.replicas.
    pub fn scale(&mut self, cx: &mut Cx<'_>) -> Result<(), Status> {
        if let Some(only) = self.active_or_latest() {
            return self.resize(&only, replicas(&self.d), cx).map(|_| ());
        }
        if self.is_saturated() {
            for old in self.old.iter().filter(|set| size(set) > 0) {
                self.resize(old, 0, cx)?;
            }
            return Ok(());
        }
        if is_rolling(&self.d) { self.scale_in_proportion(cx) } else { Ok(()) }
    }

    /// The only active ReplicaSet, or with none active the newest (`FindActiveOrLatest`).
    fn active_or_latest(&self) -> Option<Arc<ReplicaSet>> {
        let all = self.all();
        let mut active = all.iter().filter(|set| size(set) > 0);
        match (active.next(), active.next()) {
            (Some(only), None) => Some(Arc::clone(only)),
            (Some(_), Some(_)) => None,
            (None, _) => {
                let mut old = self.old.clone();
                sort_by_age(&mut old);
                self.new.clone().or_else(|| old.pop())
            }
        }
    }

    /// Whether the new ReplicaSet has all replicas and they are available (`IsSaturated`).
    fn is_saturated(&self) -> bool {
        let wanted = replicas(&self.d);
        self.new.as_ref().is_some_and(|set| {
            size(set) == wanted
                && annotated(set, DESIRED_REPLICAS) == Some(wanted)
                && available(set) == wanted
        })
    }

    fn scale_in_proportion(&mut self, cx: &mut Cx<'_>) -> Result<(), Status> {
        let mut sets = self.all();
        sets.retain(|set| size(set) > 0);
        let wanted = replicas(&self.d);
        let allowed = if wanted > 0 { max_total(&self.d) } else { 0 };
        let to_add = allowed.wrapping_sub(total(&sets, size));
        sort_by_size(&mut sets, to_add > 0);
        let mut added = 0;
        let mut sizes = Vec::with_capacity(sets.len());
        for set in &sets {
            let share = proportion(set, &self.d, to_add, added);
            sizes.push(size(set).wrapping_add(share));
            added = share.wrapping_add(added);
        }
        if let Some(largest) = sizes.first_mut() {
            *largest = largest.wrapping_add(to_add).wrapping_sub(added).max(0);
        }
        for (set, new_size) in sets.iter().zip(sizes) {
            self.scale_set(set, new_size, cx)?;
        }
        Ok(())
    }

    /// Deletes the oldest empty ReplicaSets beyond revisionHistoryLimit (`cleanupDeployment`).
    pub fn clean_history(&self, cx: &mut Cx<'_>) -> Result<(), Status> {
        let limit = self.d.spec.revision_history_limit;
        let Some(limit) = limit.filter(|&limit| limit != i32::MAX) else { return Ok(()) };
        let is_alive = |set: &&Arc<ReplicaSet>| set.metadata.deletion_timestamp.is_none();
        let mut sets: Vec<_> = self.old.iter().filter(is_alive).map(Arc::clone).collect();
        let n_surplus = sets.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        sort_by_age(&mut sets);
        if cx.api.profile.at_least(HISTORY_BY_REVISION_SINCE) {
            sets.sort_by_key(|set| revision(set));
        }
        for set in &sets[..n_surplus] {
            let observed = set.status.as_ref().and_then(|s| s.observed_generation);
            if actual(set) != 0 || size(set) != 0 || set.metadata.generation > observed {
                continue;
            }
            let (space, set_name) = (namespace(&set.metadata), name(&set.metadata));
            let options = DeleteOptions::default();
            match cx.api.delete(Kind::REPLICA_SET, space, set_name, &options) {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }
}
