//! Pace: what share of a planned load a stack is sent. Scenarios state rates for a cluster with cores
//! and limits to spare; what is served is measured first, and the stack gets what it can serve beside
//! its own work. Posts are measured for themselves: they cost a program a hundred times what a static
//! file does.

use std::cell::Cell;

use futures::StreamExt as _;
use http::Method;
use tokio::time::Instant;

use crate::load::Connection;
use crate::wait::doing;

use super::http::Template;
use super::stop::Stop;
use super::trial::Trial;

/// Requests for a static file in one measurement, after as many that warm connections and caches up.
const N_SENT: usize = 60;
/// Posts in one measurement: at one a second, as with a small quota of CPU, they take long enough.
const N_POSTED: usize = 12;
/// Requests under way at a time: enough to keep two cores busy.
const N_AT_ONCE: usize = 4;
/// Share of what the cluster served at full speed that a load may take: pods start and stop
/// meanwhile, and the sender shares the machine with a kind cluster.
const SHARE: f64 = 0.25;

/// Static files and posts a second where hardly anything is answered: the load itself shows what is
/// wrong.
const LEAST: (f64, f64) = (1.0, 0.2);

/// What the stack can serve, measured by the first load.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Static files a second that may be asked for.
    affordable: Cell<Option<f64>>,
    /// Posts a second.
    posts: Cell<Option<f64>>,
    /// Whether a load was sent fewer static files than planned.
    held_back: Cell<bool>,
}

impl Pace {
    /// Static files a second that were sent instead of what was planned, if a load was held back.
    pub(super) fn held_back(&self) -> Option<f64> {
        self.affordable.get().filter(|_| self.held_back.get())
    }
}

impl Trial {
    /// The factor for planned rates of static files that add up to `per_second`; at most 1.
    ///
    /// # Errors
    /// The way in is unknown.
    pub(super) async fn pace_for(&self, per_second: f64) -> Result<f64, Stop> {
        let template = self.door().and_then(|door| door.template(Method::GET, self.cheap_path()));
        let affordable = self.affordable(&self.pace.affordable, template, N_SENT).await?;
        let share = share(affordable.max(LEAST.0), per_second);
        self.pace.held_back.set(self.pace.held_back.get() || share < 1.0);
        Ok(share)
    }

    /// The same for posts.
    ///
    /// # Errors
    /// The way in is unknown.
    pub(super) async fn pace_for_posts(&self, per_second: f64) -> Result<f64, Stop> {
        let affordable = self.affordable(&self.pace.posts, self.post(), N_POSTED).await?;
        Ok(share(affordable.max(LEAST.1), per_second))
    }

    /// Requests a second that may be sent, measured by the first who asks.
    async fn affordable(
        &self,
        known: &Cell<Option<f64>>,
        template: Result<Template, String>,
        n_sent: usize,
    ) -> Result<f64, Stop> {
        if known.get().is_none() {
            let template = template.map_err(Stop::errored)?;
            let measuring = self.measure(&template, n_sent);
            known.set(Some(doing("measure what the cluster can serve", measuring).await));
        }
        Ok(known.get().unwrap_or(f64::INFINITY))
    }

    async fn measure(&self, template: &Template, n_sent: usize) -> f64 {
        let send = || async {
            let sent = futures::stream::iter(0..n_sent)
                .map(|_| self.send(template, Connection::Fresh))
                .buffer_unordered(N_AT_ONCE);
            sent.filter(|reply| std::future::ready(reply.is_ok())).count().await
        };
        send().await;
        let from = Instant::now();
        let n_answered = send().await;
        let seconds = from.elapsed().as_secs_f64().max(1e-3);
        n_answered.max(1) as f64 / seconds * SHARE
    }
}

fn share(affordable: f64, per_second: f64) -> f64 {
    (affordable / per_second).clamp(f64::MIN_POSITIVE, 1.0)
}
