//! A cluster of an API, machines and the network.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use crate::base::{SimTime, Streams, millis, secs};
use crate::sim::api::{Api, DeleteOptions, Kind, Part, Typed};
use crate::sim::bootstrap::ClusterSpec;
use crate::sim::context::Cx;
use crate::sim::event::Event;
use crate::sim::fact::Fact;
use crate::sim::machines::{ContainerId, ContainerStart, Machines};
use crate::sim::metrics::MetricsServer;
use crate::sim::net::{CallFailure, CallResult, ClientCall, HopState, Net};
use crate::sim::profile::Profile;
use crate::sim::queue::Queue;
use crate::sim::trace::Trace;

/// The node port of the Service in these tests.
pub(super) const NODE_PORT: u16 = 30_080;

/// A cluster without controllers.
pub(super) struct Rig {
    pub now: SimTime,
    pub api: Api,
    pub net: Net,
    pub machines: Machines,
    pub spec: ClusterSpec,
    pub facts: Vec<Fact>,
    queue: Queue,
    rng: Streams,
    trace: Trace,
    metrics: MetricsServer,
    pods: Vec<TestPod>,
}

/// A pod of the test Service.
#[derive(Clone, Debug)]
pub(super) struct TestPod {
    pub name: String,
    pub ip: String,
    pub node: String,
    pub container: ContainerId,
    pub ready: bool,
    pub terminating: bool,
}

impl Rig {
    pub(super) fn new(profile: &str) -> Self {
        let profile: Profile = profile.parse().expect("a minor");
        let spec = ClusterSpec::new(profile, 2);
        let mut rig = Rig {
            now: SimTime::ZERO + secs(1),
            api: Api::new(profile, 1),
            net: Net::new(&spec),
            machines: Machines::new(&spec),
            facts: Vec::new(),
            queue: Queue::default(),
            rng: Streams::new(1),
            trace: Trace::default(),
            metrics: MetricsServer::default(),
            pods: Vec::new(),
            spec,
        };
        for node in &rig.spec.nodes {
            rig.machines.add_node(node);
        }
        rig.with(|net, _, cx| net.start(cx));
        rig.create::<Namespace>(json!({"metadata": {"name": "web"}}));
        rig
    }

    pub(super) fn with<T>(
        &mut self,
        f: impl FnOnce(&mut Net, &mut Machines, &mut Cx<'_>) -> T,
    ) -> T {
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
        let answer = f(&mut self.net, &mut self.machines, &mut cx);
        for change in self.api.take_pending() {
            let mut cx = Cx {
                now: self.now,
                api: &mut self.api,
                queue: &mut self.queue,
                rng: &mut self.rng,
                trace: &mut self.trace,
                metrics: &mut self.metrics,
                facts: &mut self.facts,
            };
            self.net.on_change(&change, &mut cx);
        }
        answer
    }

    pub(super) fn create<T: Typed>(&mut self, value: Value) -> Arc<T> {
        let object: T = serde_json::from_value(value).expect("an object");
        self.with(|_, _, cx| cx.api.create(object).expect("it is accepted"))
    }

    pub(super) fn service(&mut self, spec: Value) {
        let mut value = json!({
            "metadata": {"name": "web", "namespace": "web"},
            "spec": {
                "type": "NodePort", "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": 80, "nodePort": NODE_PORT}],
            },
        });
        if let (Some(to), Value::Object(from)) = (value["spec"].as_object_mut(), spec) {
            to.extend(from);
        }
        self.create::<Service>(value);
    }

    /// Starts a pod on worker `node` (0 or 1) and adds it to the slice.
    pub(super) fn pod(&mut self, name: &str, image: &str, node: usize) -> TestPod {
        let node = self.spec.nodes[node + 1].name.clone();
        self.create::<Pod>(json!({
            "metadata": {"name": name, "namespace": "web", "labels": {"app": "web"}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": image}]},
        }));
        let mut start = crate::sim::apps::testing::start(image);
        (start.node, start.namespace) = (Arc::from(node.as_str()), "web".into());
        (start.pod, start.pod_uid) = (name.into(), name.into());
        let (ip, container) = self.with(|_, machines, cx| {
            let ip = machines.create_sandbox(&node, name, cx);
            let start = ContainerStart { pod_ip: ip.clone(), ..start };
            let container = machines.start(start, cx).expect("it starts");
            let set_ip = |pod: &mut Pod| {
                pod.status.get_or_insert_default().pod_ip = Some(ip.clone());
            };
            cx.api.patch::<Pod>(Part::Status, "web", name, set_ip).expect("a pod");
            (ip, container)
        });
        let name = name.to_owned();
        let pod = TestPod { name, ip, node, container, ready: true, terminating: false };
        self.pods.push(pod.clone());
        self.write_slice();
        pod
    }

    /// Changes what the slice says of a pod.
    pub(super) fn mark(&mut self, name: &str, ready: bool, terminating: bool) {
        for pod in self.pods.iter_mut().filter(|pod| pod.name == name) {
            (pod.ready, pod.terminating) = (ready, terminating);
        }
        self.write_slice();
    }

    /// Deletes the pod's object and stops its process, as the kubelet does without a preStop hook.
    pub(super) fn terminate(&mut self, pod: &TestPod) {
        self.with(|_, machines, cx| {
            let options = DeleteOptions::default();
            cx.api.delete(Kind::POD, "web", &pod.name, &options).expect("a pod");
            machines.stop(pod.container, cx);
        });
    }

    fn write_slice(&mut self) {
        let endpoints: Vec<Value> = self
            .pods
            .iter()
            .map(|pod| {
                json!({
                    "addresses": [pod.ip], "nodeName": pod.node,
                    "targetRef": {"kind": "Pod", "namespace": "web", "name": pod.name},
                    "conditions": {
                        "ready": pod.ready && !pod.terminating, "serving": pod.ready,
                        "terminating": pod.terminating,
                    },
                })
            })
            .collect();
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {
                "name": "web-abcde", "namespace": "web",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }))
        .expect("a slice");
        self.with(|_, _, cx| {
            if cx.api.get::<EndpointSlice>("web", "web-abcde").is_none() {
                cx.api.create(slice).expect("it is accepted");
            } else {
                let write = |old: &mut EndpointSlice| old.endpoints.clone_from(&slice.endpoints);
                cx.api
                    .patch::<EndpointSlice>(Part::Main, "web", "web-abcde", write)
                    .expect("it is accepted");
            }
        });
    }

    pub(super) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((due, event)) = self.queue.pop_until(until) {
            self.now = due;
            self.with(|net, machines, cx| match event {
                Event::Machines(event) => machines.on_event(event, net, cx),
                Event::Net(event) => net.on_event(event, machines, cx),
                _ => {}
            });
        }
        self.now = until;
        self.queue.advance(until);
    }

    /// A call to a node: 0 is the control plane.
    pub(super) fn call_to(&self, node: usize, port: u16, path: &str) -> ClientCall {
        let request = http::Request::get(path).header("host", "shop.test").body(Bytes::new());
        ClientCall {
            ip: self.spec.nodes[node].ip.clone(),
            port,
            tls: None,
            connection: None,
            request: request.expect("a request"),
            timeout: secs(10),
        }
    }

    /// Sends a call and waits for its result.
    pub(super) fn send(&mut self, call: ClientCall) -> CallResult {
        let id = self.with(|net, machines, cx| net.call(call, machines, cx));
        for _ in 0..13_000 {
            self.run(millis(1));
            let done = self.net.take_results();
            if let Some((_, result)) = done.into_iter().find(|(done, _)| *done == id) {
                return result;
            }
        }
        panic!("call {id:?} has no result");
    }

    pub(super) fn get(&mut self, node: usize, port: u16) -> CallResult {
        let call = self.call_to(node, port, "/");
        self.send(call)
    }
}

/// The status, or how it failed.
pub(super) fn status(result: &CallResult) -> Result<u16, CallFailure> {
    match result {
        CallResult::Response { response, .. } => Ok(response.status().as_u16()),
        CallResult::Failed { failure, .. } => Err(*failure),
    }
}

/// The pod a call met, and its state.
pub(super) fn met(result: &CallResult) -> Option<(&str, HopState)> {
    let (CallResult::Response { hop, .. } | CallResult::Failed { hop, .. }) = result;
    hop.as_ref().map(|hop| (hop.pod.name.as_str(), hop.state))
}
