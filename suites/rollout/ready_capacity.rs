//! Ready capacity never drops below the wish during a rollout, judged on every watch event.

use crate::k8s::{is_pod_ready, is_terminating};
use crate::observe::CauseClass;
use crate::suite::{Aspect, Held, Phase, Scenario, Start, Stop, Trial};
use crate::wait;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "ready_capacity",
    claim: "ready capacity never drops below the wish during a rollout",
    needs: &[],
    aspects: &[Aspect::Lifecycle],
    start: Start::Ready,
    prepare: None,
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    let wish = usize::try_from(trial.target().wish()).unwrap_or(0);
    let pods = trial.observe(trial.scope_of(front)).await?;
    trial.start_rollout(front).await?;
    trial.rolled_out(front, wait::ROLLOUT).await?;
    trial.enter(Phase::Assess);
    let expected = format!("at least {wish} ready pods at every event of a rollout");
    let seen = trial.seen_by(&pods, &expected).await;
    let mut n_events = 0u32;
    let mut lowest = (usize::MAX, 0);
    pods.replay(|at, state| {
        n_events += 1;
        let ready = state.values().filter(|pod| is_pod_ready(pod) && !is_terminating(pod)).count();
        if ready < lowest.0 {
            lowest = (ready, trial.ms(at));
        }
    });
    let (fewest, at_ms) = lowest;
    if fewest < wish {
        return Err(trial.failed(
            CauseClass::CapacityDip,
            expected,
            format!("{fewest} at {:.1} s", at_ms as f64 / 1000.0),
        ));
    }
    seen?;
    Ok(format!("never fewer than {fewest} ready pods in {n_events} events (wish {wish})"))
}
