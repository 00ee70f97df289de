//! A worker loses power: the front door answers again once the loss is noticed, and the replicas
//! return on other nodes.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Api;

use crate::base::secs;
use crate::load::{ArrivalPlan, Record, Stats};
use crate::observe::{CauseClass, Verdict};
use crate::suite::{Aspect, Capability, Held, Lane, Phase, Scenario, Start, Stop, Trial};
use crate::wait::{self, Scope};

use super::placement;

/// Requests a second until the loss is noticed and a while after, then fewer.
const RATES: [f64; 2] = [4.0, 1.0];
const BUSY: Duration = secs(120);
/// From the loss being noticed until the proxies have dropped the node (kube-proxy 1.2 s,
/// ingress-nginx 4.3 s, and a connect time-out of requests under way).
const DROPPED: Duration = secs(15);
/// In each window of this length after that, somebody is served.
const WINDOW: Duration = secs(20);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "node_lost",
    claim: "one lost node takes no more than its own replicas, and they return elsewhere",
    needs: &[Capability::NodeLifecycle],
    aspects: &[Aspect::Scheduling, Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(async { trial.several_replicas() })),
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    let mut nodes = placement::nodes_to_take(trial).await?;
    let lost = nodes.to_take.swap_remove(0);
    let plan = ArrivalPlan::staircase(BUSY, &RATES);
    let load = trial.start_load(vec![Lane::Fresh(plan)]).await?;
    let stopped = trial.stop_node(&lost).await?;
    let lost_ms = trial.now_ms();

    let node = Scope::named(Api::<Node>::all(trial.client()), &lost);
    wait::until(&node, &wait::node_ready(false), wait::NODE_DETECTED).await?;
    let noticed_ms = trial.now_ms();
    let returned = placement::back_elsewhere(trial.target().wish(), lost.clone());
    let back = wait::until(&trial.scope_of(front), &returned, wait::REPLICAS_RETURN).await;
    let back_ms = trial.now_ms();
    let records = trial.stop_load(load).await;
    trial.start_node(stopped).await?;

    trial.enter(Phase::Assess);
    let dropped_ms = noticed_ms + u64::try_from(DROPPED.as_millis()).unwrap_or(u64::MAX);
    served_in_every_window(trial, &records, dropped_ms, back_ms, &lost).map_err(|stop| {
        if stop.verdict != Verdict::Failed {
            return stop;
        }
        // With replicas elsewhere it is not their place that left nobody to serve.
        let stop = match nodes.n_all {
            1 => stop.because(trial.cause(CauseClass::ReplicasShareANode)),
            _ => stop,
        };
        trial.blame_records(stop, &records)
    })?;
    back?;
    wait::until(&node, &wait::node_ready(true), wait::NODE_BACK).await?;
    Ok(format!(
        "{lost} was lost; noticed after {} s, replicas whole after {} s",
        (noticed_ms - lost_ms) / 1000,
        (back_ms - lost_ms) / 1000
    ))
}

fn served_in_every_window(
    trial: &Trial,
    records: &[Record],
    from_ms: u64,
    to_ms: u64,
    lost: &str,
) -> Result<(), Stop> {
    let width = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
    let mut start = from_ms;
    while start + width <= to_ms {
        let inside = |record: &&Record| (start..start + width).contains(&trial.ms(record.planned));
        let stats = Stats::of(records.iter().filter(inside));
        let expected = format!("the front door answers after {lost} was noticed as lost");
        let when = format!(
            "from {:.0} s to {:.0} s",
            start as f64 / 1000.0,
            (start + width) as f64 / 1000.0
        );
        if let (0, Some(why)) = (stats.sent, stats.not_sent) {
            let seen = format!("none of {} requests {when} was sent: {why}", stats.planned);
            return Err(Stop::inconclusive(expected, seen));
        }
        if stats.sent > 0 && stats.failed == stats.sent {
            let seen = format!("none of {} requests {when} was answered", stats.sent);
            return Err(Stop::failed(expected, seen));
        }
        start += width;
    }
    Ok(())
}
