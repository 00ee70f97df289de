//! The engine: a real cluster behind the contract that all engines keep.

use std::sync::Arc;

use kube::Client;

use super::access::Access;
use crate::base::Error;
use crate::engine::{
    Capability, ContainerPause, Engine, Fact, FrontDoor, MemoryKills, NodeLifecycle, NodeLogs,
};
use crate::load::{TcpTransport, Transport};
use crate::wait::doing;

/// What whoever made or borrowed a cluster knows of it.
#[derive(Clone)]
pub struct Given {
    /// `kind` or `kubeconfig`.
    pub name: &'static str,
    /// Where clients outside reach the ingress controller.
    pub front_door: FrontDoor,
    /// What may be done to it.
    pub capabilities: Vec<Capability>,
    /// Stops and starts its nodes, if anything can.
    pub nodes: Option<Arc<dyn NodeLifecycle>>,
    /// Freezes containers, if anything can.
    pub containers: Option<Arc<dyn ContainerPause>>,
    /// Knows what the nodes killed for memory, if anything does.
    pub memory_kills: Option<Arc<dyn MemoryKills>>,
    /// Writes the nodes' journals, if anything can.
    pub logs: Option<Arc<dyn NodeLogs>>,
}

/// A real cluster.
#[derive(Clone)]
pub struct RealCluster {
    access: Access,
    client: Client,
    kubernetes: String,
    given: Given,
}

impl RealCluster {
    /// Connects to the cluster and asks for its version.
    ///
    /// # Errors
    /// As `Access::client`; an environment error if the API server does not answer or refuses.
    pub async fn connect(access: &Access, given: Given) -> Result<RealCluster, Error> {
        let client = access.client()?;
        RealCluster::connect_with(access, client, given).await
    }

    /// As `connect`, with a client of `access` that is there already.
    ///
    /// # Errors
    /// An environment error if the API server does not answer or refuses.
    pub async fn connect_with(
        access: &Access,
        client: Client,
        given: Given,
    ) -> Result<RealCluster, Error> {
        let asked = "ask for the version of Kubernetes";
        let version = doing("connect to the API server", client.apiserver_version()).await;
        let version = version.map_err(|error| access.trouble(asked, &error))?;
        let kubernetes = format!("{}.{}", digits(&version.major), digits(&version.minor));
        Ok(RealCluster { access: access.clone(), client, kubernetes, given })
    }

    /// How it is reached.
    pub fn access(&self) -> &Access {
        &self.access
    }
}

/// The number without what vendors add, as in `20+`.
fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

impl Engine for RealCluster {
    fn name(&self) -> &'static str {
        self.given.name
    }

    fn kubernetes(&self) -> String {
        self.kubernetes.clone()
    }

    fn capabilities(&self) -> &[Capability] {
        &self.given.capabilities
    }

    fn client(&self) -> Client {
        self.client.clone()
    }

    /// Each transport has kept connections of its own: trials number theirs from one.
    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(TcpTransport::new())
    }

    fn front_door(&self) -> FrontDoor {
        self.given.front_door.clone()
    }

    fn nodes(&self) -> Option<&dyn NodeLifecycle> {
        self.given.nodes.as_deref()
    }

    fn containers(&self) -> Option<&dyn ContainerPause> {
        self.given.containers.as_deref()
    }

    fn memory_kills(&self) -> Option<&dyn MemoryKills> {
        self.given.memory_kills.as_deref()
    }

    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }

    fn node_logs(&self) -> Option<&dyn NodeLogs> {
        self.given.logs.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendors_add_to_the_minor() {
        assert_eq!((digits("20"), digits("29+"), digits("31-eks.1")), ("20", "29", "31"));
    }
}
