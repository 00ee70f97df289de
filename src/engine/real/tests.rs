//! A real cluster's client against servers on this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchParams};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::served::served;
use super::*;
use crate::base::{ErrorClass, millis, secs};
use crate::engine::{Capability, Engine as _, FrontDoor};
use crate::load::Target;

/// Answers requests with what `reply` says to their path: a status and a body.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: impl Fn(&str) -> (u16, Value),
) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (status, body) = reply(&path);
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status} .\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn not_found() -> (u16, Value) {
    let text = "the server could not find the requested resource";
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": text, "reason": "NotFound", "details": {}, "code": 404});
    (404, status)
}

/// What an API server of 1.20 says of itself.
fn of_1_20(path: &str) -> (u16, Value) {
    let resources = |group_version: &str, names: &[(&str, &str)]| {
        let one = |(name, kind): &(&str, &str)| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"]});
        let list: Vec<Value> = names.iter().map(one).collect();
        (200, json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": list}))
    };
    match path {
        "/version" => (
            200,
            json!({
                "major": "1", "minor": "20+", "gitVersion": "v1.20.2", "gitCommit": "", "buildDate": "",
                "gitTreeState": "", "goVersion": "", "compiler": "", "platform": "",
            }),
        ),
        "/apis/policy/v1beta1" => resources(
            "policy/v1beta1",
            &[
                ("poddisruptionbudgets", "PodDisruptionBudget"),
                ("poddisruptionbudgets/status", "PodDisruptionBudget"),
            ],
        ),
        "/apis/autoscaling/v2beta2" => resources(
            "autoscaling/v2beta2",
            &[
                ("horizontalpodautoscalers/status", "HorizontalPodAutoscaler"),
                ("horizontalpodautoscalers", "HorizontalPodAutoscaler"),
            ],
        ),
        _ => not_found(),
    }
}

/// Writes a kubeconfig for a server at `url`; the folder goes with the value.
fn kubeconfig(cluster: Value, user: Value) -> (tempfile::TempDir, Access) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    let object = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "kind-one",
        "clusters": [{"name": "kind-one", "cluster": cluster}],
        "users": [{"name": "kind-one", "user": user}],
        "contexts": [{"name": "kind-one", "context": {"cluster": "kind-one", "user": "kind-one"}}],
    });
    std::fs::write(&path, object.to_string()).expect("written");
    let access = Access { kubeconfig: Some(path), context: None };
    (folder, access)
}

fn given() -> Given {
    let target = Target { host: "127.0.0.1".into(), port: 80, tls: None };
    Given {
        name: "kind",
        front_door: FrontDoor { http: target.clone(), https: target },
        capabilities: vec![Capability::NodeChanges],
        nodes: None,
        containers: None,
        memory_kills: None,
        logs: None,
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

fn reference_pair() -> (Vec<u8>, Vec<u8>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/wordpress/10-secrets.yaml");
    let text = std::fs::read_to_string(path).expect("the manifest is readable");
    let secret = serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).expect("YAML"))
        .find(|object| object["type"] == "kubernetes.io/tls")
        .expect("a TLS Secret");
    let decoded = |key: &str| {
        let text = secret["data"][key].as_str().expect("a value");
        base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
    };
    (decoded("tls.crt"), decoded("tls.key"))
}

/// A server that asks its clients for a certificate, as kind's API server does.
fn acceptor(certificate: &[u8], key: &[u8]) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key).expect("a key");
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(vec![certificate], key)
        .expect("a pair");
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_client_certificate_of_the_kubeconfig_opens_the_cluster() {
    let (certificate, key) = reference_pair();
    let acceptor = acceptor(&certificate, &key);
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                tokio::spawn(serve(stream, of_1_20));
            }
        }
    });
    let text = |pem: &[u8]| base64::engine::general_purpose::STANDARD.encode(pem);
    let cluster = json!({
        "server": format!("https://127.0.0.1:{port}"),
        "certificate-authority-data": text(&certificate),
        "tls-server-name": "wordpress.example.com",
    });
    let user = json!({
        "client-certificate-data": text(&certificate), "client-key-data": text(&key),
    });
    let (_folder, access) = kubeconfig(cluster.clone(), user);
    let engine = RealCluster::connect(&access, given()).await.expect("it answers");
    assert_eq!((engine.name(), engine.kubernetes().as_str()), ("kind", "1.20"));
    assert_eq!(engine.capabilities(), [Capability::NodeChanges]);
    assert!(engine.nodes().is_none() && engine.facts().is_empty());

    let (_folder, stranger) = kubeconfig(cluster, json!({}));
    let error = RealCluster::connect(&stranger, given()).await.err().expect("it is refused");
    assert_eq!(error.class(), ErrorClass::Environment);
}

#[tokio::test]
async fn the_version_of_a_kind_is_the_one_that_is_served() {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, of_1_20));
        }
    });
    let (_folder, access) =
        kubeconfig(json!({"server": format!("http://127.0.0.1:{port}")}), json!({}));
    let client = access.client().expect("a client");
    let version = async |group: &str, kind: &str| {
        let found = served(&client, group, kind).await.expect("it answers");
        found.map(|each| (each.api_version, each.plural))
    };
    let budgets = ("policy/v1beta1".to_owned(), "poddisruptionbudgets".to_owned());
    assert_eq!(version("policy", "PodDisruptionBudget").await, Some(budgets));
    let scalers = ("autoscaling/v2beta2".to_owned(), "horizontalpodautoscalers".to_owned());
    assert_eq!(version("autoscaling", "HorizontalPodAutoscaler").await, Some(scalers));
    assert_eq!(version("discovery.k8s.io", "EndpointSlice").await, None);
}

#[tokio::test]
async fn a_request_ends_even_if_the_server_falls_silent_and_a_watch_goes_on() {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                // The head of an answer, and then nothing.
                let begun = "HTTP/1.1 200 .\r\ncontent-type: application/json\r\n\
                             transfer-encoding: chunked\r\n\r\n";
                let _ = stream.write_all(begun.as_bytes()).await;
                if head.contains("watch=true") {
                    tokio::time::sleep(millis(500)).await;
                    let event = json!({"type": "ADDED", "object": {"apiVersion": "v1", "kind": "Pod",
                        "metadata": {"name": "a", "resourceVersion": "2"}}});
                    let line = format!("{event}\n");
                    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
                    let _ = stream.write_all(chunk.as_bytes()).await;
                }
                tokio::time::sleep(secs(60)).await;
            });
        }
    });
    let (_folder, access) =
        kubeconfig(json!({"server": format!("http://127.0.0.1:{port}")}), json!({}));
    let client = access.client_within(millis(200)).expect("a client");
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let error = pods.list(&ListParams::default()).await.expect_err("no answer");
    assert!(error.to_string().contains("no whole answer within 0.2 s"), "{error}");
    let stream = pods.watch(&WatchParams::default(), "1").await.expect("a watch");
    let mut stream = std::pin::pin!(stream);
    let event = futures::StreamExt::next(&mut stream).await.expect("an event");
    assert!(matches!(event, Ok(kube::api::WatchEvent::Added(_))), "{event:?}");
}

#[tokio::test]
async fn several_kubeconfigs_are_one_as_in_the_variable() {
    let (_folder, one) = kubeconfig(json!({"server": "http://127.0.0.1:1"}), json!({}));
    let other = tempfile::tempdir().expect("a folder");
    let context = json!({
        "apiVersion": "v1", "kind": "Config",
        "contexts": [{"name": "other", "context": {"cluster": "kind-one", "user": "kind-one"}}],
    });
    let path = other.path().join("a:b");
    std::fs::write(&path, context.to_string()).expect("written");
    let alone = Access { kubeconfig: Some(path.clone()), context: Some("none".into()) };
    let error = alone.client().err().expect("no such context").to_string();
    assert!(error.ends_with("the kubeconfig has other"), "a colon in a name: {error}");

    std::fs::rename(path, other.path().join("b")).expect("renamed");
    let first = one.kubeconfig.expect("it has one");
    let both = format!("{}:{}", other.path().join("b").display(), first.display());
    let access = Access { kubeconfig: Some((&both).into()), context: Some("other".into()) };
    access.client().expect("a context of one and the cluster of the other");
    assert_eq!(access.kubeconfigs().expect("text"), both);
    let relative = Access { kubeconfig: Some("one::two".into()), context: None };
    let here = std::env::current_dir().expect("a folder").display().to_string();
    assert_eq!(relative.kubeconfigs().expect("text"), format!("{here}/one:{here}/two"));
}

#[tokio::test]
async fn an_error_says_which_cluster_and_what_to_check() {
    let (listener, port) = listen().await;
    drop(listener);
    let (_folder, access) =
        kubeconfig(json!({"server": format!("http://127.0.0.1:{port}")}), json!({}));
    let error = RealCluster::connect(&access, given()).await.err().expect("nobody listens");
    let text = error.to_string();
    assert_eq!(error.class(), ErrorClass::Environment);
    assert!(text.starts_with("cannot ask for the version of Kubernetes: "), "{text}");
    assert!(text.contains("refused") && text.contains("kubectl --kubeconfig "), "{text}");

    let wrong = Access { context: Some("prod".into()), ..access };
    let error = wrong.client().err().expect("no such context");
    assert_eq!(error.class(), ErrorClass::Usage);
    assert!(error.to_string().ends_with("no such context; the kubeconfig has kind-one"), "{error}");

    let error = Access::default().client().err().expect("no context");
    assert!(error.to_string().contains("--context NAME"), "{error}");

    let missing = Access { kubeconfig: Some(PathBuf::from("/nowhere/kubeconfig")), context: None };
    let error = missing.client().err().expect("no file");
    assert_eq!(error.class(), ErrorClass::Environment);
    assert!(error.to_string().contains("/nowhere/kubeconfig"), "{error}");
}
