//! HTTP answers with a permanent redirect that keeps host, path and query.

use crate::suite::{Aspect, Held, Phase, Scenario, Start, Stop, Trial};

use super::hosts;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "redirect",
    claim: "HTTP answers with a permanent redirect that keeps host, path and query",
    needs: &[],
    aspects: &[Aspect::Tls, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(prepare(trial))),
    run: |trial| Box::pin(run(trial)),
};

/// The scenarios of this suite need a host.
pub(super) async fn prepare(trial: &Trial) -> Result<Held, Stop> {
    hosts::hosts(trial).map(|_| String::new())
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    trial.enter(Phase::Assess);
    let host = hosts::first(trial)?;
    hosts::redirects(trial, host).await?;
    Ok(format!("{} is redirected to HTTPS with path and query", host.host))
}
