//! Signals: how a run learns that it should end, and that somebody wants to see what it does.
//!
//! The first SIGINT, SIGTERM or SIGHUP asks for an orderly end, the second for a hurried one; on
//! the third this process gives up: what it made stays in its lease, for the sweep.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::base::{Error, secs};

/// After the third signal those that wait get this long to say a last word.
const LAST_WORD: Duration = secs(1);

/// How urgently a run should end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Not at all.
    #[default]
    None,
    /// Stop what is under way and clean up as after any end.
    Orderly,
    /// Clean up without waiting for anything to end well.
    Hurry,
    /// End at once. This process is killed within a second, whatever it does.
    GiveUp,
}

/// The signal that asked first for an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGHUP: the terminal has gone.
    Hangup,
    /// SIGINT: Ctrl-C.
    Int,
    /// SIGTERM.
    Term,
}

impl Interrupt {
    /// What a shell calls the end by this signal: 128 and its number.
    pub fn exit_code(self) -> u8 {
        match self {
            Interrupt::Hangup => 129,
            Interrupt::Int => 130,
            Interrupt::Term => 143,
        }
    }

    /// Its name, as in `SIGINT`.
    pub fn name(self) -> &'static str {
        match self {
            Interrupt::Hangup => "SIGHUP",
            Interrupt::Int => "SIGINT",
            Interrupt::Term => "SIGTERM",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    urgency: Urgency,
    interrupt: Option<Interrupt>,
    asked: u64,
}

/// The signals of this process. Clones and all runtimes of the process see the same.
#[derive(Clone, Debug)]
pub struct Signals(watch::Receiver<State>);

/// Listens from now on; a second call joins the first. What a signal did before it no longer does.
///
/// # Errors
/// The handlers cannot be installed.
pub fn listen() -> Result<Signals, Error> {
    static LISTENING: Mutex<Option<Signals>> = Mutex::new(None);
    let mut listening = LISTENING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(signals) = &*listening {
        return Ok(signals.clone());
    }
    let signals = start().map_err(|error| {
        Error::environment(format!("cannot listen for signals (SIGINT and others): {error}"))
    })?;
    *listening = Some(signals.clone());
    Ok(signals)
}

impl Signals {
    /// Signals that nobody sends, and the switch to send them: for tests of what listens.
    pub fn by_hand() -> (Signals, ByHand) {
        let (sender, receiver) = watch::channel(State::default());
        (Signals(receiver), ByHand(sender))
    }

    /// How urgently the run should end, as of now.
    pub fn urgency(&self) -> Urgency {
        self.0.borrow().urgency
    }

    /// The signal that asked first for an end.
    pub fn interrupt(&self) -> Option<Interrupt> {
        self.0.borrow().interrupt
    }

    /// Waits until the run should end at least as urgently as `urgency`; never returns otherwise.
    pub async fn until(&self, urgency: Urgency) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|state| state.urgency >= urgency).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Calls to show what is being done (SIGUSR1), from now on.
    pub fn asks(&self) -> Asks {
        let mut receiver = self.0.clone();
        let seen = receiver.borrow_and_update().asked;
        Asks { receiver, seen }
    }
}

/// Sends signals by hand.
#[derive(Debug)]
pub struct ByHand(watch::Sender<State>);

impl ByHand {
    /// As if `interrupt` had come.
    pub fn interrupt(&self, interrupt: Interrupt) {
        self.0.send_modify(|state| more_urgent(state, interrupt));
    }

    /// As if somebody wanted to see what is being done.
    pub fn ask(&self) {
        self.0.send_modify(|state| state.asked += 1);
    }
}

/// A listener for SIGUSR1.
#[derive(Debug)]
pub struct Asks {
    receiver: watch::Receiver<State>,
    seen: u64,
}

impl Asks {
    /// Waits for the next one; several at once are one.
    pub async fn next(&mut self) {
        let seen = self.seen;
        let Ok(asked) = self.receiver.wait_for(|state| state.asked > seen).await.map(|s| s.asked)
        else {
            return std::future::pending().await;
        };
        self.seen = asked;
    }
}

fn more_urgent(state: &mut State, interrupt: Interrupt) {
    state.interrupt.get_or_insert(interrupt);
    state.urgency = match state.urgency {
        Urgency::None => Urgency::Orderly,
        Urgency::Orderly => Urgency::Hurry,
        Urgency::Hurry | Urgency::GiveUp => Urgency::GiveUp,
    };
}

/// Listens on a thread with a runtime of its own: runs come and go with theirs, and a busy or
/// paused one must not keep a signal from being seen.
fn start() -> std::io::Result<Signals> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ends, mut interrupts) = mpsc::unbounded_channel();
    let (sender, receiver) = watch::channel(State::default());
    let kinds = [
        (SignalKind::hangup(), Interrupt::Hangup),
        (SignalKind::interrupt(), Interrupt::Int),
        (SignalKind::terminate(), Interrupt::Term),
    ];
    let entered = runtime.enter();
    for (kind, interrupt) in kinds {
        let mut signal = signal(kind)?;
        let ends = ends.clone();
        runtime.spawn(async move {
            while signal.recv().await.is_some() && ends.send(interrupt).is_ok() {}
        });
    }
    let mut user = signal(SignalKind::user_defined1())?;
    drop(entered);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    Some(interrupt) = interrupts.recv() => {
                        sender.send_modify(|state| more_urgent(state, interrupt));
                    }
                    Some(()) = user.recv() => sender.send_modify(|state| state.asked += 1),
                    else => return,
                }
                if sender.borrow().urgency == Urgency::GiveUp {
                    tokio::time::sleep(LAST_WORD).await;
                    // Whatever still runs here, blocked or not: the user wants to be rid of it.
                    let _ = kill_process(getpid(), Signal::KILL);
                }
            }
        });
    })?;
    Ok(Signals(receiver))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
    use tokio::process::{Child, ChildStdout, Command};

    use super::*;
    use crate::base::millis;

    /// Not a test: the process that the tests below send signals to. It says what it hears; told
    /// to be `stubborn`, it blocks its runtime and hears nothing.
    #[test]
    #[ignore = "started by the tests below"]
    #[expect(clippy::print_stdout, reason = "the tests read it")]
    #[expect(clippy::disallowed_methods, reason = "it stands for a run that is stuck")]
    fn listener() {
        let Ok(mood) = std::env::var("SEATRIAL_TEST_SIGNALS") else { return };
        let signals = listen().expect("listening");
        // A first runtime that came and went must make no difference.
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("built");
        runtime().block_on(async { listen().expect("joined").urgency() });
        let mut asks = signals.asks();
        println!("\nready");
        if mood == "stubborn" {
            std::thread::sleep(secs(60));
        }
        runtime().block_on(async {
            let asked = async {
                asks.next().await;
                println!("asked");
            };
            tokio::select! {
                () = asked => {}
                () = signals.until(Urgency::Orderly) => {}
            }
            signals.until(Urgency::Orderly).await;
            println!("orderly {:?}", signals.interrupt().expect("one came"));
            signals.until(Urgency::Hurry).await;
            println!("hurry {:?}", signals.interrupt().expect("one came"));
        });
    }

    struct Listener {
        child: Child,
        lines: Lines<BufReader<ChildStdout>>,
    }

    impl Listener {
        async fn start(mood: &str) -> Listener {
            let name = module_path!().split_once("::").expect("a path").1;
            let mut child = Command::new(std::env::current_exe().expect("this program"))
                .args(["--ignored", "--nocapture", "--exact", &format!("{name}::listener")])
                .env("SEATRIAL_TEST_SIGNALS", mood)
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .expect("it starts");
            let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
            let mut listener = Listener { child, lines };
            listener.hear("ready").await;
            listener
        }

        fn send(&self, signal: Signal) {
            let pid = i32::try_from(self.child.id().expect("it runs")).expect("a number");
            let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
            kill_process(pid, signal).expect("sent");
        }

        async fn hear(&mut self, wanted: &str) {
            let mut heard = Vec::new();
            let hearing = async {
                while let Some(line) = self.lines.next_line().await.expect("readable") {
                    if line == wanted {
                        return true;
                    }
                    heard.push(line);
                }
                false
            };
            let is_heard = tokio::time::timeout(secs(60), hearing).await == Ok(true);
            assert!(is_heard, "no `{wanted}` in {heard:?}");
        }
    }

    #[tokio::test]
    async fn signals_reach_a_run_one_by_one_and_it_ends_by_itself() {
        let mut listener = Listener::start("attentive").await;
        listener.send(Signal::USR1);
        listener.hear("asked").await;
        listener.send(Signal::TERM);
        listener.hear("orderly Term").await;
        listener.send(Signal::INT);
        listener.hear("hurry Term").await;
        assert!(listener.child.wait().await.expect("it ends").success());
    }

    #[tokio::test]
    async fn the_third_signal_ends_a_run_that_hears_nothing() {
        let mut listener = Listener::start("stubborn").await;
        for signal in [Signal::INT, Signal::HUP, Signal::INT] {
            listener.send(signal);
            // Two of one kind at once would be one.
            tokio::time::sleep(millis(200)).await;
        }
        let status = tokio::time::timeout(secs(10), listener.child.wait()).await;
        assert_eq!(status.expect("in time").expect("it ends").signal(), Some(9));
    }

    #[tokio::test]
    async fn signals_by_hand_do_the_same_and_kill_nobody() {
        let (signals, hand) = Signals::by_hand();
        let mut asks = signals.asks();
        assert_eq!((signals.urgency(), signals.interrupt()), (Urgency::None, None));
        hand.ask();
        asks.next().await;
        for expected in [Urgency::Orderly, Urgency::Hurry, Urgency::GiveUp, Urgency::GiveUp] {
            hand.interrupt(Interrupt::Int);
            signals.until(expected).await;
            assert_eq!(signals.urgency(), expected);
        }
        assert_eq!(signals.interrupt().map(Interrupt::exit_code), Some(130));
        let again = tokio::time::timeout(millis(20), asks.next()).await;
        again.expect_err("nobody asked again");
    }
}
