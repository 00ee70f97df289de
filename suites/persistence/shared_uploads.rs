//! An upload through one replica is read through every other.

use bytes::Bytes;
use kube::ResourceExt as _;

use crate::observe::CauseClass;
use crate::suite::{
    Aspect, Held, Media, Phase, Scenario, Start, Stop, Trial, WordPress, fresh_marker,
};
use crate::wait::{self, TRAFFIC_REACHES};

use super::uploads::{accepted, writable};

/// Reads of one try: with three replicas and a random choice, all answer in most tries.
const N_READS: usize = 10;

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
    let upload = || wordpress.upload_anew(&name, content.clone());
    let media = accepted(&wordpress, "an upload is accepted", upload).await?;
    trial.enter(Phase::Assess);
    let marker = fresh_marker(trial);
    let marked = Media { path: format!("{}?{marker}", media.path), ..media };
    let pods = trial.live_pods_of(front).await?;
    // The proxies learn of the last replica a while after it is ready.
    let answered = wait::until_ok("every replica answers a read", TRAFFIC_REACHES, || async {
        for _ in 0..N_READS {
            if let Err(seen) = wordpress.read_media(&marked).await {
                return Ok(Some(seen));
            }
        }
        let mut silent = Vec::new();
        for pod in &pods {
            if !trial.logged(pod, &marker).await.map_err(|stop| stop.message)? {
                silent.push(pod.name_any());
            }
        }
        if silent.is_empty() {
            return Ok(None);
        }
        Err(format!("{} answered no read", silent.join(", ")))
    });
    match answered.await {
        Ok(None) => Ok(format!("all {} replicas served an upload through one of them", pods.len())),
        Ok(Some(seen)) => Err(trial.failed(
            CauseClass::FilesNotShared,
            "every replica serves what was uploaded through one",
            seen,
        )),
        Err(silent) => Err(Stop::inconclusive("every replica answers a read", silent.unmet)),
    }
}
