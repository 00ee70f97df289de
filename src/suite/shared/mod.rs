//! A cluster shared by many trials: they run one after the other, and each finds it as if it were new.
//!
//! After a trial that passed, the stack is kept if it can be proved to be as it was applied; what is
//! cheap to mend is mended. In all other cases it is taken away and applied anew.

mod check;
mod essence;
mod foreign;
mod nodes;
mod objects;
mod open;
mod remove;
mod snapshot;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use kube::{Client, ResourceExt};
use tokio::sync::watch;

use crate::base::Error;
use crate::base::wall::Stopwatch;
use crate::engine::Engine;
use crate::engine::host::LEASE_LABEL;
use crate::observe::{ScenarioOutcome, Verdict};
use crate::wait::doing;

use super::artifacts::Artifacts;
use super::judge::{Around, interrupted, judge, target_of};
use super::run::{Job, Judged, RunRequest};
use super::scenario::{Scenario, Start};
use super::stop::Stop;
use super::target::StackTarget;
use check::Checked;
use nodes::Nodes;
use objects::Catalogue;
use remove::Extent;
pub(super) use remove::was_provisioned;
use snapshot::Snapshot;

/// What a trial says that was not run or not finished for a stop signal.
const INTERRUPTED: &str = "interrupted";

/// Whose cluster it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Made for the run: everything in it may be taken away.
    Made,
    /// Somebody else's: only what carries the lease's label is ever deleted.
    Borrowed,
}

/// How a shared cluster is to be treated.
#[derive(Clone, Debug)]
pub struct SharedOptions {
    /// Id of the lease: the value of the label on every object.
    pub lease: String,
    /// Whose cluster it is.
    pub ownership: Ownership,
    /// True ends the trial under way and skips the rest.
    pub interrupt: Option<watch::Receiver<bool>>,
    /// Where evidence goes, if it is gathered.
    pub artifacts: Option<Artifacts>,
}

/// What is known of the stack in the cluster.
enum State {
    /// Nothing of it is there.
    Empty,
    /// It is there and passed a trial; it was like this when it was first ready.
    Applied(Box<Snapshot>),
    /// Something of it may be there, in any state.
    Dirty,
    /// It cannot be taken away any more.
    Lost(String),
}

/// A cluster that trials share.
pub struct SharedCluster {
    engine: Arc<dyn Engine>,
    client: Client,
    request: RunRequest,
    options: SharedOptions,
    target: Option<StackTarget>,
    /// Namespaces in which the stack or a scenario runs pods.
    homes: BTreeSet<String>,
    /// Namespaces that the stack makes.
    made: BTreeSet<String>,
    /// Uids of all objects and volumes that were there before.
    before: BTreeSet<String>,
    nodes: Nodes,
    catalogue: Catalogue,
    state: State,
    n_trials: u64,
    resets: Vec<String>,
}

impl SharedCluster {
    /// Runs one trial, after the cluster was made ready for it.
    pub(super) async fn run_job(&mut self, job: &Job<'_>) -> ScenarioOutcome {
        let started = Stopwatch::start();
        let judged = match target_of(&self.request, job, &*self.engine) {
            Ok(_) => self.trial(job).await,
            Err(stop) => Judged::from_stop(stop),
        };
        judged.into_outcome(job, started)
    }

    async fn trial(&mut self, job: &Job<'_>) -> Judged {
        let ready = match self.options.interrupt.clone() {
            None => self.make_ready(job.scenario).await,
            Some(mut interrupt) => {
                tokio::select! {
                    biased;
                    () = interrupted(&mut interrupt) => {
                        // A reset may have been under way.
                        self.state.spoil();
                        return Judged::from_stop(Stop::errored(INTERRUPTED));
                    }
                    ready = self.make_ready(job.scenario) => ready,
                }
            }
        };
        if let Err(stop) = ready {
            return Judged::from_stop(stop);
        }
        self.n_trials += 1;
        let known = match std::mem::replace(&mut self.state, State::Dirty) {
            State::Applied(snapshot) => Some(*snapshot),
            State::Empty => None,
            // `make_ready` leaves no other.
            state => {
                self.state = state;
                return Judged::from_stop(Stop::errored("the cluster is not ready for a trial"));
            }
        };
        let was_empty = known.is_none();
        let snapshot = RefCell::new(known);
        let around = Around {
            artifacts: self.options.artifacts.as_ref(),
            interrupt: self.options.interrupt.clone(),
            shared: Some(self.n_trials),
            ..Around::nothing()
        };
        let on_ready = async || {
            if snapshot.borrow().is_none() {
                let taken = self.take_snapshot().await?;
                snapshot.replace(Some(taken));
            }
            Ok(())
        };
        let engine = Arc::clone(&self.engine);
        let judged = judge(&self.request, job, engine, around, on_ready).await;
        let mut snapshot = snapshot.into_inner();
        let unharmed = matches!(judged.verdict, Verdict::Passed | Verdict::Ignored);
        if unharmed && judged.touched && snapshot.is_none() {
            // The scenario applied the stack by itself.
            snapshot = self.take_snapshot().await.ok();
        }
        self.state = match snapshot {
            Some(snapshot) if unharmed || !judged.touched => State::Applied(Box::new(snapshot)),
            None if !judged.touched && was_empty => State::Empty,
            _ => State::Dirty,
        };
        judged
    }

    /// Brings the cluster into the state in which `scenario` starts.
    async fn make_ready(&mut self, scenario: &Scenario) -> Result<(), Stop> {
        if let State::Lost(why) = &self.state {
            return Err(Stop::errored(why));
        }
        let wants_empty = matches!(scenario.start, Start::Empty | Start::Fresh);
        let (engine, client) = (Arc::clone(&self.engine), self.client.clone());
        let restored = doing(
            "look after the nodes",
            nodes::restore(&*engine, &client, &self.nodes, self.options.ownership),
        );
        match restored.await {
            Ok(mended) => self.resets.extend(mended),
            Err(stop) => return Err(self.lose(&stop)),
        }
        let why = match &self.state {
            State::Empty => return Ok(()),
            State::Applied(_) if wants_empty => "the next scenario starts without it".to_owned(),
            State::Applied(snapshot) => {
                let checked = doing("check the stack", self.check(snapshot, scenario));
                match checked.await {
                    Ok(Checked::AsApplied(mended)) => {
                        self.resets.extend(mended);
                        return Ok(());
                    }
                    Ok(Checked::Rebuild(why)) => why,
                    Err(stop) => stop.message,
                }
            }
            _ => "the last trial did not leave it whole".to_owned(),
        };
        let removed =
            doing(format!("take the stack away ({why})"), self.remove(Extent::ForTheNext));
        match removed.await {
            Ok(()) => {
                self.resets.push(format!("rebuilt: {why}"));
                self.state = State::Empty;
                Ok(())
            }
            Err(stop) => Err(self.lose(&stop)),
        }
    }

    fn lose(&mut self, stop: &Stop) -> Stop {
        let why = format!("the cluster cannot be brought back to its start:\n{}", stop.message);
        self.state = State::Lost(why.clone());
        Stop::errored(why)
    }

    /// What was done between the trials so far, oldest first.
    pub fn resets(&self) -> &[String] {
        &self.resets
    }

    /// Ends the session: takes everything of ours away from a borrowed cluster.
    ///
    /// # Errors
    /// Something is left.
    pub async fn close(&mut self) -> Result<(), Error> {
        if self.options.ownership == Ownership::Made {
            return Ok(());
        }
        let client = self.client.clone();
        let nodes = nodes::restore(&*self.engine, &client, &self.nodes, self.options.ownership);
        let removed = async {
            let restored = nodes.await;
            self.remove(Extent::All).await?;
            restored.map(drop)
        };
        let removed = doing("take everything of ours away", removed).await;
        self.state = State::Dirty;
        removed.map_err(|stop| {
            Error::leftovers(format!(
                "not everything could be taken away:\n{}\nremove it with: kubectl delete \
                 namespaces,storageclasses,persistentvolumes -l {LEASE_LABEL}={}",
                stop.message, self.options.lease
            ))
        })?;
        self.state = State::Empty;
        Ok(())
    }

    /// Whether the stack makes `namespace`.
    fn has_made(&self, namespace: &str) -> bool {
        self.made.contains(namespace)
    }

    fn was_there_before(&self, uid: &str) -> bool {
        self.before.contains(uid)
    }

    fn is_ours(&self, object: &impl ResourceExt) -> bool {
        object.labels().get(LEASE_LABEL) == Some(&self.options.lease)
    }

    pub(super) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }
}

impl State {
    fn spoil(&mut self) {
        if !matches!(self, State::Lost(_)) {
            *self = State::Dirty;
        }
    }
}
