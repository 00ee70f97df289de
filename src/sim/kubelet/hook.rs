//! Lifecycle hooks: exec, httpGet, sleep (`pkg/kubelet/lifecycle/handlers.go`).

use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::PodEvent;
use super::agent::Desk;
use super::start::Task;
use super::worker::Worker;
use crate::sim::machines::{ConnectError, LocalCall, Machines};

/// `sleep` hooks are on by default from here (PodLifecycleSleepAction beta).
const SLEEP_MINOR: u8 = 30;

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
        match desk.machines.exec(id, command, desk.cx) {
            Some(plan) => end(desk, plan.duration, plan.exit_code == 0),
            None => end(desk, Duration::ZERO, false),
        }
    } else if let Some(sleep) = &handler.sleep {
        let known = desk.agent.profile.at_least(SLEEP_MINOR);
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        end(desk, Duration::from_secs(if known { seconds } else { 0 }), known);
    } else if let Some(get) = &handler.http_get {
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
                let request = get_request(get.path.as_deref(), &ip, port, "kube-lifecycle/");
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

/// A GET as the kubelet sends it.
pub(super) fn get_request(
    path: Option<&str>,
    host: &str,
    port: u16,
    agent: &str,
) -> http::Request<Bytes> {
    let path = path.filter(|path| path.starts_with('/')).unwrap_or("/");
    let built = http::Request::builder()
        .uri(path)
        .header("Host", format!("{host}:{port}"))
        .header("User-Agent", agent)
        .header("Accept", "*/*")
        .body(Bytes::new());
    built.unwrap_or_default()
}
