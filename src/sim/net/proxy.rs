//! kube-proxy of each node: what it has synced, and which endpoint a new connection gets.
//! Nothing is computed for a node until traffic enters it; then its past syncs are replayed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceSpec;

use super::endpoints::{Backend, Endpoints, ServiceId};
use crate::base::{SimTime, Streams, millis, secs};
use crate::k8s::is_tcp;
use crate::sim::profile::Profile;

/// Write to watch event at kube-proxy (semantics 0.2).
const WATCH_LAG: (Duration, Duration) = (millis(1), millis(20));
/// `minSyncPeriod` of iptables (`pkg/proxy/apis/config/v1alpha1/defaults.go`).
const MIN_SYNC_PERIOD: Duration = secs(1);
/// Syncs that may follow each other at once after a quiet time (`iptables/proxier.go:NewProxier`).
const SYNC_BURST: f64 = 2.0;
/// iptables-restore on a small cluster (semantics 6.5).
const APPLY: (Duration, Duration) = (millis(20), millis(100));
/// Default of `sessionAffinityConfig.clientIP.timeoutSeconds` (`core/v1/defaults.go`).
const AFFINITY_SECONDS: u64 = 10_800;
/// From boot of a node to the first sync of its kube-proxy.
const START_AFTER_BOOT: Duration = secs(5);

/// Why a proxied connection got no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoEndpoint {
    /// REJECT: the client sees "connection refused" at once.
    Rejected,
    /// DROP: the client sees nothing.
    Dropped,
}

/// A connection through a Service port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// The Service.
    pub service: ServiceId,
    /// Its port, as a node port or as a Service port.
    pub port: PortRef,
    /// Where the client comes from, for session affinity.
    pub client: &'a str,
}

/// How the port of a Service is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PortRef {
    /// By its node port, from outside.
    Node(u16),
    /// By its own number, from inside.
    Cluster(u16),
}

/// The proxies of all nodes.
#[derive(Debug)]
pub(super) struct Proxies {
    profile: Profile,
    nodes: BTreeMap<Arc<str>, NodeProxy>,
    seed: u64,
}

/// A sync that has taken effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Synced {
    pub node: Arc<str>,
    pub at: SimTime,
}

#[derive(Debug)]
struct NodeProxy {
    clock: SyncClock,
    routes: BTreeMap<(ServiceId, PortRef), Route>,
    affinity: BTreeMap<(ServiceId, PortRef, String), (Arc<str>, SimTime)>,
}

/// The endpoints a proxy programs for one port.
#[derive(Debug)]
struct Route {
    revision: u64,
    usable: Vec<Backend>,
    drops: bool,
    affinity: Option<Duration>,
}

impl Proxies {
    /// Proxies for the nodes called `nodes`.
    pub(super) fn new(profile: Profile) -> Self {
        Proxies { profile, nodes: BTreeMap::new(), seed: 0 }
    }

    /// Sets the seed the lags are drawn from.
    pub(super) fn seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Chooses the endpoint of a new connection that enters the cluster at `node`.
    pub(super) fn pick(
        &mut self,
        now: SimTime,
        node: &str,
        wish: Wish<'_>,
        endpoints: &Endpoints,
        rng: &mut Streams,
        synced: &mut Vec<Synced>,
    ) -> Result<Backend, NoEndpoint> {
        if !self.nodes.contains_key(node) {
            let clock = SyncClock::new(node_seed(self.seed, node), SimTime::ZERO);
            let proxy = NodeProxy { clock, routes: BTreeMap::new(), affinity: BTreeMap::new() };
            self.nodes.insert(Arc::from(node), proxy);
        }
        let Some((name, proxy)) = self
            .nodes
            .get_key_value(node)
            .map(|(k, _)| Arc::clone(k))
            .and_then(|name| self.nodes.get_mut(node).map(|proxy| (name, proxy)))
        else {
            return Err(NoEndpoint::Rejected);
        };
        if let Some(at) = proxy.clock.advance(now, endpoints.log()) {
            synced.push(Synced { node: name, at });
        }
        let revision = proxy.clock.applied;
        let key = (wish.service, wish.port);
        let current = proxy.routes.get(&key).is_some_and(|route| {
            route.revision == revision || endpoints.last_revision(wish.service) <= route.revision
        });
        if !current {
            let route = Route::program(self.profile, node, wish, endpoints, revision);
            proxy.routes.insert(key, route);
        }
        let Some(route) = proxy.routes.get(&key) else {
            return Err(NoEndpoint::Rejected);
        };
        if route.usable.is_empty() {
            return Err(if route.drops { NoEndpoint::Dropped } else { NoEndpoint::Rejected });
        }
        let Some(timeout) = route.affinity else {
            return Ok(route.usable[rng.index("proxy-pick", route.usable.len())].clone());
        };
        let sticky = (wish.service, wish.port, wish.client.to_owned());
        let last = proxy.affinity.get(&sticky).filter(|(_, at)| *at + timeout > now);
        let kept = last.and_then(|(ip, _)| route.usable.iter().find(|b| b.ip == *ip));
        let drawn = match kept {
            Some(backend) => backend.clone(),
            None => route.usable[rng.index("proxy-pick", route.usable.len())].clone(),
        };
        proxy.affinity.insert(sticky, (Arc::clone(&drawn.ip), now));
        Ok(drawn)
    }

    /// The node has booted: its proxy starts afresh, and lists everything.
    pub(super) fn restart(&mut self, node: &str, now: SimTime) {
        let clock = SyncClock::new(node_seed(self.seed, node), now + START_AFTER_BOOT);
        let proxy = NodeProxy { clock, routes: BTreeMap::new(), affinity: BTreeMap::new() };
        self.nodes.insert(Arc::from(node), proxy);
    }
}

impl Route {
    fn program(
        profile: Profile,
        node: &str,
        wish: Wish<'_>,
        endpoints: &Endpoints,
        revision: u64,
    ) -> Route {
        let mut route = Route { revision, usable: Vec::new(), drops: false, affinity: None };
        let service = endpoints.service(wish.service, revision);
        let Some(spec) = service.and_then(|service| service.spec.as_ref()) else {
            return route;
        };
        let Some(port_name) = port_name(spec, wish.port) else {
            return route;
        };
        let mut backends = endpoints.backends(wish.service, port_name, revision);
        let policy = match wish.port {
            PortRef::Node(_) => spec.external_traffic_policy.as_deref(),
            PortRef::Cluster(_) => spec.internal_traffic_policy.as_deref(),
        };
        if policy == Some("Local") {
            // Traffic that may only stay on the node is dropped, not rejected, when none is local (semantics 6.4).
            route.drops = !usable(profile, &backends).is_empty();
            backends.retain(|backend| backend.node.as_deref() == Some(node));
        }
        route.usable = usable(profile, &backends);
        if spec.session_affinity.as_deref() == Some("ClientIP") {
            let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
            let seconds = config.and_then(|c| u64::try_from(c.timeout_seconds?).ok());
            route.affinity = Some(secs(seconds.unwrap_or(AFFINITY_SECONDS)));
        }
        route
    }
}

/// Ready endpoints; with ProxyTerminatingEndpoints (on from 1.26) those that serve while they
/// terminate when none is ready (`pkg/proxy/topology.go:CategorizeEndpoints`).
fn usable(profile: Profile, backends: &[Backend]) -> Vec<Backend> {
    let ready: Vec<Backend> = backends.iter().filter(|b| b.ready).cloned().collect();
    if !ready.is_empty() || !profile.at_least(26) {
        return ready;
    }
    backends.iter().filter(|b| b.serving && b.terminating).cloned().collect()
}

/// Name of the Service port that `port` stands for.
fn port_name(spec: &ServiceSpec, port: PortRef) -> Option<&str> {
    let mut ports = spec.ports.iter().flatten();
    // All that is dialled here is TCP: a rule of another protocol does not match.
    let found = ports.find(|candidate| match port {
        _ if !is_tcp(candidate) => false,
        PortRef::Node(number) => candidate.node_port == Some(i32::from(number)),
        PortRef::Cluster(number) => candidate.port == i32::from(number),
    })?;
    Some(found.name.as_deref().unwrap_or(""))
}

/// The syncs of one proxy: a bounded-frequency runner over the log of changes
/// (`pkg/util/async/bounded_frequency_runner.go`).
#[derive(Debug)]
struct SyncClock {
    seed: u64,
    /// Index into the log of the first change not yet seen.
    next: usize,
    seen_at: SimTime,
    seen: u64,
    /// Start of the sync that is wanted.
    wanted: Option<SimTime>,
    /// End and revision of the sync that runs.
    running: Option<(SimTime, u64)>,
    tokens: f64,
    refilled_at: SimTime,
    /// Revision the rules stand at.
    applied: u64,
}

impl SyncClock {
    /// A proxy that starts at `start`, and takes everything up to then over in its first sync.
    fn new(seed: u64, start: SimTime) -> Self {
        SyncClock {
            seed,
            next: 0,
            seen_at: start,
            seen: 0,
            wanted: None,
            running: None,
            tokens: SYNC_BURST,
            refilled_at: start,
            applied: 0,
        }
    }

    /// Replays what has happened until `now`; the end of the last sync that took effect, if any did.
    fn advance(&mut self, now: SimTime, log: &[(SimTime, u64)]) -> Option<SimTime> {
        let mut took_effect = None;
        loop {
            let next_seen = log
                .get(self.next)
                .map(|&(at, revision)| self.seen_at.max(at + draw(self.seed, revision, WATCH_LAG)));
            let due = [self.running.map(|r| r.0), self.wanted, next_seen];
            let Some(first) = due.iter().flatten().min().copied().filter(|first| *first <= now)
            else {
                return took_effect;
            };
            if let Some((end, revision)) = self.running.filter(|(end, _)| *end == first) {
                self.applied = revision;
                self.running = None;
                took_effect = Some(end);
            } else if next_seen == Some(first) {
                self.seen_at = first;
                self.seen = log[self.next].1;
                self.next += 1;
                self.want(first);
            } else {
                self.run(first);
            }
        }
    }

    /// A sync is wanted from `at` on: at once if a token is left, else at the end of the period.
    fn want(&mut self, at: SimTime) {
        if self.wanted.is_none() {
            let free = self.running.map_or(at, |(end, _)| end.max(at));
            self.refill(free);
            let missing = (1.0 - self.tokens).max(0.0);
            self.wanted = Some(free + MIN_SYNC_PERIOD.mul_f64(missing));
        }
    }

    fn run(&mut self, start: SimTime) {
        self.wanted = None;
        if let Some((end, _)) = self.running {
            self.wanted = Some(end);
            return;
        }
        self.refill(start);
        self.tokens = (self.tokens - 1.0).max(0.0);
        self.running = Some((start + draw(self.seed, !self.seen, APPLY), self.seen));
    }

    fn refill(&mut self, at: SimTime) {
        let elapsed = at.since(self.refilled_at).as_secs_f64() / MIN_SYNC_PERIOD.as_secs_f64();
        self.tokens = (self.tokens + elapsed).min(SYNC_BURST);
        self.refilled_at = self.refilled_at.max(at);
    }
}

/// A duration in `low..=high` that is a function of `seed` and `salt` alone, so that a lazy replay
/// draws what an eager one would have drawn.
pub(super) fn draw(seed: u64, salt: u64, (low, high): (Duration, Duration)) -> Duration {
    // SplitMix64.
    let mut z = seed.wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let span = u64::try_from((high - low).as_micros()).unwrap_or(u64::MAX);
    low + Duration::from_micros(z % (span + 1))
}

fn node_seed(seed: u64, node: &str) -> u64 {
    node.bytes().fold(seed ^ 0x5eed, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_changes_after_quiet_are_applied_at_once_and_the_third_waits() {
        let mut clock = SyncClock::new(7, SimTime::ZERO);
        let at = SimTime::ZERO + secs(10);
        let log = [(at, 1), (at + millis(300), 2), (at + millis(600), 3)];
        clock.advance(at + millis(200), &log);
        assert_eq!(clock.applied, 1);
        clock.advance(at + millis(500), &log);
        assert_eq!(clock.applied, 2);
        clock.advance(at + millis(850), &log);
        assert_eq!(clock.applied, 2, "the bucket is empty");
        clock.advance(at + millis(1_500), &log);
        assert_eq!(clock.applied, 3);
    }

    #[test]
    fn a_late_replay_ends_where_an_eager_one_does() {
        let start = SimTime::ZERO + secs(1);
        let log: Vec<_> = (0..200u64).map(|n| (start + millis(n * 137), n + 1)).collect();
        let (mut eager, mut lazy) =
            (SyncClock::new(3, SimTime::ZERO), SyncClock::new(3, SimTime::ZERO));
        for n in 0..2_600u64 {
            eager.advance(start + millis(n * 10), &log);
        }
        lazy.advance(start + millis(25_990), &log);
        assert_eq!(eager.applied, lazy.applied);
        assert!(lazy.applied < 195, "the limiter holds syncs back");
    }
}
