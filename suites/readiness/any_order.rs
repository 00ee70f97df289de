//! The stack comes up in any order of its parts: here, the last part first.

use crate::suite::{Aspect, Held, Phase, Scenario, Start, Stop, Trial};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "any_order",
    claim: "the stack comes up in any order of its parts",
    needs: &[],
    aspects: &[Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Empty,
    prepare: None,
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    // Nothing can be created before its namespace or its kind.
    let first = |kind: &str| matches!(kind, "Namespace" | "CustomResourceDefinition");
    let objects = trial.stack().objects();
    let (definitions, rest): (Vec<_>, Vec<_>) =
        objects.iter().partition(|manifest| first(&manifest.object_ref.kind));
    let mut n_applied = 0;
    for manifest in definitions.into_iter().chain(rest.into_iter().rev()) {
        trial.stack().apply_one(manifest, &trial.client()).await?;
        n_applied += 1;
    }
    trial.enter(Phase::Assess);
    trial.await_serving().await?;
    Ok(format!(
        "{n_applied} objects applied last part first; it served after {} s",
        trial.now_ms() / 1000
    ))
}
