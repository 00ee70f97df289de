//! The open-loop generator: each request is sent when it is due, whatever became of those before it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::plan::ArrivalPlan;
use super::record::{Outcome, Record, Served};
use super::transport::{Call, Transport};

/// A request due this long before the load is stopped is still sent, late: leaving it out would hide
/// that the sender was short of time.
const OVERDUE: Duration = Duration::from_millis(50);

/// One source of requests with a plan of its own.
pub struct Source {
    /// Its name in records, as in `GET fresh`.
    pub name: &'static str,
    /// When its requests are due.
    pub plan: ArrivalPlan,
    /// Which answers serve the user.
    pub served: Served,
    /// Makes the n-th request.
    pub call: Box<dyn Fn(u64) -> Call + Send>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("plan", &self.plan).finish()
    }
}

/// A running load. Dropping it ends it without waiting for requests in flight.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    sources: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: Mutex<Option<Instant>>,
    stop: Notify,
    records: Mutex<Vec<Record>>,
}

impl Shared {
    fn records(&self) -> std::sync::MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the load is stopped and a request due at `planned` is no longer to be sent.
    fn is_over(&self, planned: Instant) -> bool {
        self.stopped().is_some_and(|stopped| planned + OVERDUE >= stopped)
    }
}

impl Load {
    /// Starts all sources now. Must be called on a tokio runtime.
    pub fn start(transport: &Arc<dyn Transport>, sources: Vec<Source>) -> Load {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for source in sources {
            tasks.spawn(run(source, Arc::clone(transport), Arc::clone(&shared)));
        }
        Load { shared, sources: tasks }
    }

    /// Plans no further request, waits for those in flight, and returns all records ordered by
    /// planned start.
    pub async fn stop(mut self) -> Vec<Record> {
        *self.shared.stopped() = Some(Instant::now());
        self.shared.stop.notify_waiters();
        while self.sources.join_next().await.is_some() {}
        let mut records = std::mem::take(&mut *self.shared.records());
        records.sort_by_key(|record| record.planned);
        records
    }
}

async fn run(source: Source, transport: Arc<dyn Transport>, shared: Arc<Shared>) {
    let start = Instant::now();
    let mut in_flight = JoinSet::new();
    let mut previous = None;
    for n in 0u64.. {
        let stop = shared.stop.notified();
        let Some(due) = source.plan.next_due(previous) else { break };
        previous = Some(due);
        let planned = start + due;
        if shared.is_over(planned) {
            break;
        }
        tokio::select! {
            biased;
            () = stop => if shared.is_over(planned) { break },
            () = sleep_until(planned) => {}
        }
        let pending = transport.call((source.call)(n));
        let (name, served, shared) = (source.name, source.served, Arc::clone(&shared));
        in_flight.spawn(async move {
            let started = Instant::now();
            let (outcome, backend) = Outcome::of(pending.await, served);
            let finished = Instant::now();
            let record = Record { source: name, planned, started, finished, outcome, backend };
            shared.records().push(record);
        });
        while in_flight.try_join_next().is_some() {}
    }
    while in_flight.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::super::stats::Stats;
    use super::super::transport::{Answer, Connection, Failed, Failure, Target};
    use super::*;

    /// Answers after 250 ms, and refuses every fourth request.
    struct Slow(Mutex<u64>);

    impl Transport for Slow {
        fn call(&self, _call: Call) -> BoxFuture<'static, Result<Answer, Failed>> {
            let mut n = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *n += 1;
            let refused = (*n).is_multiple_of(4);
            async move {
                if refused {
                    return Err(Failed { failure: Failure::Refused, backend: None });
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
                let response = http::Response::new(Bytes::new());
                Ok(Answer { response, tls: None, reused: false, backend: None })
            }
            .boxed()
        }
    }

    fn call(_n: u64) -> Call {
        Call {
            target: Target { host: "192.0.2.1".into(), port: 80, tls: None },
            connection: Connection::Fresh,
            request: http::Request::new(Bytes::new()),
            timeout: Duration::from_secs(5),
        }
    }

    fn source(plan: ArrivalPlan) -> Source {
        Source { name: "GET", plan, served: Served::With(200), call: Box::new(call) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_short_of_time_sends_late_and_says_so() {
        let transport: Arc<dyn Transport> = Arc::new(Slow(Mutex::new(0)));
        let plan = ArrivalPlan::constant(20.0);
        let load = Load::start(&transport, vec![source(plan)]);
        tokio::time::sleep(Duration::from_millis(990)).await;
        // The clock goes on while nothing runs, as when another task hogs the thread.
        tokio::time::advance(Duration::from_secs(2)).await;
        let records = load.stop().await;
        let stats = Stats::of(&records);
        assert!((59..=60).contains(&stats.planned), "nothing that was due is left out: {stats:?}");
        assert!(stats.late >= 36 && !stats.kept_plan(), "{stats:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_answers_do_not_hold_later_requests_back() {
        let transport: Arc<dyn Transport> = Arc::new(Slow(Mutex::new(0)));
        let plan = ArrivalPlan::constant(20.0);
        let load = Load::start(&transport, vec![source(plan)]);
        tokio::time::sleep(Duration::from_millis(1990)).await;
        let records = load.stop().await;
        let stats = Stats::of(&records);
        assert_eq!((stats.planned, stats.ok, stats.failed), (40, 30, 10));
        assert_eq!(stats.by_class["refused"], 10);
        assert!((stats.latency_ms.p50 - 250.0).abs() < 1.0, "{:?}", stats.latency_ms);
        assert!(stats.lag_max_ms <= 1.0, "{}", stats.lag_max_ms);
        assert!(stats.kept_plan());
    }
}
