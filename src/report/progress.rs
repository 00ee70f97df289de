//! Progress: what is under way, as a person watches it: lines and a heartbeat where there is no
//! terminal, live bars where there is one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use crate::base::{millis, secs};
use crate::wait::{Activity, News};

use super::text::duration_text;

/// Without a terminal a line comes at least this often; CI systems end what is silent for long.
const HEARTBEAT: Duration = secs(10);
/// How often live bars move.
const FRAME: Duration = millis(120);
/// What is shorter is not worth a line of its own.
const SHORT: Duration = secs(1);
/// Longest detail on a line.
const DETAIL_CHARS: usize = 160;

/// Where progress goes.
pub enum Watcher {
    /// To a function that prints a line.
    Lines(Box<dyn FnMut(&str) + Send>),
    /// To bars on the terminal of standard error.
    Live,
}

/// The bars of this process, which has one terminal.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Runs `print` with live bars out of its way: what is printed between them, they would draw over.
pub fn aside<T>(print: impl FnOnce() -> T) -> T {
    BARS.suspend(print)
}

/// Shows `news` until the board is gone.
pub async fn watch(news: UnboundedReceiver<News>, watcher: Watcher) {
    match watcher {
        Watcher::Lines(say) => watch_lines(news, say).await,
        Watcher::Live => watch_live(news).await,
    }
}

async fn watch_lines(mut news: UnboundedReceiver<News>, mut say: Box<dyn FnMut(&str) + Send>) {
    let mut lines = Lines::new(Instant::now());
    loop {
        let line = tokio::select! {
            biased;
            told = news.recv() => match told {
                Some(told) => lines.news(&told, Instant::now()),
                None => return,
            },
            () = sleep_until(lines.next_heartbeat()) => lines.heartbeat(Instant::now()),
        };
        if let Some(line) = line {
            say(&line);
        }
    }
}

async fn watch_live(mut news: UnboundedReceiver<News>) {
    let mut bars: BTreeMap<u64, (ProgressBar, String)> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            told = news.recv() => match told {
                Some(News::Began(id, what)) => {
                    let bar = BARS.add(ProgressBar::new_spinner());
                    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}") {
                        bar.set_style(style);
                    }
                    bar.set_message(what.clone());
                    bars.insert(id, (bar, what));
                }
                Some(News::Detail(id, detail)) => {
                    if let Some((bar, what)) = bars.get(&id) {
                        bar.set_message(format!("{what}: {}", short(&detail)));
                    }
                }
                Some(News::Ended(id, _, _)) => {
                    if let Some((bar, _)) = bars.remove(&id) {
                        bar.finish_and_clear();
                        BARS.remove(&bar);
                    }
                }
                None => {
                    // Nothing of it stays on the screen; it is gone already if the terminal is.
                    let _ = BARS.clear();
                    return;
                }
            },
            () = tokio::time::sleep(FRAME) => {
                for (bar, _) in bars.values() {
                    bar.tick();
                }
            }
        }
    }
}

/// Turns news into lines.
#[derive(Debug)]
struct Lines {
    open: BTreeMap<u64, Open>,
    said: Instant,
}

#[derive(Debug)]
struct Open {
    what: String,
    since: Instant,
    detail: String,
    /// Whether nothing else was under way when it began.
    is_outermost: bool,
}

impl Lines {
    fn new(now: Instant) -> Self {
        Lines { open: BTreeMap::new(), said: now }
    }

    fn next_heartbeat(&self) -> Instant {
        self.said + HEARTBEAT
    }

    /// The line that `news` is worth, if any: an outermost activity has ended.
    fn news(&mut self, news: &News, now: Instant) -> Option<String> {
        match news {
            News::Began(id, what) => {
                let is_outermost = self.open.is_empty();
                let open =
                    Open { what: what.clone(), since: now, detail: String::new(), is_outermost };
                self.open.insert(*id, open);
                None
            }
            News::Detail(id, detail) => {
                if let Some(open) = self.open.get_mut(id) {
                    open.detail.clone_from(detail);
                }
                None
            }
            News::Ended(id, what, took) => {
                let ended = self.open.remove(id)?;
                if !ended.is_outermost || *took < SHORT {
                    return None;
                }
                self.said = now;
                Some(format!("{what}: ended after {}", took_text(*took)))
            }
        }
    }

    /// The line that says what is waited for; none while nothing is.
    fn heartbeat(&mut self, now: Instant) -> Option<String> {
        self.said = now;
        let (_, innermost) = self.open.last_key_value()?;
        let outermost = self.open.values().find(|open| open.is_outermost).unwrap_or(innermost);
        let mut line = format!("{} ({})", outermost.what, took_text(now - outermost.since));
        if innermost.what != outermost.what {
            let _ = write!(line, ": {}", innermost.what);
        }
        if !innermost.detail.is_empty() {
            let _ = write!(line, ": {}", short(&innermost.detail));
        }
        Some(line)
    }
}

/// What is under way, a line each, for those who ask (`SIGUSR1`).
pub fn describe(activities: &[Activity]) -> String {
    if activities.is_empty() {
        return "nothing is waited for\n".to_owned();
    }
    let mut text = String::new();
    for activity in activities {
        let since = took_text(activity.since.elapsed());
        let _ = write!(text, "{} for {since}", activity.what);
        if !activity.detail.is_empty() {
            let _ = write!(text, ": {}", activity.detail);
        }
        text.push('\n');
    }
    text
}

fn took_text(took: Duration) -> String {
    duration_text(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

/// The first line, cut where it is too long.
fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= DETAIL_CHARS {
        return line.to_owned();
    }
    let cut: String = line.chars().take(DETAIL_CHARS).collect();
    format!("{cut}...")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use crate::wait::{Board, Doing, doing};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_a_terminal_nobody_waits_longer_than_ten_seconds_for_a_word() {
        let (board, news) = Board::new();
        let said: Arc<Mutex<Vec<(u64, String)>>> = Arc::default();
        let start = Instant::now();
        let sink = Arc::clone(&said);
        let say = move |line: &str| {
            let at_s = start.elapsed().as_secs();
            sink.lock().expect("no panic with the lock").push((at_s, line.to_owned()));
        };
        let watching = tokio::spawn(watch(news, Watcher::Lines(Box::new(say))));
        board
            .up(doing("create the cluster", async {
                let nodes = Doing::begin(|| "nodes are Ready".to_owned());
                nodes.detail(|| "2 of 4 are".to_owned());
                tokio::time::sleep(secs(25)).await;
            }))
            .await;
        watching.await.expect("it ends with the board");
        let said = said.lock().expect("free").clone();
        assert_eq!(
            said,
            [
                (10, "create the cluster (10.0 s): nodes are Ready: 2 of 4 are".to_owned()),
                (20, "create the cluster (20.0 s): nodes are Ready: 2 of 4 are".to_owned()),
                (25, "create the cluster: ended after 25.0 s".to_owned()),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_is_told_everything_that_is_under_way() {
        let (board, _news) = Board::new();
        let asked = Arc::clone(&board);
        let text = board
            .up(doing("apply the stack", async {
                let _waits = Doing::begin(|| "all pods are Ready".to_owned());
                tokio::time::sleep(secs(61)).await;
                describe(&asked.activities())
            }))
            .await;
        assert_eq!(text, "apply the stack for 1 min 1 s\nall pods are Ready for 1 min 1 s\n");
        assert_eq!(describe(&[]), "nothing is waited for\n");
    }
}
