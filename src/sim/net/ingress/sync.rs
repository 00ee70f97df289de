//! The controller's loop: from a change in the API to the workers that route by it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Secret, ServiceSpec};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::endpoints::Endpoints;
use super::config::{Certificate, Servers, UpstreamSource, Wanted};
use super::tls;
use super::upstream::{Peer, Pool, Upstream};
use crate::base::{ObjectRef, SimTime, millis, secs};
use crate::k8s::{is_backend_port, is_nginx_ingress, is_tcp};
use crate::sim::api::{Change, Kind, Obj, Objects};
use crate::sim::context::Cx;
use crate::sim::fact::FactKind;

/// Write to watch event at the controller (semantics 0.2).
const WATCH_LAG: (Duration, Duration) = (millis(1), millis(20));
/// Time between syncs: `--sync-rate-limit` 0.3 per second, burst 1 (`pkg/flags/flags.go`).
const SYNC_PERIOD: Duration = Duration::from_micros(3_333_333);
/// Computing the model and posting it to the workers (estimate).
const SYNC_TAKES: (Duration, Duration) = (millis(5), millis(40));
/// Writing nginx.conf, `nginx -t`, `nginx -s reload` (estimate).
const RELOAD_TAKES: (Duration, Duration) = (millis(150), millis(400));
/// Workers read the posted backends this often (`balancer.lua:BACKENDS_SYNC_INTERVAL`).
const BACKENDS_SYNC_INTERVAL: Duration = secs(1);

/// What is due at the ingress controller.
#[derive(Clone, Debug)]
pub enum IngressEvent {
    /// The rate limiter lets a sync through.
    Sync,
    /// The model is computed: reload or post.
    Computed,
    /// The new workers run.
    Reloaded,
    /// The workers read the backends.
    Tick,
}

/// The controller and its nginx.
#[derive(Debug)]
pub(in super::super) struct IngressController {
    objects: Objects,
    /// Changes on their way: when they are seen, and their revision.
    arriving: VecDeque<(SimTime, u64)>,
    seen_at: SimTime,
    seen: u64,
    sync_due: bool,
    last_sync: Option<SimTime>,
    /// Instant the workers' timers count from.
    phase: SimTime,
    computed: Option<Computed>,
    posted: Option<BTreeMap<Arc<str>, Vec<Peer>>>,
    wanted_peers: BTreeMap<Arc<str>, Vec<Peer>>,
    referenced: Vec<(String, String)>,
    /// Servers and locations that the running workers know.
    pub servers: Arc<Servers>,
    /// Upstreams by name.
    pub upstreams: BTreeMap<Arc<str>, Upstream>,
    /// Kept upstream connections.
    pub pool: Pool,
    certificates: BTreeMap<String, Arc<Certificate>>,
    fallback: Arc<Certificate>,
    /// Counts reloads: a client connection of an older count has been closed.
    pub generation: u32,
}

#[derive(Debug)]
struct Computed {
    servers: Servers,
    peers: BTreeMap<Arc<str>, Vec<Peer>>,
    certificates: BTreeMap<String, Arc<Certificate>>,
}

impl IngressController {
    pub(in super::super) fn new() -> Self {
        IngressController {
            objects: Objects::default(),
            arriving: VecDeque::new(),
            seen_at: SimTime::ZERO,
            seen: 0,
            sync_due: false,
            last_sync: None,
            phase: SimTime::ZERO,
            computed: None,
            posted: None,
            wanted_peers: BTreeMap::new(),
            referenced: Vec::new(),
            servers: Arc::new(Wanted::build(std::iter::empty()).servers),
            upstreams: BTreeMap::new(),
            pool: Pool::default(),
            certificates: BTreeMap::new(),
            fallback: Arc::new(tls::fallback()),
            generation: 0,
        }
    }

    /// The controller has been up for a while: its timers run.
    pub(in super::super) fn start(&mut self, cx: &mut Cx<'_>) {
        let offset = cx.rng.between("ingress-phase", Duration::ZERO, BACKENDS_SYNC_INTERVAL);
        self.phase = cx.now + offset;
    }

    /// The certificate for a server name.
    pub(in super::super) fn certificate(&self, server_name: &str) -> &Arc<Certificate> {
        let wildcard = || {
            let (_, parent) = server_name.split_once('.')?;
            self.certificates.get(&format!("*.{parent}"))
        };
        self.certificates.get(server_name).or_else(wildcard).unwrap_or(&self.fallback)
    }

    /// Takes a change over; `endpoints_differ` tells whether it changed a Service or its endpoints.
    pub(in super::super) fn on_change(
        &mut self,
        change: &Change,
        endpoints_differ: bool,
        cx: &mut Cx<'_>,
    ) {
        let kept =
            matches!(change.object.kind(), Kind::INGRESS | Kind::INGRESS_CLASS | Kind::SECRET);
        if kept {
            self.objects.apply(change);
        }
        let triggers = match &change.object {
            Obj::Ingress(ingress) => {
                let before = change.previous.as_ref().and_then(|p| p.as_typed::<Ingress>());
                let same = before.is_some_and(|before| {
                    before.spec == ingress.spec
                        && before.metadata.annotations == ingress.metadata.annotations
                });
                !same || change.change_type != crate::sim::api::ChangeType::Modified
            }
            Obj::IngressClass(_) => true,
            Obj::Secret(_) => {
                let key = (change.object.namespace(), change.object.name());
                self.referenced.iter().any(|(ns, name)| (ns.as_str(), name.as_str()) == key)
            }
            _ => endpoints_differ,
        };
        if !triggers {
            return;
        }
        let lag = cx.rng.between("ingress-watch", WATCH_LAG.0, WATCH_LAG.1);
        self.seen_at = self.seen_at.max(change.at + lag);
        self.arriving.push_back((self.seen_at, change.revision));
        self.want_sync(self.seen_at, cx);
    }

    /// Something is due. `endpoints` is what all consumers look revisions up in.
    pub(in super::super) fn on_event(
        &mut self,
        event: &IngressEvent,
        endpoints: &Endpoints,
        cx: &mut Cx<'_>,
    ) {
        match event {
            IngressEvent::Sync => self.sync(endpoints, cx),
            IngressEvent::Computed => self.act(cx),
            IngressEvent::Reloaded => self.reloaded(cx),
            IngressEvent::Tick => self.tick(cx),
        }
    }

    fn want_sync(&mut self, from: SimTime, cx: &mut Cx<'_>) {
        if self.sync_due {
            return;
        }
        self.sync_due = true;
        let allowed = self.last_sync.map_or(SimTime::ZERO, |last| last + SYNC_PERIOD);
        cx.queue.at(from.max(allowed), super::super::NetEvent::Ingress(IngressEvent::Sync));
    }

    fn sync(&mut self, endpoints: &Endpoints, cx: &mut Cx<'_>) {
        self.sync_due = false;
        self.last_sync = Some(cx.now);
        while let Some(&(_, revision)) = self.arriving.front().filter(|(at, _)| *at <= cx.now) {
            self.seen = revision;
            self.arriving.pop_front();
        }
        if let Some(&(at, _)) = self.arriving.front() {
            self.want_sync(at, cx);
        }
        let wanted = Wanted::build(self.ours().iter().map(Arc::as_ref));
        self.referenced = wanted
            .secrets
            .values()
            .flatten()
            .map(|(namespace, name)| (namespace.to_string(), name.to_string()))
            .collect();
        let certificates = self.load_certificates(&wanted);
        let peers = wanted
            .upstreams
            .iter()
            .map(|(name, source)| (Arc::clone(name), resolve(source, endpoints, self.seen)))
            .collect();
        self.computed = Some(Computed { servers: wanted.servers, peers, certificates });
        let takes = cx.rng.between("ingress-sync", SYNC_TAKES.0, SYNC_TAKES.1);
        cx.queue.after(takes, super::super::NetEvent::Ingress(IngressEvent::Computed));
    }

    /// The Ingresses of our class, the oldest first (`store.go:ListIngresses`).
    fn ours(&self) -> Vec<Arc<Ingress>> {
        let mut ours: Vec<Arc<Ingress>> = self
            .objects
            .list::<Ingress>()
            .filter(|ingress| self.is_ours(ingress))
            .map(Arc::clone)
            .collect();
        ours.sort_by_key(|i| i.metadata.creation_timestamp.as_ref().map(|time| time.0));
        ours
    }

    fn is_ours(&self, ingress: &Ingress) -> bool {
        let class_of = |name: &str| self.objects.get::<IngressClass>("", name).map(Arc::as_ref);
        is_nginx_ingress(ingress, class_of)
    }

    fn load_certificates(&self, wanted: &Wanted) -> BTreeMap<String, Arc<Certificate>> {
        let named = wanted.secrets.iter().filter_map(|(host, keys)| {
            let certificate = keys.iter().find_map(|(namespace, name)| {
                tls::from_secret(self.objects.get::<Secret>(namespace, name)?, host)
            })?;
            Some((host.clone(), Arc::new(certificate)))
        });
        named.collect()
    }

    fn act(&mut self, cx: &mut Cx<'_>) {
        let Some(computed) = &self.computed else {
            return;
        };
        if computed.servers == *self.servers {
            self.post(cx);
        } else {
            let takes = cx.rng.between("ingress-reload", RELOAD_TAKES.0, RELOAD_TAKES.1);
            cx.queue.after(takes, super::super::NetEvent::Ingress(IngressEvent::Reloaded));
        }
    }

    /// New workers start, with the backends last posted; their timers start with them. The old ones
    /// close idle connections at once (`ngx_process_cycle.c:ngx_close_idle_connections`).
    fn reloaded(&mut self, cx: &mut Cx<'_>) {
        if let Some(computed) = &self.computed {
            self.servers = Arc::new(computed.servers.clone());
        }
        self.generation += 1;
        self.pool.clear();
        self.phase = cx.now;
        cx.trace.line(cx.now, "ingress", format_args!("reload {}", self.generation));
        self.post(cx);
    }

    /// Certificates are read per handshake, backends at the next tick.
    fn post(&mut self, cx: &mut Cx<'_>) {
        let Some(computed) = self.computed.take() else {
            return;
        };
        self.certificates = computed.certificates;
        if computed.peers == self.wanted_peers {
            self.synced(cx);
            return;
        }
        self.wanted_peers.clone_from(&computed.peers);
        self.posted = Some(computed.peers);
        let interval = BACKENDS_SYNC_INTERVAL.as_micros();
        let into = cx.now.since(self.phase).as_micros() % interval;
        let left = u64::try_from(interval - into).unwrap_or(0);
        let tick = super::super::NetEvent::Ingress(IngressEvent::Tick);
        cx.queue.after(Duration::from_micros(left), tick);
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        let Some(posted) = self.posted.take() else {
            return;
        };
        self.upstreams.retain(|name, _| posted.contains_key(name));
        for (name, peers) in posted {
            let upstream = self.upstreams.entry(name).or_default();
            upstream.sync(&peers, |n| cx.rng.index("ingress-balancer", n));
        }
        self.synced(cx);
    }

    fn synced(&self, cx: &mut Cx<'_>) {
        let object = ObjectRef::new("Deployment", "ingress-nginx", "ingress-nginx-controller");
        cx.fact(FactKind::IngressSynced, object);
    }
}

/// The addresses of an upstream: the cluster address if it is asked for, else the ready endpoints,
/// whatever else they are (`internal/ingress/controller/endpointslices.go`).
fn resolve(source: &UpstreamSource, endpoints: &Endpoints, revision: u64) -> Vec<Peer> {
    let Some(id) = endpoints.by_key(&source.service) else {
        return Vec::new();
    };
    let Some(spec) = endpoints.service(id, revision).and_then(|service| service.spec.as_ref())
    else {
        return Vec::new();
    };
    if let Some(peer) = cluster_address(spec, source) {
        return vec![peer];
    }
    let mut ports = spec.ports.iter().flatten();
    let Some(port) = ports.find(|port| is_backend_port(port, &source.port)) else {
        return Vec::new();
    };
    // Only TCP endpoints are looked for (`endpointslices.go:getEndpointsFromSlices`); where the port is
    // another protocol's, those of any TCP port serve under its target's number.
    let (named, number) = match is_tcp(port) {
        true => (Some(port), None),
        false => {
            let number = match port.target_port {
                Some(IntOrString::Int(number)) => u16::try_from(number).ok(),
                _ => None,
            };
            (spec.ports.iter().flatten().find(|port| number.is_some() && is_tcp(port)), number)
        }
    };
    let Some(named) = named else { return Vec::new() };
    let backends = endpoints.backends(id, named.name.as_deref().unwrap_or(""), revision);
    let ready = backends.into_iter().filter(|backend| backend.ready);
    ready
        .map(|b| Peer { ip: b.ip, port: number.unwrap_or(b.port), node: b.node, pod: b.pod })
        .collect()
}

/// The cluster address of a Service, if the Ingress wants it: a number is dialled as it is, a name
/// is looked up among the names alone (`controller.go:getServiceClusterEndpoint`). Without one the
/// endpoints serve (`controller.go:createUpstreams`).
fn cluster_address(spec: &ServiceSpec, source: &UpstreamSource) -> Option<Peer> {
    if !source.service_upstream {
        return None;
    }
    let ip = spec.cluster_ip.as_deref().filter(|ip| !matches!(*ip, "" | "None"))?;
    let number = match &source.port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = spec.ports.iter().flatten();
            ports.find(|port| port.name.as_ref() == Some(name))?.port
        }
    };
    let port = u16::try_from(number).ok()?;
    Some(Peer { ip: Arc::from(ip), port, node: None, pod: None })
}
