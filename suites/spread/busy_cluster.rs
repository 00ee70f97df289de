//! Replicas on distinct nodes although one worker is far emptier than the others: spread by
//! policy, not by luck.

use crate::suite::{Aspect, Capability, Held, Phase, Scenario, Start, Stop, Trial};

use super::{ballast, placement};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "busy_cluster",
    claim: "replicas run on distinct nodes although one worker is far emptier than the others",
    needs: &[Capability::NodeChanges],
    aspects: &[Aspect::Scheduling],
    start: Start::Fresh,
    prepare: Some(|trial| Box::pin(prepare(trial))),
    run: |trial| Box::pin(run(trial)),
};

async fn prepare(trial: &Trial) -> Result<Held, Stop> {
    trial.several_replicas()?;
    ballast::load_all_but_one(trial).await
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    trial.enter(Phase::Assess);
    placement::judge(trial, "on a busy cluster").await
}
