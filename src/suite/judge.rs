//! Judging: the phases of one trial on a cluster that is up.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use tokio::sync::watch;

use crate::engine::Engine;
use crate::observe::{CauseClass, Verdict};
use crate::wait::blocking_chain;

use super::artifacts::Artifacts;
use super::blame;
use super::discover::{NoTarget, idle_selector, objects_of};
use super::phase::Phase;
use super::run::{Job, Judged, RunRequest, panicked};
use super::scenario::{Scenario, Start};
use super::stop::Stop;
use super::target::StackTarget;
use super::trial::Trial;

/// What the runner does around a trial.
pub(super) struct Around<'a> {
    /// Where evidence goes, if it is gathered.
    pub artifacts: Option<&'a Artifacts>,
    /// True ends the trial.
    pub interrupt: Option<watch::Receiver<bool>>,
    /// How many trials the cluster has seen before, where trials share one.
    pub shared: Option<u64>,
    /// Why the stack is not applied: only what its manifests tell is judged.
    pub unapplied: Option<String>,
}

impl Around<'_> {
    /// Nothing: the cluster is the trial's own.
    pub(super) fn nothing() -> Self {
        Around { artifacts: None, interrupt: None, shared: None, unapplied: None }
    }
}

/// Why `job` cannot be run on `engine`, if so; else what the stack is made of.
///
/// # Errors
/// The verdict without a trial.
pub(super) fn target_of(
    request: &RunRequest,
    job: &Job<'_>,
    engine: &dyn Engine,
) -> Result<StackTarget, Stop> {
    let lacks = job.scenario.needs.iter().find(|need| !engine.capabilities().contains(need));
    if let Some(need) = lacks {
        let reason = format!("the {} engine does not offer {need:?}", engine.name());
        return Err(Stop::ignored(reason));
    }
    request.target().map_err(|missing| without_target(request, missing))
}

/// The verdict on a stack in which there is nothing to act on.
pub(super) fn without_target(request: &RunRequest, missing: NoTarget) -> Stop {
    match missing {
        NoTarget::NoWayIn(service, seen) => {
            let at = service.as_ref().map(|service| (service, "metadata.name"));
            Stop::failed("a way in from outside the cluster", seen).because(blame::cause_in(
                &request.stack,
                CauseClass::NoIngress,
                at,
            ))
        }
        NoTarget::OtherDoor(door, seen) => {
            let manifest = request.stack.manifest(&door);
            let at = manifest.map_or_else(String::new, |door| format!("{}: ", door.locate("")));
            Stop::unknown(format!(
                "{at}{door} {seen}, and may lead users to it: Seatrial reaches stacks \
                 through Ingresses of ingress-nginx and node ports alone, on every engine; with one \
                 of them besides, --engine kind or kubeconfig tells"
            ))
        }
        NoTarget::NoPods(service, seen) => {
            let found = idle_selector(&objects_of(&request.stack), &service, seen);
            let expected = format!("pods behind {service}, which users reach");
            blame::dangles(&request.stack, CauseClass::NotServed, &expected, &found)
        }
        NoTarget::Dangling(found) => {
            let expected = "a way in from outside the cluster";
            blame::dangles(&request.stack, CauseClass::NotServed, expected, &found)
        }
        NoTarget::NotJudged(reason) => Stop::ignored(reason),
    }
}

/// The phases of one trial. `on_ready` is called when setup has brought the stack up.
pub(super) async fn judge(
    request: &RunRequest,
    job: &Job<'_>,
    engine: Arc<dyn Engine>,
    around: Around<'_>,
    on_ready: impl AsyncFnOnce() -> Result<(), Stop>,
) -> Judged {
    let target = match target_of(request, job, &*engine) {
        Ok(target) => target,
        Err(stop) => return Judged::from_stop(stop),
    };
    let (phase, phases) = watch::channel(Phase::Setup);
    let trial = Trial::new(engine, Arc::clone(&request.stack), target, phase, around.shared);
    let story = within_phases(phases, story(&trial, job.scenario, around.unapplied, on_ready));
    let story = unless(around.interrupt.clone(), story);
    let ended = AssertUnwindSafe(story).catch_unwind().await;
    let mut judged = match ended {
        Ok(Ok(held)) => Judged {
            verdict: Verdict::Passed,
            message: held,
            ..Judged::from_stop(Stop::ignored(""))
        },
        Ok(Err(stop)) => Judged::from_stop(stop),
        Err(panic) => Judged::from_stop(panicked(&*panic)),
    };
    let explained = explain(&trial, job, around.artifacts, &mut judged);
    match around.interrupt {
        None => explained.await,
        Some(mut interrupt) => tokio::select! {
            biased;
            // Whoever asks for an end does not wait for evidence.
            () = interrupted(&mut interrupt) => {}
            () = explained => {}
        },
    }
    trial.enter(Phase::Cleanup);
    clean_up(&trial, &mut judged).await;
    judged.requests = trial.requests();
    judged.virtual_ms = trial.now_ms();
    judged.touched = trial.is_touched();
    judged
}

/// Adds what explains the verdict, and gathers evidence where it is wanted.
async fn explain(trial: &Trial, job: &Job<'_>, artifacts: Option<&Artifacts>, judged: &mut Judged) {
    if matches!(judged.verdict, Verdict::Failed | Verdict::Errored | Verdict::Inconclusive) {
        trial.enter(Phase::Diagnose);
        if judged.verdict == Verdict::Failed {
            let named = tokio::time::timeout(Phase::Diagnose.limit(), trace(trial, judged));
            // Without it the cause is as it was.
            let _ = AssertUnwindSafe(named).catch_unwind().await;
        }
        let diagnosis = AssertUnwindSafe(diagnose(trial)).catch_unwind().await;
        judged.diagnosis = diagnosis.unwrap_or_else(|panic| vec![panicked(&*panic).message]);
        // A wait that ended has told what blocked it.
        judged.diagnosis.retain(|line| !judged.message.contains(line.as_str()));
    }
    let Some(artifacts) = artifacts.filter(|artifacts| artifacts.wanted(judged.verdict)) else {
        return;
    };
    let gathered = artifacts.gather(trial, job, judged);
    let gathered = tokio::time::timeout(Phase::Gather.limit(), gathered);
    let line = match AssertUnwindSafe(gathered).catch_unwind().await {
        Ok(Ok(line)) => line,
        Ok(Err(_)) => "artifacts: gathering them took too long; what there is was kept".into(),
        Err(panic) => panicked(&*panic).message,
    };
    judged.diagnosis.push(line);
}

async fn story(
    trial: &Trial,
    scenario: &Scenario,
    unapplied: Option<String>,
    on_ready: impl AsyncFnOnce() -> Result<(), Stop>,
) -> Result<String, Stop> {
    if let Some(prepare) = scenario.prepare {
        prepare(trial).await?;
    }
    if let Some(why) = unapplied {
        return Err(Stop::unknown(why));
    }
    trial.touch();
    match scenario.start {
        Start::Empty => {}
        Start::Ready | Start::Fresh => {
            trial.apply().await?;
            trial.await_ready().await?;
            on_ready().await?;
        }
        Start::Serving => {
            trial.apply().await?;
            trial.await_serving().await?;
            on_ready().await?;
        }
    }
    trial.enter(Phase::Act);
    (scenario.run)(trial).await
}

/// Runs `story` as long as nobody interrupts.
async fn unless(
    interrupt: Option<watch::Receiver<bool>>,
    story: impl Future<Output = Result<String, Stop>>,
) -> Result<String, Stop> {
    let Some(mut interrupt) = interrupt else { return story.await };
    tokio::select! {
        biased;
        () = interrupted(&mut interrupt) => Err(Stop::errored("interrupted")),
        ended = story => ended,
    }
}

/// Returns once `interrupt` is true; never if it cannot become so.
pub(super) async fn interrupted(interrupt: &mut watch::Receiver<bool>) {
    if interrupt.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
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

/// Traces a failure further down: to what blocks pods, where no cause is known, and to the probe that had
/// a container killed.
async fn trace(trial: &Trial, judged: &mut Judged) {
    let target = trial.target();
    for workload in std::iter::once(&target.front.workload).chain(&target.database) {
        if judged.causes.is_empty() {
            judged.causes.extend(trial.blocked(workload).await);
        }
    }
    trial.name_probes(&mut judged.causes).await;
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
        let undone = tokio::time::timeout(Phase::Cleanup.limit(), undo);
        let trouble = match AssertUnwindSafe(undone).catch_unwind().await {
            Ok(Ok(Ok(()))) => continue,
            Ok(Ok(Err(stop))) => stop.message,
            Ok(Err(_)) => "it took too long".to_owned(),
            Err(panic) => panicked(&*panic).message,
        };
        judged.verdict = judged.verdict.max(Verdict::Errored);
        judged.message.push_str(&format!("\ncleanup failed: {trouble}"));
    }
}
