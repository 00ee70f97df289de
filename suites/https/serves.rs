//! HTTPS serves the app.

use crate::suite::{Aspect, Held, Phase, Scenario, Start, Stop, Trial};

use super::hosts;
use super::redirect::prepare;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "serves",
    claim: "HTTPS serves the app",
    needs: &[],
    aspects: &[Aspect::Tls, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(prepare(trial))),
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    trial.enter(Phase::Assess);
    let host = hosts::first(trial)?;
    hosts::serves(trial, host, hosts::page(trial, host)).await?;
    hosts::serves(trial, host, trial.cheap_path()).await?;
    Ok(format!("https://{} serves the front page and a file", host.host))
}
