//! The world as tokio tasks see it: moved to their instant first, its outputs handed to who waits.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::base::SimTime;
use crate::sim::api::rest::Served;
use crate::sim::net::{CallId, CallResult, ClientCall};
use crate::sim::{Fact, Output, World};

/// The world and everyone who waits for something from it.
#[derive(Debug)]
pub(super) struct Bridge {
    inner: Mutex<Inner>,
    /// Wakes the driver when something may be due earlier than it knows.
    pub(super) wake: Notify,
    start: Instant,
}

#[derive(Debug)]
struct Inner {
    world: World,
    calls: BTreeMap<CallId, oneshot::Sender<CallResult>>,
    watches: BTreeMap<u64, mpsc::UnboundedSender<Bytes>>,
    facts: Vec<Fact>,
}

/// The answer to an API request: a body, or the lines of a watch.
pub(super) enum Reply {
    Response(http::Response<Bytes>),
    Watch(u64, mpsc::UnboundedReceiver<Bytes>),
}

impl Bridge {
    /// A bridge to `world`, whose epoch is the current tokio instant.
    pub(super) fn new(world: World) -> Self {
        let (calls, watches) = (BTreeMap::new(), BTreeMap::new());
        Bridge {
            inner: Mutex::new(Inner { world, calls, watches, facts: Vec::new() }),
            wake: Notify::new(),
            start: Instant::now(),
        }
    }

    /// Virtual time since the epoch, on tokio's clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The tokio instant at which virtual time began.
    pub(super) fn epoch(&self) -> Instant {
        self.start
    }

    /// The tokio instant of `due`, which tokio rounds up to its next millisecond.
    pub(super) fn instant_of(&self, due: SimTime) -> Instant {
        self.start + due.since(SimTime::ZERO)
    }

    /// Moves the world to the current instant, lets `act` work on it, and hands its outputs on.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut inner = self.lock();
        inner.catch_up(self.now());
        let result = act(&mut inner.world);
        inner.hand_on();
        drop(inner);
        self.wake.notify_one();
        result
    }

    /// Moves the world to the current instant and says when it wants to move next.
    pub(super) fn drive(&self) -> Option<SimTime> {
        let mut inner = self.lock();
        inner.catch_up(self.now());
        inner.world.next_due()
    }

    /// Serves an API request at the current instant.
    pub(super) fn serve(&self, request: &http::Request<Bytes>) -> Reply {
        let mut inner = self.lock();
        inner.catch_up(self.now());
        let reply = match inner.world.serve(request) {
            Served::Response(response) => Reply::Response(response),
            Served::Watch(id) => {
                let (sender, receiver) = mpsc::unbounded_channel();
                inner.watches.insert(id, sender);
                Reply::Watch(id, receiver)
            }
        };
        inner.hand_on();
        drop(inner);
        self.wake.notify_one();
        reply
    }

    /// Starts a data-plane call at the current instant.
    pub(super) fn call(&self, call: ClientCall) -> oneshot::Receiver<CallResult> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.lock();
        inner.catch_up(self.now());
        let id = inner.world.call(call);
        inner.calls.insert(id, sender);
        inner.hand_on();
        drop(inner);
        self.wake.notify_one();
        receiver
    }

    /// Forgets a watch whose client has dropped it.
    pub(super) fn close_watch(&self, id: u64) {
        let mut inner = self.lock();
        if inner.watches.remove(&id).is_some() {
            inner.world.close_watch(id);
        }
    }

    /// The lifecycle facts so far.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let mut inner = self.lock();
        inner.catch_up(self.now());
        inner.facts.clone()
    }

    fn now(&self) -> SimTime {
        SimTime::ZERO + self.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic inside the world is the run's failure already; the lock itself is not at fault.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn catch_up(&mut self, now: SimTime) {
        self.world.run_until(now);
        self.hand_on();
    }

    fn hand_on(&mut self) {
        for output in self.world.take_outputs() {
            match output {
                Output::CallDone(id, result) => {
                    if let Some(caller) = self.calls.remove(&id) {
                        // The caller may have given up.
                        let _ = caller.send(*result);
                    }
                }
                Output::WatchLine(id, line) => {
                    if let Some(watch) = self.watches.get(&id) {
                        let _ = watch.send(line);
                    }
                }
                Output::WatchClosed(id) => {
                    self.watches.remove(&id);
                }
            }
        }
        self.facts.append(&mut self.world.take_facts());
    }
}
