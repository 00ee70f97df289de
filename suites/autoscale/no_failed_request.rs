//! No failed request while the autoscaler takes replicas away.

use std::time::Duration;

use crate::base::secs;
use crate::load::ArrivalPlan;
use crate::suite::{Aspect, Held, Lane, Phase, Scenario, Start, Stop, Trial};
use crate::wait;

use super::scales_in::back_to_minimum;
use super::staircase;

/// GETs a second.
const PER_SECOND: f64 = 60.0;
/// POSTs a second, far below what would hold the replicas up.
const POST_PER_SECOND: f64 = 0.5;
/// The load begins this long before the stabilisation window lets the first replica go.
const EARLY: Duration = secs(30);
/// Load after the last old pod is gone.
const MARGIN: Duration = secs(2);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "no_failed_request",
    claim: "no request fails while replicas are taken away",
    needs: &[],
    aspects: &[Aspect::Scaling, Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(prepare(trial))),
    run: |trial| Box::pin(run(trial)),
};

async fn prepare(trial: &Trial) -> Result<Held, Stop> {
    staircase::autoscaler(trial).map(|autoscaler| autoscaler.name.clone())
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let autoscaler = staircase::autoscaler(trial)?;
    let front = &trial.target().front.workload;
    staircase::climb(trial, autoscaler).await?;
    // No replica can go before the window ends, so there is nothing to see until then.
    tokio::time::sleep(secs(autoscaler.window_s).saturating_sub(EARLY)).await;
    let lanes = vec![
        Lane::Fresh(ArrivalPlan::constant(PER_SECOND)),
        Lane::Post(ArrivalPlan::constant(POST_PER_SECOND)),
    ];
    let load = trial.start_load(lanes).await?;
    let back = back_to_minimum(trial, autoscaler).await;
    wait::until(&trial.scope_of(front), &wait::none_terminating(), wait::POD_GONE).await?;
    tokio::time::sleep(MARGIN).await;
    let records = trial.stop_load(load).await;
    trial.enter(Phase::Assess);
    back?;
    trial.no_failures(&records, &format!("the way back to {} replicas", autoscaler.min))
}
