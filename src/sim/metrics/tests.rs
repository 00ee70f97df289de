//! metrics-server: samples, rates, what is served.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::points::{Point, Points};
use super::{ContainerEntry, MetricsServer, PodEntry, RESOLUTION};
use crate::base::{SimTime, millis, secs};
use crate::sim::machines::Usage;

fn sample(at_s: u64, started_s: u64, cpu_ms: u64) -> Option<Point> {
    let started_at = SimTime::ZERO + secs(started_s);
    let usage = Usage { cpu: millis(cpu_ms), memory_bytes: 10 << 20, started_at };
    Some(Point::new(SimTime::ZERO + secs(at_s), &usage))
}

fn rate_milli(points: &Points) -> Option<u64> {
    points.rate().map(|(nano, _)| nano / 1_000_000)
}

#[test]
fn two_points_make_a_rate() {
    let mut points = Points::default();
    points.store(sample(100, 0, 1000), RESOLUTION);
    assert_eq!(rate_milli(&points), None, "one point is no rate");
    points.store(sample(115, 0, 2500), RESOLUTION);
    assert_eq!(rate_milli(&points), Some(100));
    assert_eq!(points.rate().map(|(_, window)| window), Some(secs(15)));
}

#[test]
fn a_fresh_container_counts_from_its_start() {
    let mut points = Points::default();
    points.store(sample(112, 100, 1200), RESOLUTION);
    assert_eq!(rate_milli(&points), Some(100));
    let mut young = Points::default();
    young.store(sample(105, 100, 500), RESOLUTION);
    assert_eq!(rate_milli(&young), None, "5 s is too young");
}

#[test]
fn a_repeated_sample_keeps_the_older_point() {
    let mut points = Points::default();
    points.store(sample(100, 0, 1000), RESOLUTION);
    points.store(sample(110, 0, 2000), RESOLUTION);
    points.store(sample(110, 0, 2000), RESOLUTION);
    assert_eq!(rate_milli(&points), Some(100));
}

#[test]
fn a_restart_and_a_silent_node_forget() {
    let mut points = Points::default();
    points.store(sample(100, 0, 1000), RESOLUTION);
    points.store(sample(115, 110, 10), RESOLUTION);
    assert_eq!(rate_milli(&points), None, "restarted 5 s before the sample");
    points.store(None, RESOLUTION);
    assert!(points.last().is_none());
}

fn container(name: &str, scrapes: &[Option<Point>]) -> ContainerEntry {
    let mut points = Points::default();
    for scrape in scrapes {
        points.store(*scrape, RESOLUTION);
    }
    ContainerEntry { name: name.into(), sample: None, points }
}

#[test]
fn a_pod_is_served_when_all_containers_have_two_points() {
    let twice = [sample(100, 0, 1000), sample(115, 0, 2500)];
    let once = [sample(115, 0, 2500)];
    let serve = |containers| {
        let mut server = MetricsServer::default();
        let entry = PodEntry { containers, node: "n1".into(), ..PodEntry::default() };
        server.pods.entry("shop".into()).or_default().insert("web".into(), entry);
        server
    };
    let half = serve(vec![container("web", &twice), container("side", &once)]);
    assert_eq!(half.pod("shop", "web"), None);
    let whole = serve(vec![container("web", &twice)]);
    let document = whole.pod("shop", "web").expect("both points are there");
    assert_eq!(document["containers"][0]["usage"]["cpu"], "100000000n");
    assert_eq!(document["containers"][0]["usage"]["memory"], "10240Ki");
    assert_eq!(document["window"], "15s");
    assert_eq!(whole.nodes()[0]["usage"]["cpu"], "100000000n");
    assert_eq!(whole.usage("shop", "web").map(|u| u.window), Some(Duration::from_secs(15)));
}

impl MetricsServer {
    /// Serves `milli` thousandths of a core for each container of `pod`, measured 5 s before `now`.
    pub(in crate::sim) fn serve_for_test(&mut self, pod: &Pod, milli: u64, now: SimTime) {
        let at = SimTime::ZERO + now.since(SimTime::ZERO + secs(5));
        let start = SimTime::ZERO;
        let used = |end: SimTime| {
            let cpu =
                millis(u64::try_from(end.since(start).as_millis()).unwrap_or(0) * milli / 1000);
            Point::new(end, &Usage { cpu, memory_bytes: 10 << 20, started_at: start })
        };
        let earlier = SimTime::ZERO + at.since(SimTime::ZERO + RESOLUTION);
        let entry = self.entry(pod, "n1").expect("a namespace and a name");
        for container in &mut entry.containers {
            container.points.store(Some(used(earlier)), RESOLUTION);
            container.points.store(Some(used(at)), RESOLUTION);
        }
    }
}
