//! Every host of every Ingress is redirected, served, and has its certificate.

use crate::suite::{Aspect, Held, Phase, Scenario, Start, Stop, Trial};

use super::redirect::prepare;
use super::{certificates, hosts};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "every_host",
    claim: "every host of every Ingress is redirected, served, and has its certificate",
    needs: &[],
    aspects: &[Aspect::Tls, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(prepare(trial))),
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    trial.enter(Phase::Assess);
    let all = hosts::hosts(trial)?;
    for host in all {
        hosts::redirects(trial, host).await?;
        hosts::serves(trial, host, hosts::page(trial, host)).await?;
        certificates::judge(trial, host).await?;
    }
    if let Some(unknown) = trial.left_to_others() {
        return Err(unknown);
    }
    let names: Vec<_> = all.iter().map(|host| host.host.as_str()).collect();
    Ok(format!("{} of {} hosts in order: {}", names.len(), names.len(), names.join(", ")))
}
