//! Replicas on distinct nodes of an idle cluster.

use crate::suite::{Aspect, Held, Phase, Scenario, Start, Stop, Trial};

use super::placement;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "distinct_nodes",
    claim: "replicas run on distinct nodes",
    needs: &[],
    aspects: &[Aspect::Scheduling],
    start: Start::Ready,
    prepare: Some(|trial| Box::pin(async { trial.several_replicas() })),
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    trial.enter(Phase::Assess);
    placement::judge(trial, "after the first start").await
}
