//! The certificate covers the host and is the stack's, not the controller's fallback.

use crate::suite::{Aspect, Held, Phase, Scenario, Start, Stop, Trial};

use super::redirect::prepare;
use super::{certificates, hosts};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "certificate",
    claim: "the certificate covers the host and is the stack's own",
    needs: &[],
    aspects: &[Aspect::Tls, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(prepare(trial))),
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    trial.enter(Phase::Assess);
    certificates::judge(trial, hosts::first(trial)?).await
}
