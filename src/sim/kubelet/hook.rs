//! Lifecycle hooks: exec, httpGet, sleep (`pkg/kubelet/lifecycle/handlers.go`).

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderName, HeaderValue, USER_AGENT};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, HTTPHeader, LifecycleHandler};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::PodEvent;
use super::agent::Desk;
use super::start::Task;
use super::worker::Worker;
use crate::sim::machines::{ConnectError, LocalCall, Machines};

/// `sleep` hooks are on by default from here (PodLifecycleSleepAction beta).
const SLEEP_MINOR: u8 = 30;
/// httpGet hooks send the headers they name from here on (ConsistentHTTPGetHandlers; by memory of
/// the changelog).
const HEADERS_MINOR: u8 = 26;

/// Begins a hook of the container's present run; its end comes as `PodEvent::Hook`.
pub(super) fn begin(
    worker: &Worker,
    idx: usize,
    handler: &LifecycleHandler,
    desk: &mut Desk<'_, '_>,
) {
    let ctr = &worker.containers[idx];
    let (run, key, now) = (ctr.run, worker.key, desk.now());
    let end = |desk: &mut Desk<'_, '_>, time: Duration, ok: bool| {
        desk.at(now + time, key, PodEvent::Hook(idx, run, ok));
    };
    let Some(id) = ctr.id else { return end(desk, Duration::ZERO, false) };
    if let Some(exec) = &handler.exec {
        let command = exec.command.as_deref().unwrap_or(&[]);
        match desk.machines.exec(id, command, None, desk.cx) {
            Some(plan) => end(desk, plan.duration, plan.exit_code == 0),
            None => end(desk, Duration::ZERO, false),
        }
    } else if let Some(sleep) = &handler.sleep {
        let known = desk.agent.profile.at_least(SLEEP_MINOR);
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        end(desk, Duration::from_secs(if known { seconds } else { 0 }), known);
    } else if let Some(get) = &handler.http_get {
        // HTTPS changes nothing: old kubelets ignore it, newer ones fall back to HTTP where the server
        // speaks no TLS (`runHTTPHandler`, `isHTTPResponseError`).
        let spec = worker.spec_of(&worker.pod, idx);
        let port = spec.and_then(|spec| port_number(spec, &get.port));
        let ip = match get.host.as_deref() {
            None | Some("") => worker.ip.clone().unwrap_or_default(),
            Some(host) => host.to_owned(),
        };
        match port.map(|port| (port, desk.machines.connect(&ip, port))) {
            Some((port, Ok(id))) => {
                let token = desk.expect_answer(key, PodEvent::Hook(idx, run, true));
                let call = LocalCall { node: desk.agent.name.clone(), token };
                let mut get = get.clone();
                if !desk.agent.profile.at_least(HEADERS_MINOR) {
                    get.http_headers = None;
                }
                let request = get_request(&get, &ip, port, "kube-lifecycle/");
                let request = Machines::addressed(request, port);
                desk.machines.submit_local(id, call, request, desk.cx);
            }
            // A SYN without an answer is given up by the hook's deadline.
            Some((_, Err(ConnectError::NoAnswer))) => {}
            Some((_, Err(ConnectError::Refused))) | None => end(desk, Duration::ZERO, false),
        }
    } else {
        // tcpSocket hooks are refused by the kubelet as unknown.
        end(desk, Duration::ZERO, false);
    }
}

impl Worker {
    /// A hook has ended, or its container's present stage is over.
    pub(super) fn on_hook(&mut self, idx: usize, run: u32, ok: bool, desk: &mut Desk<'_, '_>) {
        if self.containers.get(idx).is_none_or(|ctr| ctr.run != run) {
            return;
        }
        if matches!(self.task, Some(Task::PostStart { idx: at }) if at == idx) {
            self.containers[idx].run += 1;
            self.post_started(idx, ok, desk);
        } else {
            self.pre_stopped(idx, ok, desk);
        }
    }

    /// A container has answered a request of this kubelet.
    pub(super) fn on_answer(
        &mut self,
        purpose: PodEvent,
        status: Option<u16>,
        desk: &mut Desk<'_, '_>,
    ) {
        match purpose {
            // Any HTTP status is a success for a hook (`runHTTPHandler`).
            PodEvent::Hook(idx, run, _) => self.on_hook(idx, run, status.is_some(), desk),
            PodEvent::ProbeEnd(probe, _) => {
                let ok = status.is_some_and(|status| (200..400).contains(&status));
                self.on_probe_end(probe, ok, desk);
            }
            _ => {}
        }
    }
}

/// A port by number, or by its name among the container's ports.
pub(super) fn port_number(spec: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named = spec.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            match named {
                Some(port) => u16::try_from(port.container_port).ok(),
                None => name.parse().ok(),
            }
        }
    }
}

/// A GET as the kubelet sends it: what it names itself goes before the defaults
/// (`pkg/probe/http/request.go`).
pub(super) fn get_request(
    get: &HTTPGetAction,
    host: &str,
    port: u16,
    agent: &str,
) -> http::Request<Bytes> {
    let path = get.path.as_deref().filter(|path| path.starts_with('/')).unwrap_or("/");
    let built = http::Request::builder()
        .uri(path)
        .header(HOST, format!("{host}:{port}"))
        .header(USER_AGENT, agent)
        .header(ACCEPT, "*/*")
        .body(Bytes::new());
    let mut request = built.unwrap_or_default();
    for HTTPHeader { name, value } in get.http_headers.iter().flatten() {
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        else {
            continue;
        };
        if [HOST, USER_AGENT, ACCEPT].contains(&name) {
            request.headers_mut().insert(name, value);
        } else {
            request.headers_mut().append(name, value);
        }
    }
    request
}
