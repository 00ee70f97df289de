//! The numbers of a rollout (`deployment/util/deployment_util.go`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::base::SimTime;
use crate::k8s::{Rounding, scaled_value};
use crate::sim::api::Typed;

/// spec.replicas the controller had in mind when it last scaled a ReplicaSet.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// ... and that number plus the surge.
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// spec.replicas.
pub fn replicas(d: &Deployment) -> i32 {
    d.spec.replicas.unwrap_or(1)
}

/// spec.replicas of a ReplicaSet.
pub fn size(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// status.replicas of a ReplicaSet.
pub fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |s| s.replicas)
}

/// status.availableReplicas of a ReplicaSet.
pub fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
}

/// The sum of `count` over `sets`.
pub fn total<'a>(
    sets: impl IntoIterator<Item = &'a Arc<ReplicaSet>>,
    count: impl Fn(&ReplicaSet) -> i32,
) -> i32 {
    sets.into_iter().fold(0, |sum: i32, set| sum.wrapping_add(count(set)))
}

/// Whether the strategy is RollingUpdate, which is also the default.
pub fn is_rolling(d: &Deployment) -> bool {
    let strategy = d.spec.strategy.as_ref();
    strategy.and_then(|s| s.type_.as_deref()).is_none_or(|kind| kind == "RollingUpdate")
}

/// Surge rounds up, unavailable rounds down; both 0 would never move, so one may be unavailable
/// (`ResolveFenceposts`).
fn fenceposts(d: &Deployment) -> (i32, i32) {
    let strategy = d.spec.strategy.as_ref();
    let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".to_owned());
    let scaled = |value: Option<&IntOrString>, rounding| {
        scaled_value(value.unwrap_or(&quarter), replicas(d), rounding).unwrap_or(0)
    };
    let field = |get: fn(&RollingUpdateDeployment) -> Option<&IntOrString>| rolling.and_then(get);
    let surge = scaled(field(|r| r.max_surge.as_ref()), Rounding::Up);
    let unavailable = scaled(field(|r| r.max_unavailable.as_ref()), Rounding::Down);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// `MaxSurge`.
pub fn max_surge(d: &Deployment) -> i32 {
    if is_rolling(d) { fenceposts(d).0 } else { 0 }
}

/// `MaxUnavailable`.
pub fn max_unavailable(d: &Deployment) -> i32 {
    if !is_rolling(d) || replicas(d) == 0 {
        return 0;
    }
    fenceposts(d).1.min(replicas(d))
}

/// spec.replicas and the surge; the sum wraps, as Go's int32 does.
pub fn max_total(d: &Deployment) -> i32 {
    replicas(d).wrapping_add(max_surge(d))
}

/// How large the new ReplicaSet may be now (`NewRSNewReplicas`).
pub fn new_set_size(d: &Deployment, new: i32, total_size: i32) -> i32 {
    if !is_rolling(d) {
        return replicas(d);
    }
    let max_total = max_total(d);
    if total_size >= max_total {
        return new;
    }
    new + max_total.wrapping_sub(total_size).min(replicas(d) - new)
}

/// A number kept in an annotation.
pub fn annotated(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(annotation)?.parse().ok()
}

/// By how much `set` changes when `to_add` replicas are spread in proportion and `added` of them
/// are placed already (`GetProportion`, `getReplicaSetFraction`).
pub fn proportion(set: &ReplicaSet, d: &Deployment, to_add: i32, added: i32) -> i32 {
    if size(set) == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(set, d);
    let allowed = to_add.wrapping_sub(added);
    if to_add > 0 { fraction.min(allowed) } else { fraction.max(allowed) }
}

fn fraction(set: &ReplicaSet, d: &Deployment) -> i32 {
    if replicas(d) == 0 {
        return -size(set);
    }
    let before = annotated(set, MAX_REPLICAS)
        .or_else(|| d.status.as_ref().and_then(|s| s.replicas))
        .unwrap_or(0);
    if before <= 0 {
        return 0;
    }
    let target = i64::from(size(set).wrapping_mul(max_total(d)));
    // Round half away from zero (`integer.RoundToInt32`).
    let half = if target < 0 { -i64::from(before) } else { i64::from(before) };
    let rounded = (2 * target + half) / (2 * i64::from(before));
    i32::try_from(rounded).unwrap_or(i32::MAX).wrapping_sub(size(set))
}

/// Oldest first, by name among equals (`ReplicaSetsByCreationTimestamp`).
pub fn sort_by_age(sets: &mut [Arc<ReplicaSet>]) {
    sets.sort_by(|a, b| created(a).cmp(&created(b)).then_with(|| name_of(a).cmp(name_of(b))));
}

/// Largest first; among equals the newer first when growing, the older when shrinking
/// (`ReplicaSetsBySizeNewer`, `ReplicaSetsBySizeOlder`).
pub fn sort_by_size(sets: &mut [Arc<ReplicaSet>], newer_first: bool) {
    sets.sort_by(|a, b| {
        let by_age = created(a).cmp(&created(b)).then_with(|| name_of(a).cmp(name_of(b)));
        let by_age = if newer_first { by_age.reverse() } else { by_age };
        size(b).cmp(&size(a)).then(by_age)
    });
}

fn created(set: &ReplicaSet) -> SimTime {
    let time = set.metadata.creation_timestamp.as_ref();
    time.map_or(SimTime::ZERO, |time| SimTime::from_timestamp(time.0))
}

fn name_of(set: &ReplicaSet) -> &str {
    set.meta().name.as_deref().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{DeploymentSpec, DeploymentStrategy};

    use super::*;

    fn deployment(n: i32, surge: IntOrString, unavailable: IntOrString) -> Deployment {
        let rolling =
            RollingUpdateDeployment { max_surge: Some(surge), max_unavailable: Some(unavailable) };
        let strategy = DeploymentStrategy { rolling_update: Some(rolling), type_: None };
        let spec = DeploymentSpec {
            replicas: Some(n),
            strategy: Some(strategy),
            ..DeploymentSpec::default()
        };
        Deployment { spec, ..Deployment::default() }
    }

    #[test]
    fn default_quarter_gives_the_documented_fenceposts() {
        let quarter = || IntOrString::String("25%".into());
        let table = [(1, 1, 0), (2, 1, 0), (3, 1, 0), (4, 1, 1), (5, 2, 1), (8, 2, 2), (10, 3, 2)];
        for (n, surge, unavailable) in table {
            let d = deployment(n, quarter(), quarter());
            assert_eq!((max_surge(&d), max_unavailable(&d)), (surge, unavailable), "R={n}");
        }
    }

    #[test]
    fn both_zero_lets_one_be_unavailable_and_unavailable_is_capped() {
        let d = deployment(3, IntOrString::Int(0), IntOrString::Int(0));
        assert_eq!((max_surge(&d), max_unavailable(&d)), (0, 1));
        let d = deployment(3, IntOrString::Int(0), IntOrString::Int(9));
        assert_eq!(max_unavailable(&d), 3);
        let d = deployment(0, IntOrString::Int(1), IntOrString::Int(1));
        assert_eq!(max_unavailable(&d), 0);
    }

    #[test]
    fn a_surge_beyond_int32_wraps_and_blocks_growth() {
        let d = deployment(3, IntOrString::Int(i32::MAX), IntOrString::Int(0));
        assert_eq!(max_total(&d), i32::MIN + 2);
        assert_eq!(new_set_size(&d, 1, 3), 1);
        let huge = IntOrString::String("9000000000000000000%".into());
        assert_eq!(max_surge(&deployment(3, huge, IntOrString::Int(0))), i32::MAX);
    }
}
