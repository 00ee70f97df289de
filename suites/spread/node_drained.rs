//! Workers are drained one after the other, as for an upgrade of the nodes: every eviction is granted
//! in time, no request fails, and the replicas run elsewhere.

use std::time::Duration;

use crate::base::secs;
use crate::k8s::matches_selector;
use crate::load::ArrivalPlan;
use crate::observe::{CauseClass, Verdict};
use crate::stack::Manifest;
use crate::suite::{Aspect, Capability, Held, Lane, Phase, Scenario, Start, Stop, Trial, Workload};
use crate::wait;

use super::placement;

/// Static GETs a second: twice as many as while rollouts replace each pod three times.
const FRESH_PER_SECOND: f64 = 200.0;
const KEPT_PER_SECOND: f64 = 20.0;
/// Load before the first drain and after the last old pod is gone.
const MARGIN: Duration = secs(2);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "node_drained",
    claim: "nodes are drained one by one: evictions are granted, no request fails, replicas move",
    needs: &[Capability::NodeChanges],
    aspects: &[Aspect::Scheduling, Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(async { trial.several_replicas() })),
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    let nodes = placement::nodes_to_take(trial).await?.to_take;
    let fresh = Lane::Fresh(ArrivalPlan::constant(FRESH_PER_SECOND));
    let load = trial.start_load(vec![fresh, Lane::Kept(KEPT_PER_SECOND)]).await?;
    tokio::time::sleep(MARGIN).await;
    for node in &nodes {
        let cordoned = trial.cordon(node).await?;
        drain(trial, node).await?;
        let back = placement::back_elsewhere(trial.target().wish(), node.clone());
        wait::until(&trial.scope_of(front), &back, wait::POD_REPLACED).await?;
        trial.uncordon(cordoned).await?;
    }
    wait::until(&trial.scope_of(front), &wait::none_terminating(), wait::POD_GONE).await?;
    tokio::time::sleep(MARGIN).await;
    let records = trial.stop_load(load).await;
    trial.enter(Phase::Assess);
    trial.no_failures(&records, &format!("the drain of {}", nodes.join(", ")))
}

/// Evicts the stack's pods from `node`; those of others stay.
async fn drain(trial: &Trial, node: &str) -> Result<(), Stop> {
    let target = trial.target();
    for workload in std::iter::once(&target.front.workload).chain(&target.database) {
        for pod in trial.live_pods_of(workload).await? {
            let runs_on = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            if runs_on == Some(node)
                && let Err(refused) = trial.evict(&pod).await
            {
                // A budget is spent for good where a pod that was moved finds no other place.
                let blocked = trial.blocked(workload).await;
                return Err(match blocked {
                    Some(cause) if refused.verdict == Verdict::Failed => refused.because(cause),
                    _ => blame_budget(trial, workload, refused),
                });
            }
        }
    }
    Ok(())
}

/// Points at the budget that selects the pods of `workload`, or at one that does besides another: no pod
/// may have two.
fn blame_budget(trial: &Trial, workload: &Workload, refused: Stop) -> Stop {
    let template = trial.stack().manifest(&workload.reference());
    let labels = template
        .and_then(|manifest| manifest.value.pointer("/spec/template/metadata/labels"))
        .and_then(|labels| serde_json::from_value(labels.clone()).ok())
        .unwrap_or_default();
    let selects = |budget: &&Manifest| {
        let selector = budget.value.pointer("/spec/selector").cloned();
        let selector = selector.and_then(|selector| serde_json::from_value(selector).ok());
        selector.is_some_and(|selector| matches_selector(&selector, &labels))
    };
    let is_budget = |manifest: &&Manifest| {
        let reference = &manifest.object_ref;
        reference.kind == "PodDisruptionBudget" && reference.namespace == workload.namespace
    };
    let budgets = trial.stack().objects().iter().filter(is_budget).filter(selects);
    let budgets: Vec<&Manifest> = budgets.collect();
    let cause = |budget: &Manifest, field: &str| {
        trial.cause_at(CauseClass::DrainBlocked, &budget.object_ref, field)
    };
    match &budgets[..] {
        [] => refused.because(trial.cause(CauseClass::DrainBlocked)),
        [budget] => {
            let spares = budget.value.pointer("/spec/maxUnavailable");
            let stop = refused.because(cause(budget, "spec"));
            match spares.is_some_and(|spares| *spares != 0 && *spares != "0%") {
                true => stop.advising(
                    "it spares a pod while all replicas are ready: find out why one is not",
                ),
                false => stop,
            }
        }
        [.., last] => refused
            .because(cause(last, "spec.selector"))
            .advising("no pod may have two budgets: let one alone select these"),
    }
}
