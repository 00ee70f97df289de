//! Reuse: a kept cluster that is what the next run would create.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::base::{Error, secs};
use crate::engine::host::loops::attached_to;
use crate::engine::host::{ContainerEngine, FileLock, LeaseFile, Paths, Thing};

use crate::wait::Deadline;

use super::cluster::KindCluster;
use super::container::Containers;
use super::ready;
use super::spec::KindSpec;

/// Symbols of a key: enough for the few clusters of one machine.
const KEY_SYMBOLS: usize = 12;
/// An API server that does not answer in this time is not worth keeping.
const ANSWER_LIMIT: Duration = secs(10);
/// Trials of one test run that are processes of their own take turns.
const USED_ELSEWHERE: Deadline =
    Deadline::new(secs(4 * 3600), "another process runs the suites on it, for an hour or so");

/// What became of the cluster that was kept for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// There is none.
    None,
    /// Its containers run, its disks are attached and its API answers. Whether it is clean is for
    /// its user to prove.
    Usable(Box<KindCluster>),
    /// It cannot be used any more and has to be deleted.
    Broken {
        /// The cluster's name.
        name: String,
        /// Why.
        why: String,
    },
}

/// The key of the cluster that `spec` asks for on `engine`, with `addons` in it (name, version and
/// content of each). Equal keys mean interchangeable clusters.
///
/// # Errors
/// The spec is wrong.
pub fn reuse_key(
    spec: &KindSpec,
    addons: &[String],
    engine: &ContainerEngine,
) -> Result<String, Error> {
    let topology = spec.topology()?;
    let image = spec.image(&topology)?.unwrap_or_default();
    let mut addons = addons.to_vec();
    addons.sort();
    let mut hash = Sha256::new();
    let endpoint = engine.endpoint.clone().unwrap_or_default();
    let place = format!("{} {endpoint}", engine.program);
    let parts = [place, spec.kubernetes.to_string(), image, topology.fingerprint()?];
    for part in parts.iter().chain(&addons) {
        // Lengths keep neighbours apart.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(hex[..KEY_SYMBOLS].to_owned())
}

/// The id of the lease under which the cluster of `key` is kept.
pub fn lease_id(key: &str) -> String {
    format!("reuse-{key}")
}

/// Takes the cluster of `key` for this process alone; waits while another one uses it.
///
/// # Errors
/// Another process uses it for hours, or the lock file cannot be made.
pub async fn lock(key: &str, paths: &Paths) -> Result<FileLock, Error> {
    let id = lease_id(key);
    let path = paths.locks().join(format!("{id}.lock"));
    FileLock::take(&path, &format!("the shared cluster {id}"), USED_ELSEWHERE).await
}

/// Looks for the cluster kept for `key`; the caller holds its lock.
///
/// # Errors
/// The container engine does not answer.
pub async fn find(key: &str, containers: &Containers, paths: &Paths) -> Result<Kept, Error> {
    let Some((lease, name)) = named(key, containers, paths) else { return Ok(Kept::None) };
    let broken = |why: &str| Kept::Broken { name: name.clone(), why: why.to_owned() };
    if !lease.kept {
        return Ok(broken("its creation or its use did not end"));
    }
    let Some(cluster) = KindCluster::read(&paths.cluster(&name)) else {
        return Ok(broken("its record is gone"));
    };
    let running = containers.running_of_cluster(&name).await?;
    let off = cluster.nodes.iter().find(|node| !running.contains(&node.name));
    if let Some(node) = off {
        return Ok(broken(&format!("its node {} does not run", node.name)));
    }
    if containers.programs().is_dry() {
        return Ok(Kept::Usable(Box::new(cluster)));
    }
    // Ceph knows its disks by their numbers, which are anybody's once the machine was off.
    for thing in &lease.things {
        if let Thing::LoopDevice { device, file } = thing
            && !attached_to(containers.programs(), file).await?.contains(device)
        {
            let device = device.display();
            return Ok(broken(&format!("its disk {device} is not attached any more")));
        }
    }
    match tokio::time::timeout(ANSWER_LIMIT, answers(&cluster)).await {
        Ok(Ok(())) => Ok(Kept::Usable(Box::new(cluster))),
        Ok(Err(why)) => Ok(broken(&why)),
        Err(_) => Ok(broken("its API does not answer")),
    }
}

/// Whether the cluster of `key` runs, kept for the next or in use by another process.
///
/// # Errors
/// The container engine does not answer.
pub async fn runs(key: &str, containers: &Containers, paths: &Paths) -> Result<bool, Error> {
    match named(key, containers, paths) {
        Some((_, name)) => Ok(!containers.running_of_cluster(&name).await?.is_empty()),
        None => Ok(false),
    }
}

/// The lease of `key`, and the name of the cluster in it.
fn named(key: &str, containers: &Containers, paths: &Paths) -> Option<(LeaseFile, String)> {
    let file = paths.leases().join(format!("{}.json", lease_id(key)));
    let text = std::fs::read_to_string(&file).ok()?;
    let lease = serde_json::from_str::<LeaseFile>(&text).ok()?;
    let name = lease.things.iter().find_map(|thing| match thing {
        Thing::KindCluster { engine, name } if engine == containers.engine() => Some(name.clone()),
        _ => None,
    })?;
    Some((lease, name))
}

async fn answers(cluster: &KindCluster) -> Result<(), String> {
    let client = ready::client(cluster).map_err(|error| error.to_string())?;
    let version = client.apiserver_version().await;
    version.map(drop).map_err(|error| format!("its API does not answer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::host::Lease;
    use crate::engine::host::testing::{FAKE_LOSETUP, FakeTools};

    #[tokio::test]
    async fn a_kept_cluster_whose_disks_are_detached_is_broken() {
        let tools = FakeTools::new();
        tools.add("docker", "if [ $1 = version ]; then echo '29.0.0 linux/amd64'; fi");
        tools.add("losetup", FAKE_LOSETUP);
        let paths = Paths::below(&tools.folder().join("home"));
        let engine = ContainerEngine { program: "docker".into(), endpoint: None };
        let containers =
            Containers::connect(&tools.programs(), engine.clone()).await.expect("it answers");
        KindCluster::recorded("st-kept", engine.clone(), &paths);
        let lease = Lease::take(&paths.leases(), &lease_id("key"), "run").expect("taken");
        let file = paths.loops().join("st-kept-worker.img");
        let disk = Thing::LoopDevice { device: "/dev/loop1".into(), file: file.clone() };
        lease.will_make(disk).expect("written");
        lease.will_make(Thing::KindCluster { engine, name: "st-kept".into() }).expect("written");
        lease.keep().expect("written");
        let why = async || match find("key", &containers, &paths).await.expect("asked") {
            Kept::Broken { why, .. } => why,
            found => panic!("it has no API: {found:?}"),
        };
        let attached = tools.folder().join("loops");
        std::fs::write(&attached, "/somebody/elses.img\n").expect("written");
        assert_eq!(why().await, "its disk /dev/loop1 is not attached any more");
        std::fs::write(&attached, format!("{}\n", file.display())).expect("written");
        assert!(why().await.contains("kubeconfig"), "{}", why().await);
    }
}
