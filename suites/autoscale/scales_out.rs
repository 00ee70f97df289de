//! Under rising load the autoscaler asks for its maximum within a stated time, and never for more.

use crate::suite::{Aspect, Held, Scenario, Start, Stop, Trial};
use crate::wait::HPA_REACTION;

use super::{settings, staircase};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "scales_out",
    claim: "replicas rise to the maximum under load within three minutes, and never above it",
    needs: &[],
    aspects: &[Aspect::Scaling, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(prepare(trial))),
    run: |trial| Box::pin(run(trial)),
};

async fn prepare(trial: &Trial) -> Result<Held, Stop> {
    settings::autoscaler(trial).map(|autoscaler| autoscaler.name.clone())
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let autoscaler = settings::autoscaler(trial)?;
    let took_s = staircase::climb(trial, autoscaler).await?;
    Ok(format!(
        "{} replicas were asked for after {took_s} s of rising load (limit {} s), never more",
        autoscaler.max,
        HPA_REACTION.within.as_secs()
    ))
}
