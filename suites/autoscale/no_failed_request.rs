//! No failed request while the autoscaler takes replicas away.

use std::time::Duration;

use crate::base::secs;
use crate::load::ArrivalPlan;
use crate::observe::Verdict;
use crate::suite::{Aspect, Held, Lane, Phase, Scenario, Start, Stop, Trial};
use crate::wait::{self, Deadline};

use super::scales_in::back_to_minimum;
use super::{settings, staircase};

/// GETs a second.
const PER_SECOND: f64 = 60.0;
/// POSTs a second, far below what would hold the replicas up.
const POST_PER_SECOND: f64 = 0.5;
/// Pages a second right after the climb, and for how long: the newest replicas have served none yet, and
/// what their first ones cost would be a reason to keep replicas for another window.
const WARM_UP_PER_SECOND: f64 = 2.0;
const WARM_UP: Duration = secs(30);
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
    settings::returning(trial).map(|(autoscaler, _)| autoscaler.name.clone())
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let (autoscaler, deadline) = settings::returning(trial)?;
    let front = &trial.target().front.workload;
    let lanes = vec![
        Lane::Fresh(ArrivalPlan::constant(PER_SECOND)),
        Lane::Post(ArrivalPlan::constant(POST_PER_SECOND)),
    ];
    trial.measure_pace(&lanes).await?;
    staircase::climb(trial, autoscaler).await?;
    // No replica can go before the window ends, so there is nothing to see until then.
    let nothing_yet = secs(autoscaler.window_s).saturating_sub(EARLY);
    let warm_up = WARM_UP.min(nothing_yet);
    if !warm_up.is_zero() {
        let pages = Lane::Page(ArrivalPlan::constant(WARM_UP_PER_SECOND));
        let load = trial.start_load(vec![pages]).await?;
        tokio::time::sleep(warm_up).await;
        trial.stop_load(load).await;
    }
    tokio::time::sleep(nothing_yet - warm_up).await;
    let deadline = Deadline { within: deadline.within.saturating_sub(nothing_yet), ..deadline };
    let load = trial.start_load(lanes).await?;
    let back = back_to_minimum(trial, autoscaler, deadline).await;
    wait::until(&trial.scope_of(front), &wait::none_terminating(), wait::POD_GONE).await?;
    tokio::time::sleep(MARGIN).await;
    let records = trial.stop_load(load).await;
    trial.enter(Phase::Assess);
    let held =
        trial.no_failures(&records, &format!("the way back to {} replicas", autoscaler.min))?;
    // That replicas do not go is for `scales_in` to judge: here it means that there was nothing to see,
    // as when this load alone holds them.
    back.map_err(|stop| match stop.verdict {
        Verdict::Failed => Stop { verdict: Verdict::Inconclusive, causes: Vec::new(), ..stop },
        _ => stop,
    })?;
    Ok(held)
}
