//! Statistics over the records of a load.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::record::Record;

/// Latencies are told apart up to ten minutes; no call has a longer time-out.
const LATENCY_MAX_MICROS: u64 = 600_000_000;

/// A request sent later than this after it was due was not sent as planned: the shortest window in
/// which a claim can break, between a pod's end and the proxies' taking note, is about as long.
const LATE_MS: f64 = 100.0;
/// Share of late requests above which the plan was not kept.
const LATE_SHARE_MAX: f64 = 0.05;

/// Latencies from the planned start, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyMs {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

/// Counts and latencies of a load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Requests that were due.
    pub planned: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Answered as they were to be.
    pub ok: u64,
    /// Sent, and not answered so.
    pub failed: u64,
    /// Count by class (`2xx`, `404`, `502`, `refused`, ...).
    pub by_class: BTreeMap<String, u64>,
    /// Latencies of the answered requests, counted from when they were due.
    pub latency_ms: LatencyMs,
    /// The latest any request was sent after it was due, in milliseconds.
    pub lag_max_ms: f64,
    /// Requests sent more than 100 ms after they were due.
    pub late: u64,
    /// Why the first of those that could not be sent could not.
    pub not_sent: Option<String>,
}

impl Stats {
    /// The statistics of `records`; every planned request is a record.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Stats {
        let mut stats = Stats::default();
        let mut histogram: Histogram<u64> = Histogram::new_with_max(LATENCY_MAX_MICROS, 3)
            .unwrap_or_else(|_| unreachable!("the bounds are constants within range"));
        for record in records {
            stats.planned += 1;
            *stats.by_class.entry(record.outcome.class()).or_default() += 1;
            if let Some(why) = record.outcome.not_sent() {
                stats.not_sent.get_or_insert_with(|| why.to_owned());
                continue;
            }
            stats.sent += 1;
            let lag_ms = (record.started - record.planned).as_secs_f64() * 1e3;
            stats.lag_max_ms = stats.lag_max_ms.max(lag_ms);
            stats.late += u64::from(lag_ms > LATE_MS);
            if record.outcome.is_ok() {
                stats.ok += 1;
                let micros = (record.finished - record.planned).as_micros();
                histogram.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX).max(1));
            } else {
                stats.failed += 1;
            }
        }
        if !histogram.is_empty() {
            let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
            stats.latency_ms = LatencyMs {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                max: histogram.max() as f64 / 1e3,
            };
        }
        stats
    }

    /// Whether the requests that were sent went as planned, apart from a few that were late. Where they
    /// did not, the sender was short of time, and an absence of failures says nothing.
    pub fn kept_plan(&self) -> bool {
        self.late as f64 <= self.planned as f64 * LATE_SHARE_MAX
    }
}
