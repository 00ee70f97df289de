//! A ledger of acknowledged writes while pods of the front and the database are deleted in turn:
//! none is lost.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;

use crate::base::secs;
use crate::suite::{
    Aspect, Data, Held, Media, Phase, Scenario, Start, Stop, Trial, WordPress, Workload,
};
use crate::wait::{self, Deadline};

use super::uploads::{database, writable_database};

/// Pause between two writes.
const WRITE_PERIOD: Duration = secs(2);
/// Something is written before the first pod goes.
const FIRST_WRITES: Deadline =
    Deadline::new(secs(120), "a session holds on one replica only where replicas share no salts");
/// The stack serves again after the last deletion.
const READ_BACK: Deadline = Deadline::new(secs(90), "the database starts and the front reconnects");
/// Tries of reading one entry back: a proxy may still know a pod that has gone.
const MAX_READS: usize = 3;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "ledger",
    claim: "no acknowledged write is lost while pods are deleted one after the other",
    needs: &[],
    aspects: &[Aspect::Storage, Aspect::Lifecycle, Aspect::Traffic],
    start: Start::Serving,
    prepare: Some(|trial| Box::pin(writable_database(trial))),
    run: |trial| Box::pin(run(trial)),
};

/// What was acknowledged.
#[derive(Default)]
struct Ledger {
    posts: Vec<(u64, String)>,
    media: Vec<Media>,
}

impl Ledger {
    fn holds_both(&self) -> bool {
        !self.posts.is_empty() && !self.media.is_empty()
    }
}

async fn run(trial: &Trial) -> Result<Held, Stop> {
    let front = &trial.target().front.workload;
    let database = database(trial)?;
    let wordpress = WordPress::of(trial).map_err(Stop::errored)?;
    let (ledger, done) = (RefCell::new(Ledger::default()), Cell::new(false));
    let deletions = async {
        let written = async || match ledger.borrow().holds_both() {
            true => Ok(()),
            false => Err("one of them is not".to_owned()),
        };
        // Where nothing is acknowledged while all is well, something may be while pods come and go.
        let _ =
            wait::until_ok("a post and an upload are acknowledged", FIRST_WRITES, written).await;
        let deleted = delete_in_turn(trial, front, database).await;
        done.set(true);
        deleted
    };
    let (deleted, ()) = tokio::join!(deletions, keep_writing(trial, &wordpress, &ledger, &done));
    let (n_deleted, ledger) = (deleted?, ledger.into_inner());
    trial.enter(Phase::Assess);
    let n_written = ledger.posts.len() + ledger.media.len();
    if !ledger.holds_both() {
        let seen = format!("{n_written} writes were acknowledged");
        return Err(Stop::inconclusive("acknowledged posts and uploads", seen));
    }
    let lost = read_back(&wordpress, &ledger).await;
    let expected = format!("all {n_written} acknowledged writes after {n_deleted} deleted pods");
    if let Some((n_lost, first)) = lost.posts {
        let seen = format!("{n_lost} of {} posts are lost, first: {first}", ledger.posts.len());
        return Err(trial.data_loss(database, Data::Tables, &expected, &seen));
    }
    if let Some((n_lost, first)) = lost.media {
        let seen = format!("{n_lost} of {} uploads are lost, first: {first}", ledger.media.len());
        return Err(trial.data_loss(front, Data::Uploads, &expected, &seen));
    }
    Ok(format!("{n_written} acknowledged writes survived {n_deleted} deleted pods"))
}

/// Deletes the front's pods one after the other, then those of the database.
async fn delete_in_turn(
    trial: &Trial,
    front: &Workload,
    database: &Workload,
) -> Result<usize, Stop> {
    let mut n_deleted = 0;
    let others = (!database.is(front)).then_some(database);
    for workload in std::iter::once(front).chain(others) {
        for pod in trial.live_pods_of(workload).await? {
            trial.replace_pods(workload, &[pod]).await?;
            n_deleted += 1;
        }
    }
    Ok(n_deleted)
}

/// Writes until told to stop; what is not acknowledged does not count.
async fn keep_writing(
    trial: &Trial,
    wordpress: &WordPress<'_>,
    ledger: &RefCell<Ledger>,
    done: &Cell<bool>,
) {
    let mut session = None;
    while !done.get() {
        let name = format!("entry-{}", trial.unique());
        if session.is_none() {
            session = wordpress.log_in().await.ok();
        }
        if let Some(author) = &session {
            let posted = wordpress.post(author, &name).await;
            let uploaded =
                wordpress.upload(author, &name, Bytes::from(format!("content of {name}"))).await;
            if posted.is_err() || uploaded.is_err() {
                session = None;
            }
            let mut ledger = ledger.borrow_mut();
            ledger.posts.extend(posted.ok().map(|id| (id, name)));
            ledger.media.extend(uploaded.ok());
        }
        tokio::time::sleep(WRITE_PERIOD).await;
    }
}

/// How many entries of each kind are lost, and what was seen of the first.
#[derive(Default)]
struct Lost {
    posts: Option<(usize, String)>,
    media: Option<(usize, String)>,
}

async fn read_back(wordpress: &WordPress<'_>, ledger: &Ledger) -> Lost {
    let mut lost = Lost::default();
    // The first entry may wait for the stack to serve again; the others are read as they are.
    if let Some((id, title)) = ledger.posts.first() {
        let read = || wordpress.read_post(*id, title);
        let _ = wait::until_ok("the first post is read back", READ_BACK, read).await;
    }
    for (id, title) in &ledger.posts {
        if let Err(seen) = several(async || wordpress.read_post(*id, title).await).await {
            lost.posts.get_or_insert((0, seen)).0 += 1;
        }
    }
    for media in &ledger.media {
        if let Err(seen) = several(async || wordpress.read_media(media).await).await {
            lost.media.get_or_insert((0, seen)).0 += 1;
        }
    }
    lost
}

async fn several(read: impl AsyncFn() -> Result<(), String>) -> Result<(), String> {
    let mut last = Ok(());
    for _ in 0..MAX_READS {
        last = read().await;
        if last.is_ok() {
            break;
        }
    }
    last
}
