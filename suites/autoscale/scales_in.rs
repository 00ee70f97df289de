//! After the load and the stabilisation window the replicas are back at the minimum.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::k8s::is_pod_active;
use crate::observe::CauseClass;
use crate::suite::{Aspect, Autoscaler, Held, Phase, Scenario, Start, Stop, Trial};
use crate::wait::{self, Condition, Deadline};

use super::{settings, staircase};

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
    settings::returning(trial).map(|(autoscaler, _)| autoscaler.name.clone())
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let (autoscaler, deadline) = settings::returning(trial)?;
    staircase::climb(trial, autoscaler).await?;
    let from_ms = trial.now_ms();
    let back = back_to_minimum(trial, autoscaler, deadline).await;
    trial.enter(Phase::Assess);
    back?;
    let took_s = (trial.now_ms() - from_ms) / 1000;
    Ok(format!("back to {} replicas {took_s} s after the load", autoscaler.min))
}

/// Waits until the autoscaler asks for its minimum and no more pods are left than that.
///
/// # Errors
/// It did not in time.
pub(super) async fn back_to_minimum(
    trial: &Trial,
    autoscaler: &Autoscaler,
    deadline: Deadline,
) -> Result<(), Stop> {
    let late = |error| Stop::from(error).because(trial.cause(CauseClass::ScaleInLate));
    let scope = staircase::scope(trial, autoscaler);
    let wants = wait::autoscaler_wants(autoscaler.min);
    wait::until(&scope, &wants, deadline).await.map_err(late)?;
    let pods = trial.scope_of(&trial.target().front.workload);
    wait::until(&pods, &n_left(autoscaler.min), wait::POD_GONE).await.map_err(late)?;
    Ok(())
}

/// `wanted` pods are left that have not ended and are not being deleted.
fn n_left(wanted: i32) -> Condition<Pod> {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    Condition::new(format!("{wanted} pods are left"), move |pods: &[Arc<Pod>]| {
        let n = pods.iter().filter(|pod| is_pod_active(pod)).count();
        if n == wanted { Ok(()) } else { Err(format!("{n} are")) }
    })
}
