//! A kind cluster as its users need it, and its record on disk.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::Error;
use crate::engine::host::ContainerEngine;
#[cfg(test)]
use crate::engine::host::Paths;
use crate::engine::real::Access;

/// Name of the record in the cluster's folder.
const RECORD: &str = "cluster.json";

/// A node: a container of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindNode {
    /// Its name.
    pub name: String,
    /// Whether it is a worker; control-planes are not.
    pub worker: bool,
}

/// A cluster that was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCluster {
    /// Its name.
    pub name: String,
    /// Where its containers are.
    pub engine: ContainerEngine,
    /// Folder of everything that belongs to it.
    pub folder: PathBuf,
    /// Its own kubeconfig file.
    pub kubeconfig: PathBuf,
    /// Port on 127.0.0.1 that leads to port 80 of `front_node`.
    pub http_port: u16,
    /// Port on 127.0.0.1 that leads to port 443 of `front_node`.
    pub https_port: u16,
    /// All nodes, in the topology's order.
    pub nodes: Vec<KindNode>,
    /// The node where the ports arrive; it is labelled `ingress-ready=true`.
    pub front_node: String,
    /// The node image; `None` where nodes differ.
    pub node_image: Option<String>,
    /// Whether its nodes may write to `/sys`: it is to be made so again whenever one has booted.
    #[serde(default)]
    pub writable_sys: bool,
}

impl KindCluster {
    /// The context in its kubeconfig.
    pub fn context(&self) -> String {
        format!("kind-{}", self.name)
    }

    /// How it is reached.
    pub fn access(&self) -> Access {
        Access { kubeconfig: Some(self.kubeconfig.clone()), context: Some(self.context()) }
    }

    /// One without nodes and with its record, as for a test of what is kept.
    #[cfg(test)]
    pub(crate) fn recorded(name: &str, engine: ContainerEngine, paths: &Paths) -> KindCluster {
        let folder = paths.cluster(name);
        std::fs::create_dir_all(&folder).expect("made");
        let cluster = KindCluster {
            name: name.to_owned(),
            engine,
            kubeconfig: folder.join("kubeconfig"),
            folder,
            http_port: 0,
            https_port: 0,
            nodes: Vec::new(),
            front_node: String::new(),
            node_image: None,
            writable_sys: false,
        };
        cluster.write().expect("written");
        cluster
    }

    /// Names of all nodes.
    pub fn node_names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// Writes the record into the cluster's folder, for those who use it later.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self) -> Result<(), Error> {
        let file = self.folder.join(RECORD);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::environment(error.to_string()))?;
        std::fs::write(&file, text).map_err(|error| {
            Error::environment(format!("cannot write {}: {error}", file.display()))
        })
    }

    /// Reads the record in `folder`; `None` if there is none that can be read.
    pub fn read(folder: &Path) -> Option<KindCluster> {
        let text = std::fs::read_to_string(folder.join(RECORD)).ok()?;
        serde_json::from_str(&text).ok()
    }
}
