//! A pod that is not ready gets no request; once it is ready it does.

use std::cell::Cell;

use crate::observe::CauseClass;
use crate::suite::{Aspect, Held, Phase, Scenario, Start, Stop, Trial, fresh_marker};
use crate::wait;

use super::gates;

/// Marked requests while the gate is closed: one of four pods is missed by all of them once in
/// 5,000 trials.
const N_CLOSED: usize = 30;
/// Marked requests of one try once the gate is open.
const N_OPEN: usize = 10;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "gate",
    claim: "a pod that is not ready gets no request, and a pod that becomes ready does",
    needs: &[],
    aspects: &[Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: None,
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    gates::close(trial, front).await?;
    let pods = wait::until(&trial.scope_of(front), &gates::n_held(1), wait::POD_REPLACED).await?;
    let Some(held) = pods.into_iter().find(|pod| gates::is_held(pod)) else {
        return Err(Stop::errored("no pod is held although the condition is met"));
    };

    let closed = fresh_marker(trial);
    let n_answered = send(trial, &closed, N_CLOSED).await;
    // What another pod logs shows that the log of this one would tell.
    let told = told_by_another(trial, &closed).await;
    let reached = trial.logged(&held, &closed).await?;
    trial.enter(Phase::Assess);
    let name = held.metadata.name.clone().unwrap_or_default();
    if reached {
        return Err(trial.failed(
            CauseClass::ReadinessIgnored,
            format!("no request reaches Pod {name} while it is not Ready"),
            "its log has a request of that time",
        ));
    }
    if n_answered == 0 {
        let expected = format!("the other pods answer while Pod {name} is not Ready");
        let seen = format!("none of {N_CLOSED} requests was answered");
        return Err(Stop::failed(expected, seen).because(trial.outage()));
    }

    if let Err(silent) = told {
        return Err(Stop::inconclusive(
            format!("the log of a pod tells which requests reached it, and Pod {name} got none"),
            format!(
                "{n_answered} requests were answered, and the program logs no requests: {silent}"
            ),
        ));
    }

    trial.enter(Phase::Act);
    gates::open(trial, &held).await?;
    let opened = fresh_marker(trial);
    let expected = format!("requests reach Pod {name} once it is Ready");
    let unread = Cell::new(None);
    let reach = wait::until_ok(&expected, wait::TRAFFIC_REACHES, async || {
        let n = send(trial, &opened, N_OPEN).await;
        let told = trial.logged(&held, &opened).await;
        unread.set(told.as_ref().err().cloned());
        match told {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("{n} of {N_OPEN} were answered, none by it")),
            Err(stop) => Err(stop.message),
        }
    });
    let reached = reach.await;
    gates::restore(trial, front).await?;
    trial.enter(Phase::Assess);
    reached.map_err(|error| match unread.take() {
        // Its log could not be read: nobody knows what reached it.
        Some(stop) => stop.line(error.to_string()),
        None => Stop::from(error).because(trial.cause(CauseClass::ReadinessIgnored)),
    })?;
    Ok(format!("{n_answered} of {N_CLOSED} requests went past the unready pod; then it served"))
}

/// Waits until the log of a pod that serves has a request with `marker`.
///
/// # Errors
/// None has.
async fn told_by_another(trial: &Trial, marker: &str) -> Result<(), String> {
    let expected = "the log of a pod that serves has a marked request";
    let told = wait::until_ok(expected, wait::TRAFFIC_REACHES, || async {
        let pods = trial.live_pods_of(&trial.target().front.workload).await;
        let pods = pods.map_err(|stop| stop.message)?;
        let others = pods.iter().filter(|pod| !gates::is_gated(pod));
        let mut n_read = 0;
        for pod in others {
            if trial.logged(pod, marker).await.map_err(|stop| stop.message)? {
                return Ok(());
            }
            n_read += 1;
        }
        Err(format!("the logs of {n_read} other pods have none of them"))
    });
    told.await.map_err(|error| error.unmet)
}

/// Sends `n` marked requests on fresh connections; how many were answered well.
async fn send(trial: &Trial, marker: &str, n: usize) -> usize {
    let path = format!("{}?{marker}", trial.cheap_path());
    let mut n_answered = 0;
    for _ in 0..n {
        if trial.get_ok(&path).await.is_ok() {
            n_answered += 1;
        }
    }
    n_answered
}
