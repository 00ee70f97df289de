//! The transport against real sockets on this machine.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use serde::Deserialize as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::base::{millis, secs};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A listener on a free port, and a plain target for it.
async fn listen() -> (TcpListener, Target) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, Target { host: "127.0.0.1".into(), port, tls: None })
}

/// Reads the head of a request; empty when the client has closed.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Answers every request on a connection.
async fn answer_all(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while !read_head(&mut stream).await.is_empty() {
        if stream.write_all(OK).await.is_err() {
            return;
        }
    }
}

/// Closes a connection so that the client gets a reset.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().expect("linger can be set");
}

fn call(target: &Target, connection: Connection, limit: Duration) -> Call {
    let request = http::Request::builder()
        .uri("/a?b=c")
        .header("host", "shop.example.com")
        .body(Bytes::new())
        .expect("a request");
    Call { target: target.clone(), connection, request, timeout: limit }
}

async fn get(
    transport: &TcpTransport,
    target: &Target,
    connection: Connection,
) -> Result<Answer, Failure> {
    let called = transport.call(call(target, connection, secs(5))).await;
    called.map_err(|failed| failed.failure)
}

async fn failure(target: &Target, limit: Duration) -> Failure {
    let called = TcpTransport::new().call(call(target, Connection::Fresh, limit)).await;
    called.expect_err("it fails").failure
}

#[tokio::test]
async fn a_fresh_request_says_that_it_closes_and_reads_the_whole_body() {
    let (listener, target) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let head = read_head(&mut stream).await;
        let chunks =
            b"HTTP/1.1 503 no\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        stream.write_all(chunks).await.expect("written");
        let closed = read_head(&mut stream).await.is_empty();
        (head, closed)
    });
    let answer = get(&TcpTransport::new(), &target, Connection::Fresh).await.expect("an answer");
    assert_eq!(answer.response.status(), 503);
    assert_eq!(&answer.response.body()[..], b"abcde");
    assert!(!answer.reused && answer.tls.is_none() && answer.backend.is_none());
    let (head, closed) = server.await.expect("the server");
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: shop.example.com\r\n"), "{head}");
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert!(closed, "the client closes the connection afterwards");
}

#[tokio::test]
async fn a_kept_connection_is_reused_by_its_number() {
    let (listener, target) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream));
        }
    });
    let transport = TcpTransport::new();
    let mut reused = Vec::new();
    for id in [1, 1, 2, 1, 2] {
        let answer = get(&transport, &target, Connection::Kept(id)).await.expect("an answer");
        reused.push(answer.reused);
    }
    assert_eq!(reused, [false, true, false, true, true]);
}

#[tokio::test]
async fn two_calls_at_once_on_one_number_use_two_connections() {
    let (listener, target) = listen().await;
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(answer_all(stream));
        }
    });
    let transport = TcpTransport::new();
    let kept = Connection::Kept(1);
    let (one, two) = tokio::join!(get(&transport, &target, kept), get(&transport, &target, kept));
    assert!(!one.expect("an answer").reused && !two.expect("an answer").reused);
    assert!(get(&transport, &target, kept).await.expect("an answer").reused);
    assert_eq!(accepted.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_kept_connection_closed_while_idle_is_opened_again() {
    let (listener, target) = listen().await;
    tokio::spawn(async move {
        // Each connection serves one request, and is closed some time later.
        while let Ok((mut stream, _)) = listener.accept().await {
            read_head(&mut stream).await;
            stream.write_all(OK).await.expect("written");
            sleep(millis(20)).await;
        }
    });
    let transport = TcpTransport::new();
    for _ in 0..3 {
        let answer = get(&transport, &target, Connection::Kept(1)).await.expect("an answer");
        assert!(!answer.reused);
        sleep(millis(100)).await;
    }
}

#[tokio::test]
async fn a_close_that_nobody_has_read_is_seen_before_anything_is_sent() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let target = Target { host: "127.0.0.1".into(), port, tls: None };
    let (close, told_to_close) = std::sync::mpsc::channel();
    let (closed, is_closed) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a client");
            assert!(stream.read(&mut [0; 4096]).expect("a request") > 0);
            stream.write_all(OK).expect("written");
            told_to_close.recv().expect("a word");
            drop(stream);
            closed.send(()).expect("somebody listens");
        }
    });
    let transport = TcpTransport::new();
    for _ in 0..2 {
        let answer = get(&transport, &target, Connection::Kept(1)).await.expect("an answer");
        assert!(!answer.reused);
        close.send(()).expect("the server listens");
        // Blocks the runtime: the connection's task cannot run before the next request.
        is_closed.recv().expect("a word");
    }
    server.join().expect("the server");
}

#[tokio::test]
async fn a_reset_while_idle_is_opened_again_and_one_after_the_request_is_told() {
    let (listener, target) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        read_head(&mut stream).await;
        stream.write_all(OK).await.expect("written");
        sleep(millis(20)).await;
        reset(&stream);
        drop(stream);
        let (mut stream, _) = listener.accept().await.expect("a client");
        read_head(&mut stream).await;
        stream.write_all(OK).await.expect("written");
        read_head(&mut stream).await;
        reset(&stream);
        drop(stream);
        // A third connection would mean that the request was sent twice.
        let (stream, _) = listener.accept().await.expect("a client");
        answer_all(stream).await;
    });
    let transport = TcpTransport::new();
    let kept = Connection::Kept(7);
    assert!(!get(&transport, &target, kept).await.expect("an answer").reused);
    sleep(millis(100)).await;
    assert!(!get(&transport, &target, kept).await.expect("an answer").reused);
    assert_eq!(get(&transport, &target, kept).await.expect_err("it fails"), Failure::Reset);
}

#[tokio::test]
async fn a_close_before_or_within_the_response_is_a_reset() {
    for sent in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
    ] {
        let (listener, target) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            read_head(&mut stream).await;
            stream.write_all(sent).await.expect("written");
        });
        assert_eq!(failure(&target, secs(5)).await, Failure::Reset);
    }
}

#[tokio::test]
async fn a_port_without_listener_refuses() {
    let (listener, target) = listen().await;
    drop(listener);
    assert_eq!(failure(&target, secs(5)).await, Failure::Refused);
}

#[tokio::test]
async fn no_answer_to_the_handshake_is_a_connect_timeout() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let listener = socket.listen(1).expect("it listens");
    let port = listener.local_addr().expect("it is bound").port();
    // Nobody accepts: once the queue is full, the kernel drops further SYNs.
    let mut queued = Vec::new();
    while let Ok(stream) = timeout(millis(300), TcpStream::connect(("127.0.0.1", port))).await {
        queued.push(stream.expect("queued"));
        assert!(queued.len() < 100, "the queue has no end");
    }
    let target = Target { host: "127.0.0.1".into(), port, tls: None };
    assert_eq!(failure(&target, millis(300)).await, Failure::ConnectTimeout);
}

#[tokio::test]
async fn silence_after_connecting_is_a_response_timeout() {
    let (listener, target) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
            .await
            .expect("written");
        sleep(secs(60)).await;
    });
    assert_eq!(failure(&target, millis(200)).await, Failure::ResponseTimeout);
    // A handshake that is not answered is silence after connecting, too.
    let (listener, mut target) = listen().await;
    target.tls = Some("shop.example.com".into());
    assert_eq!(failure(&target, millis(200)).await, Failure::ResponseTimeout);
    drop(listener);
}

/// The certificate of the reference stack and a server that presents it.
fn reference_certificate() -> (CertificateDer<'static>, TlsAcceptor) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/wordpress/10-secrets.yaml");
    let text = std::fs::read_to_string(path).expect("the manifest is readable");
    let secret = serde_yaml::Deserializer::from_str(&text)
        .map(|document| serde_json::Value::deserialize(document).expect("YAML"))
        .find(|object| object["type"] == "kubernetes.io/tls")
        .expect("a TLS Secret");
    let decoded = |key: &str| {
        let text = secret["data"][key].as_str().expect("a value");
        base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
    };
    let certificate = CertificateDer::from_pem_slice(&decoded("tls.crt")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(&decoded("tls.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a pair");
    (certificate, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_handshake_asks_for_the_name_and_shows_the_chain() {
    let (certificate, acceptor) = reference_certificate();
    let (listener, mut target) = listen().await;
    target.tls = Some("nobody.example.com".into());
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let stream = acceptor.accept(stream).await.expect("a handshake");
        let name = stream.get_ref().1.server_name().map(str::to_owned);
        answer_all(stream).await;
        name
    });
    let transport = TcpTransport::new();
    for reused in [false, true] {
        let answer = get(&transport, &target, Connection::Kept(1)).await.expect("an answer");
        assert_eq!(answer.reused, reused);
        let chain = answer.tls.expect("TLS").chain;
        assert_eq!(chain, [Bytes::copy_from_slice(&certificate)]);
    }
    drop(transport);
    let name = server.await.expect("the server");
    assert_eq!(name.as_deref(), Some("nobody.example.com"));
}

#[tokio::test]
async fn tls_to_a_plain_port_fails_at_tls_and_a_closed_one_is_reset() {
    let (listener, mut target) = listen().await;
    target.tls = Some("shop.example.com".into());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
        read_head(&mut stream).await;
        let (stream, _) = listener.accept().await.expect("a client");
        drop(stream);
    });
    let text = failure(&target, secs(5)).await;
    assert!(matches!(&text, Failure::Tls(text) if !text.is_empty()), "{text:?}");
    assert_eq!(failure(&target, secs(5)).await, Failure::Reset);
    target.tls = Some("not a name".into());
    let (listener, other) = listen().await;
    target.port = other.port;
    assert!(matches!(failure(&target, secs(5)).await, Failure::Tls(_)));
    drop(listener);
}

#[test]
fn a_transport_may_open_as_many_files_as_the_process_is_allowed() {
    TcpTransport::new();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert_eq!(limit.current, limit.maximum);
}
