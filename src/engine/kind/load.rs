//! Loading: wanted images into all nodes of a cluster, each archive once.

use std::path::Path;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::base::{Error, secs};
use crate::engine::host::ProgramError;
use crate::wait::doing;

use super::cluster::KindCluster;
use super::container::{Containers, ImageStore};
use super::error::{KindError, explained};
use super::images::ImagePlan;

/// Loads at a time: each streams a whole archive through the engine to every node.
const MAX_LOADS: usize = 2;
/// Commands in nodes at a time.
const MAX_EXECS: usize = 4;
/// An archive of a few gigabytes into four nodes.
const LOAD_LIMIT: Duration = secs(900);

/// Loads the archives of `plan`, and `saved`, the archive of the images saved from the engine.
///
/// # Errors
/// A node did not take an image.
pub async fn load(
    cluster: &KindCluster,
    plan: &ImagePlan,
    saved: Option<&Path>,
    containers: &Containers,
) -> Result<(), Error> {
    let archives = plan.archives.iter().map(std::path::PathBuf::as_path).chain(saved);
    let loads = archives.map(|archive| {
        let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
        doing(format!("load {name} into the nodes"), load_archive(cluster, archive, containers))
    });
    stream::iter(loads).buffer_unordered(MAX_LOADS).try_collect::<Vec<()>>().await?;
    name_by_digest(cluster, plan, containers).await
}

async fn load_archive(
    cluster: &KindCluster,
    archive: &Path,
    containers: &Containers,
) -> Result<(), Error> {
    let call = containers
        .kind(["load", "image-archive", "--name", &cluster.name])
        .arg(archive)
        .limit(LOAD_LIMIT);
    match containers.programs().run(&call).await {
        Ok(_) => Ok(()),
        Err(error) if names_absent_layers(&error, containers) => {
            import(cluster, archive, containers).await
        }
        Err(error) => Err(explained(&error)),
    }
}

/// Whether kind asked for platforms that the archive names and does not hold (kind#3795).
fn names_absent_layers(error: &ProgramError, containers: &Containers) -> bool {
    let known = KindError::of(error) == Some(KindError::MultiPlatform);
    // Newer importers word it otherwise; only containerd's store makes such archives.
    let worded = error.stderr.contains("ctr") && error.stderr.contains("not found");
    known || (worded && containers.facts().store == ImageStore::Containerd)
}

/// Feeds the archive to every node's importer, for the node's own platform alone.
async fn import(
    cluster: &KindCluster,
    archive: &Path,
    containers: &Containers,
) -> Result<(), Error> {
    let imports = cluster.nodes.iter().map(async |node| {
        let call = containers
            .call(["exec", "--interactive", &node.name])
            .arg("ctr")
            .arg("--namespace=k8s.io")
            .arg("images")
            .arg("import")
            .arg("-")
            .stdin(archive)
            .limit(LOAD_LIMIT);
        containers.run(&call).await.map(drop)
    });
    stream::iter(imports).buffer_unordered(MAX_LOADS).try_collect().await
}

/// Gives images that are asked for by digest that name in every node: an import names tags only,
/// and the kubelet would pull.
async fn name_by_digest(
    cluster: &KindCluster,
    plan: &ImagePlan,
    containers: &Containers,
) -> Result<(), Error> {
    let aliases: Vec<_> = plan.aliases().collect();
    let pairs = cluster.nodes.iter().flat_map(|node| aliases.iter().map(move |a| (node, a)));
    let tags = pairs.map(async |(node, (tagged, digested))| {
        let command = ["ctr", "--namespace=k8s.io", "images", "tag", "--force", tagged, digested];
        containers.exec(&node.name, &command).await.map(drop)
    });
    stream::iter(tags).buffer_unordered(MAX_EXECS).try_collect().await
}
