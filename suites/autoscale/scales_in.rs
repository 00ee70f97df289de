//! After the load and the stabilisation window the replicas are back at the minimum.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::base::secs;
use crate::k8s::is_terminating;
use crate::observe::CauseClass;
use crate::suite::{Aspect, Autoscaler, Held, Phase, Scenario, Start, Stop, Trial};
use crate::wait::{self, Condition, Deadline, SCALE_DOWN_SLACK};

use super::staircase;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "scales_in",
    claim: "replicas return to the minimum after the load and the stabilisation window",
    needs: &[],
    aspects: &[Aspect::Scaling, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(prepare(trial))),
    run: |trial| Box::pin(run(trial)),
};

async fn prepare(trial: &Trial) -> Result<Held, Stop> {
    staircase::autoscaler(trial).map(|autoscaler| autoscaler.name.clone())
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let autoscaler = staircase::autoscaler(trial)?;
    staircase::climb(trial, autoscaler).await?;
    let from_ms = trial.now_ms();
    trial.enter(Phase::Assess);
    back_to_minimum(trial, autoscaler).await?;
    let took_s = (trial.now_ms() - from_ms) / 1000;
    Ok(format!("back to {} replicas {took_s} s after the load", autoscaler.min))
}

/// Waits until the autoscaler asks for its minimum and no more pods are left than that.
///
/// # Errors
/// It did not in time.
pub(super) async fn back_to_minimum(trial: &Trial, autoscaler: &Autoscaler) -> Result<(), Stop> {
    let late = |error| Stop::from(error).because(trial.cause(CauseClass::ScaleInLate));
    let window = secs(autoscaler.window_s) + SCALE_DOWN_SLACK.within;
    let deadline = Deadline::new(window, "the stabilisation window and a few syncs");
    let scope = staircase::scope(trial, autoscaler);
    let wants = wait::autoscaler_wants(autoscaler.min);
    wait::until(&scope, &wants, deadline).await.map_err(late)?;
    let pods = trial.scope_of(&trial.target().front.workload);
    wait::until(&pods, &n_left(autoscaler.min), wait::POD_GONE).await.map_err(late)?;
    Ok(())
}

/// `wanted` pods are left that are not being deleted.
fn n_left(wanted: i32) -> Condition<Pod> {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    Condition::new(format!("{wanted} pods are left"), move |pods: &[Arc<Pod>]| {
        let n = pods.iter().filter(|pod| !is_terminating(pod)).count();
        if n == wanted { Ok(()) } else { Err(format!("{n} are")) }
    })
}
