//! Services: which pods get traffic, and what a client sees when none does.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use seatrial::load::{Failure, Target};

use super::body::{Body, body};
use super::needs::Need;
use super::served::ServedApi;
use super::support::{Cluster, Outcome, READY, ensure, is_true, web};

/// discovery.k8s.io/v1 came with 1.21, v1beta1 went with 1.25.
const SLICES: Need = Need::Served("discovery.k8s.io", "EndpointSlice");
/// Endpoint propagation on a quiet cluster, with a wide margin.
const PROPAGATION: Duration = Duration::from_secs(10);
/// Two probes of a second each fail.
const NOTICED: Duration = Duration::from_secs(20);
/// nginx and Apache ask for 511 places in the accept queue, and the kernel gives one more.
const ACCEPT_QUEUE: usize = 512;
/// Handshakes that were under way when the queue became full: only the client takes them for done.
const HALF_DONE: usize = 100;
/// More than the queue and those.
const N_CONNECTIONS: usize = 700;

async fn node_port(cluster: &Cluster, name: &str) -> Result<Target, String> {
    let service: Service = cluster
        .create(json!({
            "metadata": {"name": name},
            "spec": {
                "type": "NodePort", "selector": {"app": name},
                "ports": [{"port": 80, "targetPort": "http"}],
            },
        }))
        .await?;
    let ports = service.spec.and_then(|s| s.ports).unwrap_or_default();
    let port = ports.first().and_then(|p| p.node_port).ok_or("no node port")?;
    let port = u16::try_from(port).map_err(|e| e.to_string())?;
    Ok(Target { host: cluster.worker_address().await?, port, tls: None })
}

fn addresses(slices: &[EndpointSlice]) -> Vec<(String, Option<bool>)> {
    slices
        .iter()
        .flat_map(|s| s.endpoints.clone().unwrap_or_default())
        .map(|e| (e.addresses.join(","), e.conditions.and_then(|c| c.ready)))
        .collect()
}

async fn slices(cluster: &Cluster, service: &str) -> Result<Vec<EndpointSlice>, String> {
    let api: ServedApi<EndpointSlice> = ServedApi::find(cluster).await?;
    api.list(&format!("kubernetes.io/service-name={service}")).await
}

async fn ready_pods_are_endpoints(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 2, web()).await?;
    node_port(cluster, "a").await?;
    tokio::time::sleep(PROPAGATION).await;
    let found = addresses(&slices(cluster, "a").await?);
    let ready = found.iter().filter(|(_, ready)| *ready == Some(true)).count();
    ensure(ready == 2, format!("{found:?}"))?;
    let endpoints: Endpoints = cluster.get("a").await?;
    let n: usize = endpoints
        .subsets
        .unwrap_or_default()
        .iter()
        .filter_map(|s| s.addresses.as_ref())
        .map(Vec::len)
        .sum();
    ensure(n == 2, format!("{n} addresses in Endpoints"))
}

async fn a_deleted_pod_stops_being_a_ready_endpoint(cluster: &Cluster) -> Outcome {
    let mut spec = web();
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"exec": {"command": ["sleep", "20"]}}});
    cluster.deployment("a", 1, spec).await?;
    node_port(cluster, "a").await?;
    tokio::time::sleep(PROPAGATION).await;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    let ip = pods[0].status.as_ref().and_then(|s| s.pod_ip.clone()).ok_or("no address")?;
    cluster.delete::<Pod>(pods[0].metadata.name.as_deref().unwrap_or_default()).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let found = addresses(&slices(cluster, "a").await?);
    ensure(!found.contains(&(ip, Some(true))), format!("{found:?}"))
}

async fn a_node_port_answers_on_a_worker(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 2, web()).await?;
    let target = node_port(cluster, "a").await?;
    tokio::time::sleep(PROPAGATION).await;
    let answer =
        cluster.fetch(&target, "a.example.com", "/").await.map_err(|f| format!("{f:?}"))?;
    ensure(answer.response.status() == 200, answer.response.status().to_string())
}

async fn a_service_without_endpoints_refuses(cluster: &Cluster) -> Outcome {
    let target = node_port(cluster, "a").await?;
    tokio::time::sleep(PROPAGATION).await;
    match cluster.fetch(&target, "a.example.com", "/").await {
        Err(failed) if failed.failure == Failure::Refused => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

async fn a_terminating_pod_serves_through_its_pre_stop_hook(cluster: &Cluster) -> Outcome {
    let mut spec = web();
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"exec": {"command": ["sleep", "15"]}}});
    cluster.deployment("a", 2, spec).await?;
    let target = node_port(cluster, "a").await?;
    tokio::time::sleep(PROPAGATION).await;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    cluster.delete::<Pod>(pods[0].metadata.name.as_deref().unwrap_or_default()).await?;
    for _ in 0..100 {
        let answer = cluster.fetch(&target, "a.example.com", "/").await;
        let status = answer.map_err(|f| format!("a request failed: {f:?}"))?.response.status();
        ensure(status == 200, status.to_string())?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn an_unready_pod_gets_no_request(cluster: &Cluster) -> Outcome {
    let mut spec = web();
    spec["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    cluster.create::<Pod>(super::support::pod("a", spec)).await?;
    cluster.until("a", READY, "running", |p: &Pod| is_true(p, "ContainersReady")).await?;
    let target = node_port(cluster, "a").await?;
    tokio::time::sleep(PROPAGATION).await;
    match cluster.fetch(&target, "a.example.com", "/").await {
        Err(failed) if failed.failure == Failure::Refused => {}
        other => return Err(format!("with a closed gate: {other:?}")),
    }
    super::pods::set_condition(cluster, "a", "example.com/gate", "True").await?;
    tokio::time::sleep(PROPAGATION).await;
    let answer =
        cluster.fetch(&target, "a.example.com", "/").await.map_err(|f| format!("{f:?}"))?;
    ensure(answer.response.status() == 200, answer.response.status().to_string())
}

async fn a_lost_node_is_noticed_and_its_pods_stop_being_endpoints(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 3, web()).await?;
    node_port(cluster, "a").await?;
    tokio::time::sleep(PROPAGATION).await;
    let pods: Vec<Pod> = cluster.list("app=a").await?;
    let node = pods[0].spec.as_ref().and_then(|s| s.node_name.clone()).ok_or("no node")?;
    cluster.nodes()?.stop(&node).await.map_err(|e| e.to_string())?;
    // Its pods: more than one where the scheduler had no reason to keep them apart.
    let is_lost = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.node_name.as_ref()) == Some(&node);
    let n_kept = pods.iter().filter(|pod| !is_lost(pod)).count();
    // The newest minors wait 50 s for a heartbeat and look every 5 s.
    let noticed = cluster
        .until_pods("app=a", Duration::from_secs(75), "its pods are unready", |pods| {
            let mut lost = pods.iter().filter(|pod| is_lost(pod));
            lost.all(|pod| !is_true(pod, "Ready"))
        })
        .await;
    tokio::time::sleep(PROPAGATION).await;
    let found = slices(cluster, "a").await.map(|slices| addresses(&slices));
    cluster.nodes()?.start(&node).await.map_err(|e| e.to_string())?;
    noticed?;
    let found = found?;
    let n_ready = found.iter().filter(|(_, ready)| *ready == Some(true)).count();
    ensure(n_ready == n_kept, format!("{n_kept} pods are elsewhere; {found:?}"))
}

async fn a_frozen_container_accepts_and_does_not_answer(cluster: &Cluster) -> Outcome {
    let mut spec = web();
    let probe = json!({
        "httpGet": {"port": 80}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2,
    });
    spec["containers"][0]["readinessProbe"] = probe;
    let (target, pod) = one_pod(cluster, spec).await?;
    pause(cluster, &pod, true).await?;
    let answer = cluster.fetch(&target, "a.example.com", "/").await;
    let name = pod.name_any();
    let noticed = cluster.until(&name, NOTICED, "it is unready", |p: &Pod| !is_true(p, "Ready"));
    let noticed = noticed.await;
    pause(cluster, &pod, false).await?;
    match answer {
        Err(failed) if failed.failure == Failure::ResponseTimeout => {}
        other => return Err(format!("while frozen: {other:?}")),
    }
    noticed?;
    cluster.until(&name, READY, "it is ready again", |p: &Pod| is_true(p, "Ready")).await.map(drop)
}

async fn a_full_accept_queue_lets_nobody_connect(cluster: &Cluster) -> Outcome {
    let (target, pod) = one_pod(cluster, web()).await?;
    pause(cluster, &pod, true).await?;
    let name = pod.name_any();
    // The probe connects, and that is all it asks.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = cluster.get::<Pod>(&name).await;
    let connections = (0..N_CONNECTIONS).map(|_| cluster.fetch(&target, "a.example.com", "/"));
    let answers = futures::future::join_all(connections).await;
    let noticed = cluster.until(&name, NOTICED, "it is unready", |p: &Pod| !is_true(p, "Ready"));
    let noticed = noticed.await;
    pause(cluster, &pod, false).await?;
    ensure(is_true(&before?, "Ready"), "a TCP probe noticed that the program hangs")?;
    let n = |failure| {
        answers.iter().filter(|a| a.as_ref().is_err_and(|f| f.failure == failure)).count()
    };
    let (n_waited, n_kept_out) = (n(Failure::ResponseTimeout), n(Failure::ConnectTimeout));
    // The probes' own connections wait in the queue too.
    ensure(
        (ACCEPT_QUEUE - 40..=ACCEPT_QUEUE + HALF_DONE).contains(&n_waited)
            && n_waited + n_kept_out == N_CONNECTIONS,
        format!("{n_waited} connected and were not answered, {n_kept_out} did not connect"),
    )?;
    noticed?;
    cluster.until(&name, READY, "it is ready again", |p: &Pod| is_true(p, "Ready")).await.map(drop)
}

async fn a_frozen_container_is_killed_by_its_liveness_probe(cluster: &Cluster) -> Outcome {
    let mut spec = web();
    spec["terminationGracePeriodSeconds"] = 5.into();
    let container = &mut spec["containers"][0];
    container["livenessProbe"] = json!({
        "httpGet": {"port": 80}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2,
    });
    container["lifecycle"] = json!({"preStop": {"exec": {"command": ["sleep", "60"]}}});
    let (_, pod) = one_pod(cluster, spec).await?;
    pause(cluster, &pod, true).await?;
    let is_back = |p: &Pod| {
        let statuses = p.status.as_ref().and_then(|s| s.container_statuses.as_ref());
        let n_starts = statuses.and_then(|s| s.first()).map_or(0, |s| s.restart_count);
        n_starts == 1 && is_true(p, "Ready")
    };
    let back = cluster.until(&pod.name_any(), READY, "it was started again", is_back).await;
    // It has gone, and that is no error.
    pause(cluster, &pod, false).await?;
    back.map(drop)
}

/// A Deployment of one pod behind a node port.
async fn one_pod(cluster: &Cluster, spec: Value) -> Result<(Target, Pod), String> {
    cluster.deployment("a", 1, spec).await?;
    let target = node_port(cluster, "a").await?;
    tokio::time::sleep(PROPAGATION).await;
    let mut pods: Vec<Pod> = cluster.list("app=a").await?;
    match (pods.pop(), pods.len()) {
        (Some(pod), 0) => Ok((target, pod)),
        (_, n) => Err(format!("{n} pods too many or too few")),
    }
}

/// Freezes or thaws the container of `pod`.
async fn pause(cluster: &Cluster, pod: &Pod, frozen: bool) -> Outcome {
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).ok_or("no node")?;
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    let id = statuses.and_then(|s| s.first()?.container_id.as_deref()).ok_or("no container")?;
    let containers = cluster.containers()?;
    let done = match frozen {
        true => containers.pause(node, id).await,
        false => containers.unpause(node, id).await,
    };
    done.map_err(|error| error.to_string())
}

pub fn bodies() -> Vec<Body> {
    vec![
        body!(ready_pods_are_endpoints).needs(&[SLICES]),
        body!(a_deleted_pod_stops_being_a_ready_endpoint).needs(&[SLICES]),
        body!(a_node_port_answers_on_a_worker),
        body!(a_service_without_endpoints_refuses),
        body!(a_terminating_pod_serves_through_its_pre_stop_hook),
        body!(an_unready_pod_gets_no_request),
        body!(a_frozen_container_accepts_and_does_not_answer).needs(&[Need::Freezing]),
        body!(a_full_accept_queue_lets_nobody_connect).needs(&[Need::Freezing]),
        body!(a_frozen_container_is_killed_by_its_liveness_probe).needs(&[Need::Freezing]),
        body!(a_lost_node_is_noticed_and_its_pods_stop_being_endpoints)
            .needs(&[SLICES, Need::NodeStops])
            .alone(),
    ]
}
