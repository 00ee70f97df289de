//! The runner on the simulator: trials of the chosen scenarios, in parallel, each on a cluster of
//! its own, with verdicts in declaration order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use crate::base::wall::Stopwatch;
use crate::base::{Error, ErrorClass};
use crate::engine::sim::GenericApp;
use crate::k8s::Profile;
use crate::observe::{Cause, Requests, RunOutcome, ScenarioOutcome, Verdict};
use crate::stack::Stack;

use super::artifacts::Artifacts;
use super::classes::other_ingresses;
use super::discover::{NoTarget, discover_served, objects_of};
use super::scenario::{Scenario, Suite};
use super::select::select;
use super::sim;
use super::stop::Stop;
use super::target::StackTarget;

/// The engine of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// The simulator.
    Sim,
    /// A kind cluster, made for the run.
    Kind,
    /// A cluster that exists.
    Kubeconfig,
}

impl EngineChoice {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            EngineChoice::Sim => "sim",
            EngineChoice::Kind => "kind",
            EngineChoice::Kubeconfig => "kubeconfig",
        }
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// On which engine.
    pub engine: EngineChoice,
    /// Why on that one.
    pub engine_reason: String,
    /// The Kubernetes minor.
    pub profile: Profile,
    /// The stack's folder or file, as given.
    pub manifests: String,
    /// The stack.
    pub stack: Arc<Stack>,
    /// All suites there are.
    pub suites: &'static [Suite],
    /// `suite` or `suite::scenario` names; all when empty.
    pub selection: Vec<String>,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub n_seeds: u64,
    /// Trials at a time.
    pub jobs: usize,
    /// Program models from `seatrial.toml`.
    pub apps: Vec<GenericApp>,
}

impl RunRequest {
    /// What the stack is made of.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn target(&self) -> Result<StackTarget, NoTarget> {
        let others = match self.engine {
            // It may have classes that the stack does not tell of.
            EngineChoice::Kubeconfig => Vec::new(),
            EngineChoice::Sim | EngineChoice::Kind => other_ingresses(&self.stack),
        };
        discover_served(&objects_of(&self.stack), others)
    }
}

/// One trial to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job<'a> {
    pub suite: &'a Suite,
    pub scenario: &'a Scenario,
    pub seed: u64,
}

/// What a trial came to.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub verdict: Verdict,
    pub message: String,
    pub causes: Vec<Cause>,
    pub error_class: Option<ErrorClass>,
    pub requests: Option<Requests>,
    pub diagnosis: Vec<String>,
    pub virtual_ms: u64,
    pub trace_hash: Option<String>,
    /// Whether anything was done to the cluster.
    pub touched: bool,
}

impl Judged {
    pub(super) fn from_stop(stop: Stop) -> Self {
        Judged {
            verdict: stop.verdict,
            message: stop.message,
            causes: stop.causes,
            error_class: stop.error_class,
            requests: None,
            diagnosis: Vec::new(),
            virtual_ms: 0,
            trace_hash: None,
            touched: false,
        }
    }

    /// The outcome of `job`, which began at `started`.
    pub(super) fn into_outcome(self, job: &Job<'_>, started: Stopwatch) -> ScenarioOutcome {
        ScenarioOutcome {
            suite: job.suite.name,
            scenario: job.scenario.name,
            seed: job.seed,
            verdict: self.verdict,
            message: self.message,
            causes: self.causes,
            error_class: self.error_class,
            requests: self.requests,
            wall_ms: started.elapsed_ms(),
            virtual_ms: self.virtual_ms,
            trace_hash: self.trace_hash,
            diagnosis: self.diagnosis,
        }
    }

    /// Unknown before any cluster was started.
    pub(super) fn without_cluster(message: String) -> Self {
        Judged::from_stop(Stop::unknown(message))
    }
}

/// Runs the chosen scenarios on the simulator; `on_outcome` gets each outcome in declaration order
/// of the scenarios, for each seed by seed.
///
/// # Errors
/// The selection names nothing, or the engine cannot start.
pub fn run(
    request: &RunRequest,
    on_outcome: &mut dyn FnMut(&ScenarioOutcome),
) -> Result<RunOutcome, Error> {
    run_selected(request, &request.selection, None, on_outcome)
}

/// As `run`, for the scenarios in `selection`, with evidence gathered as `artifacts` says.
///
/// # Errors
/// As `run`.
pub(super) fn run_selected(
    request: &RunRequest,
    selection: &[String],
    artifacts: Option<&Artifacts>,
    on_outcome: &mut dyn FnMut(&ScenarioOutcome),
) -> Result<RunOutcome, Error> {
    let started = Stopwatch::start();
    let chosen = select(request.suites, selection)?;
    let seeds = || (0..request.n_seeds.max(1)).map(|n| request.seed.wrapping_add(n));
    let jobs: Vec<Job<'_>> = chosen
        .iter()
        .flat_map(|&(suite, scenario)| seeds().map(move |seed| Job { suite, scenario, seed }))
        .collect();
    let mut scenarios = Vec::with_capacity(jobs.len());
    let n_workers = request.jobs.clamp(1, jobs.len().max(1));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..n_workers {
            let (sender, next, jobs) = (sender.clone(), &next, &jobs);
            scope.spawn(move || {
                loop {
                    let idx = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(idx) else { break };
                    if sender.send((idx, run_job(request, job, artifacts))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        for (idx, outcome) in receiver {
            early.insert(idx, outcome);
            while let Some(outcome) = early.remove(&scenarios.len()) {
                on_outcome(&outcome);
                scenarios.push(outcome);
            }
        }
    });
    Ok(RunOutcome {
        engine: EngineChoice::Sim.name(),
        engine_reason: request.engine_reason.clone(),
        kubernetes: request.profile.to_string(),
        seed: request.seed,
        n_seeds: request.n_seeds.max(1),
        manifests: request.manifests.clone(),
        scenarios,
        wall_ms: started.elapsed_ms(),
    })
}

/// Runs one trial; a panic in it is a bug of ours and ends only this trial.
fn run_job(request: &RunRequest, job: &Job<'_>, artifacts: Option<&Artifacts>) -> ScenarioOutcome {
    let started = Stopwatch::start();
    let judged = catch_unwind(AssertUnwindSafe(|| sim::run_trial(request, job, artifacts)));
    let judged = match judged {
        Ok(Ok(judged)) => judged,
        Ok(Err(error)) => Judged::from_stop(Stop::from(error)),
        Err(panic) => Judged::from_stop(panicked(&*panic)),
    };
    judged.into_outcome(job, started)
}

/// A panic is a bug of ours.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Stop {
    Stop::errored(format!("a bug in Seatrial: panic: {}", panic_text(panic)))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
