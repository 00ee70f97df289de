//! Disruption: how many pods of a PodDisruptionBudget may go (`pkg/controller/disruption`,
//! semantics 9.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::base::{SimTime, secs};
use crate::k8s::{self, Rounding, scaled_value};
use crate::sim::api::{Change, ChangeType, Obj, Objects, Status};
use crate::sim::context::Cx;

use super::owned::{apps_owner, count, name, namespace};
use super::{Controller, Key, Work};

/// An eviction that did not lead to a deletion is forgotten after this time (`DeletionTimeout`).
const DELETION_TIMEOUT: Duration = secs(120);
/// The DisruptionAllowed condition exists from this minor (`disruption.go:updatePdbStatus`).
const CONDITION_SINCE: u8 = 21;

/// The disruption controller.
#[derive(Debug, Default)]
pub struct DisruptionController {
    budgets: BTreeMap<Key, Tracked>,
}

/// The pods of one budget.
#[derive(Debug, Default)]
struct Tracked {
    pods: BTreeMap<String, Fact>,
    n_healthy: i32,
    /// Pods by controller: kind and name.
    owners: BTreeMap<(String, String), usize>,
    dirty: BTreeSet<String>,
    rebuild: bool,
}

/// What counts about a pod.
#[derive(Clone, Debug)]
struct Fact {
    healthy: bool,
    owner: Option<(String, String)>,
}

impl Controller for DisruptionController {
    fn name(&self) -> &'static str {
        "disruption"
    }

    fn on_change(&mut self, change: &Change, cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        match &change.object {
            Obj::PodDisruptionBudget(budget) => {
                let key = Key::new(namespace(&budget.metadata), name(&budget.metadata));
                if change.change_type == ChangeType::Deleted {
                    self.budgets.remove(&key);
                    return;
                }
                let generation = |object: &Obj| object.meta().generation;
                let previous = change.previous.as_ref();
                if previous.map(generation) != Some(budget.metadata.generation) {
                    self.budgets.entry(key.clone()).or_default().rebuild = true;
                }
                work.add(key, cx);
            }
            Obj::Pod(pod) => {
                let previous = change.previous.as_ref().and_then(Obj::as_typed::<Pod>);
                let same = previous.is_some_and(|previous| {
                    k8s::is_pod_ready(previous) == k8s::is_pod_ready(pod)
                        && k8s::is_terminating(previous) == k8s::is_terminating(pod)
                        && previous.metadata.labels == pod.metadata.labels
                        && previous.metadata.owner_references == pod.metadata.owner_references
                });
                if same && change.change_type == ChangeType::Modified {
                    return;
                }
                let space = namespace(&pod.metadata);
                for budget in cache.list_in::<PodDisruptionBudget>(space) {
                    let concerned =
                        selects(budget, pod) || previous.is_some_and(|p| selects(budget, p));
                    if concerned {
                        let key = Key::new(space, name(&budget.metadata));
                        let tracked = self.budgets.entry(key.clone()).or_default();
                        tracked.dirty.insert(name(&pod.metadata).to_owned());
                        work.add(key, cx);
                    }
                }
            }
            _ => {}
        }
    }

    fn reconcile(
        &mut self,
        key: &Key,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let Some(budget) = cache.get::<PodDisruptionBudget>(&key.namespace, &key.name) else {
            return Ok(());
        };
        let tracked = self.budgets.entry(key.clone()).or_default();
        tracked.sync(budget, cache);
        let (disrupted, recheck) = disrupted_pods(budget, tracked, cache, cx.now);
        if let Some(delay) = recheck {
            work.add_after(key.clone(), delay, cx);
        }
        let expected = tracked.expected(budget, cache);
        let n_leaving = disrupted.keys().filter(|pod| tracked.is_healthy(pod)).count();
        let healthy = tracked.n_healthy - count(n_leaving);
        let Expected { pods, desired } = expected;
        let allowed = if pods > 0 { (healthy - desired).max(0) } else { 0 };
        let mut status = PodDisruptionBudgetStatus {
            current_healthy: Some(healthy),
            desired_healthy: Some(desired),
            expected_pods: Some(pods),
            disruptions_allowed: Some(allowed),
            disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
            observed_generation: budget.metadata.generation,
            conditions: budget.status.as_ref().and_then(|s| s.conditions.clone()),
        };
        if cx.api.profile.at_least(CONDITION_SINCE) {
            set_condition(&mut status, allowed > 0, cx.now);
        }
        if budget.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let status = Some(status);
        let written = PodDisruptionBudget { status, ..PodDisruptionBudget::clone(budget) };
        cx.api.update_status(written).map(|_| ())
    }
}

/// How many pods there should be, and how many of them healthy.
struct Expected {
    pods: i32,
    desired: i32,
}

impl Tracked {
    fn sync(&mut self, budget: &PodDisruptionBudget, cache: &Objects) {
        let space = namespace(&budget.metadata);
        let mut dirty = std::mem::take(&mut self.dirty);
        if std::mem::take(&mut self.rebuild) {
            *self = Tracked::default();
            let pods = cache.list_in::<Pod>(space).filter(|pod| selects(budget, pod));
            dirty.extend(pods.map(|pod| name(&pod.metadata).to_owned()));
        }
        for pod_name in dirty {
            let pod = cache.get::<Pod>(space, &pod_name).filter(|pod| selects(budget, pod));
            let fact = pod.map(|pod| fact_of(pod));
            self.set(pod_name, fact);
        }
    }

    fn set(&mut self, pod_name: String, fact: Option<Fact>) {
        let old = match &fact {
            Some(fact) => self.pods.insert(pod_name, fact.clone()),
            None => self.pods.remove(&pod_name),
        };
        if let Some(old) = old {
            self.n_healthy -= i32::from(old.healthy);
            if let Some(owner) = old.owner
                && let Some(n) = self.owners.get_mut(&owner)
            {
                *n -= 1;
                if *n == 0 {
                    self.owners.remove(&owner);
                }
            }
        }
        if let Some(fact) = fact {
            self.n_healthy += i32::from(fact.healthy);
            if let Some(owner) = fact.owner {
                *self.owners.entry(owner).or_insert(0) += 1;
            }
        }
    }

    fn is_healthy(&self, pod_name: &str) -> bool {
        self.pods.get(pod_name).is_some_and(|fact| fact.healthy)
    }

    /// `getExpectedPodCount`: percentages, and maxUnavailable in any form, are of the scale of the
    /// controllers; all round up.
    fn expected(&self, budget: &PodDisruptionBudget, cache: &Objects) -> Expected {
        let spec = budget.spec.as_ref();
        let up = |value: &IntOrString, total| scaled_value(value, total, Rounding::Up).unwrap_or(0);
        if let Some(unavailable) = spec.and_then(|s| s.max_unavailable.as_ref()) {
            let pods = self.scale(namespace(&budget.metadata), cache);
            return Expected { pods, desired: (pods - up(unavailable, pods)).max(0) };
        }
        match spec.and_then(|s| s.min_available.as_ref()) {
            Some(IntOrString::Int(n)) => Expected { pods: count(self.pods.len()), desired: *n },
            Some(percent) => {
                let pods = self.scale(namespace(&budget.metadata), cache);
                Expected { pods, desired: up(percent, pods) }
            }
            None => Expected { pods: count(self.pods.len()), desired: 0 },
        }
    }

    /// The wished replicas of all controllers of the pods (`getExpectedScale`).
    fn scale(&self, space: &str, cache: &Objects) -> i32 {
        let mut deployments = BTreeSet::new();
        let mut total = 0;
        for (kind, owner) in self.owners.keys() {
            if kind == "StatefulSet" {
                let set = cache.get::<StatefulSet>(space, owner);
                total += set.and_then(|set| set.spec.replicas).unwrap_or(0);
                continue;
            }
            let Some(set) = cache.get::<ReplicaSet>(space, owner) else { continue };
            match apps_owner(&set.metadata, "Deployment") {
                Some(deployment) => {
                    deployments.insert(deployment.name.clone());
                }
                None => total += set.spec.replicas.unwrap_or(0),
            }
        }
        let scale = |deployment: &String| {
            cache.get::<Deployment>(space, deployment).and_then(|d| d.spec.replicas).unwrap_or(0)
        };
        total + deployments.iter().map(scale).sum::<i32>()
    }
}

fn fact_of(pod: &Pod) -> Fact {
    let owner = apps_owner(&pod.metadata, "ReplicaSet")
        .or_else(|| apps_owner(&pod.metadata, "StatefulSet"))
        .map(|owner| (owner.kind.clone(), owner.name.clone()));
    Fact { healthy: k8s::is_pod_ready(pod) && !k8s::is_terminating(pod), owner }
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let none = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| k8s::matches_selector(selector, labels))
}

/// Evicted pods that have not yet begun to terminate, and when to look again
/// (`buildDisruptedPodMap`).
fn disrupted_pods(
    budget: &PodDisruptionBudget,
    tracked: &Tracked,
    cache: &Objects,
    now: SimTime,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let space = namespace(&budget.metadata);
    let mut kept = BTreeMap::new();
    let mut recheck: Option<Duration> = None;
    let known = budget.status.as_ref().and_then(|s| s.disrupted_pods.as_ref());
    for (pod_name, time) in known.into_iter().flatten() {
        let pod: Option<&Arc<Pod>> = cache.get::<Pod>(space, pod_name);
        let is_live = pod.is_some_and(|pod| !k8s::is_terminating(pod));
        let expires = SimTime::from_timestamp(time.0) + DELETION_TIMEOUT;
        if !is_live || !tracked.pods.contains_key(pod_name) || expires < now {
            continue;
        }
        let left = expires.since(now) + secs(1);
        recheck = Some(recheck.map_or(left, |earlier| earlier.min(left)));
        kept.insert(pod_name.clone(), time.clone());
    }
    (kept, recheck)
}

fn set_condition(status: &mut PodDisruptionBudgetStatus, allowed: bool, now: SimTime) {
    let (truth, reason) =
        if allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let observed_generation = status.observed_generation;
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|c| c.type_ == "DisruptionAllowed") {
        Some(known) => {
            if known.status != truth {
                known.last_transition_time = Time(now.timestamp());
            }
            known.status = truth.to_owned();
            known.reason = reason.to_owned();
            known.observed_generation = observed_generation;
        }
        None => conditions.push(Condition {
            type_: "DisruptionAllowed".to_owned(),
            status: truth.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            observed_generation,
            last_transition_time: Time(now.timestamp()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::*;
    use super::*;
    use crate::sim::api::{DeleteOptions, Kind};
    use crate::sim::world::World;

    /// (healthy, desired, expected, allowed)
    fn numbers(world: &mut World) -> (i32, i32, i32, i32) {
        let budget = world.api().get::<PodDisruptionBudget>(SPACE, "web").expect("it exists");
        let status = budget.status.clone().unwrap_or_default();
        let n = |count: Option<i32>| count.unwrap_or(-1);
        (
            n(status.current_healthy),
            n(status.desired_healthy),
            n(status.expected_pods),
            n(status.disruptions_allowed),
        )
    }

    fn with_budget(rule: (&str, Value)) -> World {
        let mut world = world(37);
        create::<Deployment>(&mut world, deployment(3, json!(1), json!(0)));
        let mut value = json!({
            "metadata": {"name": "web", "namespace": SPACE},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
        });
        value["spec"][rule.0] = rule.1;
        create::<PodDisruptionBudget>(&mut world, value);
        settle(&mut world);
        make_ready(&mut world);
        world
    }

    #[test]
    fn percentages_are_of_the_scale_and_round_up() {
        let mut world = with_budget(("maxUnavailable", json!("50%")));
        assert_eq!(numbers(&mut world), (3, 1, 3, 2));
        let mut world = with_budget(("minAvailable", json!("50%")));
        assert_eq!(numbers(&mut world), (3, 2, 3, 1));
    }

    #[test]
    fn a_terminating_pod_is_not_healthy() {
        let mut world = with_budget(("minAvailable", json!(2)));
        assert_eq!(numbers(&mut world), (3, 2, 3, 1));
        let victim = live_pods(&mut world)[0].metadata.name.clone().unwrap_or_default();
        let options = DeleteOptions::default();
        world.api().delete(Kind::POD, SPACE, &victim, &options).expect("it exists");
        settle(&mut world);
        let (healthy, desired, _, allowed) = numbers(&mut world);
        assert_eq!((healthy, desired, allowed), (2, 2, 0));
    }
}
