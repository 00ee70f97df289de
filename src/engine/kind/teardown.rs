//! Teardown: a cluster and everything of it, until nothing is left.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::base::{Error, millis, secs};
use crate::engine::host::{CLUSTER_LABEL, Lease, Paths, Thing};
use crate::wait::{Deadline, doing, until_ok};

use super::container::Containers;
use super::error::explained;

/// kind removes all containers at once.
const DELETE_LIMIT: Duration = secs(180);
/// After a removal of everything the list is empty; a busy engine may lag.
const GONE: Deadline = Deadline::new(secs(30), "an engine under load lists what it just removed");
/// A creation that failed may have starts of containers under way (`kind@v0.32.0:pkg/errors/concurrent.go`).
const LATE_STARTS: Duration = millis(1_500);

/// How long a removal is followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For this long no container may have been seen.
    pub settle: Duration,
    /// All must be gone by then.
    pub gone: Deadline,
}

/// For a cluster that nobody is making any more.
const AT_REST: Patience = Patience { settle: Duration::ZERO, gone: GONE };
/// For a creation that failed.
const IN_MOTION: Patience = Patience { settle: LATE_STARTS, gone: GONE };

/// What a lease calls the cluster.
pub(super) fn thing(containers: &Containers, name: &str) -> Thing {
    Thing::KindCluster { engine: containers.engine().clone(), name: name.to_owned() }
}

/// Deletes cluster `name` and its folder, and strikes them out of `lease`. Deleting what is gone
/// already is no error.
///
/// # Errors
/// Something is left: what, and the commands that remove it.
pub async fn delete(
    containers: &Containers,
    name: &str,
    lease: &Lease,
    paths: &Paths,
) -> Result<(), Error> {
    doing("delete the cluster", delete_all(containers, name, lease, paths, AT_REST)).await
}

/// The same after a failed creation, when containers may still appear.
pub(super) async fn after_failure(
    containers: &Containers,
    name: &str,
    lease: &Lease,
    paths: &Paths,
) -> Result<(), Error> {
    doing("delete the cluster", delete_all(containers, name, lease, paths, IN_MOTION)).await
}

pub(super) async fn delete_all(
    containers: &Containers,
    name: &str,
    lease: &Lease,
    paths: &Paths,
    patience: Patience,
) -> Result<(), Error> {
    let folder = paths.cluster(name);
    sweep(containers, name, &folder.join("kubeconfig"), patience).await?;
    if containers.programs().is_dry() {
        return Ok(());
    }
    lease.is_gone(&thing(containers, name))?;
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::environment(format!(
                "left behind: {}: {error}\nremove it with\n  rm -r {}",
                folder.display(),
                folder.display()
            )));
        }
        _ => {}
    }
    lease.is_gone(&Thing::Path { path: folder })
}

/// Removes the containers of cluster `name`.
pub(super) async fn remove(
    containers: &Containers,
    name: &str,
    kubeconfig: &Path,
) -> Result<(), Error> {
    sweep(containers, name, kubeconfig, IN_MOTION).await
}

/// Lets kind delete the cluster, then removes what is left, until nothing was there for long enough.
async fn sweep(
    containers: &Containers,
    name: &str,
    kubeconfig: &Path,
    patience: Patience,
) -> Result<(), Error> {
    let call = containers
        .kind(["delete", "cluster", "--name", name, "--kubeconfig"])
        .arg(kubeconfig)
        .limit(DELETE_LIMIT);
    // kind's verdict does not matter: it fails over a kubeconfig and succeeds over leftovers.
    let by_kind = containers.programs().run(&call).await;
    let empty_since = Cell::new(None);
    let expected = format!("no container of cluster {name} is left");
    let gone = until_ok(&expected, patience.gone, async || {
        let left = look(containers, name).await?;
        if left.is_empty() {
            let since = empty_since.get().unwrap_or_else(Instant::now);
            empty_since.set(Some(since));
            let quiet = since.elapsed() >= patience.settle || containers.programs().is_dry();
            return if quiet { Ok(()) } else { Err("late containers may appear".to_owned()) };
        }
        empty_since.set(None);
        containers.remove(&left).await.map_err(|error| error.to_string())?;
        let left = look(containers, name).await?;
        if left.is_empty() && patience.settle.is_zero() {
            return Ok(());
        }
        Err(format!("left: {}", left.join(", ")))
    });
    let Err(unmet) = gone.await else { return Ok(()) };
    let engine = &containers.engine().program;
    let kind_said = by_kind.err().map(|error| format!("\n{}", explained(&error)));
    Err(Error::environment(format!(
        "cluster {name} could not be deleted: {}{}\nremove what is left with\n  \
         kind delete cluster --name {name}\n  \
         {engine} rm --force --volumes $({engine} ps --all --quiet --filter label={CLUSTER_LABEL}={name})",
        unmet.unmet,
        kind_said.unwrap_or_default(),
    )))
}

async fn look(containers: &Containers, name: &str) -> Result<Vec<String>, String> {
    containers.of_cluster(name).await.map_err(|error| error.to_string())
}
