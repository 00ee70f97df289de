//! Sessions: run after run on the same engine, from any thread. On the simulator every trial has a
//! cluster of its own; a real cluster is opened at the first trial and shared by all.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use tokio::runtime::{Builder, Runtime};

use crate::base::wall::Stopwatch;
use crate::base::{Error, ErrorClass};
use crate::engine::Engine;
use crate::observe::{RunOutcome, ScenarioOutcome};
use crate::wait::{Board, doing};

use super::artifacts::Artifacts;
use super::run::{EngineChoice, Job, RunRequest, run_selected};
use super::select::select;
use super::shared::{SharedCluster, SharedOptions};

/// Stack for work on a real cluster: unoptimised, the futures that bring one up take megabytes at each
/// poll, and a test harness gives its threads two.
const STACK_BYTES: usize = 32 << 20;

/// A cluster that is up, and how to end it.
pub struct Opened {
    /// The cluster.
    pub engine: Arc<dyn Engine>,
    /// How it is to be treated.
    pub options: SharedOptions,
    /// Takes it down; called once, after everything of ours in it is gone.
    pub close: Option<Close>,
}

/// Takes a cluster down.
pub type Close = Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<(), Error>> + Send>;
/// Brings a cluster up.
pub type Open = Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<Opened, Error>> + Send>;

/// Runs scenarios on one engine. Several threads may share it; on a real cluster they take turns.
pub struct Session {
    request: RunRequest,
    board: Option<Arc<Board>>,
    artifacts: Option<Artifacts>,
    real: Option<Mutex<Real>>,
}

/// A real cluster and the runtime that its connections belong to.
struct Real {
    runtime: Option<Runtime>,
    stage: Stage,
}

enum Stage {
    Unopened(Open),
    Up(Box<SharedCluster>, Option<Close>),
    Failed(Error),
    Closed,
}

impl Session {
    /// A session on the simulator.
    pub fn sim(request: RunRequest) -> Self {
        Session { request, board: None, artifacts: None, real: None }
    }

    /// A session on the cluster behind `engine`, whose connections live on `runtime`: one of the
    /// current-thread kind with everything enabled.
    pub fn real(
        runtime: Runtime,
        engine: Arc<dyn Engine>,
        options: SharedOptions,
        request: RunRequest,
    ) -> Self {
        let opened = Opened { engine, options, close: None };
        let open: Open = Box::new(move || Box::pin(async move { Ok(opened) }));
        let real = Real { runtime: Some(runtime), stage: Stage::Unopened(open) };
        Session { request, board: None, artifacts: None, real: Some(Mutex::new(real)) }
    }

    /// A session on the cluster that `open` brings up at the first trial, on a runtime of its own.
    pub fn opening(
        request: RunRequest,
        open: impl FnOnce() -> LocalBoxFuture<'static, Result<Opened, Error>> + Send + 'static,
    ) -> Self {
        let real = Real { runtime: None, stage: Stage::Unopened(Box::new(open)) };
        Session { request, board: None, artifacts: None, real: Some(Mutex::new(real)) }
    }

    /// Shows on `board` what is under way on a real cluster.
    #[must_use]
    pub fn with_board(mut self, board: Arc<Board>) -> Self {
        self.board = Some(board);
        self
    }

    /// Gathers evidence on the simulator too.
    #[must_use]
    pub fn with_artifacts(mut self, artifacts: Artifacts) -> Self {
        self.artifacts = Some(artifacts);
        self
    }

    /// Runs the scenarios in `selection` (all when it is empty); `on_outcome` gets each outcome in
    /// declaration order.
    ///
    /// # Errors
    /// The selection names nothing, or the cluster cannot be had: then nothing was run.
    pub fn run(
        &self,
        selection: &[String],
        on_outcome: &mut (dyn FnMut(&ScenarioOutcome) + Send),
    ) -> Result<RunOutcome, Error> {
        match (&self.real, self.request.engine) {
            (Some(real), _) => self.run_real(real, selection, on_outcome),
            (None, EngineChoice::Sim) => {
                run_selected(&self.request, selection, self.artifacts.as_ref(), on_outcome)
            }
            (None, other) => Err(Error::environment(format!(
                "no `{}` cluster was given to run on; use --engine sim",
                other.name()
            ))),
        }
    }

    fn run_real(
        &self,
        real: &Mutex<Real>,
        selection: &[String],
        on_outcome: &mut (dyn FnMut(&ScenarioOutcome) + Send),
    ) -> Result<RunOutcome, Error> {
        let started = Stopwatch::start();
        let chosen = select(self.request.suites, selection)?;
        let mut real = real.lock().unwrap_or_else(PoisonError::into_inner);
        let Real { runtime, stage } = &mut *real;
        let runtime = match runtime {
            Some(runtime) => runtime,
            None => runtime.insert(new_runtime()?),
        };
        on_a_large_stack(|| {
            let work = async {
                let cluster = opened(stage, &self.request).await?;
                let mut scenarios = Vec::with_capacity(chosen.len());
                for &(suite, scenario) in &chosen {
                    let job = Job { suite, scenario, seed: self.request.seed };
                    let name = format!("{}::{}", suite.name, scenario.name);
                    let outcome = doing(name, cluster.run_job(&job)).await;
                    on_outcome(&outcome);
                    scenarios.push(outcome);
                }
                Ok(RunOutcome {
                    engine: cluster.engine().name(),
                    engine_reason: self.request.engine_reason.clone(),
                    kubernetes: cluster.engine().kubernetes(),
                    seed: self.request.seed,
                    n_seeds: 1,
                    manifests: self.request.manifests.clone(),
                    scenarios,
                    wall_ms: started.elapsed_ms(),
                })
            };
            match &self.board {
                Some(board) => runtime.block_on(Arc::clone(board).up(work)),
                None => runtime.block_on(work),
            }
        })
    }

    /// Ends the session: everything of ours is taken away, and the cluster with it if it is ours.
    /// A session that never ran anything, or is closed already, has nothing to end; one that could not
    /// begin says what that has left.
    ///
    /// # Errors
    /// Something is left; the message says what and how to remove it.
    pub fn close(&self) -> Result<(), Error> {
        let Some(real) = &self.real else { return Ok(()) };
        let mut real = real.lock().unwrap_or_else(PoisonError::into_inner);
        let Real { runtime, stage } = &mut *real;
        let (runtime, mut cluster, close) = match (runtime, std::mem::replace(stage, Stage::Closed))
        {
            (Some(runtime), Stage::Up(cluster, close)) => (runtime, cluster, close),
            (_, Stage::Failed(error)) if error.class() == ErrorClass::Leftovers => {
                return Err(error);
            }
            _ => return Ok(()),
        };
        on_a_large_stack(|| {
            let work = async {
                let emptied = cluster.close().await;
                let closed = match close {
                    Some(close) => close().await,
                    None => Ok(()),
                };
                // What is left on the machine has what is left in the cluster with it.
                match (emptied, closed) {
                    (_, Err(error)) | (Err(error), Ok(())) => Err(error),
                    (Ok(()), Ok(())) => Ok(()),
                }
            };
            match &self.board {
                Some(board) => runtime.block_on(Arc::clone(board).up(work)),
                None => runtime.block_on(work),
            }
        })
    }
}

/// The cluster of the session, brought up if this is its first trial.
async fn opened<'a>(
    stage: &'a mut Stage,
    request: &RunRequest,
) -> Result<&'a mut SharedCluster, Error> {
    if let Stage::Unopened(_) = stage {
        let Stage::Unopened(open) = std::mem::replace(stage, Stage::Closed) else {
            return Err(closed());
        };
        *stage = match open().await {
            Err(error) => Stage::Failed(error),
            Ok(Opened { engine, options, close }) => {
                let opened = SharedCluster::open(engine, request.clone(), options);
                match AssertUnwindSafe(opened).catch_unwind().await {
                    Ok(Ok(cluster)) => Stage::Up(Box::new(cluster), close),
                    Ok(Err(error)) => Stage::Failed(end_unused(close, error).await),
                    Err(panic) => {
                        let error = Error::environment("a bug ended the run before it began");
                        *stage = Stage::Failed(end_unused(close, error).await);
                        resume_unwind(panic)
                    }
                }
            }
        };
    }
    match stage {
        Stage::Up(cluster, _) => Ok(cluster),
        Stage::Failed(error) => Err(error.clone()),
        Stage::Unopened(_) | Stage::Closed => Err(closed()),
    }
}

/// Takes a cluster down that could not be used for the reason `error`.
async fn end_unused(close: Option<Close>, error: Error) -> Error {
    let Some(close) = close else { return error };
    match close().await {
        Ok(()) => error,
        Err(left) => Error::leftovers(format!("{error}\n{left}")),
    }
}

fn closed() -> Error {
    Error::environment("the session on the cluster has ended already")
}

/// Runs `work` on a thread that has [`STACK_BYTES`]; a panic of it goes on in this one.
fn on_a_large_stack<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("cluster".into()).stack_size(STACK_BYTES);
        let thread = thread
            .spawn_scoped(scope, work)
            .map_err(|error| Error::environment(format!("cannot start a thread: {error}")))?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn new_runtime() -> Result<Runtime, Error> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Error::environment(format!("cannot start the runtime: {error}")))
}
