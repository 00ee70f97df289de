//! The engine: a simulated cluster behind the contract that all engines keep.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::bridge::Bridge;
use super::service::ApiService;
use super::transport::SimTransport;
use crate::base::{Error, ObjectRef, SimTime};
use crate::engine::{Capability, ContainerPause, Engine, Fact, FrontDoor, NodeLifecycle};
use crate::load::{Target, Transport};
use crate::sim::apps::{self, GenericApp};
use crate::sim::profile::Profile;
use crate::sim::{ClusterSpec, World};

/// Namespace of requests that name none, as a fresh kubeconfig has it.
const DEFAULT_NAMESPACE: &str = "default";

/// A simulated cluster, running in virtual time.
pub struct SimEngine {
    bridge: Arc<Bridge>,
    profile: Profile,
    nodes: Vec<String>,
    ingress_ip: String,
}

impl SimEngine {
    pub(super) fn new(spec: &ClusterSpec, bridge: Arc<Bridge>) -> Self {
        let ingress = spec.nodes.iter().find(|n| n.control_plane).or(spec.nodes.first());
        SimEngine {
            bridge,
            profile: spec.profile,
            nodes: spec.nodes.iter().map(|n| n.name.clone()).collect(),
            ingress_ip: ingress.map(|n| n.ip.clone()).unwrap_or_default(),
        }
    }

    /// Virtual time since the cluster came up.
    pub fn elapsed(&self) -> Duration {
        self.bridge.elapsed()
    }

    /// Lets `look` work on the world at the current instant: for mutants, coverage and tests.
    pub fn with_world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        self.bridge.act(look)
    }

    /// Commands of hooks and probes that the model did not understand so far, by pod.
    pub fn unmodelled_commands(&self) -> Vec<(ObjectRef, String)> {
        self.bridge.act(|world| world.unmodelled_commands())
    }

    fn known_node(&self, node: &str) -> Result<(), Error> {
        if self.nodes.iter().any(|known| known == node) {
            return Ok(());
        }
        let known = self.nodes.join(", ");
        Err(Error::environment(format!("no node `{node}` in the cluster; it has {known}")))
    }

    fn freeze(&self, node: &str, container: &str, frozen: bool) -> Result<(), Error> {
        self.known_node(node)?;
        let id = container.strip_prefix("containerd://").unwrap_or(container);
        let number = u64::from_str_radix(id, 16).ok();
        // One that was killed meanwhile needs no thaw.
        let done =
            number.is_some_and(|id| self.bridge.act(|world| world.freeze(id, frozen))) || !frozen;
        let missing = || Error::environment(format!("no container `{container}` on {node}"));
        if done { Ok(()) } else { Err(missing()) }
    }

    fn target(&self, port: u16, tls: Option<String>) -> Target {
        Target { host: self.ingress_ip.clone(), port, tls }
    }
}

impl Engine for SimEngine {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn kubernetes(&self) -> String {
        self.profile.to_string()
    }

    fn capabilities(&self) -> &[Capability] {
        &[Capability::NodeLifecycle, Capability::NodeChanges, Capability::ContainerPause]
    }

    fn client(&self) -> kube::Client {
        kube::Client::new(ApiService::new(Arc::clone(&self.bridge)), DEFAULT_NAMESPACE)
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(SimTransport::new(Arc::clone(&self.bridge)))
    }

    fn front_door(&self) -> FrontDoor {
        FrontDoor {
            http: self.target(80, None),
            https: self.target(443, Some(self.ingress_ip.clone())),
        }
    }

    fn nodes(&self) -> Option<&dyn NodeLifecycle> {
        Some(self)
    }

    fn containers(&self) -> Option<&dyn ContainerPause> {
        Some(self)
    }

    fn watches_tell_all(&self) -> bool {
        true
    }

    fn facts(&self) -> Vec<Fact> {
        let facts = self.bridge.facts().into_iter();
        facts
            .map(|fact| Fact {
                at_ms: fact.at.since(SimTime::ZERO).as_micros() as u64 / 1_000,
                what: format!("{:?}", fact.kind),
                object: fact.object,
            })
            .collect()
    }

    fn epoch(&self) -> Option<tokio::time::Instant> {
        Some(self.bridge.epoch())
    }
}

impl NodeLifecycle for SimEngine {
    fn stop<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.known_node(node)?;
            self.bridge.act(|world| world.stop_node(node));
            Ok(())
        })
    }

    fn start<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.known_node(node)?;
            self.bridge.act(|world| world.start_node(node));
            Ok(())
        })
    }
}

impl ContainerPause for SimEngine {
    fn pause<'a>(&'a self, node: &'a str, container: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.freeze(node, container, true) })
    }

    fn unpause<'a>(
        &'a self,
        node: &'a str,
        container: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.freeze(node, container, false) })
    }
}

/// Whether there is a program model for `image`, built in or among `configured`.
pub fn has_model(image: &str, configured: &[GenericApp]) -> bool {
    apps::catalogue(image, configured).is_some()
}

/// Whether an image with a shell has the program `name` with it.
pub fn is_common_tool(name: &str) -> bool {
    apps::is_common_tool(name)
}

/// How `configured` describes the program of `image`, if it does.
pub fn description<'c>(image: &str, configured: &'c [GenericApp]) -> Option<&'c GenericApp> {
    apps::configured_for(image, configured)
}
