//! The state of probes: what is asked, when it is due, and what came of it so far
//! (`pkg/kubelet/prober/worker.go`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, Probe};

use super::ProbeKind;
use super::agent::tick_after;
use crate::base::{SimTime, secs};

/// The probes of a container.
#[derive(Debug)]
pub(super) struct Probes([Option<Prober>; 3]);

/// The worker of one probe.
#[derive(Debug)]
pub(super) struct Prober {
    pub(super) spec: Arc<Probe>,
    /// What it sends, and to where; the same each time.
    pub(super) request: Option<Arc<Request>>,
    /// Its ticks are whole periods after this.
    pub(super) since: Option<SimTime>,
    /// The last scheduled or running attempt.
    pub(super) run: u32,
    pub(super) begun: Option<SimTime>,
    pub(super) last: Option<bool>,
    pub(super) count: i32,
    /// Waits for a new container after it had this one killed.
    pub(super) on_hold: bool,
    pub(super) stopped: bool,
}

/// A request of a probe. It is addressed to the pod unless the probe names another host.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) own: bool,
    pub(super) ip: String,
    pub(super) port: u16,
    pub(super) http: Arc<http::Request<Bytes>>,
}

impl Probes {
    pub(super) fn new(container: &Container) -> Self {
        let prober = |spec: &Option<Probe>| {
            let spec = Arc::new(spec.clone()?);
            Some(Prober {
                spec,
                request: None,
                since: None,
                run: 0,
                begun: None,
                last: None,
                count: 0,
                on_hold: false,
                stopped: false,
            })
        };
        Probes([
            prober(&container.startup_probe),
            prober(&container.liveness_probe),
            prober(&container.readiness_probe),
        ])
    }

    pub(super) fn has_startup(&self) -> bool {
        self.0[0].is_some()
    }

    pub(super) fn has_readiness(&self) -> bool {
        self.0[2].is_some()
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Prober> {
        self.0.iter_mut().flatten()
    }

    /// The startup or liveness probe that had the container killed.
    pub(super) fn killer(&self) -> Option<&Prober> {
        self.0[..2].iter().flatten().find(|prober| prober.on_hold)
    }

    pub(super) fn get(&mut self, kind: ProbeKind) -> Option<&mut Prober> {
        self.0[kind as usize].as_mut()
    }
}

impl Prober {
    pub(super) fn period(&self) -> Duration {
        Duration::from_secs(seconds(self.spec.period_seconds, 10).max(1))
    }

    fn initial_delay(&self) -> Duration {
        Duration::from_secs(seconds(self.spec.initial_delay_seconds, 0))
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(seconds(self.spec.timeout_seconds, 1).max(1))
    }

    /// The first instant the container may be probed: its start, truncated to the second, plus the
    /// initial delay (`doProbe`).
    pub(super) fn eligible(&self, started_at: SimTime) -> SimTime {
        SimTime::ZERO + secs(started_at.whole_seconds()) + self.initial_delay()
    }

    /// The first tick at `from` or later.
    pub(super) fn tick_at(&self, from: SimTime) -> SimTime {
        let since = self.since.unwrap_or(from);
        if from <= since {
            return since;
        }
        let before = SimTime::from_micros(from.as_micros() - 1);
        since
            + tick_after(SimTime::ZERO + before.since(since), Duration::ZERO, self.period())
                .since(SimTime::ZERO)
    }
}

fn seconds(value: Option<i32>, default: u64) -> u64 {
    value.map_or(default, |value| u64::try_from(value).unwrap_or(0))
}
