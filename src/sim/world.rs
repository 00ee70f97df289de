//! The world: all state of one simulated cluster, and the step that moves it.

use bytes::Bytes;

use crate::base::{ObjectRef, SimTime, Streams};

use super::api::{Api, rest};
use super::bootstrap::{self, ClusterSpec};
use super::context::Cx;
use super::controllers::Controllers;
use super::event::{Event, Subscriber};
use super::fact::Fact;
use super::kubelet::Kubelets;
use super::machines::Machines;
use super::metrics::MetricsServer;
use super::net::{CallId, CallResult, ClientCall, Net};
use super::queue::Queue;
use super::scheduler::Scheduler;
use super::subscriptions::Subscriptions;
use super::trace::Trace;
use super::volumes::Volumes;

/// What leaves the world, for the adapter to hand on.
#[derive(Debug)]
pub enum Output {
    /// A data-plane call has its result.
    CallDone(CallId, Box<CallResult>),
    /// A line for an open watch.
    WatchLine(u64, Bytes),
    /// An open watch has ended.
    WatchClosed(u64),
}

/// A simulated cluster.
#[derive(Debug)]
pub struct World {
    now: SimTime,
    queue: Queue,
    api: Api,
    rng: Streams,
    trace: Trace,
    subscriptions: Subscriptions,
    controllers: Controllers,
    scheduler: Scheduler,
    kubelets: Kubelets,
    machines: Machines,
    net: Net,
    volumes: Volumes,
    metrics: MetricsServer,
    watches: rest::Watches,
    facts: Vec<Fact>,
    outputs: Vec<Output>,
}

/// The rooms of the world and the context to call one with, borrowed side by side.
macro_rules! split {
    ($world:ident, $cx:ident) => {
        $world.api.now = $world.now;
        let mut $cx = Cx {
            now: $world.now,
            api: &mut $world.api,
            queue: &mut $world.queue,
            rng: &mut $world.rng,
            trace: &mut $world.trace,
            metrics: &mut $world.metrics,
            facts: &mut $world.facts,
        };
    };
}

impl World {
    /// A booted cluster: nodes registered, system namespaces, classes and add-ons in place.
    pub fn new(spec: &ClusterSpec, seed: u64) -> Self {
        let mut world = World {
            now: SimTime::ZERO,
            queue: Queue::default(),
            api: Api::new(spec.profile, seed),
            rng: Streams::new(seed),
            trace: if spec.keep_trace { Trace::keeping_text() } else { Trace::default() },
            subscriptions: Subscriptions::default(),
            controllers: Controllers::new(spec),
            scheduler: Scheduler::new(spec),
            kubelets: Kubelets::new(spec),
            machines: Machines::new(spec),
            net: Net::new(spec),
            volumes: Volumes::new(spec),
            metrics: MetricsServer::default(),
            watches: rest::Watches::default(),
            facts: Vec::new(),
            outputs: Vec::new(),
        };
        bootstrap::boot(&mut world, spec);
        world
    }

    /// The current instant.
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// When the next event is due.
    pub fn next_due(&self) -> Option<SimTime> {
        self.queue.next_due()
    }

    /// Handles the next event if it is due at `until` or before; false when none is.
    pub fn step(&mut self, until: SimTime) -> bool {
        let Some((due, event)) = self.queue.pop_until(until) else {
            return false;
        };
        self.now = due;
        self.dispatch(event);
        self.flush();
        true
    }

    /// Handles all events due at `until` or before, and moves time there.
    pub fn run_until(&mut self, until: SimTime) {
        // What was written through `api` since the last step has no event yet.
        self.flush();
        while self.step(until) {}
        self.now = self.now.max(until);
        self.queue.advance(self.now);
    }

    /// Answers an API request at the current instant; a watch is answered through `Output`.
    pub fn serve(&mut self, request: &http::Request<Bytes>) -> rest::Served {
        split!(self, cx);
        let served = rest::serve(&mut cx, &mut self.watches, &self.machines, request);
        self.flush();
        served
    }

    /// Drops a watch whose client has gone.
    pub fn close_watch(&mut self, id: u64) {
        self.watches.close(id);
    }

    /// Starts a data-plane call from outside the cluster; its result comes as `Output::CallDone`.
    pub fn call(&mut self, call: ClientCall) -> CallId {
        split!(self, cx);
        let id = self.net.call(call, &mut self.machines, &mut cx);
        self.flush();
        id
    }

    /// Cuts a node off: power and network are gone at once.
    pub fn stop_node(&mut self, node: &str) {
        split!(self, cx);
        self.machines.power_off(node, &mut cx);
        self.kubelets.power_off(node, &mut cx);
        self.net.node_lost(node, &mut cx);
        self.flush();
    }

    /// Boots a node that was cut off.
    pub fn start_node(&mut self, node: &str) {
        split!(self, cx);
        self.machines.power_on(node, &mut cx);
        self.kubelets.power_on(node, &mut self.machines, &mut cx);
        self.net.node_returned(node, &mut cx);
        self.flush();
    }

    /// Freezes a container by its number, or lets it go on; false if there is none.
    pub fn freeze(&mut self, container: u64, frozen: bool) -> bool {
        split!(self, cx);
        let found = self.machines.container(container);
        if let Some(id) = found {
            match frozen {
                true => self.machines.freeze(id, &mut cx),
                false => self.machines.thaw(id, &mut cx),
            }
        }
        self.flush();
        found.is_some()
    }

    /// What left the world since the last call.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Commands of hooks and probes that the program models did not understand so far, by pod.
    pub fn unmodelled_commands(&self) -> Vec<(ObjectRef, String)> {
        self.machines.unmodelled_commands().iter().cloned().collect()
    }

    /// The lifecycle facts since the last call.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// The API server, for set-up and inspection in tests and benches.
    pub fn api(&mut self) -> &mut Api {
        self.api.now = self.now;
        &mut self.api
    }

    /// Lends the machines out, for tests of their room.
    #[cfg(test)]
    pub(super) fn on_machines<T>(&mut self, f: impl FnOnce(&mut Machines, &mut Cx<'_>) -> T) -> T {
        split!(self, cx);
        let answer = f(&mut self.machines, &mut cx);
        self.flush();
        answer
    }

    /// The trace so far.
    pub fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// Registers a node with its kubelet, machine and proxy.
    pub(super) fn add_node(&mut self, node: &super::bootstrap::NodeSpec) {
        split!(self, cx);
        self.machines.add_node(node);
        self.kubelets.add_node(node, &mut cx);
        self.flush();
    }

    /// Starts the periodic work of all rooms.
    pub(super) fn start_rooms(&mut self) {
        split!(self, cx);
        self.controllers.start(&mut cx);
        self.scheduler.start(&mut cx);
        self.net.start(&mut cx);
        self.volumes.start(&mut cx);
        MetricsServer::start(&mut cx);
        self.flush();
    }

    fn dispatch(&mut self, event: Event) {
        split!(self, cx);
        match event {
            Event::Deliver(to, change) => match to {
                Subscriber::Controllers => self.controllers.on_change(&change, &mut cx),
                Subscriber::Scheduler => self.scheduler.on_change(&change, &mut cx),
                Subscriber::Kubelet(node) => {
                    self.kubelets.on_change(&node, &change, &mut self.machines, &mut cx);
                }
                Subscriber::Net => self.net.on_change(&change, &mut cx),
                Subscriber::Volumes => self.volumes.on_change(&change, &mut cx),
                Subscriber::Client(id) => self.watches.on_change(id, &change, &cx),
            },
            Event::Controllers(event) => self.controllers.on_event(event, &mut cx),
            Event::Scheduler(event) => self.scheduler.on_event(event, &mut cx),
            Event::Kubelet(node, event) => {
                self.kubelets.on_event(
                    &node,
                    event,
                    &mut self.machines,
                    &mut self.volumes,
                    &mut cx,
                );
            }
            Event::Machines(event) => self.machines.on_event(event, &mut self.net, &mut cx),
            Event::Net(event) => self.net.on_event(event, &mut self.machines, &mut cx),
            Event::Volumes(event) => self.volumes.on_event(event, &mut cx),
            Event::Metrics(event) => {
                MetricsServer::on_event(event, &self.machines, &mut cx);
            }
            Event::Rest(event) => self.watches.on_event(event, &mut cx),
        }
    }

    /// Hands committed changes to their watchers and collects what leaves the world.
    fn flush(&mut self) {
        for change in self.api.take_pending() {
            let object = &change.object;
            self.trace.line(
                change.at,
                "api",
                format_args!(
                    "{} {:?} {}/{}/{}",
                    change.revision,
                    change.change_type,
                    object.kind().0,
                    object.namespace(),
                    object.name()
                ),
            );
            self.subscriptions.publish(&change, &mut self.queue, &mut self.rng);
            self.watches.publish(&change, &mut self.queue, &mut self.rng);
        }
        self.watches.take_lines(&mut self.outputs);
        for (id, result) in self.net.take_results() {
            self.outputs.push(Output::CallDone(id, Box::new(result)));
        }
    }
}
