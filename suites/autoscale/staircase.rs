//! Load in steps until the autoscaler asks for its maximum.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::base::secs;
use crate::k8s::{memory_kills, milli};
use crate::load::{ArrivalPlan, Load, Stats};
use crate::observe::CauseClass;
use crate::suite::{Autoscaler, Lane, Stop, Trial};
use crate::wait::{self, HPA_REACTION, Scope, WaitError};

/// Pages a second, one step after the other; the last goes on.
const RATES: [f64; 19] = [
    3.0, 4.5, 6.5, 9.0, 13.0, 18.0, 26.0, 36.0, 48.0, 70.0, 100.0, 150.0, 220.0, 330.0, 490.0,
    730.0, 1_100.0, 1_600.0, 2_400.0,
];
/// Length of a step: a scrape and a sync of the autoscaler; the eighth begins in 105 s of its 180.
const STEP: Duration = secs(15);
/// Steps at a time while nine of ten pages come within this share of what still keeps up: such
/// programs take little CPU a page.
const N_AHEAD: usize = 3;
const FAST_SHARE: f64 = 0.1;
/// Steps taken back when pages fail.
const N_BACK: usize = 3;
/// The replicas keep up while nine of ten pages come within this time, in milliseconds; when they
/// do not, the load steps back: it is to be scaled for, not to bury the replicas there are.
const KEEPS_UP_MS: f64 = 300.0;
/// Under a tight CPU limit, or on a machine with few cores, a page takes its time even when it is
/// alone: then this many times that of the first, light step counts.
const SLOWER: f64 = 4.0;
/// And no more than this, in milliseconds: soon after it clients give up.
const SLOWEST_MS: f64 = 8000.0;

/// A machine whose nodes use this share of its CPUs has none left that matters: programs beside the
/// nodes use them too, and metrics lag by 15 to 30 s.
const BUSY_PERCENT: u64 = 80;

/// The autoscaler in the cluster.
pub fn scope(trial: &Trial, autoscaler: &Autoscaler) -> Scope<HorizontalPodAutoscaler> {
    let namespace = &trial.target().front.workload.namespace;
    Scope::named(Api::namespaced(trial.client(), namespace), &autoscaler.name)
}

/// Raises the load until the autoscaler asks for its maximum, and keeps it up until all those replicas
/// are ready: without load an autoscaler may take its word back at once. Returns how long the
/// autoscaler took, in seconds.
///
/// # Errors
/// It did not in time, or asked for more. Inconclusive when it asked for the maximum before.
pub async fn climb(trial: &Trial, autoscaler: &Autoscaler) -> Result<u64, Stop> {
    let front = &trial.target().front.workload;
    let scope = scope(trial, autoscaler);
    let wants = wait::autoscaler_wants(autoscaler.max);
    if wants.check(&scope.list().await?).is_ok() {
        let expected = format!("{} replicas are asked for because of the load", autoscaler.max);
        return Err(Stop::inconclusive(expected, "they were asked for before there was any"));
    }
    let observer = trial.observe(scope.clone()).await?;
    let from_ms = trial.now_ms();
    let current = RefCell::new(None);
    let peak = Cell::new(None);
    let wanted = usize::try_from(autoscaler.max).unwrap_or(usize::MAX);
    let ready = wait::n_pods_ready(wanted);
    let climbed = async {
        wait::until(&scope, &wants, HPA_REACTION).await?;
        let took_s = (trial.now_ms() - from_ms) / 1000;
        Ok((took_s, wait::until(&trial.scope_of(front), &ready, wait::POD_STARTED).await))
    };
    let climbed: Result<_, WaitError> = tokio::select! {
        biased;
        climbed = climbed => climbed,
        Err(stop) = raise(trial, autoscaler, &current, &peak) => return Err(stop),
    };
    let still_wants = wants.check(&scope.list().await?);
    if let Some(load) = current.take() {
        trial.stop_load(load).await;
    }
    let (took_s, ready) = match climbed {
        Ok(climbed) => climbed,
        Err(error) => return Err(not_asked_for(trial, autoscaler, peak.get(), error).await?),
    };
    if let Err(error) = ready {
        let why = match (still_wants, machines_without_cpu(trial).await?) {
            (Err(unmet), _) => format!("the autoscaler took them back under load: {unmet}"),
            (Ok(()), Some(busy)) => busy,
            (Ok(()), None) => return Err(error.into()),
        };
        return Err(Stop::inconclusive(format!("{wanted} replicas under load"), why));
    }
    let expected = format!("never more than {} replicas", autoscaler.max);
    let seen = trial.seen_by(&observer, &expected).await;
    let mut most = 0;
    observer.replay(|_, state| {
        let asked = state.values().filter_map(|a| a.status.as_ref().map(|s| s.desired_replicas));
        most = most.max(asked.max().unwrap_or(0));
    });
    if most > autoscaler.max {
        return Err(trial.failed(
            CauseClass::AboveMaximum,
            expected,
            format!("{most} were asked for"),
        ));
    }
    seen?;
    Ok(took_s)
}

/// Why the autoscaler did not ask for its maximum. `peak_ms` is what pages took at the highest rate,
/// if the replicas kept up with that.
async fn not_asked_for(
    trial: &Trial,
    autoscaler: &Autoscaler,
    peak_ms: Option<f64>,
    error: WaitError,
) -> Result<Stop, Stop> {
    let requests_cpu = requests_cpu(trial);
    let too_light = || {
        let (most, took) = (RATES[RATES.len() - 1], peak_ms.filter(|_| requests_cpu)?);
        Some(format!(
            "the replicas keep up with {most:.0} pages a second, the most there is: nine of ten come \
             within {took:.0} ms"
        ))
    };
    if let Some(why) = machines_without_cpu(trial).await?.or_else(too_light) {
        let expected = format!("load enough for {} replicas", autoscaler.max);
        return Ok(Stop::inconclusive(expected, why));
    }
    let class = if !requests_cpu {
        CauseClass::AutoscalerBlind
    } else if ran_out_of_memory(trial).await? {
        CauseClass::OutOfMemory
    } else {
        CauseClass::ScaleOutLate
    };
    Ok(Stop::from(error).because(trial.cause(class)))
}

/// Raises the load step by step as long as the replicas keep up and it is too little for the
/// autoscaler to ask for its maximum; goes on until dropped.
async fn raise(
    trial: &Trial,
    autoscaler: &Autoscaler,
    current: &RefCell<Option<Load>>,
    peak_ms: &Cell<Option<f64>>,
) -> Result<Infallible, Stop> {
    let scope = scope(trial, autoscaler);
    let wants = wait::autoscaler_wants(autoscaler.max);
    let mut idx = 0usize;
    let mut keeps_up_ms = None;
    loop {
        let lane = Lane::Page(ArrivalPlan::constant(RATES[idx]));
        let load = trial.start_load(vec![lane]).await?;
        current.replace(Some(load));
        tokio::time::sleep(STEP).await;
        let Some(load) = current.take() else { continue };
        let stats = Stats::of(&trial.stop_load(load).await);
        if let Some(why) = stats.not_sent {
            let expected = format!("load enough for {} replicas", autoscaler.max);
            return Err(Stop::inconclusive(expected, why));
        }
        let keeps_up_ms = *keeps_up_ms
            .get_or_insert(KEEPS_UP_MS.max((SLOWER * stats.latency_ms.p90).min(SLOWEST_MS)));
        let (last, p90_ms) = (RATES.len() - 1, stats.latency_ms.p90);
        let keeps_up = stats.failed == 0 && p90_ms <= keeps_up_ms;
        peak_ms.set((keeps_up && idx == last).then_some(p90_ms));
        idx = if stats.failed > 0 {
            idx.saturating_sub(N_BACK)
        } else if !keeps_up {
            idx.saturating_sub(1)
        } else if wants.check(&scope.list().await?).is_ok() {
            idx
        } else if p90_ms <= KEEPS_UP_MS * FAST_SHARE {
            (idx + N_AHEAD).min(last)
        } else {
            (idx + 1).min(last)
        };
    }
}

/// The machines that have no CPU left: pods there cannot use what would have them scaled, however high
/// the load. `None` where there is CPU, or no metrics of nodes are served.
async fn machines_without_cpu(trial: &Trial) -> Result<Option<String>, Stop> {
    let request = http::Request::get("/apis/metrics.k8s.io/v1beta1/nodes").body(Vec::new());
    let request = request.map_err(|error| Stop::errored(error.to_string()))?;
    let metrics: Value = match trial.client().request(request).await {
        Ok(metrics) => metrics,
        Err(kube::Error::Api(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let nodes = Scope::all(Api::<Node>::all(trial.client())).list().await?;
    Ok(busy_machines(&nodes, &metrics))
}

/// The machines among `nodes` that `metrics`, the list of NodeMetrics, shows to be busy.
fn busy_machines(nodes: &[Arc<Node>], metrics: &Value) -> Option<String> {
    let used = |name: &str| {
        let items = metrics.get("items")?.as_array()?;
        let item =
            items.iter().find(|item| item.pointer("/metadata/name") == Some(&name.into()))?;
        milli(&Quantity(item.pointer("/usage/cpu")?.as_str()?.to_owned()))
    };
    // Nodes that share a kernel share its CPUs, and each claims all of them.
    let mut machines: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for node in nodes {
        let name = node.name_any();
        let status = node.status.as_ref();
        let boot = status.and_then(|status| Some(status.node_info.as_ref()?.boot_id.clone()));
        let allocatable = status.and_then(|status| milli(status.allocatable.as_ref()?.get("cpu")?));
        let machine = machines.entry(boot.filter(|id| !id.is_empty()).unwrap_or(name)).or_default();
        machine.0 += used(&node.name_any()).unwrap_or(0);
        machine.1 = machine.1.max(allocatable.unwrap_or(u64::MAX / 100));
    }
    let is_busy = |(used, has): &&(u64, u64)| used * 100 >= has * BUSY_PERCENT;
    let busy = machines.values().filter(is_busy);
    let busy: Vec<_> = busy.map(|(used, has)| format!("{used}m of {has}m are in use")).collect();
    let text = format!("the machine has no CPU left to give to the pods: {}", busy.join(", "));
    (!busy.is_empty()).then_some(text)
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
    Ok(pods.iter().any(|pod| memory_kills(pod).next().is_some()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_of_one_kernel_are_one_machine() {
        let node = |name: &str, boot: &str| {
            let node = json!({
                "metadata": {"name": name},
                "status": {"allocatable": {"cpu": "2"}, "nodeInfo": {"bootID": boot}},
            });
            Arc::new(serde_json::from_value::<Node>(fill(node)).expect("a node"))
        };
        let metrics = json!({"items": [
            {"metadata": {"name": "a"}, "usage": {"cpu": "900m"}},
            {"metadata": {"name": "b"}, "usage": {"cpu": "800m"}},
        ]});
        let apart = [node("a", "1"), node("b", "2")];
        assert_eq!(busy_machines(&apart, &metrics), None);
        let together = [node("a", "1"), node("b", "1")];
        let text = busy_machines(&together, &metrics).expect("1.7 of 2 cores");
        assert!(text.ends_with("1700m of 2000m are in use"), "{text}");
        assert_eq!(busy_machines(&together, &json!({"items": []})), None);
    }

    /// With what a NodeSystemInfo needs besides.
    fn fill(mut node: Value) -> Value {
        for field in [
            "architecture",
            "containerRuntimeVersion",
            "kernelVersion",
            "kubeProxyVersion",
            "kubeletVersion",
            "machineID",
            "operatingSystem",
            "osImage",
            "systemUUID",
        ] {
            node["status"]["nodeInfo"][field] = "".into();
        }
        node
    }
}
