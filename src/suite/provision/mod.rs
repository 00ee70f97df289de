//! Provision: a real cluster for a run, made by kind or borrowed, with the add-ons that the stack
//! needs; and its end, whatever happened in between.

mod borrow;
mod inside;
mod make;
mod preflight;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::Value;

use crate::addons::{self, AddOn, Loaded, Source};
use crate::base::Error;
use crate::engine::Engine;
use crate::engine::host::signals::{Signals, Urgency};
use crate::engine::host::{FileLock, Heartbeat, Lease, Paths, Programs, Swept, give_back};
use crate::engine::kind::{EngineHints, KindCluster, KindNodes};
use crate::engine::real::{Access, RealCluster};
use crate::k8s::Profile;
use crate::stack::Stack;

pub use inside::Inside;
pub use preflight::{findings, node_image_here};

/// Where the cluster comes from.
#[derive(Clone, Debug)]
pub enum Place {
    /// kind makes it.
    Kind(KindWish),
    /// It exists.
    Existing {
        /// Which one.
        access: Access,
        /// Whether missing add-ons are installed.
        install_addons: bool,
    },
}

/// How a kind cluster is to be made.
#[derive(Clone, Debug, Default)]
pub struct KindWish {
    /// Node image; `None` for the pin of the minor.
    pub node_image: Option<String>,
    /// Folder of image archives.
    pub images: Option<PathBuf>,
    /// Worker nodes; `None` for those of the topology.
    pub workers: Option<usize>,
    /// kind configuration to start from.
    pub topology: Option<PathBuf>,
    /// Whether a cluster that was kept is used, and this one kept.
    pub reuse: bool,
    /// What the environment says about container engines.
    pub hints: EngineHints,
}

/// The cluster that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where it comes from.
    pub place: Place,
    /// The Kubernetes minor it must have.
    pub kubernetes: Profile,
    /// Folder of add-on manifests in place of the pinned downloads.
    pub addons: Option<PathBuf>,
    /// What the lease says it is for, as in `run`.
    pub purpose: &'static str,
}

/// Tells the user a line.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// What provisioning works with on this machine.
#[derive(Clone)]
pub struct Workshop {
    /// Folders of ours.
    pub paths: Paths,
    /// Runs programs.
    pub programs: Programs,
    /// Who may ask for an end; `None` where nobody can.
    pub signals: Option<Signals>,
    /// For remarks.
    pub tell: Tell,
}

/// What becomes of a cluster at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Everything that was made goes.
    Remove,
    /// It stays until `down` or `gc --all`.
    Keep,
}

/// A cluster that is up.
pub struct Provisioned {
    engine: Arc<RealCluster>,
    lease: Lease,
    _heartbeat: Heartbeat,
    workshop: Workshop,
    made: Option<Made>,
}

/// What belongs to a cluster that kind made.
struct Made {
    cluster: KindCluster,
    nodes: Arc<KindNodes>,
    /// A cluster that later runs use too; held while this one does.
    reuse: Option<FileLock>,
}

/// Brings the cluster up. Whatever was made when this fails is gone again, or the message says
/// what is left and how to remove it.
///
/// # Errors
/// Usage: a setting or an add-on cannot be. Environment: a step failed, or a signal came.
pub async fn provision(
    wanted: &Wanted,
    stack: &Stack,
    workshop: &Workshop,
) -> Result<Provisioned, Error> {
    match &wanted.place {
        Place::Kind(kind) => make::make(wanted, kind, stack, workshop).await,
        Place::Existing { access, install_addons } => {
            borrow::borrow(wanted, access, *install_addons, stack, workshop).await
        }
    }
}

/// The commands that making the cluster would run, and deleting it if that is its `fate`, in order.
///
/// # Errors
/// As [`provision`], as far as nothing is run.
pub async fn dry_run(
    wanted: &Wanted,
    stack: &Stack,
    paths: &Paths,
    fate: Fate,
) -> Result<Vec<String>, Error> {
    match &wanted.place {
        Place::Kind(kind) => make::dry_run(wanted, kind, stack, paths, fate).await,
        Place::Existing { .. } => Ok(Vec::new()),
    }
}

impl Provisioned {
    /// The cluster.
    pub fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine) as Arc<dyn Engine>
    }

    /// The id of its lease: the value of our label on everything made.
    pub fn lease_id(&self) -> &str {
        self.lease.id()
    }

    /// How it is reached with kubectl.
    pub fn access(&self) -> &Access {
        self.engine.access()
    }

    /// Its name, where kind made it.
    pub fn kind_name(&self) -> Option<&str> {
        self.made.as_ref().map(|made| made.cluster.name.as_str())
    }

    /// Whether later runs use it too: then it stays, whatever its end.
    pub fn is_shared(&self) -> bool {
        self.made.as_ref().is_some_and(|made| made.reuse.is_some())
    }

    /// Ends it.
    ///
    /// # Errors
    /// Environment: what is left, and how to remove it.
    pub async fn end(self, fate: Fate) -> Result<(), Error> {
        let Provisioned { lease, workshop, made, .. } = self;
        let Some(made) = made else { return all_gone(&workshop, &lease).await };
        if fate == Fate::Remove && made.reuse.is_none() {
            return all_gone(&workshop, &lease).await;
        }
        // First of all, or the next command would take it for what a dead run has left.
        if let Err(error) = lease.keep() {
            let error = Error::environment(format!("the cluster cannot be kept: {error}"));
            return Err(and_all_gone(error, &workshop, &lease).await);
        }
        // A node that a scenario left off would be missing for the next user.
        made.nodes.undo().await
    }
}

/// Removes everything that `lease` names, then the lease.
///
/// # Errors
/// Environment: what is left, why, and how to remove it.
async fn all_gone(workshop: &Workshop, lease: &Lease) -> Result<(), Error> {
    let swept = crate::wait::doing(
        "remove what was made",
        give_back(&workshop.paths, &workshop.programs, lease, Some(&Inside::new(workshop))),
    )
    .await;
    if swept.is_clean() { lease.release() } else { Err(left(&swept)) }
}

fn left(swept: &Swept) -> Error {
    Error::leftovers(format!("not all is gone\n{}", swept.lines().join("\n")))
}

async fn interrupted(workshop: &Workshop) {
    match &workshop.signals {
        Some(signals) => signals.until(Urgency::Orderly).await,
        None => std::future::pending().await,
    }
}

/// Does `work`, which makes nothing, unless a signal asks for an end first.
///
/// # Errors
/// Environment: a signal came.
pub async fn unless_interrupted<T>(
    workshop: &Workshop,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = interrupted(workshop) => Err(Error::environment("interrupted")),
        done = work => Ok(done),
    }
}

/// Runs `making`, unless a signal asks for an end first; on failure, and after a panic, everything
/// that `lease` names is removed again.
async fn or_nothing<T>(
    workshop: &Workshop,
    lease: &Lease,
    making: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let made = tokio::select! {
        biased;
        () = interrupted(workshop) => Err(Error::environment("interrupted while the cluster was brought up")),
        made = AssertUnwindSafe(making).catch_unwind() => match made {
            Ok(made) => made,
            Err(panic) => {
                if let Err(left) = all_gone(workshop, lease).await {
                    (workshop.tell)(&left.to_string());
                }
                resume_unwind(panic)
            }
        },
    };
    match made {
        Ok(made) => Ok(made),
        Err(error) => Err(and_all_gone(error, workshop, lease).await),
    }
}

/// Removes everything that `lease` names because of `error`; what is left is part of what it returns.
async fn and_all_gone(error: Error, workshop: &Workshop, lease: &Lease) -> Error {
    match all_gone(workshop, lease).await {
        Ok(()) => error,
        Err(left) => Error::leftovers(format!("{error}\n{left}")),
    }
}

/// The add-ons that the stack needs.
fn needed(stack: &Stack) -> BTreeSet<AddOn> {
    addons::needed(objects(stack)).into_keys().collect()
}

/// The files of `needed`, downloaded or from the folder.
async fn load(
    wanted: &Wanted,
    needed: &BTreeSet<AddOn>,
    paths: &Paths,
) -> Result<Vec<Loaded>, Error> {
    let source = match &wanted.addons {
        Some(folder) => Source::Folder(folder.clone()),
        None => Source::Pinned { cache: paths.downloads() },
    };
    addons::load(needed, wanted.kubernetes, &source).await
}

/// The stack's objects by kind.
fn objects(stack: &Stack) -> impl Iterator<Item = (&str, &Value)> {
    stack.objects().iter().map(|manifest| (manifest.object_ref.kind.as_ref(), &manifest.value))
}

/// Complains about a cluster of another version than `wanted`.
fn check_version(engine: &RealCluster, wanted: Profile) -> Result<(), Error> {
    let found = engine.kubernetes();
    if found == wanted.to_string() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the cluster runs Kubernetes {found}, and the stack was read for {wanted}: \
         pass --kubernetes {found}"
    )))
}
