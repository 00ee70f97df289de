//! A scheduler, an API server and nothing else; changes arrive at once.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::base::{SimTime, Streams};
use crate::k8s::pod_condition;
use crate::sim::api::{Api, DeleteOptions, Kind, Typed};
use crate::sim::metrics::MetricsServer;
use crate::sim::profile::Profile;
use crate::sim::scheduler::{Scheduler, SchedulerEvent};
use crate::sim::{ClusterSpec, Cx, Event, Fact, Queue, Trace};

pub const NAMESPACE: &str = "shop";

#[derive(Debug)]
pub struct Rig {
    scheduler: Scheduler,
    pub api: Api,
    queue: Queue,
    rng: Streams,
    trace: Trace,
    metrics: MetricsServer,
    facts: Vec<Fact>,
    now: SimTime,
}

impl Rig {
    pub fn new(profile: Profile, seed: u64) -> Self {
        let mut rig = Rig {
            scheduler: Scheduler::new(&ClusterSpec::new(profile, 0)),
            api: Api::new(profile, seed),
            queue: Queue::default(),
            rng: Streams::new(seed),
            trace: Trace::default(),
            metrics: MetricsServer::default(),
            facts: Vec::new(),
            now: SimTime::ZERO,
        };
        rig.create::<Namespace>(json!({"metadata": {"name": NAMESPACE}}));
        rig
    }

    /// `n` equal nodes with 2 cores and 4 GiB: `node-1` and so on.
    pub fn with_nodes(profile: Profile, seed: u64, n: usize) -> Self {
        let mut rig = Rig::new(profile, seed);
        for number in 1..=n {
            rig.add_node(&format!("node-{number}"), "2", "4Gi", &json!([]));
        }
        rig
    }

    pub fn add_node(&mut self, name: &str, cpu: &str, memory: &str, taints: &Value) {
        self.create::<Node>(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {"taints": taints},
            "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": "110"}},
        }));
        let allocatable = json!({"cpu": cpu, "memory": memory, "pods": "110"});
        let node = self.api.get::<Node>("", name).expect("the node was created");
        if node.status.is_none() {
            // A create drops the status; the kubelet writes it afterwards.
            let mut with_status = Node::clone(node);
            with_status.status =
                Some(serde_json::from_value(json!({"allocatable": allocatable})).expect("status"));
            self.api.update_status(with_status).expect("status is accepted");
        }
    }

    /// Creates an object, which arrives at the scheduler with the next `run`.
    pub fn create<T: Typed + DeserializeOwned>(&mut self, value: Value) -> Arc<T> {
        self.api.now = self.now;
        let object: T = serde_json::from_value(value).expect("a well-formed object");
        self.api.create(object).expect("the API accepts it")
    }

    /// Names a class for a priority: admission takes no bare number.
    fn classify(&mut self, spec: &mut Value) {
        let Some(priority) = spec.as_object_mut().and_then(|spec| spec.remove("priority")) else {
            return;
        };
        let name = format!("priority-{priority}");
        if self.api.get::<PriorityClass>("", &name).is_none() {
            self.create::<PriorityClass>(json!({"metadata": {"name": name}, "value": priority}));
        }
        spec["priorityClassName"] = json!(name);
    }

    /// Creates a pod of app `app`; `spec` is merged into a minimal one.
    pub fn add_pod(&mut self, app: &str, name: &str, cpu: &str, spec: Value) {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": app}},
            "spec": {"containers": [{
                "name": "main",
                "image": "nginx:1",
                "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}},
            }]},
        });
        json_patch::merge(&mut pod["spec"], &spec);
        self.classify(&mut pod["spec"]);
        self.create::<Pod>(pod);
    }

    pub fn delete_pod(&mut self, name: &str) {
        self.api.now = self.now;
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        self.api.delete(Kind::POD, NAMESPACE, name, &options).expect("the pod is there");
    }

    /// Runs for `time`.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.deliver();
        while let Some((due, event)) = self.queue.pop_until(until) {
            self.now = due;
            let Event::Scheduler(event) = event else { panic!("only the scheduler is here") };
            self.handle(event);
            self.deliver();
        }
        self.now = until;
    }

    fn handle(&mut self, event: SchedulerEvent) {
        self.with_cx(|scheduler, cx| scheduler.on_event(event, cx));
    }

    fn deliver(&mut self) {
        for change in self.api.take_pending() {
            self.with_cx(|scheduler, cx| scheduler.on_change(&change, cx));
        }
    }

    fn with_cx(&mut self, act: impl FnOnce(&mut Scheduler, &mut Cx<'_>)) {
        self.api.now = self.now;
        let mut cx = Cx {
            now: self.now,
            api: &mut self.api,
            queue: &mut self.queue,
            rng: &mut self.rng,
            trace: &mut self.trace,
            metrics: &mut self.metrics,
            facts: &mut self.facts,
        };
        act(&mut self.scheduler, &mut cx);
    }

    /// The node of a pod; empty while it has none.
    pub fn node_of(&self, name: &str) -> String {
        let pod = self.api.get::<Pod>(NAMESPACE, name);
        let spec = pod.and_then(|pod| pod.spec.as_ref());
        spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default()
    }

    /// The message of the pod's `PodScheduled` condition.
    pub fn message_of(&self, name: &str) -> String {
        let pod = self.api.get::<Pod>(NAMESPACE, name).expect("the pod is there");
        let condition = pod_condition(pod, "PodScheduled").expect("the pod was tried");
        condition.message.clone().unwrap_or_default()
    }
}
