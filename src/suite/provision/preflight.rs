//! Preflight: whether this machine can make the cluster that is wanted.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use super::make::is_there;
use super::{KindWish, Place, Wanted, Workshop, load, needed};
use crate::addons::{self, AddOn};
use crate::base::secs;
use crate::engine::doctor::{self, Finding};
use crate::engine::host::Programs;
use crate::engine::kind::{Containers, EngineHints, KindSpec, Topology, node_pin};
use crate::k8s::Profile;
use crate::stack::Stack;

/// For a look at a kept cluster; then it counts as missing.
const LOOK_LIMIT: Duration = secs(2);

/// What the doctor finds for `wanted`; nothing for a cluster that exists.
pub async fn findings(wanted: &Wanted, stack: &Stack, workshop: &Workshop) -> Vec<Finding> {
    let Place::Kind(kind) = &wanted.place else { return Vec::new() };
    // Whoever makes the cluster says what is wrong with a topology that cannot be read.
    let (workers, file) = (kind.workers, kind.topology.clone());
    let topology = KindSpec { workers, topology: file, ..KindSpec::default() }.topology().ok();
    let wish = doctor::Wish {
        kubernetes: wanted.kubernetes,
        node_image: kind.node_image.clone(),
        workers: topology.as_ref().map(n_workers).unwrap_or_default(),
        rook: makes_ceph(wanted, stack, workshop).await,
        exists: is_kept(wanted, kind, stack, workshop).await,
        ports: topology.as_ref().map(Topology::host_ports).unwrap_or_default(),
    };
    let host = doctor::Host::this(&workshop.paths);
    doctor::examine(&wish, &workshop.programs, &host).await
}

/// Whether `--reuse` has its cluster. What stands in the way of looking is told by the examination, or
/// by whoever makes the cluster; an engine that does not answer may take minutes over it.
async fn is_kept(wanted: &Wanted, wish: &KindWish, stack: &Stack, workshop: &Workshop) -> bool {
    let looked = timeout(LOOK_LIMIT, is_there(wanted, wish, stack, workshop)).await;
    matches!(looked, Ok(Ok(true)))
}

/// Whether Ceph is to run on this machine's disks: not if a folder of add-ons has it elsewhere, or
/// names disks. Of a folder that cannot be read whoever makes the cluster says what is wrong.
async fn makes_ceph(wanted: &Wanted, stack: &Stack, workshop: &Workshop) -> bool {
    if !needed(stack).contains(&AddOn::RookCeph) {
        return false;
    }
    if wanted.addons.is_none() {
        return true;
    }
    let loaded = load(wanted, &BTreeSet::from([AddOn::RookCeph]), &workshop.paths).await;
    loaded.is_ok_and(|loaded| addons::wants_devices(&loaded))
}

fn n_workers(topology: &Topology) -> usize {
    topology.nodes("").iter().filter(|node| node.worker).count()
}

/// The container engine that has the node image, as in `docker 28.1`; `Err` says what is missing.
///
/// # Errors
/// No engine answers, or the image is not here.
pub async fn node_image_here(
    programs: &Programs,
    hints: &EngineHints,
    node_image: Option<&str>,
    kubernetes: Profile,
) -> Result<String, String> {
    let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let containers = Containers::detect(programs, hints).await;
    let containers = containers.map_err(|error| first_line(error.to_string()))?;
    let image = match node_image {
        Some(image) => image.to_owned(),
        None => node_pin(kubernetes).map_err(|error| first_line(error.to_string()))?.image,
    };
    match containers.image_id(&image).await {
        Ok(Some(_)) => Ok(format!("{} answers", containers.engine().program)),
        Ok(None) => Err(format!("the node image {image} is not here")),
        Err(error) => Err(first_line(error.to_string())),
    }
}
