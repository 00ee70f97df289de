//! A rollout of pods that never get ready stops at the surge, and the old pods keep serving.

use std::time::Duration;

use crate::base::secs;
use crate::k8s::{is_pod_active, is_pod_ready};
use crate::load::ArrivalPlan;
use crate::observe::CauseClass;
use crate::suite::{Aspect, Held, Lane, Phase, Scenario, Start, Stop, Trial, WorkloadKind};
use crate::wait;

use super::gates;

/// Load while the rollout is stuck.
const PER_SECOND: f64 = 20.0;
/// How long it is watched once it is stuck: several periods of anything that could push it on.
const STUCK: Duration = secs(30);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "broken_rollout",
    claim: "a rollout of pods that never get ready stops at the surge and the old ones serve on",
    needs: &[],
    aspects: &[Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: None,
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    let (surge, unavailable) = front.surge.unwrap_or((0, 1));
    let n_new = usize::try_from(surge + unavailable).unwrap_or(0);
    let n_kept = usize::try_from(trial.target().wish() - unavailable).unwrap_or(0);
    let load = vec![Lane::Fresh(ArrivalPlan::constant(PER_SECOND))];
    let load = trial.start_load(load).await?;
    let observer = trial.observe(trial.scope_of(front)).await?;
    gates::close(trial, front).await?;
    let stuck =
        wait::until(&trial.scope_of(front), &gates::n_held(n_new), wait::POD_REPLACED).await;
    tokio::time::sleep(STUCK).await;
    let expected =
        format!("at most {n_new} new pods and at least {n_kept} ready ones, at every event");
    let seen = trial.seen_by(&observer, &expected).await;
    let (mut most_new, mut fewest_ready) = (0, usize::MAX);
    observer.replay(|_, pods| {
        let live = || pods.values().filter(|pod| is_pod_active(pod));
        most_new = most_new.max(live().filter(|pod| gates::is_gated(pod)).count());
        fewest_ready = fewest_ready.min(live().filter(|pod| is_pod_ready(pod)).count());
    });
    gates::restore(trial, front).await?;
    if front.kind == WorkloadKind::StatefulSet {
        // It waits for its broken pod for ever; an operator deletes it.
        for pod in trial.live_pods_of(front).await?.iter().filter(|pod| gates::is_held(pod)) {
            trial.delete_pod(pod).await?;
        }
    }
    let undone = trial.rolled_out(front, wait::ROLLOUT).await;
    let records = trial.stop_load(load).await;

    trial.enter(Phase::Assess);
    if most_new > n_new || fewest_ready < n_kept {
        return Err(trial.failed(
            CauseClass::CapacityDip,
            expected,
            format!("{most_new} new pods at the most, {fewest_ready} ready ones at the least"),
        ));
    }
    stuck?;
    undone?;
    seen?;
    let held = trial.no_failures(&records, "a rollout that cannot finish, and its undoing")?;
    Ok(format!("stopped at {most_new} new pods with {fewest_ready} ready; {held}"))
}
