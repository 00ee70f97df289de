//! Uploads survive the deletion of every pod of the front.

use bytes::Bytes;

use crate::suite::{
    Aspect, Data, Held, Phase, Program, Scenario, Start, Stop, Trial, WordPress, Workload,
};
use crate::wait::{self, TRAFFIC_REACHES};

/// Files uploaded.
const N_UPLOADS: usize = 3;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "uploads",
    claim: "uploads survive the deletion of every pod of the front",
    needs: &[],
    aspects: &[Aspect::Storage, Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(writable(trial))),
    run: |trial| Box::pin(run(trial)),
};

/// Only WordPress can be written to.
pub(super) async fn writable(trial: &Trial) -> Result<Held, Stop> {
    match trial.target().front.program {
        Program::WordPress => Ok(String::new()),
        Program::Other => Err(Stop::ignored(
            "no suite knows how to write to this program; WordPress is the one that is known",
        )),
    }
}

/// As `writable`, with a database of the stack whose pods can be deleted.
pub(super) async fn writable_database(trial: &Trial) -> Result<Held, Stop> {
    writable(trial).await?;
    database(trial).map(|_| String::new())
}

/// What a write gives once it is accepted.
///
/// # Errors
/// It is not; that is nobody's fault where the site has no account that scenarios know.
pub(super) async fn accepted<T, F: Future<Output = Result<T, String>>>(
    wordpress: &WordPress<'_>,
    expected: &str,
    write: impl FnMut() -> F,
) -> Result<T, Stop> {
    let refused = match wait::until_ok(expected, TRAFFIC_REACHES, write).await {
        Ok(written) => return Ok(written),
        Err(refused) => refused,
    };
    match wordpress.knows_author().await {
        Ok(false) => Err(Stop::inconclusive(
            expected,
            "the site came installed, with its image or its data, and the author that would write is \
             not registered there",
        )),
        _ => Err(refused.into()),
    }
}

/// The front's database.
///
/// # Errors
/// No workload of the stack is known to be it.
pub(super) fn database(trial: &Trial) -> Result<&Workload, Stop> {
    let target = trial.target();
    target.database.as_ref().ok_or_else(|| {
        let reason = &target.no_database.why;
        Stop::ignored(format!(
            "no workload of the stack is known as the front's database: {reason}"
        ))
    })
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    let wordpress = WordPress::of(trial).map_err(Stop::errored)?;
    let mut media = Vec::new();
    for n in 0..N_UPLOADS {
        let name = format!("upload-{n}-{}", trial.now_ms());
        let content = Bytes::from(format!("content of {name}"));
        let upload = || wordpress.upload_anew(&name, content.clone());
        media.push(accepted(&wordpress, "an upload is accepted", upload).await?);
    }
    let pods = trial.live_pods_of(front).await?;
    trial.replace_pods(front, &pods).await?;
    trial.await_steady().await?;
    trial.enter(Phase::Assess);
    for file in &media {
        let expected = format!("{} is read back", file.path);
        let read = wait::until_ok(&expected, TRAFFIC_REACHES, || wordpress.read_media(file)).await;
        if let Err(error) = read {
            let expected = "every upload is read back after all pods of the front were deleted";
            return Err(trial.data_loss(front, Data::Uploads, expected, &error.unmet));
        }
    }
    Ok(format!("{} uploads survived {} deleted pods", media.len(), pods.len()))
}
