//! No failed request while rollouts replace every pod, several times over.

use std::time::Duration;

use crate::base::secs;
use crate::load::ArrivalPlan;
use crate::suite::{Aspect, Held, Lane, Phase, Scenario, Start, Stop, Trial};
use crate::wait;

/// Rollouts in a row.
const N_ROLLOUTS: usize = 3;
/// Static GETs a second on fresh connections: 2.5 of 100 meet one pod of four within a window of
/// 100 ms, the usual one between its end and the proxies' taking note; 30 in three rollouts.
const FRESH_PER_SECOND: f64 = 100.0;
/// Static GETs a second on kept connections.
const KEPT_PER_SECOND: f64 = 20.0;
/// POSTs a second, which the program has to work for.
const POST_PER_SECOND: f64 = 2.0;
/// Load before the first rollout and after the last old pod is gone.
const MARGIN: Duration = secs(2);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "no_failed_request",
    claim: "no request fails while rollouts replace every pod",
    needs: &[],
    aspects: &[Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: None,
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    let lanes = vec![
        Lane::Fresh(ArrivalPlan::constant(FRESH_PER_SECOND)),
        Lane::Kept(KEPT_PER_SECOND),
        Lane::Post(ArrivalPlan::constant(POST_PER_SECOND)),
    ];
    let load = trial.start_load(lanes).await?;
    tokio::time::sleep(MARGIN).await;
    for _ in 0..N_ROLLOUTS {
        trial.start_rollout(front).await?;
        trial.rolled_out(front, wait::ROLLOUT).await?;
    }
    // A rollout counts as complete while old pods still end; errors may begin only then.
    wait::until(&trial.scope_of(front), &wait::none_terminating(), wait::POD_GONE).await?;
    tokio::time::sleep(MARGIN).await;
    let records = trial.stop_load(load).await;
    trial.enter(Phase::Assess);
    trial.no_failures_around_pods(&records, &format!("{N_ROLLOUTS} rollouts"))
}
