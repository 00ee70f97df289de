//! The life of a process: launch, listening, stop signal, exit.

use std::path::Path;

use super::Machines;
use super::container::{Container, LAUNCH_JOB, Stopping};
use super::types::{ContainerId, ContainerStart, MachinesEvent, Origin, ProcessState};
use crate::base::millis;
use crate::sim::apps::{Dialer, Shutdown, configured_for};
use crate::sim::context::Cx;
use crate::sim::event::Event;
use crate::sim::fact::FactKind;
use crate::sim::kubelet::KubeletEvent;
use crate::sim::net::NetEvent;

/// Exit code of SIGKILL.
pub(super) const KILLED: i32 = 137;
/// Exit code of a program that could not bind its port.
const FAILED: i32 = 1;
/// How an unknown program takes SIGTERM: the default action of a process that is not PID 1.
const UNKNOWN_SHUTDOWN: Shutdown = Shutdown {
    stops_listening: millis(0),
    drains: false,
    exits_after: millis(50),
    exit_code: 143,
    ignores: false,
};
/// Instances kept per container name, for `logs --previous`.
const KEPT_INSTANCES: usize = 2;

impl Machines {
    /// Starts a container.
    ///
    /// # Errors
    /// The text of a `RunContainerError`.
    pub fn start(&mut self, start: ContainerStart, cx: &mut Cx<'_>) -> Result<ContainerId, String> {
        let Some(sandbox) = self.sandboxes.get_mut(&start.pod_uid).filter(|s| !s.removed) else {
            return Err(format!("sandbox of pod {:?} not found", start.pod_uid));
        };
        self.next_id += 1;
        let id = ContainerId(self.next_id);
        if sandbox.pod.is_none() {
            let object = crate::base::ObjectRef::new("Pod", &*start.namespace, &*start.pod);
            sandbox.pod = Some(object);
        }
        let instances = sandbox.containers.entry(start.container.clone()).or_default();
        instances.push(id);
        if instances.len() > KEPT_INSTANCES {
            let oldest = instances.remove(0);
            self.containers.remove(&oldest);
        }
        let app = self.model(&start.image);
        self.containers.insert(id, Container::new(start, app, cx.now));
        cx.queue.at(cx.now, MachinesEvent::Launch(id));
        Ok(id)
    }

    pub(super) fn launch(&mut self, id: ContainerId, dialer: &mut dyn Dialer, cx: &mut Cx<'_>) {
        let Some(mut launch) = self.with_app(id, dialer, cx, |app, cx| app.launch(cx)) else {
            return;
        };
        let Some(container) = self.containers.get_mut(&id) else { return };
        for line in std::mem::take(&mut launch.log) {
            container.write_log(line);
        }
        for &(port, delay) in &launch.listens {
            cx.queue.after(delay, MachinesEvent::Listen(id, port));
        }
        if let Some(delay) = launch.tries_again {
            cx.queue.after(delay, MachinesEvent::Launch(id));
        }
        if let Some((delay, code)) = launch.exits {
            cx.queue.after(delay, MachinesEvent::Exit(id, code));
        }
        let listens = !launch.listens.is_empty();
        // Half of the working set is there at once, all of it when the program is up.
        container.memory_bytes = launch.memory_bytes / if listens { 2 } else { 1 };
        if !launch.cpu.is_zero() {
            container.cpu.add(LAUNCH_JOB, launch.cpu, cx.now);
        }
        container.launch = launch;
        let too_large = container.exceeds_memory();
        self.reschedule(id, cx);
        if too_large {
            self.exit(id, KILLED, true, cx);
        }
    }

    /// The program has come so far as to listen on `port`, unless its start still burns CPU; a port
    /// that another container of the pod has is its end.
    pub(super) fn listen(&mut self, id: ContainerId, port: u16, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        if !container.is_running() || container.stopping.is_some() {
            return;
        }
        if container.cpu.has_job(LAUNCH_JOB) {
            container.held_ports.push(port);
            return;
        }
        if self.is_taken(id, port) {
            self.fail_to_bind(id, port, cx);
            return;
        }
        let Some(container) = self.containers.get_mut(&id) else { return };
        if !container.has_listened {
            container.memory_bytes += container.launch.memory_bytes.div_ceil(2);
        }
        if container.exceeds_memory() {
            self.exit(id, KILLED, true, cx);
            return;
        }
        container.has_listened = true;
        container.listening.push(port);
        let pod = container.pod_ref();
        if let Some(sandbox) = self.sandboxes.get_mut(&container.start.pod_uid) {
            sandbox.has_listened = true;
        }
        cx.fact(FactKind::ListenerOpened, pod);
    }

    /// Whether another container of the pod listens on `port`: they share one network namespace.
    /// Where the two may differ in what the model does not read, they are let be.
    fn is_taken(&mut self, id: ContainerId, port: u16) -> bool {
        let Some(container) = self.containers.get(&id) else { return false };
        let Some(sandbox) = self.sandboxes.get(&container.start.pod_uid) else { return false };
        let others = sandbox.current().filter(|other| *other != id);
        let mut others = others.filter_map(|other| self.containers.get(&other));
        let Some(holder) = others.find(|other| other.listening.contains(&port)) else {
            return false;
        };
        let (first, second) = (&holder.start, &container.start);
        let is_described = configured_for(&first.image, &self.configured).is_some();
        if is_described && first.image == second.image && !run_alike(first, second) {
            // A server and its helper: only one listens, and a description tells of no other.
            return false;
        }
        if is_configured(first) || is_configured(second) {
            let note = format!(
                "{} and {} of one pod on port {port}, unless a file mounted below /etc says otherwise",
                first.container, second.container
            );
            self.unmodelled_commands.insert((container.pod_ref(), note));
            return false;
        }
        true
    }

    /// EADDRINUSE: the program says so and ends (nginx after five tries in 2.5 s,
    /// `ngx_connection.c:ngx_open_listening_sockets`; here at once).
    fn fail_to_bind(&mut self, id: ContainerId, port: u16, cx: &mut Cx<'_>) {
        if let Some(container) = self.containers.get_mut(&id) {
            let line = format!("bind() to 0.0.0.0:{port} failed (98: Address already in use)");
            container.write_log(line);
        }
        self.exit(id, FAILED, false, cx);
    }

    /// Sends the image's stop signal to the main process.
    pub fn stop(&mut self, id: ContainerId, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        if !container.is_running() {
            return;
        }
        if let Some(held) = &mut container.held {
            held.push(MachinesEvent::Stop(id));
            return;
        }
        cx.fact(FactKind::StopSignal, container.pod_ref());
        if container.stopping.is_some() {
            return;
        }
        let plan = container.app.as_mut().map_or(UNKNOWN_SHUTDOWN, |app| app.shutdown());
        if plan.ignores {
            return;
        }
        container.stopping = Some(Stopping { plan, closed: false, exit_due: false });
        if plan.stops_listening.is_zero() {
            self.close_listeners(id, cx);
        } else {
            cx.queue.after(plan.stops_listening, MachinesEvent::CloseListeners(id));
        }
        if !plan.drains {
            cx.queue.after(plan.exits_after, MachinesEvent::Exit(id, plan.exit_code));
        }
    }

    /// A stopping process closes its listeners; connections not yet accepted are reset.
    pub(super) fn close_listeners(&mut self, id: ContainerId, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        let Some(stopping) = container.stopping.as_mut().filter(|stopping| !stopping.closed) else {
            return;
        };
        stopping.closed = true;
        if !container.is_running() {
            return;
        }
        let backlog = std::mem::take(&mut container.backlog);
        if !container.listening.is_empty() {
            container.listening.clear();
            cx.fact(FactKind::ListenerClosed, container.pod_ref());
        }
        for (origin, _) in backlog {
            cut(origin, cx);
        }
        self.exit_if_drained(id, cx);
    }

    /// A draining process ends after its last request.
    pub(super) fn exit_if_drained(&mut self, id: ContainerId, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        let idle = container.serving.is_empty();
        let Some(stopping) = container.stopping.as_mut() else { return };
        if stopping.plan.drains && stopping.closed && idle && !stopping.exit_due {
            stopping.exit_due = true;
            let plan = stopping.plan;
            cx.queue.after(plan.exits_after, MachinesEvent::Exit(id, plan.exit_code));
        }
    }

    /// Kills all processes of the container.
    pub fn kill(&mut self, id: ContainerId, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get(&id).filter(|c| c.is_running()) else { return };
        cx.fact(FactKind::Killed, container.pod_ref());
        self.exit(id, KILLED, false, cx);
    }

    /// The main process ends, and with it everything in the container.
    pub(super) fn exit(&mut self, id: ContainerId, code: i32, oom_killed: bool, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get_mut(&id).filter(|c| c.is_running()) else {
            return;
        };
        let pod = container.pod_ref();
        if oom_killed {
            cx.fact(FactKind::OomKilled, pod.clone());
        }
        container.state = ProcessState::Exited { code, oom_killed, at: cx.now };
        container.held_ports.clear();
        container.held = None;
        self.volumes.unlock(id);
        if !container.listening.is_empty() {
            container.listening.clear();
            cx.fact(FactKind::ListenerClosed, pod.clone());
        }
        cx.fact(FactKind::Exited, pod);
        container.cpu.clear(cx.now);
        let serving = std::mem::take(&mut container.serving).into_values().map(|s| s.origin);
        let backlog = std::mem::take(&mut container.backlog).into_iter().map(|(origin, _)| origin);
        for origin in serving.chain(backlog) {
            cut(origin, cx);
        }
        let node = std::sync::Arc::clone(&container.start.node);
        cx.queue.at(cx.now, Event::Kubelet(node, KubeletEvent::ContainerExited(id)));
        self.reschedule(id, cx);
    }
}

/// Whether two containers of one image do the same.
fn run_alike(first: &ContainerStart, second: &ContainerStart) -> bool {
    (&first.command, &first.args, &first.env) == (&second.command, &second.args, &second.env)
}

/// Whether a file is mounted where programs keep their configuration.
fn is_configured(start: &ContainerStart) -> bool {
    start.mounts.iter().any(|mount| Path::new(&mount.path).starts_with("/etc"))
}

/// Tells whoever waits for a response that there will be none.
pub(super) fn cut(origin: Origin, cx: &mut Cx<'_>) {
    match origin {
        Origin::Net(exchange) => cx.queue.at(cx.now, NetEvent::Cut(exchange)),
        Origin::Local(call) => {
            let event = KubeletEvent::LocalAnswer { token: call.token, status: None };
            cx.queue.at(cx.now, Event::Kubelet(call.node, event));
        }
    }
}
