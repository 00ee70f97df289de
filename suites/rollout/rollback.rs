//! A rollout to an image that does not exist, and its rollback, lose nothing.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::base::secs;
use crate::load::ArrivalPlan;
use crate::suite::{Aspect, Held, Lane, Phase, Scenario, Start, Stop, Trial, WorkloadKind};
use crate::wait::{self, Condition};

/// An image nobody can publish: the domain is reserved (RFC 2606).
const NO_SUCH_IMAGE: &str = "registry.invalid/seatrial/no-such-image:0";
/// GETs and POSTs a second.
const FRESH_PER_SECOND: f64 = 40.0;
const POST_PER_SECOND: f64 = 1.0;
/// How long users live with the stuck rollout before it is taken back.
const STUCK: Duration = secs(15);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rollback",
    claim: "a rollback of a broken image loses nothing",
    needs: &[],
    aspects: &[Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: None,
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    let Some((container, image)) = front.containers.first() else {
        return Err(Stop::errored("the front workload has no container"));
    };
    let set_image = |image: &str| {
        let containers = json!([{"name": container, "image": image}]);
        json!({"spec": {"template": {"spec": {"containers": containers}}}})
    };
    let lanes = vec![
        Lane::Fresh(ArrivalPlan::constant(FRESH_PER_SECOND)),
        Lane::Post(ArrivalPlan::constant(POST_PER_SECOND)),
    ];
    let load = trial.start_load(lanes).await?;
    trial.patch(front, set_image(NO_SUCH_IMAGE)).await?;
    let broken = wait::until(&trial.scope_of(front), &image_refused(), wait::POD_STARTED).await?;
    tokio::time::sleep(STUCK).await;
    trial.patch(front, set_image(image)).await?;
    if front.kind == WorkloadKind::StatefulSet {
        // A StatefulSet waits for its broken pod for ever; an operator deletes it.
        for pod in broken.iter().filter(|pod| is_refused(pod)) {
            trial.delete_pod(pod).await?;
        }
    }
    let undone = trial.rolled_out(front, wait::ROLLOUT).await;
    let records = trial.stop_load(load).await;
    trial.enter(Phase::Assess);
    undone?;
    trial.no_failures(&records, "a broken rollout and its rollback")
}

fn image_refused() -> Condition<Pod> {
    Condition::new("a new pod cannot pull its image", |pods: &[Arc<Pod>]| {
        if pods.iter().any(|pod| is_refused(pod)) { Ok(()) } else { Err("no pod waits so".into()) }
    })
}

fn is_refused(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    statuses.unwrap_or(&[]).iter().any(|container| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        matches!(reason, Some("ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull"))
    })
}
