//! Where the front's replicas are, and whether that is spread.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::k8s::{fits_node, is_pod_ready, is_terminating};
use crate::observe::CauseClass;
use crate::suite::{Held, Stop, Trial, workers};
use crate::wait::Condition;

/// Judges that the front's replicas are on as many nodes as there are replicas or workers that it may
/// use.
///
/// # Errors
/// Replicas share a node although another has none. Inconclusive with fewer replicas than wished, or
/// a single worker.
pub async fn judge(trial: &Trial, when: &str) -> Result<Held, Stop> {
    let pods = trial.live_pods_of(&trial.target().front.workload).await?;
    let wish = usize::try_from(trial.target().wish()).unwrap_or(0);
    if pods.len() < wish {
        let seen = format!("there are {} replicas {when}", pods.len());
        return Err(Stop::inconclusive(format!("{wish} replicas to judge"), seen));
    }
    let open = workers(trial).await?;
    if open.len() < 2 {
        let seen = format!("the cluster has {}", open.len());
        return Err(Stop::inconclusive("two workers to tell replicas apart", seen));
    }
    let spec = pods.first().and_then(|pod| pod.spec.as_ref());
    let usable = |node: &&Arc<Node>| spec.is_none_or(|spec| fits_node(spec, node));
    let n_workers = open.iter().filter(usable).count();
    let nodes = Trial::placement(&pods);
    // A stack that keeps to one node of several by itself has all its replicas there.
    let possible = pods.len().min(n_workers).max(2);
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

/// Nodes with replicas of the front.
pub struct Nodes {
    /// Those to take away, at least one: without that of the database if another is left.
    pub to_take: Vec<String>,
    /// How many there are in all.
    pub n_all: usize,
}

/// The nodes with a replica of the front.
///
/// # Errors
/// No replica runs.
pub async fn nodes_to_take(trial: &Trial) -> Result<Nodes, Stop> {
    let target = trial.target();
    let fronts = Trial::placement(&trial.live_pods_of(&target.front.workload).await?);
    let databases = match &target.database {
        Some(database) => Trial::placement(&trial.live_pods_of(database).await?),
        None => Default::default(),
    };
    let nodes: Vec<String> = fronts.into_keys().collect();
    let free: Vec<String> =
        nodes.iter().filter(|node| !databases.contains_key(*node)).cloned().collect();
    let n_all = nodes.len();
    match (free.is_empty(), nodes.is_empty()) {
        (false, _) => Ok(Nodes { to_take: free, n_all }),
        (true, false) => Ok(Nodes { to_take: nodes, n_all }),
        (true, true) => Err(Stop::errored("no replica of the front runs on any node")),
    }
}

/// `wish` replicas are ready on nodes other than `lost`.
pub fn back_elsewhere(wish: i32, lost: String) -> Condition<Pod> {
    let wish = usize::try_from(wish).unwrap_or(0);
    Condition::new(format!("{wish} replicas are Ready off {lost}"), move |pods: &[Arc<Pod>]| {
        let on_lost =
            |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&lost);
        let whole = |pod: &&Arc<Pod>| is_pod_ready(pod) && !is_terminating(pod) && !on_lost(pod);
        let n = pods.iter().filter(whole).count();
        if n >= wish { Ok(()) } else { Err(format!("{n} of {wish} are")) }
    })
}
