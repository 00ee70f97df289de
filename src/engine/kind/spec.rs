//! What a kind cluster is asked to be.

use std::path::PathBuf;

use serde::Serialize;

use crate::base::Error;
use crate::k8s::Profile;

use super::pins::node_pin;
use super::topology::Topology;

/// A cluster to be created.
#[derive(Clone, Debug, Default)]
pub struct KindSpec {
    /// Its name; `None` for a short one that no other cluster has.
    pub name: Option<String>,
    /// Workers; `None` for as many as the topology has.
    pub workers: Option<usize>,
    /// Node image; `None` for the pin of `kubernetes`, or what each node of the topology names.
    pub node_image: Option<String>,
    /// The Kubernetes minor.
    pub kubernetes: Profile,
    /// A file in place of `manifests/kind/cluster.yaml`.
    pub topology: Option<PathBuf>,
    /// Folder of image archives.
    pub images: Option<PathBuf>,
    /// Images of the stack and the add-ons.
    pub wanted_images: Vec<String>,
    /// Whether a pull-through registry may serve what is neither in an archive nor in the engine.
    pub registry: bool,
    /// Folders of the host that every node sees; for add-ons that need the host's devices.
    pub extra_mounts: Vec<ExtraMount>,
    /// Whether nodes may write to `/sys`, where a kernel is told to map a block device of Ceph.
    pub writable_sys: bool,
}

/// A folder of the host in all nodes, under the same path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtraMount {
    /// Path on the host.
    pub host_path: String,
    /// Path in the node.
    pub container_path: String,
    /// `None`, `HostToContainer` or `Bidirectional`.
    pub propagation: String,
}

impl ExtraMount {
    /// `path` as the host has it, with what the host mounts below it later.
    pub fn host_to_container(path: &str) -> Self {
        ExtraMount {
            host_path: path.to_owned(),
            container_path: path.to_owned(),
            propagation: "HostToContainer".to_owned(),
        }
    }
}

impl KindSpec {
    /// The topology with the number of workers and the mounts asked for.
    ///
    /// # Errors
    /// The file cannot be read or is wrong: a usage error that names file and field.
    pub fn topology(&self) -> Result<Topology, Error> {
        let mut topology = match &self.topology {
            Some(file) => Topology::read(file)?,
            None => Topology::standard()?,
        };
        if let Some(workers) = self.workers {
            topology.set_workers(workers);
        }
        topology.mount(&self.extra_mounts);
        Ok(topology)
    }

    /// The image for all nodes; `None` when every node of `topology` names its own.
    ///
    /// # Errors
    /// No image is known for the minor.
    pub fn image(&self, topology: &Topology) -> Result<Option<String>, Error> {
        match &self.node_image {
            Some(image) => Ok(Some(image.clone())),
            None if topology.names_all_images() => Ok(None),
            None => node_pin(self.kubernetes).map(|pin| Some(pin.image)),
        }
    }
}
