//! Why an add-on does not come up: what blocks, warnings of its namespace, last lines of its pods.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, ResourceExt as _};
use tokio::time::timeout;

use super::AddOn;
use crate::base::Error;
use crate::k8s::is_pod_ready;
use crate::wait::{EXPLAIN_LIMIT, WaitError, blocking_chain};

/// Newest warnings shown.
const EVENTS_MAX: usize = 8;
/// Pods whose logs are shown.
const PODS_MAX: usize = 3;
/// Last lines of a container's log.
const LOG_LINES: i64 = 5;
/// Longest line shown, in characters.
const LINE_CHARS: usize = 240;

/// The error of `addon` for a wait that ended unmet. Reading the reasons is best effort.
pub(super) async fn explained(client: &Client, addon: AddOn, error: WaitError) -> Error {
    let namespace = addon.namespace();
    let mut error = error;
    let (mut events, mut logs) = (Vec::new(), Vec::new());
    // Logs come last: those of a node that is down take the API long.
    let reading = async {
        if error.chain.is_empty() {
            error.chain = blocking_chain(client, namespace).await;
        }
        events = warnings(client, namespace).await;
        read_logs(client, addon, &mut logs).await;
    };
    let is_read = timeout(EXPLAIN_LIMIT, reading).await.is_ok();
    let mut lines = vec![format!("add-on {addon} does not come up")];
    lines.extend(advice(addon, &logs).map(str::to_owned));
    lines.push(error.to_string());
    lines.extend(events);
    lines.extend(logs.iter().map(|line| shortened(line)));
    if !is_read {
        lines.push("the API did not tell all reasons in time".to_owned());
    }
    Error::environment(lines.join("\n"))
}

/// What mends a trouble that the last lines of logs speak of, if it is a known one.
fn advice(addon: AddOn, logs: &[String]) -> Option<&'static str> {
    let is_known = addon == AddOn::MetricsServer && logs.iter().any(|line| line.contains("x509"));
    is_known.then_some(
        "it does not trust the certificates of the kubelets; have them signed by the cluster's \
         authority (serverTLSBootstrap), or pass --addons DIR with a DIR/metrics-server whose \
         Deployment has the argument --kubelet-insecure-tls",
    )
}

/// The newest warnings of a namespace, oldest first.
async fn warnings(client: &Client, namespace: &str) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().fields("type=Warning");
    let mut events = events.list(&params).await.map(|list| list.items).unwrap_or_default();
    events.sort_by_key(|event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        last.or(event.event_time.as_ref().map(|time| time.0))
    });
    let newest = events.iter().rev().take(EVENTS_MAX).rev();
    newest.map(|event| shortened(&describe(event))).collect()
}

fn describe(event: &Event) -> String {
    let object = &event.involved_object;
    format!(
        "event: {} {}: {}: {}",
        object.kind.as_deref().unwrap_or(""),
        object.name.as_deref().unwrap_or(""),
        event.reason.as_deref().unwrap_or(""),
        event.message.as_deref().unwrap_or("").trim()
    )
}

/// Reads into `lines` the last ones that those pods of `addon` wrote that are not ready; where all are,
/// those that manage the others.
async fn read_logs(client: &Client, addon: AddOn, lines: &mut Vec<String>) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), addon.namespace());
    let selector = match addon {
        AddOn::IngressNginx => "app.kubernetes.io/name=ingress-nginx",
        AddOn::MetricsServer => "k8s-app=metrics-server",
        // All there is, operator and daemons: any of them may be the one.
        AddOn::RookCeph => "",
    };
    let params = ListParams::default().labels(selector);
    let found = pods.list(&params).await.map(|list| list.items).unwrap_or_default();
    let is_operator =
        |pod: &&Pod| pod.labels().get("app").is_some_and(|app| app.contains("operator"));
    let (ready, not): (Vec<&Pod>, Vec<&Pod>) = found.iter().partition(|pod| is_pod_ready(pod));
    let telling = not.into_iter().filter(|pod| phase(pod) != "Succeeded").take(PODS_MAX);
    for pod in
        telling.chain(ready.into_iter().filter(|pod| addon != AddOn::RookCeph || is_operator(pod)))
    {
        for container in started(pod) {
            lines.extend(last_lines(&pods, pod, &container).await);
        }
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
}

/// The containers that run or ran, so that there is a log to read.
fn started(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let init = status.init_container_statuses.iter().flatten();
    let has_run = |state: &&k8s_openapi::api::core::v1::ContainerStatus| {
        state.container_id.as_deref().is_some_and(|id| !id.is_empty()) && !state.ready
            || state.started == Some(true)
    };
    let all = init.chain(status.container_statuses.iter().flatten());
    all.filter(has_run).map(|state| state.name.clone()).collect()
}

async fn last_lines(pods: &Api<Pod>, pod: &Pod, container: &str) -> Vec<String> {
    let name = pod.name_any();
    let params = LogParams {
        container: Some(container.to_owned()),
        tail_lines: Some(LOG_LINES),
        ..LogParams::default()
    };
    let text = pods.logs(&name, &params).await.unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| format!("log of {name}/{container}: {line}")).collect()
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::Instant;
    use tower::BoxError;

    use super::*;
    use crate::base::secs;

    #[tokio::test(start_paused = true)]
    async fn an_api_that_is_silent_is_asked_for_reasons_as_long_as_in_a_wait() {
        let silent = |_: Request<Body>| pending::<Result<Response<Body>, BoxError>>();
        let client = Client::new(tower::service_fn(silent), "default");
        let api = kube::Error::LinesCodecMaxLineLengthExceeded;
        let error = WaitError::api("it is ready", &api);
        let began = Instant::now();
        let explained = explained(&client, AddOn::RookCeph, error);
        let error = timeout(secs(60), explained).await.expect("it has a limit").to_string();
        assert_eq!(began.elapsed(), EXPLAIN_LIMIT);
        assert!(error.contains("expected: it is ready"), "{error}");
        assert!(error.ends_with("the API did not tell all reasons in time"), "{error}");
    }

    #[test]
    fn metrics_server_without_trust_in_kubelets_is_told_the_flag() {
        let log = "log of metrics-server-1/metrics-server: E1128 scraper.go:149] \"Failed to scrape \
                   node\" err=\"Get \\\"https://172.18.0.2:10250/metrics/resource\\\": tls: failed to \
                   verify certificate: x509: cannot validate certificate for 172.18.0.2\"";
        let logs = ["log of metrics-server-1/metrics-server: serving".to_owned(), log.to_owned()];
        let text = advice(AddOn::MetricsServer, &logs).expect("known");
        assert!(text.contains("--kubelet-insecure-tls") && text.contains("--addons DIR"), "{text}");
        assert_eq!(advice(AddOn::MetricsServer, &logs[..1]), None);
        assert_eq!(advice(AddOn::RookCeph, &logs), None);
    }
}
