//! Probes (`pkg/kubelet/prober/worker.go`, `prober.go`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};

use super::agent::Desk;
use super::hook::{get_request, port_number};
use super::prober::{Prober, Request};
use super::worker::{Seen, Worker};
use super::{PodEvent, ProbeKind, ProbeRef};
use crate::base::{SimTime, millis};
use crate::sim::machines::{ConnectError, LocalCall, Machines};

/// Workers start with the containers and can be triggered from here on (semantics 5.5).
const NEW_WORKERS_MINOR: u8 = 22;
/// Liveness and startup probes may have a grace of their own (ProbeTerminationGracePeriod beta on).
const PROBE_GRACE_MINOR: u8 = 25;
/// From the sync that shows the container running to the probe it triggers.
const TRIGGER_TIME: Duration = millis(5);
const KINDS: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];

impl Worker {
    /// Old kubelets start the probe workers when they admit the pod, each after U(0, period).
    pub(super) fn start_probers_early(&mut self, desk: &mut Desk<'_, '_>) {
        if !desk.agent.profile.at_least(NEW_WORKERS_MINOR) {
            self.each_prober(
                |prober, desk| {
                    prober.since = Some(desk.now() + desk.draw((Duration::ZERO, prober.period())));
                },
                desk,
            );
        }
    }

    /// Newer ones start them when the volumes are mounted; jitter only soon after their own start.
    pub(super) fn start_probers(&mut self, desk: &mut Desk<'_, '_>) {
        if desk.agent.profile.at_least(NEW_WORKERS_MINOR) {
            self.each_prober(
                |prober, desk| {
                    let booted = desk.agent.booted_at;
                    let young = booted.is_some_and(|at| desk.now().since(at) < prober.period());
                    let high = if young { prober.period() } else { Duration::ZERO };
                    prober.since = Some(desk.now() + desk.draw((Duration::ZERO, high)));
                },
                desk,
            );
        }
    }

    fn each_prober(&mut self, f: impl Fn(&mut Prober, &mut Desk<'_, '_>), desk: &mut Desk<'_, '_>) {
        for ctr in &mut self.containers {
            for prober in ctr.probes.all() {
                f(prober, desk);
            }
        }
    }

    /// The kubelet sees a new state of a container: its probes begin anew, or rest.
    pub(super) fn on_seen(&mut self, idx: usize, runs: bool, desk: &mut Desk<'_, '_>) {
        for kind in KINDS {
            if let Some(prober) = self.containers[idx].probes.get(kind) {
                prober.run += 1;
                (prober.begun, prober.last, prober.count) = (None, None, 0);
                prober.on_hold = false;
            }
        }
        if runs {
            self.schedule_probes(idx, desk);
        }
    }

    /// Schedules the first run of each probe that may run now.
    fn schedule_probes(&mut self, idx: usize, desk: &mut Desk<'_, '_>) {
        for kind in KINDS {
            let Some(since) = self.running_since(idx) else { return };
            let started = self.containers[idx].started;
            let now = desk.now();
            let Some(prober) = self.containers[idx].probes.get(kind) else { continue };
            // The startup probe runs until it has succeeded, the others from then on.
            if prober.stopped || started == (kind == ProbeKind::Startup) {
                continue;
            }
            let due = prober.tick_at(prober.eligible(since).max(now));
            self.schedule_probe(idx, kind, due, desk);
        }
    }

    fn running_since(&self, idx: usize) -> Option<SimTime> {
        match self.containers[idx].seen {
            Seen::Running { since } => Some(since),
            _ => None,
        }
    }

    fn schedule_probe(
        &mut self,
        idx: usize,
        kind: ProbeKind,
        due: SimTime,
        desk: &mut Desk<'_, '_>,
    ) {
        let Some(prober) = self.containers[idx].probes.get(kind) else { return };
        prober.run += 1;
        prober.begun = None;
        let probe = ProbeRef { container: idx, kind, run: prober.run };
        desk.at(due, self.key, PodEvent::Probe(probe));
    }

    /// A sync probes containers that are not ready at once
    /// (`prober_manager.go:UpdatePodStatus`, from 1.22 on).
    pub(super) fn trigger_readiness(&mut self, desk: &mut Desk<'_, '_>) {
        if !desk.agent.profile.at_least(NEW_WORKERS_MINOR) {
            return;
        }
        let due = desk.now() + TRIGGER_TIME;
        for idx in 0..self.containers.len() {
            let Some(since) = self.running_since(idx) else { continue };
            let ctr = &mut self.containers[idx];
            if !ctr.started || ctr.ready {
                continue;
            }
            let Some(prober) = ctr.probes.get(ProbeKind::Readiness) else { continue };
            if prober.begun.is_none() && !prober.stopped && prober.eligible(since) <= due {
                self.schedule_probe(idx, ProbeKind::Readiness, due, desk);
            }
        }
    }

    /// Liveness and startup probes end when the pod is stopped (from 1.22 on).
    pub(super) fn stop_liveness(&mut self) {
        for ctr in &mut self.containers {
            for kind in [ProbeKind::Startup, ProbeKind::Liveness] {
                if let Some(prober) = ctr.probes.get(kind) {
                    prober.stopped = true;
                    prober.run += 1;
                }
            }
        }
    }

    pub(super) fn on_probe(&mut self, probe: ProbeRef, desk: &mut Desk<'_, '_>) {
        let idx = probe.container;
        if self.containers.get(idx).is_none() || self.running_since(idx).is_none() {
            return;
        }
        let now = desk.now();
        let Some(prober) = self.containers[idx].probes.get(probe.kind) else { return };
        if prober.run != probe.run || prober.on_hold || prober.stopped {
            return;
        }
        prober.begun = Some(now);
        let (spec, timeout) = (Arc::clone(&prober.spec), prober.timeout());
        if let Some(get) = &spec.http_get {
            self.attempt_http(probe, get, timeout, desk);
        } else {
            self.attempt(probe, &spec, timeout, desk);
        }
    }

    fn attempt_http(
        &mut self,
        probe: ProbeRef,
        get: &HTTPGetAction,
        timeout: Duration,
        desk: &mut Desk<'_, '_>,
    ) {
        // A port name that no port bears is an error of the prober: ignored, and tried again.
        let Some(request) = self.request(probe, get, desk) else {
            return self.next_probe(probe, desk);
        };
        let (key, now) = (self.key, desk.now());
        let own = self.containers[probe.container].id.filter(|_| request.own);
        let reached = match own.filter(|&id| desk.machines.listens(id, request.port)) {
            Some(id) => Ok(id),
            None => desk.machines.connect(&request.ip, request.port),
        };
        match reached {
            Ok(id) if get.scheme.as_deref() == Some("HTTPS") => {
                // No built-in program answers a TLS handshake; whether a configured one does is not
                // said.
                if let Some(image) = desk.machines.configured_image(id) {
                    let what = format!("an HTTPS probe of {image}");
                    desk.machines.note_unmodelled(id, what);
                }
                self.on_probe_end(probe, false, desk);
            }
            Ok(id) => {
                let token = desk.expect_answer(key, PodEvent::ProbeEnd(probe, true));
                let call = LocalCall { node: desk.agent.name.clone(), token };
                desk.machines.submit_local(id, call, Arc::clone(&request.http), desk.cx);
                desk.at(now + timeout, key, PodEvent::ProbeEnd(probe, false));
            }
            Err(ConnectError::Refused) => self.on_probe_end(probe, false, desk),
            Err(ConnectError::NoAnswer) => {
                desk.at(now + timeout, key, PodEvent::ProbeEnd(probe, false));
            }
        }
    }

    /// What the probe sends; built anew only when the pod has another address.
    fn request(
        &mut self,
        probe: ProbeRef,
        get: &HTTPGetAction,
        desk: &Desk<'_, '_>,
    ) -> Option<Arc<Request>> {
        let pod = Arc::clone(&self.pod);
        let port = port_number(self.spec_of(&pod, probe.container)?, &get.port)?;
        let host = get.host.as_deref().filter(|host| !host.is_empty());
        let own_ip = self.ip.as_deref().unwrap_or("");
        let ip = host.unwrap_or(own_ip);
        let prober = self.containers.get_mut(probe.container)?.probes.get(probe.kind)?;
        if let Some(known) = prober.request.as_ref().filter(|r| r.ip == ip && r.port == port) {
            return Some(Arc::clone(known));
        }
        let agent = format!("kube-probe/{}", desk.agent.profile);
        let http = get_request(get, ip, port, &agent);
        let http = Machines::addressed(http, port);
        let request = Request { own: host.is_none(), ip: ip.to_owned(), port, http };
        Some(Arc::clone(prober.request.insert(Arc::new(request))))
    }

    fn attempt(
        &mut self,
        probe: ProbeRef,
        spec: &Probe,
        timeout: Duration,
        desk: &mut Desk<'_, '_>,
    ) {
        let pod = Arc::clone(&self.pod);
        let Some(container) = self.spec_of(&pod, probe.container) else { return };
        let (key, now) = (self.key, desk.now());
        let own_ip = self.ip.clone().unwrap_or_default();
        let address = |host: &Option<String>| match host.as_deref() {
            None | Some("") => own_ip.clone(),
            Some(host) => host.to_owned(),
        };
        if let Some(exec) = &spec.exec {
            let Some(id) = self.containers[probe.container].id else { return };
            let command = exec.command.as_deref().unwrap_or(&[]);
            let Some(plan) = desk.machines.exec(id, command, Some(timeout), desk.cx) else {
                // An error of the prober is no result (`prober/worker.go:doProbe`), which no body of
                // the conformance suite shows.
                let what = format!("{} in a frozen container", command.join(" "));
                desk.machines.note_unmodelled(id, what);
                return self.next_probe(probe, desk);
            };
            let ok = plan.exit_code == 0 && plan.duration <= timeout;
            desk.at(now + plan.duration.min(timeout), key, PodEvent::ProbeEnd(probe, ok));
            return;
        }
        let (ip, port) = if let Some(socket) = &spec.tcp_socket {
            (address(&socket.host), port_number(container, &socket.port))
        } else if let Some(grpc) = &spec.grpc {
            if let Some(id) = self.containers[probe.container].id {
                desk.machines.note_unmodelled(id, "grpc probe".to_owned());
            }
            (own_ip, u16::try_from(grpc.port).ok())
        } else {
            return;
        };
        let Some(port) = port else { return self.next_probe(probe, desk) };
        match desk.machines.connect(&ip, port) {
            Ok(_) => self.on_probe_end(probe, true, desk),
            Err(ConnectError::Refused) => self.on_probe_end(probe, false, desk),
            Err(ConnectError::NoAnswer) => {
                desk.at(now + timeout, key, PodEvent::ProbeEnd(probe, false));
            }
        }
    }

    /// A probe has ended: its result counts, and the next tick is due.
    pub(super) fn on_probe_end(&mut self, probe: ProbeRef, ok: bool, desk: &mut Desk<'_, '_>) {
        let idx = probe.container;
        let Some(ctr) = self.containers.get_mut(idx) else { return };
        let Some(prober) = ctr.probes.get(probe.kind) else { return };
        if prober.run != probe.run || prober.begun.is_none() || prober.stopped {
            return;
        }
        if prober.last == Some(ok) {
            prober.count += 1;
        } else {
            (prober.last, prober.count) = (Some(ok), 1);
        }
        let default = if ok { 1 } else { 3 };
        let threshold =
            if ok { prober.spec.success_threshold } else { prober.spec.failure_threshold };
        let reached = prober.count >= threshold.unwrap_or(default);
        if !ok {
            let what = format!("{:?} probe failed", probe.kind);
            desk.warn(&self.pod, "Unhealthy", what);
        }
        if reached {
            self.take_result(probe, ok, desk);
        }
        self.next_probe(probe, desk);
    }

    fn next_probe(&mut self, probe: ProbeRef, desk: &mut Desk<'_, '_>) {
        let ctr = &mut self.containers[probe.container];
        let started = ctr.started;
        let Some(prober) = ctr.probes.get(probe.kind) else { return };
        let done = started && probe.kind == ProbeKind::Startup;
        if prober.run != probe.run || prober.on_hold || prober.stopped || done {
            return;
        }
        // A tick that passed while the probe ran is not lost.
        let begun = prober.begun.unwrap_or(desk.now());
        let due = prober.tick_at(SimTime::from_micros(begun.as_micros() + 1)).max(desk.now());
        self.schedule_probe(probe.container, probe.kind, due, desk);
    }

    fn take_result(&mut self, probe: ProbeRef, ok: bool, desk: &mut Desk<'_, '_>) {
        let idx = probe.container;
        let ctr = &mut self.containers[idx];
        match (probe.kind, ok) {
            (ProbeKind::Readiness, ok) if ctr.ready != ok => {
                ctr.ready = ok;
                desk.cx.trace.line(
                    desk.cx.now,
                    "kubelet",
                    format_args!("ready={ok} {}/{} {}", self.namespace, self.name, ctr.name),
                );
                self.refresh_status(desk);
            }
            (ProbeKind::Startup, true) if !ctr.started => {
                ctr.started = true;
                self.schedule_probes(idx, desk);
                self.refresh_status(desk);
                self.request_sync(desk.now(), desk);
            }
            (ProbeKind::Startup | ProbeKind::Liveness, false) => {
                let kind = if probe.kind == ProbeKind::Startup { "startup" } else { "liveness" };
                let name = &ctr.name;
                ctr.doomed =
                    Some(format!("Container {name} failed {kind} probe, will be restarted"));
                if let Some(prober) = ctr.probes.get(probe.kind) {
                    prober.on_hold = true;
                    prober.count = 0;
                }
                if self.ending.is_none() {
                    self.request_sync(desk.now(), desk);
                }
            }
            _ => {}
        }
    }

    /// The grace a probe sets for the kill it causes.
    pub(super) fn probe_grace(&self, idx: usize, desk: &Desk<'_, '_>) -> Option<i64> {
        if !desk.agent.profile.at_least(PROBE_GRACE_MINOR) {
            return None;
        }
        self.containers[idx].probes.killer()?.spec.termination_grace_period_seconds
    }
}
