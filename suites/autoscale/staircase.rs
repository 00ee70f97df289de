//! Load in steps until the autoscaler asks for its maximum.

use std::time::Duration;

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use kube::Api;
use serde_json::Value;

use crate::base::secs;
use crate::load::ArrivalPlan;
use crate::observe::CauseClass;
use crate::suite::{Autoscaler, Lane, Stop, Trial};
use crate::wait::{self, HPA_REACTION, Observer, Scope};

/// Pages a second, one step after the other; the last goes on.
const RATES: [f64; 6] = [4.0, 8.0, 14.0, 20.0, 32.0, 44.0];
/// Length of a step: a scrape and a sync, so that the autoscaler sees a step before the next one
/// overruns the replicas there are.
const STEP: Duration = secs(25);

/// The autoscaler of the front.
///
/// # Errors
/// There is none.
pub fn autoscaler(trial: &Trial) -> Result<&Autoscaler, Stop> {
    let front = &trial.target().front;
    front.autoscaler.as_ref().ok_or_else(|| {
        trial.failed(
            CauseClass::NoAutoscaler,
            format!("a HorizontalPodAutoscaler for {}", front.workload.reference()),
            "the stack has none",
        )
    })
}

/// The autoscaler in the cluster.
pub fn scope(trial: &Trial, autoscaler: &Autoscaler) -> Scope<HorizontalPodAutoscaler> {
    let namespace = &trial.target().front.workload.namespace;
    Scope::named(Api::namespaced(trial.client(), namespace), &autoscaler.name)
}

/// Raises the load until the autoscaler asks for its maximum and all those replicas are ready,
/// then ends it. Returns how long the autoscaler took, in seconds.
///
/// # Errors
/// It did not in time, or asked for more.
pub async fn climb(trial: &Trial, autoscaler: &Autoscaler) -> Result<u64, Stop> {
    let front = &trial.target().front.workload;
    let scope = scope(trial, autoscaler);
    let observer = Observer::start(scope.clone()).await?;
    let load = vec![Lane::Page(ArrivalPlan::staircase(STEP, &RATES))];
    let load = trial.start_load(load).await?;
    let from_ms = trial.now_ms();
    let asked = wait::until(&scope, &wait::autoscaler_wants(autoscaler.max), HPA_REACTION).await;
    let took_s = (trial.now_ms() - from_ms) / 1000;
    if let Err(error) = asked {
        trial.stop_load(load).await;
        let class = if !requests_cpu(trial) {
            CauseClass::AutoscalerBlind
        } else if ran_out_of_memory(trial).await? {
            CauseClass::OutOfMemory
        } else {
            CauseClass::ScaleOutLate
        };
        return Err(Stop::from(error).because(trial.cause(class)));
    }
    let wanted = usize::try_from(autoscaler.max).unwrap_or(usize::MAX);
    let ready = wait::n_pods_ready(wanted);
    let whole = wait::until(&trial.scope_of(front), &ready, wait::POD_STARTED).await;
    trial.stop_load(load).await;
    whole?;
    let mut most = 0;
    observer.replay(|_, state| {
        let asked = state.values().filter_map(|a| a.status.as_ref().map(|s| s.desired_replicas));
        most = most.max(asked.max().unwrap_or(0));
    });
    if most > autoscaler.max {
        return Err(trial.failed(
            CauseClass::AboveMaximum,
            format!("never more than {} replicas", autoscaler.max),
            format!("{most} were asked for"),
        ));
    }
    Ok(took_s)
}

/// Whether every container of the front requests CPU, of which utilisation is a share.
fn requests_cpu(trial: &Trial) -> bool {
    let reference = trial.target().front.workload.reference();
    let manifest = trial.stack().objects().iter().find(|m| m.object_ref == reference);
    let containers = manifest
        .and_then(|manifest| manifest.value.pointer("/spec/template/spec/containers"))
        .and_then(Value::as_array);
    containers.is_some_and(|containers| {
        containers.iter().all(|container| {
            container.pointer("/resources/requests/cpu").is_some()
                || container.pointer("/resources/limits/cpu").is_some()
        })
    })
}

/// Whether a container of the front was killed for its memory.
async fn ran_out_of_memory(trial: &Trial) -> Result<bool, Stop> {
    let pods = trial.pods_of(&trial.target().front.workload).await?;
    let statuses = pods
        .iter()
        .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref())
        .flatten()
        .flat_map(|container| [&container.state, &container.last_state]);
    let ends = statuses.filter_map(|state| state.as_ref()?.terminated.as_ref());
    Ok(ends.into_iter().any(|ended| ended.reason.as_deref() == Some("OOMKilled")))
}
