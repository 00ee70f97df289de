//! Serving requests: worker slots, CPU under the quota, waiting for others, responses.

use std::sync::Arc;

use bytes::Bytes;

use super::Machines;
use super::container::{LAUNCH_JOB, Serving};
use super::files::View;
use super::peers::Callees;
use super::process::{KILLED, cut};
use super::types::{ContainerId, ExchangeId, LocalCall, MachinesEvent, Origin};
use crate::base::Streams;
use crate::sim::apps::{App, AppCx, Dialer};
use crate::sim::context::Cx;
use crate::sim::event::Event;
use crate::sim::fact::FactKind;
use crate::sim::kubelet::KubeletEvent;
use crate::sim::net::NetEvent;

/// Sets the streams of called programs apart from those of the programs the network calls.
const PEER_SEED: u64 = 0x7065_6572;

impl Machines {
    /// Hands a request to the process that accepted its connection. The response arrives as
    /// `NetEvent::Response`, the end of the process before that as `NetEvent::Cut`.
    pub fn submit(
        &mut self,
        to: ContainerId,
        exchange: ExchangeId,
        request: http::Request<Bytes>,
        dialer: &mut dyn Dialer,
        cx: &mut Cx<'_>,
    ) {
        self.accept(to, Origin::Net(exchange), Arc::new(request), dialer, cx);
    }

    /// A request of the kubelet on the container's own node; the answer arrives as
    /// `KubeletEvent::LocalAnswer`.
    pub fn submit_local(
        &mut self,
        to: ContainerId,
        call: LocalCall,
        request: Arc<http::Request<Bytes>>,
        cx: &mut Cx<'_>,
    ) {
        cx.queue.at(cx.now, MachinesEvent::Local(to, call, request));
    }

    /// A request that is to reach `port` of a container.
    pub fn addressed(mut request: http::Request<Bytes>, port: u16) -> Arc<http::Request<Bytes>> {
        request.extensions_mut().insert(Port(port));
        Arc::new(request)
    }

    /// Something is due.
    pub fn on_event(&mut self, event: MachinesEvent, dialer: &mut dyn Dialer, cx: &mut Cx<'_>) {
        let Some(event) = self.unless_frozen(event) else { return };
        match event {
            MachinesEvent::Launch(id) => self.launch(id, dialer, cx),
            MachinesEvent::Listen(id, port) => self.listen(id, port, cx),
            MachinesEvent::CpuDone(id) => self.cpu_done(id, dialer, cx),
            MachinesEvent::WaitDone(id, request) => self.respond(id, request, dialer, cx),
            MachinesEvent::Stop(id) => self.stop(id, cx),
            MachinesEvent::CloseListeners(id) => self.close_listeners(id, cx),
            MachinesEvent::Exit(id, code) => self.exit(id, code, false, cx),
            MachinesEvent::Local(id, call, request) => {
                self.accept(id, Origin::Local(call), request, dialer, cx);
            }
            MachinesEvent::Thawed(id) => self.serve_waiting(id, dialer, cx),
        }
    }

    fn accept(
        &mut self,
        to: ContainerId,
        origin: Origin,
        request: Arc<http::Request<Bytes>>,
        dialer: &mut dyn Dialer,
        cx: &mut Cx<'_>,
    ) {
        match self.containers.get_mut(&to) {
            Some(container) if container.takes_requests() => {
                container.backlog.push_back((origin, request));
                self.serve_waiting(to, dialer, cx);
            }
            _ => cut(origin, cx),
        }
    }

    /// Gives waiting requests to free workers.
    fn serve_waiting(&mut self, id: ContainerId, dialer: &mut dyn Dialer, cx: &mut Cx<'_>) {
        loop {
            let Some(container) = self.containers.get_mut(&id) else { return };
            if !container.is_running()
                || container.is_frozen()
                || container.serving.len() >= container.launch.n_workers.max(1)
            {
                break;
            }
            let Some((origin, request)) = container.backlog.pop_front() else { break };
            self.serve(id, origin, &request, dialer, cx);
        }
        self.reschedule(id, cx);
    }

    fn serve(
        &mut self,
        id: ContainerId,
        origin: Origin,
        request: &http::Request<Bytes>,
        dialer: &mut dyn Dialer,
        cx: &mut Cx<'_>,
    ) {
        let port = request
            .extensions()
            .get::<Port>()
            .map(|port| port.0)
            .or_else(|| self.containers.get(&id)?.listening.first().copied())
            .unwrap_or(0);
        let work = self.with_app(id, dialer, cx, |app, cx| app.http(port, request, cx));
        let (Some(work), Some(container)) = (work, self.containers.get_mut(&id)) else {
            cut(origin, cx);
            return;
        };
        container.memory_bytes += work.memory_bytes;
        if container.exceeds_memory() {
            if self.profile.at_least(OOM_GROUP_MINOR) {
                self.exit(id, KILLED, true, cx);
            } else {
                // Only the worker is killed; the main process lives.
                container.memory_bytes -= work.memory_bytes;
                cx.fact(FactKind::OomKilled, container.pod_ref());
            }
            cut(origin, cx);
            return;
        }
        let request = container.next_request;
        container.next_request += 1;
        let serving = Serving {
            origin,
            wait: work.wait,
            memory_bytes: work.memory_bytes,
            response: work.response,
            log: work.log,
        };
        container.serving.insert(request, serving);
        if work.cpu.is_zero() {
            cx.queue.after(work.wait, MachinesEvent::WaitDone(id, request));
        } else {
            container.cpu.add(request, work.cpu, cx.now);
        }
    }

    /// CPU work is done: waiting begins, or the response leaves; a start that held ports opens them.
    fn cpu_done(&mut self, id: ContainerId, dialer: &mut dyn Dialer, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        if container.cpu_due != Some(cx.now) {
            return;
        }
        container.cpu_due = None;
        for job in container.cpu.take_done(cx.now) {
            let Some(container) = self.containers.get_mut(&id) else { return };
            if job == LAUNCH_JOB {
                for port in std::mem::take(&mut container.held_ports) {
                    self.listen(id, port, cx);
                }
                continue;
            }
            match container.serving.get(&job) {
                Some(serving) if !serving.wait.is_zero() => {
                    cx.queue.after(serving.wait, MachinesEvent::WaitDone(id, job));
                }
                _ => self.finish(id, job, cx),
            }
        }
        self.serve_waiting(id, dialer, cx);
    }

    fn respond(&mut self, id: ContainerId, request: u64, dialer: &mut dyn Dialer, cx: &mut Cx<'_>) {
        self.finish(id, request, cx);
        self.serve_waiting(id, dialer, cx);
    }

    /// A request is served: its response leaves. One that is never answered keeps its worker.
    fn finish(&mut self, id: ContainerId, request: u64, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        let Some(serving) = container.serving.get_mut(&request) else { return };
        let Some(response) = serving.response.take() else { return };
        let Some(serving) = container.serving.remove(&request) else { return };
        container.memory_bytes = container.memory_bytes.saturating_sub(serving.memory_bytes);
        if let Some(line) = serving.log {
            container.write_log(line);
        }
        match serving.origin {
            Origin::Net(exchange) => cx.queue.at(cx.now, NetEvent::Response(exchange, response)),
            Origin::Local(call) => {
                let status = Some(response.status().as_u16());
                let event = KubeletEvent::LocalAnswer { token: call.token, status };
                cx.queue.at(cx.now, Event::Kubelet(call.node, event));
            }
        }
        self.exit_if_drained(id, cx);
    }

    /// Books the container's demand at its node and schedules the end of its next piece of CPU work.
    /// Under contention the share is that of the moment, not followed while it changes.
    pub(super) fn reschedule(&mut self, id: ContainerId, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        let Some(node) = self.nodes.get_mut(&container.start.node) else { return };
        let shares = container.shares();
        if container.demand > 0 {
            node.shares = node.shares.saturating_sub(shares);
        }
        node.demand = node.demand.saturating_sub(container.demand);
        let is_frozen = container.is_frozen();
        container.demand = if is_frozen { 0 } else { container.cpu.demand() };
        let free = node.cpu_milli.saturating_sub(node.demand);
        node.demand += container.demand;
        if container.demand > 0 {
            node.shares += shares;
        }
        if is_frozen {
            container.cpu.halt(cx.now);
            container.cpu_due = None;
            return;
        }
        let share = node.cpu_milli * shares / node.shares.max(1);
        container.cpu.grant(free.max(share), cx.now);
        let due = container.cpu.next_done();
        if due != container.cpu_due {
            container.cpu_due = due;
            if let Some(due) = due {
                cx.queue.at(due, MachinesEvent::CpuDone(id));
            }
        }
    }

    /// Runs `f` with the program of a running container, its files and its peers.
    pub(super) fn with_app<T>(
        &mut self,
        id: ContainerId,
        dialer: &mut dyn Dialer,
        cx: &mut Cx<'_>,
        f: impl FnOnce(&mut dyn App, &mut AppCx<'_>) -> T,
    ) -> Option<T> {
        let container = self.containers.get_mut(&id).filter(|c| c.is_running())?;
        let mut app = container.app.take()?;
        let mut layer = std::mem::take(&mut container.layer);
        let start = Arc::clone(&container.start);
        let seed = cx.rng.seed() ^ PEER_SEED;
        let mut peer_rng = self.peer_rng.take().unwrap_or_else(|| Streams::new(seed));
        let volumes = std::mem::take(&mut self.volumes);
        let mounts = &start.mounts;
        let mut files = View { owner: id, mounts, layer: &mut layer, volumes: &volumes };
        let mut peers = Callees {
            machines: self,
            volumes: &volumes,
            rng: &mut peer_rng,
            dialer,
            caller: &start,
            now: cx.now,
        };
        let mut notes = Vec::new();
        let answer = f(
            app.as_mut(),
            &mut AppCx {
                now: cx.now,
                rng: cx.rng,
                start: &start,
                files: &mut files,
                peers: &mut peers,
                notes: &mut notes,
            },
        );
        notes.into_iter().for_each(|note| self.note_unmodelled(id, note));
        self.volumes = volumes;
        self.peer_rng = Some(peer_rng);
        let container = self.containers.get_mut(&id)?;
        container.app = Some(app);
        container.layer = layer;
        Some(answer)
    }
}

/// The port a request arrived at, as an extension of the request; the container's first listening
/// port when it is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub u16);

/// From here on the memory limit kills all processes of a container, not one
/// (`memory.oom.group` on cgroup v2, kubelet 1.28; semantics 5.4).
const OOM_GROUP_MINOR: u8 = 28;
