//! A replica hangs: its probe notices, it leaves service, and it is back once it answers again.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use kube::ResourceExt as _;

use crate::base::secs;
use crate::k8s::is_pod_ready;
use crate::load::{ArrivalPlan, Record};
use crate::observe::CauseClass;
use crate::suite::{Aspect, Capability, Held, Lane, Phase, Scenario, Start, Stop, Trial};
use crate::wait::{self, Condition, Deadline, Scope};

/// Static GETs a second.
const PER_SECOND: f64 = 20.0;
/// At the longest, a hang is to be noticed in this time, or as soon as the probes promise.
const HANG_NOTICED: Deadline =
    Deadline::new(secs(90), "failureThreshold probes in a row fail, one every periodSeconds");
/// From the last failed probe until the status says so (the kubelet of 1.20 may take 10 s).
const STATUS_LAG: Duration = secs(15);
/// From the pod being unready until the proxies have dropped it (kube-proxy 1.2 s, ingress-nginx 4.3 s).
const DROPPED: Duration = secs(10);
/// No request fails in this time after that.
const WITHOUT_IT: Duration = secs(20);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "hung_replica",
    claim: "a replica that hangs is taken out of service, and serves again once it answers",
    needs: &[Capability::ContainerPause],
    aspects: &[Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(async { trial.several_replicas() })),
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front;
    let pods = trial.live_pods_of(&front.workload).await?;
    let served = pods.first().and_then(|pod| Some((pod, front.container_in(pod)?)));
    let (pod, container) = served.ok_or_else(|| Stop::errored("no replica of the front runs"))?;
    judgeable(container)?;
    let name = pod.name_any();
    let load = trial.start_load(vec![Lane::Fresh(ArrivalPlan::constant(PER_SECOND))]).await?;
    let frozen = trial.freeze(pod, &container.name).await?;
    let frozen_ms = trial.now_ms();
    let scope = Scope::named(trial.pods_api(), &name);
    let noticed = wait::until(&scope, &out_of_service(), noticing(container)).await;
    let noticed_ms = trial.now_ms();
    if noticed.is_ok() {
        tokio::time::sleep(DROPPED + WITHOUT_IT).await;
    }
    let records = trial.stop_load(load).await;
    trial.thaw(frozen).await?;
    trial.enter(Phase::Assess);
    noticed.map_err(|error| Stop::from(error).because(trial.cause(CauseClass::HangUnnoticed)))?;
    none_failed_without_it(trial, &records, noticed_ms)?;
    wait::until(&trial.scope_of(&front.workload), &wait::pods_ready(), wait::POD_REPLACED).await?;
    Ok(format!(
        "{name} hung and left service after {} s, then no request failed; it came back",
        (noticed_ms - frozen_ms) / 1000
    ))
}

/// A command of a probe cannot run in a frozen container, while it could in one that hangs.
fn judgeable(container: &Container) -> Result<(), Stop> {
    let mut commands = probes(container).map(|probe| probe.exec.is_some()).peekable();
    if commands.peek().is_some() && commands.all(|is_command| is_command) {
        return Err(Stop::ignored(
            "the probes run commands in the container, which a freeze would stop as well",
        ));
    }
    Ok(())
}

/// What may notice that it hangs.
fn probes(container: &Container) -> impl Iterator<Item = &Probe> {
    container.readiness_probe.iter().chain(&container.liveness_probe)
}

/// How long the probes of `container` may take to notice: as many in a row as are to fail, after one
/// that was under way.
fn noticing(container: &Container) -> Deadline {
    let seconds = |value: Option<i32>, default: i32| {
        secs(u64::try_from(value.unwrap_or(default)).unwrap_or(0))
    };
    let slowest = probes(container).map(|probe| {
        let n_failures = u32::try_from(probe.failure_threshold.unwrap_or(3)).unwrap_or(0);
        seconds(probe.period_seconds, 10) * (n_failures + 1) + seconds(probe.timeout_seconds, 1)
    });
    let within = slowest.max().map_or(HANG_NOTICED.within, |slowest| slowest + STATUS_LAG);
    Deadline { within: within.min(HANG_NOTICED.within), ..HANG_NOTICED }
}

/// The pod is not Ready, or is replaced already.
fn out_of_service() -> Condition<Pod> {
    Condition::new("the replica that hangs is not Ready", |pods: &[Arc<Pod>]| {
        match pods.iter().any(|pod| is_pod_ready(pod)) {
            true => Err("it is Ready still".to_owned()),
            false => Ok(()),
        }
    })
}

/// Requests that were sent once the proxies had to know are all answered.
fn none_failed_without_it(trial: &Trial, records: &[Record], noticed_ms: u64) -> Result<(), Stop> {
    let dropped_ms = noticed_ms + u64::try_from(DROPPED.as_millis()).unwrap_or(u64::MAX);
    let later: Vec<Record> =
        records.iter().filter(|record| trial.ms(record.planned) >= dropped_ms).cloned().collect();
    trial.no_failures(&later, "the time without the replica that hangs").map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::observe::Verdict;

    fn container(probes: &Value) -> Container {
        let mut container = probes.clone();
        container["name"] = "main".into();
        serde_json::from_value(container).expect("a container")
    }

    #[test]
    fn probes_promise_when_a_hang_is_noticed() {
        let within = |probes: Value| noticing(&container(&probes)).within - STATUS_LAG;
        let http = json!({"httpGet": {"port": 80}});
        assert_eq!(within(json!({ "readinessProbe": http })), secs(41), "10 s, 3 failures, 1 s");
        let quick = json!({"tcpSocket": {"port": 80}, "periodSeconds": 2, "failureThreshold": 1});
        assert_eq!(within(json!({ "readinessProbe": quick })), secs(5));
        assert_eq!(within(json!({ "readinessProbe": quick, "livenessProbe": http })), secs(41));
        let slow = json!({"httpGet": {"port": 80}, "periodSeconds": 60});
        assert_eq!(noticing(&container(&json!({ "readinessProbe": slow }))), HANG_NOTICED);
        assert_eq!(noticing(&container(&json!({}))), HANG_NOTICED);
    }

    #[test]
    fn commands_alone_are_not_judged() {
        let command = json!({"exec": {"command": ["true"]}});
        let stop = judgeable(&container(&json!({ "readinessProbe": command })));
        assert_eq!(stop.expect_err("not judged").verdict, Verdict::Ignored);
        let http = json!({"httpGet": {"port": 80}});
        let both = json!({ "readinessProbe": command, "livenessProbe": http });
        judgeable(&container(&both)).expect("the other one counts");
        judgeable(&container(&json!({}))).expect("nothing notices, and that is judged");
    }
}
