//! Posts survive the deletion of the database's pods.

use crate::suite::{Aspect, Data, Held, Phase, Scenario, Start, Stop, Trial, WordPress};
use crate::wait::{self, Deadline};

use super::uploads::{accepted, database, writable_database};

/// Posts written.
const N_POSTS: usize = 3;
/// The database is back and the front has found it.
const READ_BACK: Deadline =
    Deadline::new(crate::base::secs(90), "the database starts and the front reconnects");

pub(super) const SCENARIO: Scenario = Scenario {
    name: "posts",
    claim: "posts survive the deletion of the database's pods",
    needs: &[],
    aspects: &[Aspect::Storage, Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(writable_database(trial))),
    run: |trial| Box::pin(run(trial)),
};

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let database = database(trial)?;
    let wordpress = WordPress::of(trial).map_err(Stop::errored)?;
    let mut posts = Vec::new();
    for n in 0..N_POSTS {
        let title = format!("post {n} of {}", trial.now_ms());
        let post = || wordpress.post_anew(&title);
        posts.push((accepted(&wordpress, "a post is accepted", post).await?, title));
    }
    let pods = trial.live_pods_of(database).await?;
    trial.replace_pods(database, &pods).await?;
    trial.enter(Phase::Assess);
    for (id, title) in &posts {
        let expected = format!("post {id} is read back");
        let read = wait::until_ok(&expected, READ_BACK, || wordpress.read_post(*id, title)).await;
        if let Err(error) = read {
            let expected = "every post is read back after the database's pods were deleted";
            return Err(trial.data_loss(database, Data::Tables, expected, &error.unmet));
        }
    }
    Ok(format!("{} posts survived the database's pods", posts.len()))
}
