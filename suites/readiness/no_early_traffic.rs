//! No request reaches a pod before it listens: scale up under load.

use std::time::Duration;

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::base::secs;
use crate::load::ArrivalPlan;
use crate::suite::{Aspect, Held, Lane, Phase, Scenario, Start, Stop, Trial};
use crate::wait;

/// Fresh connections a second: new pods get their share of them at once.
const PER_SECOND: f64 = 40.0;
/// Replicas added.
const N_MORE: i32 = 2;
/// Load after the new pods are ready, until every proxy has them and their programs listen.
const TAIL: Duration = secs(15);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "no_early_traffic",
    claim: "no request reaches a pod before it listens",
    needs: &[],
    aspects: &[Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(prepare(trial))),
    run: |trial| Box::pin(run(trial)),
};

async fn prepare(trial: &Trial) -> Result<Held, Stop> {
    match &trial.target().front.autoscaler {
        Some(autoscaler) if !autoscaler.can_scale() => Err(Stop::ignored(autoscaler.fixed_size())),
        _ => Ok(format!("up to {N_MORE} more replicas")),
    }
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front;
    let n_before = trial.live_pods_of(&front.workload).await?.len();
    let load = vec![Lane::Fresh(ArrivalPlan::constant(PER_SECOND))];
    let load = trial.start_load(load).await?;
    let wanted = scale_up(trial).await?;
    let n_wanted = usize::try_from(wanted).unwrap_or(0);
    let ready = wait::n_pods_ready(n_wanted);
    wait::until(&trial.scope_of(&front.workload), &ready, wait::POD_STARTED).await?;
    tokio::time::sleep(TAIL).await;
    let records = trial.stop_load(load).await;
    trial.enter(Phase::Assess);
    if n_before >= n_wanted {
        let expected = format!("a scale-up to {wanted} replicas");
        return Err(Stop::inconclusive(expected, format!("there were {n_before} before")));
    }
    trial.no_failures_around_pods(&records, &format!("a scale-up to {wanted} replicas"))
}

/// Asks for more replicas, of the autoscaler where there is one: it would undo any other way.
async fn scale_up(trial: &Trial) -> Result<i32, Stop> {
    let front = &trial.target().front;
    let wanted = trial.target().wish() + N_MORE;
    let Some(autoscaler) = &front.autoscaler else {
        trial.patch(&front.workload, json!({"spec": {"replicas": wanted}})).await?;
        return Ok(wanted);
    };
    let wanted = wanted.min(autoscaler.max);
    let api: Api<HorizontalPodAutoscaler> =
        Api::namespaced(trial.client(), &front.workload.namespace);
    let set_min = |min: i32| Patch::Merge(json!({"spec": {"minReplicas": min}}));
    api.patch(&autoscaler.name, &PatchParams::default(), &set_min(wanted)).await?;
    let (name, undo) = (autoscaler.name.clone(), set_min(autoscaler.min));
    trial.defer(async move {
        api.patch(&name, &PatchParams::default(), &undo).await?;
        Ok(())
    });
    Ok(wanted)
}
