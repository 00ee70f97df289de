//! The board: what is being done and waited for right now, for those who watch a run.
//!
//! It is task-local: code deep below says what it does without being handed anything, and says it
//! to nobody where no board is up (as on the simulator).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

tokio::task_local! {
    static BOARD: Arc<Board>;
}

/// Something under way.
#[derive(Clone, Debug)]
pub struct Activity {
    /// What, as in `create the cluster`.
    pub what: String,
    /// Since when.
    pub since: Instant,
    /// The newest word on it, as in `2 of 3 replicas are available`.
    pub detail: String,
}

/// What a watcher of the board is told.
#[derive(Clone, Debug)]
pub enum News {
    /// An activity began.
    Began(u64, String),
    /// There is a new word on it.
    Detail(u64, String),
    /// It ended, after this long.
    Ended(u64, String, Duration),
}

/// All activities of a run.
#[derive(Debug)]
pub struct Board {
    inner: Mutex<Inner>,
    news: mpsc::UnboundedSender<News>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    activities: BTreeMap<u64, Activity>,
}

impl Board {
    /// An empty board, and its news.
    pub fn new() -> (Arc<Board>, mpsc::UnboundedReceiver<News>) {
        let (news, receiver) = mpsc::unbounded_channel();
        (Arc::new(Board { inner: Mutex::default(), news }), receiver)
    }

    /// Runs `work` with this board up.
    pub async fn up<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        BOARD.scope(self, work).await
    }

    /// What is under way, oldest first.
    pub fn activities(&self) -> Vec<Activity> {
        self.lock().activities.values().cloned().collect()
    }

    fn begin(self: &Arc<Self>, what: String) -> Mark {
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        let since = Instant::now();
        inner.activities.insert(id, Activity { what: what.clone(), since, detail: String::new() });
        drop(inner);
        self.tell(News::Began(id, what));
        Mark { board: Arc::clone(self), id }
    }

    fn tell(&self, news: News) {
        // Nobody has to watch.
        let _ = self.news.send(news);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An activity on the board; it ends when this is dropped.
#[derive(Debug)]
struct Mark {
    board: Arc<Board>,
    id: u64,
}

impl Mark {
    fn detail(&self, detail: String) {
        let mut inner = self.board.lock();
        let Some(activity) = inner.activities.get_mut(&self.id) else { return };
        if activity.detail == detail {
            return;
        }
        activity.detail.clone_from(&detail);
        drop(inner);
        self.board.tell(News::Detail(self.id, detail));
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let ended = self.board.lock().activities.remove(&self.id);
        if let Some(activity) = ended {
            self.board.tell(News::Ended(self.id, activity.what, activity.since.elapsed()));
        }
    }
}

/// A handle on the activity under way; without a board it does nothing.
#[derive(Debug)]
pub struct Doing(Option<Mark>);

impl Doing {
    /// Puts `what` on the board of this task until the handle is dropped.
    pub fn begin(what: impl FnOnce() -> String) -> Self {
        Doing(BOARD.try_with(|board| board.begin(what())).ok())
    }

    /// Adds the newest word.
    pub fn detail(&self, detail: impl FnOnce() -> String) {
        if let Some(mark) = &self.0 {
            mark.detail(detail());
        }
    }
}

/// Runs `work`, with `what` on the board while it lasts.
pub async fn doing<F: Future>(what: impl Into<String>, work: F) -> F::Output {
    let _mark = Doing::begin(|| what.into());
    work.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_board_shows_what_is_under_way_and_how_long_it_took() {
        let (board, mut news) = Board::new();
        let watcher = Arc::clone(&board);
        let work = doing("create the cluster", async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let shown = watcher.activities();
            assert_eq!(shown.len(), 1);
            assert_eq!(shown[0].what, "create the cluster");
        });
        board.up(work).await;
        assert!(matches!(news.try_recv(), Ok(News::Began(1, _))));
        let ended = news.try_recv();
        let Ok(News::Ended(1, what, took)) = ended else { panic!("{ended:?}") };
        assert_eq!((what.as_str(), took.as_secs()), ("create the cluster", 3));
    }

    #[tokio::test]
    async fn without_a_board_nothing_happens() {
        assert_eq!(doing("anything", async { 7 }).await, 7);
    }
}
