//! Where the front's replicas are, and whether that is spread.

use crate::observe::CauseClass;
use crate::suite::{Held, Stop, Trial, workers};

/// A claim about several replicas cannot hold for one.
///
/// # Errors
/// The stack wishes for a single replica.
pub fn several_replicas(trial: &Trial) -> Result<(), Stop> {
    let wish = trial.target().wish();
    if wish >= 2 {
        return Ok(());
    }
    Err(trial.failed(
        CauseClass::SingleReplica,
        "at least two replicas",
        format!("{} asks for {wish}", trial.target().front.workload.reference()),
    ))
}

/// Judges that the front's replicas are on as many nodes as there are replicas or workers.
///
/// # Errors
/// Replicas share a node although another has none.
pub async fn judge(trial: &Trial, when: &str) -> Result<Held, Stop> {
    several_replicas(trial)?;
    let pods = trial.live_pods_of(&trial.target().front.workload).await?;
    let n_workers = workers(trial).await?.len();
    let nodes = Trial::placement(&pods);
    let possible = pods.len().min(n_workers);
    if nodes.len() >= possible {
        return Ok(format!(
            "{} replicas on {} of {n_workers} workers {when}",
            pods.len(),
            nodes.len()
        ));
    }
    let seen = nodes.iter().map(|(node, pods)| format!("{node}: {}", pods.join(", ")));
    Err(trial.failed(
        CauseClass::ReplicasShareANode,
        format!("{} replicas on {possible} nodes {when}", pods.len()),
        seen.collect::<Vec<_>>().join("; "),
    ))
}
