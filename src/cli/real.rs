//! Real clusters for the commands: what is wanted, where, and a session that brings it up and down.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use futures::future::LocalBoxFuture;
use tokio::sync::watch;

use crate::base::Error;
use crate::engine::doctor::{Level, render, worst};
use crate::engine::host::signals::{self, Signals, Urgency};
use crate::engine::host::{Paths, Programs, Scope, sweep_with};
use crate::engine::kind::EngineHints;
use crate::engine::real::Access;
use crate::engine::sim::Profile;
use crate::report::{self, Folder, Watcher};
use crate::stack::Stack;
use crate::suite::provision::{self, Fate, KindWish, Place, Provisioned, Tell, Wanted, Workshop};
use crate::suite::{
    Artifacts, EngineChoice, Opened, Ownership, RunRequest, Session, SharedOptions, When,
};
use crate::wait::Board;

use super::args::{ArtifactsArg, KeepArg};
use super::settings::{ClusterSettings, Settings};

/// Who else writes to the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// Nobody: it may show what moves.
    Ours,
    /// A test harness, line by line.
    Shared,
}

/// A session, and what its run must tell it and is told by it.
pub struct Running {
    /// Runs the scenarios.
    pub session: Session,
    /// Where its reports go.
    pub report: Folder,
    failed: Arc<AtomicBool>,
    signals: Option<Signals>,
    // Dropped after the session, which holds the board.
    _watching: Option<Watching>,
}

impl Running {
    /// A session on the engine of `settings`.
    ///
    /// # Errors
    /// Usage: the folder of the reports cannot be written. Environment: there is no place for
    /// leases, or signals cannot be listened for.
    pub fn new(
        settings: &Settings,
        request: RunRequest,
        say: Tell,
        on: Screen,
    ) -> Result<Running, Error> {
        let failed = Arc::new(AtomicBool::new(false));
        let when = match settings.artifacts {
            ArtifactsArg::OnFailure => When::OnFailure,
            ArtifactsArg::Always => When::Always,
        };
        let report = settings.claim_report()?;
        let artifacts = Artifacts::new(report.path(), when);
        if settings.engine == EngineChoice::Sim {
            let session = Session::sim(request);
            let session = match settings.artifacts {
                ArtifactsArg::Always => session.with_artifacts(artifacts),
                ArtifactsArg::OnFailure => session,
            };
            return Ok(Running { session, report, failed, signals: None, _watching: None });
        }
        let workshop = workshop(Arc::clone(&say))?;
        let signals = workshop.signals.clone();
        let (board, watching) = show_board(say, signals.as_ref(), on);
        let opening = Opening {
            wanted: wanted(settings),
            stack: Arc::clone(&request.stack),
            workshop,
            artifacts: artifacts.with_board(Arc::clone(&board)),
            keep: settings.keep,
            failed: Arc::clone(&failed),
        };
        let session = Session::opening(request, move || Box::pin(opening.open()));
        let session = session.with_board(board);
        Ok(Running { session, report, failed, signals, _watching: Some(watching) })
    }

    /// Says that a scenario did not pass: it decides whether the cluster stays.
    pub fn note_failure(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// The exit code of a run that a signal ended.
    pub fn interrupted(&self) -> Option<u8> {
        self.signals.as_ref()?.interrupt().map(signals::Interrupt::exit_code)
    }
}

/// All that bringing a cluster up needs.
struct Opening {
    wanted: Wanted,
    stack: Arc<Stack>,
    workshop: Workshop,
    artifacts: Artifacts,
    keep: KeepArg,
    failed: Arc<AtomicBool>,
}

impl Opening {
    async fn open(self) -> Result<Opened, Error> {
        let cluster = bring_up(&self.wanted, &self.stack, &self.workshop).await?;
        let (interrupt, interrupted) = watch::channel(false);
        if let Some(signals) = self.workshop.signals.clone() {
            tokio::spawn(async move {
                signals.until(Urgency::Orderly).await;
                interrupt.send_replace(true);
            });
        }
        let options = SharedOptions {
            lease: cluster.lease_id().to_owned(),
            ownership: match self.wanted.place {
                Place::Kind(_) => Ownership::Made,
                Place::Existing { .. } => Ownership::Borrowed,
            },
            interrupt: Some(interrupted),
            artifacts: Some(self.artifacts),
        };
        let engine = cluster.engine();
        let close = move || -> LocalBoxFuture<'static, Result<(), Error>> {
            Box::pin(async move {
                let kept = match self.keep {
                    KeepArg::Never => false,
                    KeepArg::OnFailure => self.failed.load(Ordering::Relaxed),
                    KeepArg::Always => true,
                };
                let kept = kept && cluster.kind_name().is_some();
                if kept || cluster.is_shared() {
                    (self.workshop.tell)(&how_to_use(&cluster));
                }
                cluster.end(if kept { Fate::Keep } else { Fate::Remove }).await
            })
        };
        Ok(Opened { engine, options, close: Some(Box::new(close)) })
    }
}

/// Brings up the cluster of `settings` for whoever ends it.
///
/// # Errors
/// As a run that cannot start.
pub async fn open_cluster(settings: &Settings, tell: Tell) -> Result<Provisioned, Error> {
    bring_up(&wanted(settings), &settings.stack()?, &workshop(tell)?).await
}

/// Sweeps what dead runs left, examines the machine, and brings the cluster up.
///
/// # Errors
/// Environment: the machine cannot do it, or a step failed. Usage: a setting cannot be.
pub(super) async fn bring_up(
    wanted: &Wanted,
    stack: &Stack,
    workshop: &Workshop,
) -> Result<Provisioned, Error> {
    let findings = provision::unless_interrupted(workshop, async {
        sweep_dead(workshop).await;
        provision::findings(wanted, stack, workshop).await
    });
    let findings = findings.await?;
    match worst(&findings) {
        Level::Ok => {}
        Level::Warning => {
            let notable: Vec<_> = findings.into_iter().filter(|f| f.level != Level::Ok).collect();
            render(&notable).iter().for_each(|line| (workshop.tell)(line));
        }
        Level::Fatal => {
            let notable: Vec<_> = findings.into_iter().filter(|f| f.level != Level::Ok).collect();
            return Err(Error::environment(format!(
                "this machine cannot make the cluster\n{}",
                render(&notable).join("\n")
            )));
        }
    }
    provision::provision(wanted, stack, workshop).await
}

/// Removes what dead runs left, and says what was removed.
pub(super) async fn sweep_dead(workshop: &Workshop) {
    let inside = provision::Inside::of_the_dead(workshop);
    let swept = sweep_with(&workshop.paths, &workshop.programs, &Scope::Dead, Some(&inside)).await;
    swept.lines().iter().for_each(|line| (workshop.tell)(line));
}

/// How a cluster that stays is used and removed.
pub(super) fn how_to_use(cluster: &Provisioned) -> String {
    let name = cluster.kind_name().unwrap_or_default();
    format!(
        "cluster {name} stays\n  {}\n  seatrial down {name}",
        cluster.access().kubectl("get pods --all-namespaces")
    )
}

/// Folders, programs and signals of this process.
///
/// # Errors
/// Environment: there is no place for leases, or signals cannot be listened for.
pub(super) fn workshop(tell: Tell) -> Result<Workshop, Error> {
    Ok(Workshop {
        paths: Paths::from_env()?,
        programs: Programs::real(),
        signals: Some(signals::listen()?),
        tell,
    })
}

/// The cluster that `settings` want.
pub(super) fn wanted(settings: &Settings) -> Wanted {
    let place = match settings.engine {
        EngineChoice::Kubeconfig => Place::Existing {
            access: Access { kubeconfig: None, context: settings.context.clone() },
            install_addons: settings.install_addons,
        },
        EngineChoice::Kind | EngineChoice::Sim => {
            Place::Kind(kind_wish(&settings.cluster, settings.reuse))
        }
    };
    Wanted {
        place,
        kubernetes: settings.kubernetes,
        addons: settings.cluster.addons.clone(),
        purpose: "run",
    }
}

/// How `cluster` asks for a kind cluster.
pub(super) fn kind_wish(cluster: &ClusterSettings, reuse: bool) -> KindWish {
    KindWish {
        node_image: cluster.node_image.clone(),
        images: cluster.images.clone(),
        workers: cluster.workers,
        topology: cluster.topology.clone(),
        reuse,
        hints: hints(),
    }
}

/// What the environment says about container engines.
pub(super) fn hints() -> EngineHints {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    EngineHints {
        provider: read("KIND_EXPERIMENTAL_PROVIDER"),
        docker_host: read("DOCKER_HOST"),
        container_host: read("CONTAINER_HOST"),
        network: read("KIND_EXPERIMENTAL_DOCKER_NETWORK")
            .or_else(|| read("KIND_EXPERIMENTAL_PODMAN_NETWORK")),
    }
}

/// The thread that shows a board; joined when this is dropped, so that the last word is said.
pub(super) struct Watching(Option<JoinHandle<()>>);

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic of the watcher is no reason to fail what it watched.
            let _ = thread.join();
        }
    }
}

/// Shows what is under way, live on a terminal and in lines elsewhere, until the board is gone.
pub(super) fn show_board(
    say: Tell,
    signals: Option<&Signals>,
    on: Screen,
) -> (Arc<Board>, Watching) {
    let (board, news) = Board::new();
    let lines = Arc::clone(&say);
    let watcher = match on == Screen::Ours && std::io::stderr().is_terminal() {
        true => Watcher::Live,
        false => Watcher::Lines(Box::new(move |line| lines(line))),
    };
    let asks = signals.map(Signals::asks);
    let shown: Weak<Board> = Arc::downgrade(&board);
    // A thread of its own: whatever keeps the run's thread busy, a heartbeat must come.
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async move {
            let answer = async move {
                let Some(mut asks) = asks else { return std::future::pending().await };
                loop {
                    asks.next().await;
                    if let Some(board) = shown.upgrade() {
                        say(&report::describe(&board.activities()));
                    }
                }
            };
            tokio::select! {
                () = report::watch(news, watcher) => {}
                () = answer => {}
            }
        });
    });
    (board, Watching(Some(thread)))
}

/// The minor of the cluster behind `context`.
///
/// # Errors
/// Usage: there is no such context. Environment: the cluster does not answer.
pub(super) fn minor_of(context: &str) -> Result<Profile, Error> {
    let access = Access { kubeconfig: None, context: Some(context.to_owned()) };
    let asked = block_on(async {
        let version = access.client()?.apiserver_version().await;
        version.map_err(|error| access.trouble("ask for the version of Kubernetes", &error))
    })??;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let text = format!("{}.{}", digits(&asked.major), digits(&asked.minor));
    text.parse().map_err(|error: String| Error::usage(format!("the cluster of {access}: {error}")))
}

/// Runs `work` on a runtime of its own.
///
/// # Errors
/// Environment: the runtime cannot be started.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Error::environment(format!("cannot start the runtime: {error}")))?;
    Ok(runtime.block_on(work))
}
