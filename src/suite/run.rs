//! The runner: trials of the chosen scenarios, in parallel, with verdicts in declaration order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use serde_json::Value;
use tokio::sync::watch;

use crate::base::wall::Stopwatch;
use crate::base::{Error, ObjectRef};
use crate::engine::Engine;
use crate::engine::sim::GenericApp;
use crate::k8s::Profile;
use crate::observe::{Cause, CauseClass, Requests, RunOutcome, ScenarioOutcome, Verdict};
use crate::stack::Stack;
use crate::wait::blocking_chain;

use super::discover::discover;
use super::phase::Phase;
use super::scenario::{Scenario, Start, Suite};
use super::select::select;
use super::sim;
use super::stop::Stop;
use super::target::StackTarget;
use super::trial::Trial;

/// The engine of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// The simulator.
    Sim,
}

impl EngineChoice {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            EngineChoice::Sim => "sim",
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
    pub(super) fn target(&self) -> Result<StackTarget, String> {
        let objects: Vec<(ObjectRef, &Value)> = self
            .stack
            .objects()
            .iter()
            .map(|manifest| (manifest.object_ref.clone(), &manifest.value))
            .collect();
        discover(&objects)
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
    pub requests: Option<Requests>,
    pub diagnosis: Vec<String>,
    pub virtual_ms: u64,
    pub trace_hash: Option<String>,
}

impl Judged {
    fn from_stop(stop: Stop) -> Self {
        Judged {
            verdict: stop.verdict,
            message: stop.message,
            causes: stop.causes,
            requests: None,
            diagnosis: Vec::new(),
            virtual_ms: 0,
            trace_hash: None,
        }
    }

    /// Unknown before any cluster was started.
    pub(super) fn without_cluster(message: String) -> Self {
        Judged::from_stop(Stop::unknown(message))
    }
}

/// Runs the chosen scenarios; `on_outcome` gets each outcome in declaration order of
/// the scenarios, for each seed by seed.
///
/// # Errors
/// The selection names nothing, or the engine cannot start.
pub fn run(
    request: &RunRequest,
    on_outcome: &mut dyn FnMut(&ScenarioOutcome),
) -> Result<RunOutcome, Error> {
    let started = Stopwatch::start();
    let chosen = select(request.suites, &request.selection)?;
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
                    if sender.send((idx, run_job(request, job))).is_err() {
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
        engine: request.engine.name(),
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
fn run_job(request: &RunRequest, job: &Job<'_>) -> ScenarioOutcome {
    let started = Stopwatch::start();
    let judged = catch_unwind(AssertUnwindSafe(|| match request.engine {
        EngineChoice::Sim => sim::run_trial(request, job),
    }));
    let judged = match judged {
        Ok(Ok(judged)) => judged,
        Ok(Err(error)) => Judged::from_stop(Stop::errored(error.to_string())),
        Err(panic) => Judged::from_stop(Stop::errored(format!(
            "a bug in Seatrial: panic: {}",
            panic_text(&*panic)
        ))),
    };
    ScenarioOutcome {
        suite: job.suite.name,
        scenario: job.scenario.name,
        seed: job.seed,
        verdict: judged.verdict,
        message: judged.message,
        causes: judged.causes,
        requests: judged.requests,
        wall_ms: started.elapsed_ms(),
        virtual_ms: judged.virtual_ms,
        trace_hash: judged.trace_hash,
        diagnosis: judged.diagnosis,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}

/// The phases of one trial on a cluster that is up.
pub(super) async fn judge(request: &RunRequest, job: &Job<'_>, engine: Arc<dyn Engine>) -> Judged {
    let lacks = job.scenario.needs.iter().find(|need| !engine.capabilities().contains(need));
    if let Some(need) = lacks {
        let reason = format!("the {} engine does not offer {need:?}", engine.name());
        return Judged::from_stop(Stop::ignored(reason));
    }
    let target = match request.target() {
        Ok(target) => target,
        Err(missing) => {
            let class = CauseClass::NoIngress;
            let stop = Stop::failed("a way in from outside the cluster", missing).because(Cause {
                class: class.to_string(),
                count: 1,
                object: None,
                at_ms: None,
                fix: None,
            });
            return Judged::from_stop(stop);
        }
    };
    let (phase, phases) = watch::channel(Phase::Setup);
    let trial = Trial::new(engine, Arc::clone(&request.stack), target, phase);
    let ended = within_phases(phases, story(&trial, job.scenario)).await;
    let mut judged = match ended {
        Ok(held) => Judged {
            verdict: Verdict::Passed,
            message: held,
            ..Judged::from_stop(Stop::ignored(""))
        },
        Err(stop) => Judged::from_stop(stop),
    };
    if matches!(judged.verdict, Verdict::Failed | Verdict::Errored | Verdict::Inconclusive) {
        trial.enter(Phase::Diagnose);
        judged.diagnosis = diagnose(&trial).await;
    }
    trial.enter(Phase::Cleanup);
    clean_up(&trial, &mut judged).await;
    judged.requests = trial.requests();
    judged
}

async fn story(trial: &Trial, scenario: &Scenario) -> Result<String, Stop> {
    if let Some(prepare) = scenario.prepare {
        prepare(trial).await?;
    }
    match scenario.start {
        Start::Empty => {}
        Start::Ready => {
            trial.apply().await?;
            trial.await_ready().await?;
        }
        Start::Serving => {
            trial.apply().await?;
            trial.await_serving().await?;
        }
    }
    trial.enter(Phase::Act);
    (scenario.run)(trial).await
}

/// Runs `story` as long as each phase keeps its limit.
async fn within_phases(
    mut phases: watch::Receiver<Phase>,
    story: impl Future<Output = Result<String, Stop>>,
) -> Result<String, Stop> {
    let mut story = std::pin::pin!(story);
    loop {
        let phase = *phases.borrow_and_update();
        let limit = tokio::time::sleep(phase.limit());
        tokio::select! {
            biased;
            ended = &mut story => return ended,
            Ok(()) = phases.changed() => {}
            () = limit => {
                return Err(Stop::errored(format!(
                    "the {} phase took longer than {} s",
                    phase.as_str(),
                    phase.limit().as_secs()
                )));
            }
        }
    }
}

/// What is not as wished in the namespaces of the stack.
async fn diagnose(trial: &Trial) -> Vec<String> {
    let namespace = trial.target().front.workload.namespace.clone();
    let client = trial.client();
    let chain = blocking_chain(&client, &namespace);
    match tokio::time::timeout(Phase::Diagnose.limit(), chain).await {
        Ok(lines) => lines,
        Err(_) => vec!["the API did not answer in time".to_owned()],
    }
}

async fn clean_up(trial: &Trial, judged: &mut Judged) {
    while let Some(undo) = trial.next_cleanup() {
        let undone = tokio::time::timeout(Phase::Cleanup.limit(), undo).await;
        let trouble = match undone {
            Ok(Ok(())) => continue,
            Ok(Err(stop)) => stop.message,
            Err(_) => "it took too long".to_owned(),
        };
        judged.verdict = judged.verdict.max(Verdict::Errored);
        judged.message.push_str(&format!("\ncleanup failed: {trouble}"));
    }
}
