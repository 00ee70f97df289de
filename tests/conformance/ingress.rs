//! The ingress controller: routing, redirect, fallback certificate, what its webhook refuses.

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use seatrial::load::{Answer, Target};

use super::body::{Body, body};
use super::needs::{Need, ingress_class};
use super::support::{Cluster, Outcome, ensure, from_json, refusal, web};

/// The controller's sync limit, reload and worker timer, with a wide margin.
const SYNCED: Duration = Duration::from_secs(15);

/// A host that no other run on the same cluster asks for: the controller refuses one that is taken.
fn host_of(cluster: &Cluster, name: &str) -> String {
    format!("{name}.{}.example.com", cluster.namespace)
}

async fn publish(cluster: &Cluster, host: &str, service: &str, tls: bool) -> Outcome {
    let object = ingress(cluster, host, service, tls).await?;
    cluster.create::<Ingress>(object).await.map(|_| ())
}

/// An Ingress called as its Service.
async fn ingress(cluster: &Cluster, host: &str, service: &str, tls: bool) -> Result<Value, String> {
    let class = ingress_class(cluster).await?.ok_or("no class of ingress-nginx")?;
    let mut spec = json!({
        "ingressClassName": class,
        "rules": [{"host": host, "http": {"paths": [{
            "path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": service, "port": {"number": 80}}},
        }]}}],
    });
    if tls {
        spec["tls"] = json!([{"hosts": [host], "secretName": "nobody"}]);
    }
    Ok(json!({"metadata": {"name": service}, "spec": spec}))
}

async fn service(cluster: &Cluster, name: &str) -> Outcome {
    let object = json!({
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 80}]},
    });
    cluster.create::<Service>(object).await.map(|_| ())
}

async fn get(cluster: &Cluster, target: &Target, host: &str, path: &str) -> Result<Answer, String> {
    cluster.fetch(target, host, path).await.map_err(|f| format!("{f:?}"))
}

async fn a_host_is_routed_to_its_service(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 2, web()).await?;
    service(cluster, "a").await?;
    let host = host_of(cluster, "routed");
    publish(cluster, &host, "a", false).await?;
    tokio::time::sleep(SYNCED).await;
    let http = &cluster.front_door.http;
    let answer = get(cluster, http, &host, "/").await?;
    ensure(answer.response.status() == 200, answer.response.status().to_string())
}

async fn a_backend_may_be_named_by_its_target_port(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 1, web()).await?;
    let object = json!({
        "metadata": {"name": "a"},
        "spec": {"selector": {"app": "a"}, "ports": [{"port": 8080, "targetPort": 80}]},
    });
    cluster.create::<Service>(object).await?;
    let host = host_of(cluster, "target");
    publish(cluster, &host, "a", false).await?;
    tokio::time::sleep(SYNCED).await;
    let answer = get(cluster, &cluster.front_door.http, &host, "/").await?;
    ensure(answer.response.status() == 200, answer.response.status().to_string())
}

async fn an_unknown_host_is_not_found(cluster: &Cluster) -> Outcome {
    let answer = get(cluster, &cluster.front_door.http, "nobody.example.com", "/").await?;
    ensure(answer.response.status() == 404, answer.response.status().to_string())
}

async fn a_host_and_path_belong_to_one_ingress(cluster: &Cluster) -> Outcome {
    let host = host_of(cluster, "taken");
    publish(cluster, &host, "a", false).await?;
    // The webhook learns of the first one by a watch.
    tokio::time::sleep(SYNCED).await;
    let second: Ingress = from_json(ingress(cluster, &host, "b", false).await?)?;
    let api: Api<Ingress> = cluster.api();
    let status = refusal(api.create(&PostParams::default(), &second).await)?;
    let expected = format!(
        "admission webhook \"validate.nginx.ingress.kubernetes.io\" denied the request: host \"{host}\" \
         and path \"/\" is already defined in ingress {}/a",
        cluster.namespace
    );
    ensure(status.code == 400 && status.message.ends_with(&expected), status.message)
}

async fn a_service_without_endpoints_is_unavailable(cluster: &Cluster) -> Outcome {
    service(cluster, "a").await?;
    let host = host_of(cluster, "empty");
    publish(cluster, &host, "a", false).await?;
    tokio::time::sleep(SYNCED).await;
    let answer = get(cluster, &cluster.front_door.http, &host, "/").await?;
    ensure(answer.response.status() == 503, answer.response.status().to_string())
}

async fn tls_redirects_http_and_keeps_path_and_query(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 1, web()).await?;
    service(cluster, "a").await?;
    let host = host_of(cluster, "tls");
    publish(cluster, &host, "a", true).await?;
    tokio::time::sleep(SYNCED).await;
    let answer = get(cluster, &cluster.front_door.http, &host, "/b?c=d").await?;
    let location = answer.response.headers().get("location").and_then(|l| l.to_str().ok());
    ensure(answer.response.status() == 308, answer.response.status().to_string())?;
    ensure(location == Some(&*format!("https://{host}/b?c=d")), format!("{location:?}"))
}

async fn a_missing_secret_gives_the_fallback_certificate(cluster: &Cluster) -> Outcome {
    cluster.deployment("a", 1, web()).await?;
    service(cluster, "a").await?;
    let host = host_of(cluster, "fake");
    publish(cluster, &host, "a", true).await?;
    tokio::time::sleep(SYNCED).await;
    let mut https = cluster.front_door.https.clone();
    https.tls = Some(host.clone());
    let answer = get(cluster, &https, &host, "/").await?;
    ensure(answer.response.status() == 200, answer.response.status().to_string())?;
    let chain = answer.tls.ok_or("no TLS")?.chain;
    let leaf = chain.first().ok_or("no certificate")?;
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).map_err(|e| e.to_string())?;
    let subject = certificate.subject().to_string();
    ensure(subject.contains("Kubernetes Ingress Controller Fake Certificate"), subject)
}

pub fn bodies() -> Vec<Body> {
    vec![
        body!(a_host_is_routed_to_its_service).needs(&[Need::Ingress]),
        body!(a_backend_may_be_named_by_its_target_port).needs(&[Need::Ingress]),
        body!(an_unknown_host_is_not_found).needs(&[Need::Ingress]),
        body!(a_host_and_path_belong_to_one_ingress).needs(&[Need::Ingress]),
        body!(a_service_without_endpoints_is_unavailable).needs(&[Need::Ingress]),
        body!(tls_redirects_http_and_keeps_path_and_query).needs(&[Need::Ingress]),
        body!(a_missing_secret_gives_the_fallback_certificate).needs(&[Need::Ingress]),
    ]
}
