//! Replicas on distinct nodes after a rollout has replaced them all.

use crate::suite::{Aspect, Held, Phase, Scenario, Start, Stop, Trial};
use crate::wait;

use super::placement;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "after_rollout",
    claim: "replicas run on distinct nodes after a rollout",
    needs: &[],
    aspects: &[Aspect::Scheduling, Aspect::Lifecycle],
    start: Start::Ready,
    prepare: Some(|trial| Box::pin(async { trial.several_replicas() })),
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    trial.start_rollout(front).await?;
    trial.rolled_out(front, wait::ROLLOUT).await?;
    trial.enter(Phase::Assess);
    placement::judge(trial, "after a rollout").await
}
