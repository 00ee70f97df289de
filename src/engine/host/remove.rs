//! Removal of one thing of an ended owner: only what is ours, and gone only when seen to be gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;

use super::call::Call;
use super::container_engine::ContainerEngine;
use super::lease::LEASE_LABEL;
use super::lease_file::{LeaseFile, Thing};
use super::loops::{attached_to, detach_device};
use super::paths::Paths;
use super::program::{Programs, Trouble};
use crate::base::{Error, secs};
use crate::wait::doing;

/// kind's label on the containers of a cluster; its value is the cluster's name.
pub const CLUSTER_LABEL: &str = "io.x-k8s.kind.cluster";
/// A question to an engine that works is answered within a second or two, busy or not.
const ASK_LIMIT: Duration = secs(20);
/// Removing the containers of a cluster stops some hundred processes, and the engine deletes their
/// volumes, a hundred thousand files, one after the other.
const REMOVE_LIMIT: Duration = secs(300);
/// A cluster's containers that are older than its lease by more than this, which the clocks of two
/// machines may differ by, were there before us.
const CLOCK_SLACK_SECS: i64 = 300;

/// What removing asks of those who can talk to a cluster.
pub trait InClusters: Send + Sync {
    /// Deletes what carries our label with the value `lease` in a cluster that is not ours, and returns
    /// when it is gone.
    fn remove<'a>(
        &'a self,
        lease: &'a str,
        kubeconfig: &'a str,
        context: &'a str,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Lets go of what would hang the host if its cluster, which is ours, went first. What cannot be let
    /// go of is told, and the cluster goes all the same.
    fn before_delete<'a>(&'a self, kubeconfig: &'a Path) -> BoxFuture<'a, ()>;
}

/// What became of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was there and is gone.
    Removed,
    /// It was not there.
    WasGone,
    /// It may be there still, because of this.
    Left(String),
}

/// Removes things.
pub(super) struct Remover<'a> {
    pub(super) paths: &'a Paths,
    pub(super) programs: &'a Programs,
    pub(super) clusters: Option<&'a dyn InClusters>,
    /// Engines that did not answer, with what they said: asked once is enough.
    pub(super) silent: BTreeMap<ContainerEngine, String>,
}

impl Remover<'_> {
    pub(super) async fn remove(&mut self, lease: &LeaseFile, thing: &Thing) -> Outcome {
        match doing(format!("remove {thing}"), self.try_remove(lease, thing)).await {
            Ok(true) => Outcome::Removed,
            Ok(false) => Outcome::WasGone,
            Err(why) => Outcome::Left(why),
        }
    }

    /// Whether the thing was there, or why it is still.
    async fn try_remove(&mut self, lease: &LeaseFile, thing: &Thing) -> Result<bool, String> {
        match thing {
            Thing::KindCluster { engine, name } => self.cluster(lease, engine, name).await,
            Thing::Container { engine, name } => self.container(lease, engine, name).await,
            Thing::LoopDevice { file, .. } => self.loop_devices(file).await,
            Thing::Path { path } => self.path(path).await,
            Thing::Objects { kubeconfig, context } => match self.clusters {
                Some(clusters) => {
                    let removed = clusters.remove(&lease.id, kubeconfig, context).await;
                    removed.map(|()| true).map_err(|error| one_line(&error))
                }
                None => Err("`seatrial gc` deletes them".to_owned()),
            },
            Thing::Unknown(_) => Err("another version of Seatrial made it".to_owned()),
        }
    }

    /// A kind cluster is its containers. kind knows best how to delete them; whatever it leaves
    /// (or all, where it is missing) is removed by label.
    async fn cluster(
        &mut self,
        lease: &LeaseFile,
        engine: &ContainerEngine,
        name: &str,
    ) -> Result<bool, String> {
        let label = format!("label={CLUSTER_LABEL}={name}");
        let nodes = self.ids(engine, &label).await?;
        if nodes.is_empty() {
            return Ok(false);
        }
        if self.are_older(engine, &nodes, lease.created).await? {
            return Err("its containers are older than the lease, so they are not ours".to_owned());
        }
        // Never the user's kubeconfig: kind would take the cluster's entry out of it.
        let folder = self.paths.cluster(name);
        let was_there = folder.exists();
        let kubeconfig = folder.join("kubeconfig");
        if let (Some(clusters), true) = (self.clusters, kubeconfig.is_file()) {
            clusters.before_delete(&kubeconfig).await;
        }
        let delete = engine
            .kind(["delete", "cluster", "--name", name, "--kubeconfig"])
            .arg(kubeconfig)
            .limit(REMOVE_LIMIT);
        let mut trouble = self.programs.run(&delete).await.err().map(|error| one_line(&error));
        if !was_there {
            // kind makes it for its lock file.
            let _ = fs::remove_dir_all(&folder);
        }
        let left = self.ids(engine, &label).await?;
        if !left.is_empty() {
            let remove = engine.call(["rm", "--force", "--volumes"]);
            let remove = left.iter().fold(remove, Call::arg).limit(REMOVE_LIMIT);
            trouble = self.programs.run(&remove).await.err().map(|error| one_line(&error));
        }
        self.is_gone(engine, &label, trouble).await
    }

    async fn container(
        &mut self,
        lease: &LeaseFile,
        engine: &ContainerEngine,
        name: &str,
    ) -> Result<bool, String> {
        let label = format!("label={LEASE_LABEL}={}", lease.id);
        let names = self.list(engine, &label, "{{.Names}}").await?;
        // One that is called so without our label is somebody else's, and ours is gone.
        if !names.iter().flat_map(|names| names.split(',')).any(|known| known == name) {
            return Ok(false);
        }
        let remove = engine.call(["rm", "--force", "--volumes", name]).limit(REMOVE_LIMIT);
        let trouble = self.programs.run(&remove).await.err().map(|error| one_line(&error));
        let names = self.list(engine, &label, "{{.Names}}").await?;
        match names.iter().flat_map(|names| names.split(',')).any(|known| known == name) {
            true => Err(trouble.unwrap_or_else(|| "it is still there".to_owned())),
            false => Ok(true),
        }
    }

    async fn loop_devices(&self, file: &Path) -> Result<bool, String> {
        let attached = attached_to(self.programs, file).await.map_err(|error| one_line(&error))?;
        for device in &attached {
            let detached = detach_device(self.programs, device).await;
            detached.map_err(|error| one_line(&error))?;
        }
        // A device in use is detached only when its last user lets go.
        match attached_to(self.programs, file).await.map_err(|error| one_line(&error))?.first() {
            Some(device) => Err(format!("{} is still in use", device.display())),
            None => Ok(!attached.is_empty()),
        }
    }

    async fn path(&self, path: &Path) -> Result<bool, String> {
        let Some(place) = self.place(path) else {
            return Err("it is not in a folder of Seatrial's".to_owned());
        };
        if !place.exists() {
            return Ok(false);
        }
        if place.real.starts_with(real(&self.paths.loops())) {
            // The device may not have been written down yet when its maker died. Without the
            // program there can be no device.
            match attached_to(self.programs, path).await {
                Err(error) if error.trouble == Trouble::NotFound => {}
                Err(error) => return Err(one_line(&error)),
                Ok(attached) if attached.is_empty() => {}
                Ok(_) => {
                    self.loop_devices(path).await?;
                }
            }
        }
        let removed = match fs::symlink_metadata(&place.real) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&place.real),
            Ok(_) => fs::remove_file(&place.real),
            Err(error) => Err(error),
        };
        removed.map(|()| true).map_err(|error| one_line(&error))
    }

    /// Where `path` really is, if that is a place where we may remove things: below our state
    /// (the leases excepted) or cache.
    fn place(&self, path: &Path) -> Option<Place> {
        let plain = path.components().all(|part| !matches!(part, Component::ParentDir));
        let (true, true, Some(name)) = (path.is_absolute(), plain, path.file_name()) else {
            return None;
        };
        // Links on the way may lead anywhere; the thing itself may be a link, which is removed.
        let parent = path.parent()?;
        let parent = real(parent);
        let whole = parent.join(name);
        let below = |folder: &Path| whole != *folder && whole.starts_with(folder);
        let state = real(&self.paths.state);
        let ours = below(&state) && !whole.starts_with(state.join("leases"))
            || below(&real(&self.paths.cache));
        ours.then_some(Place { real: whole })
    }

    async fn is_gone(
        &mut self,
        engine: &ContainerEngine,
        label: &str,
        trouble: Option<String>,
    ) -> Result<bool, String> {
        match self.ids(engine, label).await?.len() {
            0 => Ok(true),
            n => Err(trouble.unwrap_or_else(|| format!("{n} containers are still there"))),
        }
    }

    /// Whether one of the containers was there before `created`, in seconds since 1970.
    async fn are_older(
        &self,
        engine: &ContainerEngine,
        ids: &[String],
        created: u64,
    ) -> Result<bool, String> {
        let inspect = engine.call(["container", "inspect", "--format", "{{json .Created}}"]);
        let inspect = ids.iter().fold(inspect, Call::arg).limit(ASK_LIMIT);
        let answer = self.programs.run(&inspect).await.map_err(|error| one_line(&error))?.stdout;
        let lease = i64::try_from(created).unwrap_or(i64::MAX);
        let mut times = answer
            .lines()
            .filter_map(|line| line.trim_matches('"').parse::<jiff::Timestamp>().ok());
        Ok(times.any(|time| time.as_second() < lease.saturating_sub(CLOCK_SLACK_SECS)))
    }

    async fn ids(&mut self, engine: &ContainerEngine, filter: &str) -> Result<Vec<String>, String> {
        self.list(engine, filter, "{{.ID}}").await
    }

    /// One word per container, running or not.
    async fn list(
        &mut self,
        engine: &ContainerEngine,
        filter: &str,
        format: &str,
    ) -> Result<Vec<String>, String> {
        if let Some(said) = self.silent.get(engine) {
            return Err(said.clone());
        }
        let list =
            engine.call(["ps", "--all", "--no-trunc", "--filter", filter, "--format", format]);
        match self.programs.run(&list.limit(ASK_LIMIT)).await {
            Ok(ran) => Ok(ran.stdout.split_whitespace().map(str::to_owned).collect()),
            Err(error) => {
                let said = format!("{} does not answer ({})", engine.program, one_line(&error));
                self.silent.insert(engine.clone(), said.clone());
                Err(said)
            }
        }
    }
}

/// `folder` without links; as it is, where it does not exist.
fn real(folder: &Path) -> PathBuf {
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
}

/// A place where we may remove things.
struct Place {
    real: PathBuf,
}

impl Place {
    fn exists(&self) -> bool {
        fs::symlink_metadata(&self.real).is_ok()
    }
}

/// The text of an error on one line.
pub(super) fn one_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}
