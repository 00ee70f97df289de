//! Pace: what share of a planned load a shared cluster is sent. Scenarios state rates for a cluster
//! with cores to spare; a small one is measured first and gets what it can serve beside its own work.

use std::cell::Cell;

use futures::StreamExt as _;
use http::Method;
use tokio::time::Instant;

use crate::load::Connection;
use crate::wait::doing;

use super::stop::Stop;
use super::trial::Trial;

/// Requests of one measurement, after as many that warm connections and caches up.
const N_SENT: usize = 60;
/// Requests under way at a time: enough to keep two cores busy.
const N_AT_ONCE: usize = 4;
/// Share of what the cluster served at full speed that a load may take: pods start and stop
/// meanwhile, and the sender shares the machine with a kind cluster.
const SHARE: f64 = 0.25;

/// The share of planned rates that is sent, once it is known.
#[derive(Debug)]
pub(super) struct Pace {
    /// Requests a second that may be sent; infinite where nothing is held back.
    affordable: Cell<Option<f64>>,
}

impl Pace {
    /// Loads are sent as planned.
    pub(super) fn full() -> Self {
        Pace { affordable: Cell::new(Some(f64::INFINITY)) }
    }

    /// The first load measures what the cluster can serve.
    pub(super) fn to_be_measured() -> Self {
        Pace { affordable: Cell::new(None) }
    }

    /// What was measured, if anything was: requests a second that may be sent.
    pub(super) fn measured(&self) -> Option<f64> {
        self.affordable.get().filter(|affordable| affordable.is_finite())
    }
}

impl Trial {
    /// The factor for planned rates of static files that add up to `per_second`; at most 1.
    ///
    /// # Errors
    /// The way in is unknown.
    pub(super) async fn pace_for(&self, per_second: f64) -> Result<f64, Stop> {
        let affordable = match self.pace.affordable.get() {
            Some(affordable) => affordable,
            None => {
                let measured = doing("measure what the cluster can serve", self.measure()).await?;
                self.pace.affordable.set(Some(measured));
                measured
            }
        };
        Ok((affordable / per_second).clamp(f64::MIN_POSITIVE, 1.0))
    }

    async fn measure(&self) -> Result<f64, Stop> {
        let door = self.door().map_err(Stop::errored)?;
        let template = door.template(Method::GET, self.cheap_path()).map_err(Stop::errored)?;
        let send = || async {
            let sent = futures::stream::iter(0..N_SENT)
                .map(|_| self.send(&template, Connection::Fresh))
                .buffer_unordered(N_AT_ONCE);
            sent.filter(|reply| std::future::ready(reply.is_ok())).count().await
        };
        send().await;
        let from = Instant::now();
        let n_answered = send().await;
        let seconds = from.elapsed().as_secs_f64().max(1e-3);
        // Whoever answers nothing is asked slowly; the load itself shows what is wrong.
        Ok((n_answered.max(1) as f64 / seconds * SHARE).max(1.0))
    }
}
