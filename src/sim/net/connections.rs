//! Connections that clients outside keep open, and who is at their other end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;

use super::endpoints::Key;
use super::ingress::Certificate;
use crate::base::{SimTime, secs};
use crate::sim::machines::ContainerId;

/// Idle client connections are closed by nginx after this time (`keep-alive`, `config/config.go`).
const INGRESS_IDLE: Duration = secs(75);
/// Requests nginx serves on one connection (`keep-alive-requests`).
const INGRESS_REQUESTS_MAX: u32 = 1_000;
/// A server that does not say how long it keeps connections is taken to keep them this long.
const DEFAULT_IDLE: Duration = secs(75);

/// The other end of a kept connection.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// A process in a pod, through conntrack: no proxy rule is asked again.
    Pod { container: ContainerId, pod: Option<Key>, node: Option<Arc<str>> },
    /// The ingress controller, at some count of its reloads.
    Ingress { generation: u32, certificate: Option<Arc<Certificate>> },
}

/// A kept connection.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    ip: String,
    port: u16,
    tls: Option<String>,
    n_requests: u32,
    server_closes: SimTime,
    pub end: End,
}

/// The kept connections by the client's number.
#[derive(Debug, Default)]
pub(super) struct Connections {
    kept: BTreeMap<u64, Kept>,
}

/// Where a client connects to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub ip: &'a str,
    pub port: u16,
    pub tls: Option<&'a str>,
}

impl Connections {
    /// Takes connection `id` out for a request to `target`, if the server has not closed it.
    pub(super) fn take(&mut self, now: SimTime, id: u64, target: Target<'_>) -> Option<Kept> {
        let kept = self.kept.remove(&id)?;
        let same =
            kept.ip == target.ip && kept.port == target.port && kept.tls.as_deref() == target.tls;
        (same && kept.server_closes > now).then_some(kept)
    }

    /// Puts connection `id` back after a response; `server_keeps` is `None` if the server closed it.
    pub(super) fn put(
        &mut self,
        now: SimTime,
        id: u64,
        target: Target<'_>,
        n_before: u32,
        end: End,
        server_keeps: Option<Duration>,
    ) {
        let n_requests = n_before + 1;
        let keeps = match &end {
            End::Ingress { .. } if n_requests >= INGRESS_REQUESTS_MAX => None,
            End::Ingress { .. } => Some(INGRESS_IDLE),
            End::Pod { .. } => server_keeps,
        };
        let Some(keeps) = keeps else {
            return;
        };
        let kept = Kept {
            ip: target.ip.to_owned(),
            port: target.port,
            tls: target.tls.map(str::to_owned),
            n_requests,
            server_closes: now + keeps,
            end,
        };
        self.kept.insert(id, kept);
    }
}

impl Kept {
    /// Requests it has carried.
    pub(super) fn n_requests(&self) -> u32 {
        self.n_requests
    }

    /// When its server closes it if it stays idle.
    pub(super) fn server_closes(&self) -> SimTime {
        self.server_closes
    }
}

/// How long the server of `response` keeps the connection open: `Connection: close`, or
/// `Keep-Alive: timeout=5` as Apache sends it.
pub(super) fn server_keeps<B>(response: &http::Response<B>) -> Option<Duration> {
    let headers = response.headers();
    if headers.get(CONNECTION).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"close")) {
        return None;
    }
    let Some(value) = headers.get("keep-alive").and_then(|value| value.to_str().ok()) else {
        return Some(DEFAULT_IDLE);
    };
    let timeout = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="));
    Some(timeout.and_then(|text| text.parse().ok()).map_or(DEFAULT_IDLE, secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_says_how_long_it_keeps_a_connection() {
        let with = |name: &str, value: &str| {
            let response = http::Response::builder().header(name, value).body(());
            server_keeps(&response.expect("a response"))
        };
        assert_eq!(with("keep-alive", "timeout=5, max=100"), Some(secs(5)));
        assert_eq!(with("connection", "Close"), None);
        assert_eq!(with("server", "x"), Some(DEFAULT_IDLE));
    }

    #[test]
    fn a_connection_is_reused_for_its_own_target_until_the_server_closes_it() {
        let mut connections = Connections::default();
        let target = Target { ip: "10.0.0.1", port: 80, tls: None };
        let end = End::Pod { container: ContainerId(1), pod: None, node: None };
        let at = |n| SimTime::ZERO + secs(n);
        connections.put(at(0), 1, target, 0, end.clone(), Some(secs(5)));
        connections.put(at(0), 2, target, 0, end.clone(), Some(secs(5)));
        connections.put(at(0), 3, target, 0, end, None);
        let other = Target { port: 443, ..target };
        assert!(connections.take(at(1), 1, other).is_none());
        assert!(connections.take(at(1), 2, target).is_some());
        assert!(connections.take(at(1), 3, target).is_none(), "closed by the server");
    }
}
