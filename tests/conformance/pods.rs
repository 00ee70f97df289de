//! The life of a pod: start, probes, hooks, restarts, end.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::body::{Body, body};
use super::support::{Cluster, Outcome, READY, ensure, images, is_true, pause, pod, web};

/// Sets a condition of a pod, as a controller of readiness gates does.
pub async fn set_condition(cluster: &Cluster, name: &str, kind: &str, status: &str) -> Outcome {
    let patch = json!({"status": {"conditions": [{"type": kind, "status": status}]}});
    let api: Api<Pod> = cluster.api();
    let patched = api.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch)).await;
    patched.map(|_| ()).map_err(|e| e.to_string())
}

fn waiting_reason(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.and_then(|s| s.first()).map_or(0, |s| s.restart_count)
}

async fn a_pod_runs_and_gets_an_address(cluster: &Cluster) -> Outcome {
    cluster.create::<Pod>(pod("a", pause())).await?;
    let pod = cluster.until("a", READY, "ready", |p: &Pod| is_true(p, "Ready")).await?;
    let status = pod.status.ok_or("no status")?;
    ensure(status.phase.as_deref() == Some("Running"), format!("{:?}", status.phase))?;
    ensure(status.pod_ip.is_some() && status.host_ip.is_some(), "addresses are known")?;
    ensure(status.qos_class.as_deref() == Some("BestEffort"), format!("{:?}", status.qos_class))
}

async fn a_readiness_gate_holds_readiness(cluster: &Cluster) -> Outcome {
    let mut spec = pause();
    spec["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    cluster.create::<Pod>(pod("a", spec)).await?;
    let running =
        cluster.until("a", READY, "running", |p: &Pod| is_true(p, "ContainersReady")).await?;
    ensure(!is_true(&running, "Ready"), "it is ready with a closed gate")?;
    set_condition(cluster, "a", "example.com/gate", "True").await?;
    let within = Duration::from_secs(10);
    cluster.until("a", within, "ready", |p: &Pod| is_true(p, "Ready")).await?;
    set_condition(cluster, "a", "example.com/gate", "False").await?;
    cluster.until("a", within, "unready", |p: &Pod| !is_true(p, "Ready")).await?;
    Ok(())
}

async fn a_probe_that_fails_keeps_a_pod_unready(cluster: &Cluster) -> Outcome {
    stays_unready(cluster, json!({"tcpSocket": {"port": 81}, "periodSeconds": 1})).await
}

async fn a_probe_of_an_absent_page_fails(cluster: &Cluster) -> Outcome {
    let get = json!({"path": "/absent", "port": 80});
    stays_unready(cluster, json!({"httpGet": get, "periodSeconds": 1})).await
}

async fn a_probe_over_tls_fails_where_plain_http_is_served(cluster: &Cluster) -> Outcome {
    let get = json!({"path": "/", "port": 80, "scheme": "HTTPS"});
    stays_unready(cluster, json!({"httpGet": get, "periodSeconds": 1})).await
}

/// A web server whose readiness probe never succeeds runs, is not ready and is not restarted.
async fn stays_unready(cluster: &Cluster, probe: Value) -> Outcome {
    let mut spec = web();
    spec["containers"][0]["readinessProbe"] = probe;
    cluster.create::<Pod>(pod("a", spec)).await?;
    cluster
        .until("a", READY, "running", |p: &Pod| {
            p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running")
        })
        .await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let pod: Pod = cluster.get("a").await?;
    ensure(!is_true(&pod, "Ready") && restarts(&pod) == 0, super::support::describe(&pod))
}

async fn initial_delay_holds_the_first_probe(cluster: &Cluster) -> Outcome {
    let mut spec = web();
    spec["containers"][0]["readinessProbe"] =
        json!({"tcpSocket": {"port": 80}, "initialDelaySeconds": 10, "periodSeconds": 1});
    cluster.create::<Pod>(pod("a", spec)).await?;
    let pod = cluster.until("a", READY, "ready", |p: &Pod| is_true(p, "Ready")).await?;
    let started = pod.status.as_ref().and_then(|s| {
        let state = s.container_statuses.as_ref()?.first()?.state.as_ref()?;
        Some(state.running.as_ref()?.started_at.as_ref()?.0)
    });
    let ready = seatrial::k8s::pod_condition(&pod, "Ready")
        .and_then(|c| c.last_transition_time.as_ref())
        .map(|t| t.0);
    let (Some(started), Some(ready)) = (started, ready) else { return Err("no times".into()) };
    let seconds = ready.as_second() - started.as_second();
    ensure((9..=13).contains(&seconds), format!("ready after {seconds} s"))
}

async fn a_failing_liveness_probe_restarts_the_container(cluster: &Cluster) -> Outcome {
    let mut spec = web();
    spec["terminationGracePeriodSeconds"] = json!(1);
    spec["containers"][0]["livenessProbe"] =
        json!({"tcpSocket": {"port": 81}, "periodSeconds": 1, "failureThreshold": 2});
    cluster.create::<Pod>(pod("a", spec)).await?;
    cluster.until("a", READY, "a restart", |p: &Pod| restarts(p) >= 1).await?;
    Ok(())
}

async fn an_image_nobody_published_cannot_be_pulled(cluster: &Cluster) -> Outcome {
    let spec = json!({"containers": [{"name": "a", "image": "example.invalid/nobody/nothing:1"}]});
    cluster.create::<Pod>(pod("a", spec)).await?;
    cluster
        .until("a", READY, "the pull fails", |p: &Pod| {
            matches!(waiting_reason(p), Some("ErrImagePull" | "ImagePullBackOff"))
        })
        .await?;
    Ok(())
}

async fn a_missing_secret_key_keeps_a_container_from_starting(cluster: &Cluster) -> Outcome {
    let mut spec = pause();
    spec["containers"][0]["env"] =
        json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": "nobody", "key": "x"}}}]);
    cluster.create::<Pod>(pod("a", spec)).await?;
    cluster
        .until("a", READY, "the reason", |p: &Pod| {
            waiting_reason(p) == Some("CreateContainerConfigError")
        })
        .await?;
    Ok(())
}

async fn a_crashing_container_backs_off(cluster: &Cluster) -> Outcome {
    let spec =
        json!({"containers": [{"name": "a", "image": images().nginx, "command": ["false"]}]});
    cluster.create::<Pod>(pod("a", spec)).await?;
    cluster
        .until("a", READY, "CrashLoopBackOff", |p: &Pod| {
            waiting_reason(p) == Some("CrashLoopBackOff") && restarts(p) >= 1
        })
        .await?;
    Ok(())
}

async fn two_servers_of_one_pod_cannot_share_a_port(cluster: &Cluster) -> Outcome {
    let server = |name: &str| json!({"name": name, "image": images().nginx});
    cluster.create::<Pod>(pod("a", json!({"containers": [server("a"), server("b")]}))).await?;
    let ends = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_deref());
        let ended = |status: &&ContainerStatus| {
            let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            last.is_some_and(|last| last.exit_code == 1)
        };
        statuses.unwrap_or_default().iter().filter(ended).count()
    };
    let pod = cluster.until("a", READY, "one of them restarts", |p: &Pod| ends(p) > 0).await?;
    ensure(ends(&pod) == 1, "the other goes on")
}

async fn deletion_takes_the_pre_stop_hook_and_no_more_than_the_grace(cluster: &Cluster) -> Outcome {
    let mut spec = web();
    spec["terminationGracePeriodSeconds"] = json!(20);
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"exec": {"command": ["sleep", "5"]}}});
    cluster.create::<Pod>(pod("a", spec)).await?;
    cluster.until("a", READY, "ready", |p: &Pod| is_true(p, "Ready")).await?;
    let start = tokio::time::Instant::now();
    cluster.delete::<Pod>("a").await?;
    let marked: Pod = cluster.get("a").await?;
    ensure(marked.metadata.deletion_grace_period_seconds == Some(20), "the grace is shown")?;
    ensure(is_true(&marked, "Ready"), "deletion alone does not change readiness")?;
    cluster.until_gone::<Pod>("a", Duration::from_secs(40)).await?;
    let seconds = start.elapsed().as_secs();
    ensure((5..=35).contains(&seconds), format!("gone after {seconds} s"))
}

async fn force_deletion_removes_the_object_at_once(cluster: &Cluster) -> Outcome {
    cluster.create::<Pod>(pod("a", web())).await?;
    cluster.until("a", READY, "ready", |p: &Pod| is_true(p, "Ready")).await?;
    let api: Api<Pod> = cluster.api();
    let force = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    api.delete("a", &force).await.map_err(|e| e.to_string())?;
    cluster.until_gone::<Pod>("a", Duration::from_secs(1)).await
}

async fn requests_and_limits_make_the_class(cluster: &Cluster) -> Outcome {
    let class = |resources: Value| {
        let mut spec = pause();
        spec["containers"][0]["resources"] = resources;
        spec
    };
    let equal = json!({"cpu": "10m", "memory": "16Mi"});
    let guaranteed = class(json!({"limits": equal}));
    let made: Pod = cluster.create(pod("g", guaranteed)).await?;
    let qos = made.status.and_then(|s| s.qos_class);
    ensure(qos.as_deref() == Some("Guaranteed"), format!("{qos:?}"))?;
    let burstable = class(json!({"requests": {"cpu": "10m"}}));
    let made: Pod = cluster.create(pod("b", burstable)).await?;
    let qos = made.status.and_then(|s| s.qos_class);
    ensure(qos.as_deref() == Some("Burstable"), format!("{qos:?}"))
}

async fn init_containers_run_before_the_others(cluster: &Cluster) -> Outcome {
    let spec = json!({
        "initContainers": [{"name": "wait", "image": images().nginx, "command": ["sleep", "3"]}],
        "containers": [{"name": "pause", "image": images().pause}],
    });
    cluster.create::<Pod>(pod("a", spec)).await?;
    let pod = cluster.until("a", READY, "ready", |p: &Pod| is_true(p, "Ready")).await?;
    let status = pod.status.ok_or("no status")?;
    let ended = status.init_container_statuses.unwrap_or_default().into_iter().next();
    let code = ended.and_then(|s| s.state).and_then(|s| s.terminated).map(|t| t.exit_code);
    ensure(code == Some(0), format!("init container ended with {code:?}"))
}

pub fn bodies() -> Vec<Body> {
    vec![
        body!(a_pod_runs_and_gets_an_address),
        body!(a_readiness_gate_holds_readiness),
        body!(a_probe_that_fails_keeps_a_pod_unready),
        body!(a_probe_of_an_absent_page_fails),
        body!(a_probe_over_tls_fails_where_plain_http_is_served),
        body!(initial_delay_holds_the_first_probe),
        body!(a_failing_liveness_probe_restarts_the_container),
        body!(an_image_nobody_published_cannot_be_pulled),
        body!(a_missing_secret_key_keeps_a_container_from_starting),
        body!(a_crashing_container_backs_off),
        body!(two_servers_of_one_pod_cannot_share_a_port),
        body!(deletion_takes_the_pre_stop_hook_and_no_more_than_the_grace),
        body!(force_deletion_removes_the_object_at_once),
        body!(requests_and_limits_make_the_class),
        body!(init_containers_run_before_the_others),
    ]
}
