//! The kubelet of one node: its pods, its clocks and its budget of API writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::PodEvent;
use super::image::{Images, Published};
use super::worker::Worker;
use crate::base::{SimTime, Streams, millis, secs};
use crate::sim::api::events;
use crate::sim::bootstrap::NodeSpec;
use crate::sim::context::Cx;
use crate::sim::event::Event;
use crate::sim::kubelet::KubeletEvent;
use crate::sim::machines::{ContainerId, Machines};
use crate::sim::profile::Profile;
use crate::sim::volumes::Volumes;

/// PLEG relist period (`kubelet.go:plegRelistPeriod`).
const RELIST_PERIOD: Duration = secs(1);
/// Housekeeping of orphans and cgroups (`kubelet.go:housekeepingPeriod`).
const HOUSEKEEPING_PERIOD: Duration = secs(2);
/// Full batch of the status manager (`status_manager.go:syncPeriod`).
const BATCH_PERIOD: Duration = secs(10);
/// A relist takes this long before its events are handled (semantics 5.1, estimate).
const RELIST_TIME: (Duration, Duration) = (millis(5), millis(30));

/// The kubelet of one node.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) name: Arc<str>,
    pub(super) spec: NodeSpec,
    pub(super) profile: Profile,
    pub(super) published: Arc<Published>,
    /// Whether the kubelet runs.
    pub(super) up: bool,
    /// Counts boots, so that what was due before one is ignored.
    pub(super) epoch: u32,
    /// When the kubelet came up after a power cut; none for the one that was there from the start.
    pub(super) booted_at: Option<SimTime>,
    pub(super) images: Images,
    pub(super) images_changed: bool,
    pub(super) node_written: SimTime,
    /// Boxed: each event takes its worker out and puts it back.
    pub(super) workers: BTreeMap<u64, Box<Worker>>,
    pub(super) by_uid: BTreeMap<String, u64>,
    pub(super) by_container: BTreeMap<ContainerId, (u64, usize)>,
    /// Requests to containers that are under way: what each is for.
    pub(super) calls: BTreeMap<u64, (u64, PodEvent)>,
    pub(super) next_call: u64,
    relist_phase: Duration,
    housekeeping_phase: Duration,
    batch_phase: Duration,
    writes_booked_to: SimTime,
}

impl Agent {
    pub(super) fn new(
        spec: &NodeSpec,
        profile: Profile,
        published: &Arc<Published>,
        rng: &mut Streams,
    ) -> Self {
        let mut images = Images::default();
        for name in published.names() {
            images.add(name);
        }
        Agent {
            name: Arc::from(spec.name.as_str()),
            spec: spec.clone(),
            profile,
            published: Arc::clone(published),
            up: true,
            epoch: 0,
            booted_at: None,
            images,
            images_changed: false,
            node_written: SimTime::ZERO,
            workers: BTreeMap::new(),
            by_uid: BTreeMap::new(),
            by_container: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            relist_phase: rng.between("kubelet-phase", Duration::ZERO, RELIST_PERIOD),
            housekeeping_phase: rng.between("kubelet-phase", Duration::ZERO, HOUSEKEEPING_PERIOD),
            batch_phase: rng.between("kubelet-phase", Duration::ZERO, BATCH_PERIOD),
            writes_booked_to: SimTime::ZERO,
        }
    }

    /// The first relist that begins after `at`.
    pub(super) fn relist_after(&self, at: SimTime) -> SimTime {
        tick_after(at, self.relist_phase, RELIST_PERIOD)
    }

    /// The first housekeeping after `at`.
    pub(super) fn housekeeping_after(&self, at: SimTime) -> SimTime {
        tick_after(at, self.housekeeping_phase, HOUSEKEEPING_PERIOD)
    }

    /// The first full batch of status writes after `at`.
    pub(super) fn batch_after(&self, at: SimTime) -> SimTime {
        tick_after(at, self.batch_phase, BATCH_PERIOD)
    }

    /// When a write wanted at `at` goes out: 5 a second and 10 at once, from 1.27 on 50 and 100
    /// (`kl/apis/config/v1beta1/defaults.go`; semantics 5.1).
    pub(super) fn book_write(&mut self, at: SimTime) -> SimTime {
        let (interval, burst) =
            if self.profile.at_least(27) { (millis(20), 100) } else { (millis(200), 10) };
        let credit = interval * (burst - 1);
        let earliest = SimTime::ZERO + self.writes_booked_to.since(SimTime::ZERO + credit);
        self.writes_booked_to = self.writes_booked_to.max(at) + interval;
        at.max(earliest)
    }
}

/// The first instant after `at` that is `phase` past a multiple of `period`.
pub(super) fn tick_after(at: SimTime, phase: Duration, period: Duration) -> SimTime {
    let (phase, period) = (phase.as_micros() as u64, (period.as_micros() as u64).max(1));
    let at = at.as_micros();
    if at < phase {
        return SimTime::from_micros(phase);
    }
    SimTime::from_micros(phase + ((at - phase) / period + 1) * period)
}

/// What the handling of one pod may touch.
pub(super) struct Desk<'a, 'b> {
    pub(super) agent: &'a mut Agent,
    pub(super) machines: &'a mut Machines,
    pub(super) volumes: Option<&'a Volumes>,
    pub(super) cx: &'a mut Cx<'b>,
}

impl Desk<'_, '_> {
    pub(super) fn now(&self) -> SimTime {
        self.cx.now
    }

    /// Schedules something for a pod.
    pub(super) fn at(&mut self, due: SimTime, key: u64, event: PodEvent) {
        let node = Arc::clone(&self.agent.name);
        self.cx.queue.at(due, Event::Kubelet(node, KubeletEvent::Pod(key, event)));
    }

    /// Draws a duration of something this kubelet or its runtime does.
    pub(super) fn draw(&mut self, (low, high): (Duration, Duration)) -> Duration {
        self.cx.rng.between("kubelet", low, high)
    }

    /// When a change of a container at this instant is noticed.
    pub(super) fn noticed_at(&mut self) -> SimTime {
        let relist = self.agent.relist_after(self.cx.now);
        relist + self.draw(RELIST_TIME)
    }

    /// Gives a request to a container a number; its answer brings `event` about.
    pub(super) fn expect_answer(&mut self, key: u64, event: PodEvent) -> u64 {
        self.agent.next_call += 1;
        self.agent.calls.insert(self.agent.next_call, (key, event));
        self.agent.next_call
    }

    /// Records a Normal event about a pod.
    pub(super) fn normal(&mut self, pod: &Pod, reason: &'static str, message: impl Into<String>) {
        events::record(self.cx.api, pod, events::Note::normal("kubelet", reason, message));
    }

    /// Records a Warning event about a pod.
    pub(super) fn warn(&mut self, pod: &Pod, reason: &'static str, message: impl Into<String>) {
        events::record(self.cx.api, pod, events::Note::warning("kubelet", reason, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_phase() {
        let at = |ms: u64| SimTime::ZERO + millis(ms);
        assert_eq!(tick_after(at(0), millis(300), secs(1)), at(300));
        assert_eq!(tick_after(at(300), millis(300), secs(1)), at(1300));
        assert_eq!(tick_after(at(1299), millis(300), secs(1)), at(1300));
    }

    #[test]
    fn old_kubelets_write_ten_at_once_then_five_a_second() {
        let spec = crate::sim::ClusterSpec::new(Profile::OLDEST, 1);
        let published = Arc::new(Published::default());
        let mut rng = Streams::new(1);
        let mut agent = Agent::new(&spec.nodes[1], Profile::OLDEST, &published, &mut rng);
        let t0 = SimTime::ZERO + secs(5);
        let due: Vec<SimTime> = (0..12).map(|_| agent.book_write(t0)).collect();
        assert!(due[..10].iter().all(|&at| at == t0));
        assert_eq!(due[10..], [t0 + millis(200), t0 + millis(400)]);
    }
}
