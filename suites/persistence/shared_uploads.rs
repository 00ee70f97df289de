//! An upload through one replica is read through every other.

use bytes::Bytes;
use kube::ResourceExt as _;

use crate::observe::CauseClass;
use crate::suite::{
    Aspect, Held, Media, Phase, Scenario, Start, Stop, Trial, WordPress, fresh_marker,
};
use crate::wait::{self, TRAFFIC_REACHES};

use super::uploads::writable;

/// Reads of one try.
const N_READS: usize = 10;
/// Tries until every replica has answered a read: with six replicas one is missed by all reads
/// once in 10,000 trials.
const MAX_TRIES: usize = 6;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "shared_uploads",
    claim: "an upload through one replica is read through every other",
    needs: &[],
    aspects: &[Aspect::Storage, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(prepare(trial))),
    run: |trial| Box::pin(run(trial)),
};

async fn prepare(trial: &Trial) -> Result<Held, Stop> {
    writable(trial).await?;
    if trial.target().wish() >= 2 {
        return Ok(String::new());
    }
    Err(trial.failed(
        CauseClass::SingleReplica,
        "an upload through one replica is read through every other",
        "there is no other",
    ))
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    let wordpress = WordPress::of(trial).map_err(Stop::errored)?;
    let name = format!("shared-{}", trial.now_ms());
    let content = Bytes::from(format!("content of {name}"));
    let uploaded = wait::until_ok("an upload is accepted", TRAFFIC_REACHES, || {
        wordpress.upload_anew(&name, content.clone())
    });
    let media = uploaded.await?;
    trial.enter(Phase::Assess);
    let marker = fresh_marker(trial);
    let marked = Media { path: format!("{}?{marker}", media.path), ..media };
    let mut silent = trial.live_pods_of(front).await?;
    let n_pods = silent.len();
    for _ in 0..MAX_TRIES {
        for _ in 0..N_READS {
            if let Err(seen) = wordpress.read_media(&marked).await {
                return Err(trial.failed(
                    CauseClass::FilesNotShared,
                    "every replica serves what was uploaded through one",
                    seen,
                ));
            }
        }
        let mut still_silent = Vec::new();
        for pod in silent {
            if !trial.logged(&pod, &marker).await? {
                still_silent.push(pod);
            }
        }
        silent = still_silent;
        if silent.is_empty() {
            return Ok(format!("all {n_pods} replicas served an upload through one of them"));
        }
    }
    let names: Vec<_> = silent.iter().map(|pod| pod.name_any()).collect();
    Err(Stop::inconclusive(
        "every replica answers a read",
        format!("{} answered none of {} reads", names.join(", "), N_READS * MAX_TRIES),
    ))
}
