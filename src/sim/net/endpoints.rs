//! Services and EndpointSlices by revision: every consumer sees them as of the revision it has reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::base::{SimTime, secs};
use crate::k8s::is_tcp;
use crate::sim::api::{Change, ChangeType, Obj};

/// Label that ties a slice to its Service (`discovery/v1/well_known_labels.go`).
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Versions superseded for longer than any consumer lags (watch 20 ms, proxy 1.2 s, ingress 4.4 s) are dropped.
const KEEP_SUPERSEDED: std::time::Duration = secs(30);

/// Namespace and name.
pub(super) type Key = (Arc<str>, Arc<str>);

/// A Service, numbered as it first appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServiceId(pub u32);

/// One address behind a Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    pub ip: Arc<str>,
    pub port: u16,
    pub node: Option<Arc<str>>,
    pub pod: Option<Key>,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub hostname: Option<Arc<str>>,
}

/// The versions of one object, oldest first; `None` when it was absent.
#[derive(Debug)]
struct History<T> {
    versions: Vec<(u64, SimTime, Option<Arc<T>>)>,
}

impl<T> History<T> {
    fn new() -> Self {
        History { versions: Vec::new() }
    }

    fn push(&mut self, revision: u64, at: SimTime, object: Option<Arc<T>>) {
        let stale = self.versions.iter().skip(1).take_while(|v| v.1 + KEEP_SUPERSEDED < at).count();
        self.versions.drain(..stale);
        self.versions.push((revision, at, object));
    }

    fn at(&self, revision: u64) -> Option<&Arc<T>> {
        self.versions.iter().rev().find(|v| v.0 <= revision)?.2.as_ref()
    }
}

#[derive(Debug)]
struct ServiceEntry {
    service: History<Service>,
    slices: BTreeMap<String, History<EndpointSlice>>,
    last_revision: u64,
}

/// All Services and their slices.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    entries: Vec<ServiceEntry>,
    by_key: BTreeMap<Key, ServiceId>,
    by_node_port: BTreeMap<u16, ServiceId>,
    by_cluster_ip: BTreeMap<String, ServiceId>,
    log: Vec<(SimTime, u64)>,
}

impl Endpoints {
    /// Takes a change over; true when a proxy has to act on it.
    pub(super) fn on_change(&mut self, change: &Change) -> bool {
        let relevant = match &change.object {
            Obj::Service(service) => self.on_service(service, change),
            Obj::EndpointSlice(slice) => self.on_slice(slice, change),
            _ => false,
        };
        if relevant {
            self.log.push((change.at, change.revision));
        }
        relevant
    }

    /// Instants and revisions of the changes a proxy acts on.
    pub(super) fn log(&self) -> &[(SimTime, u64)] {
        &self.log
    }

    /// The Service at `key`.
    pub(super) fn by_key(&self, key: &Key) -> Option<ServiceId> {
        self.by_key.get(key).copied()
    }

    /// The Service with `node_port`.
    pub(super) fn by_node_port(&self, node_port: u16) -> Option<ServiceId> {
        self.by_node_port.get(&node_port).copied()
    }

    /// The Service with the cluster address `ip`.
    pub(super) fn by_cluster_ip(&self, ip: &str) -> Option<ServiceId> {
        self.by_cluster_ip.get(ip).copied()
    }

    /// The Service as of `revision`.
    pub(super) fn service(&self, id: ServiceId, revision: u64) -> Option<&Arc<Service>> {
        self.entries[id.0 as usize].service.at(revision)
    }

    /// Revision of the last change of the Service or its slices.
    pub(super) fn last_revision(&self, id: ServiceId) -> u64 {
        self.entries[id.0 as usize].last_revision
    }

    /// The addresses behind the port called `port_name` as of `revision`, in slice order.
    pub(super) fn backends(&self, id: ServiceId, port_name: &str, revision: u64) -> Vec<Backend> {
        let slices = self.entries[id.0 as usize].slices.values();
        let mut backends = Vec::new();
        for slice in slices.filter_map(|history| history.at(revision)) {
            let ports = slice.ports.iter().flatten();
            let port = ports
                .filter(|port| port.name.as_deref().unwrap_or("") == port_name)
                .find_map(|port| u16::try_from(port.port?).ok());
            if let Some(port) = port {
                let endpoints = slice.endpoints.iter().flatten();
                backends.extend(endpoints.filter_map(|endpoint| backend(endpoint, port)));
            }
        }
        // The same address in two slices counts once (`pkg/proxy/endpointslicecache.go`).
        backends.sort_by(|a, b| a.ip.cmp(&b.ip));
        backends.dedup_by(|a, b| a.ip == b.ip);
        backends
    }

    fn on_service(&mut self, service: &Arc<Service>, change: &Change) -> bool {
        if let Some(Obj::Service(previous)) = &change.previous
            && change.change_type == ChangeType::Modified
            && previous.spec == service.spec
        {
            return false;
        }
        let id = self.entry(change.object.namespace(), change.object.name());
        let entry = &mut self.entries[id.0 as usize];
        let gone = change.change_type == ChangeType::Deleted;
        let version = (!gone).then(|| Arc::clone(service));
        entry.service.push(change.revision, change.at, version);
        entry.last_revision = change.revision;
        if let (Some(spec), false) = (&service.spec, gone) {
            // Another protocol may have the same number for another Service.
            let ports = spec.ports.iter().flatten().filter(|port| is_tcp(port));
            let ports = ports.filter_map(|port| port.node_port);
            for port in ports.filter_map(|port| u16::try_from(port).ok()) {
                self.by_node_port.insert(port, id);
            }
            let ips = spec.cluster_ip.iter().chain(spec.external_ips.iter().flatten());
            for ip in ips.filter(|ip| !ip.is_empty() && *ip != "None") {
                self.by_cluster_ip.insert(ip.clone(), id);
            }
        }
        true
    }

    fn on_slice(&mut self, slice: &Arc<EndpointSlice>, change: &Change) -> bool {
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)) else {
            return false;
        };
        if let Some(Obj::EndpointSlice(previous)) = &change.previous
            && change.change_type == ChangeType::Modified
            && previous.endpoints == slice.endpoints
            && previous.ports == slice.ports
        {
            return false;
        }
        let id = self.entry(change.object.namespace(), service);
        let entry = &mut self.entries[id.0 as usize];
        let version = (change.change_type != ChangeType::Deleted).then(|| Arc::clone(slice));
        let name = change.object.name();
        if !entry.slices.contains_key(name) {
            entry.slices.insert(name.to_owned(), History::new());
        }
        if let Some(history) = entry.slices.get_mut(name) {
            history.push(change.revision, change.at, version);
        }
        entry.last_revision = change.revision;
        true
    }

    fn entry(&mut self, namespace: &str, name: &str) -> ServiceId {
        let key: Key = (Arc::from(namespace), Arc::from(name));
        if let Some(&id) = self.by_key.get(&key) {
            return id;
        }
        let id = ServiceId(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.entries.push(ServiceEntry {
            service: History::new(),
            slices: BTreeMap::new(),
            last_revision: 0,
        });
        self.by_key.insert(key, id);
        id
    }
}

/// A nil condition counts as true for ready and serving, false for terminating (`discovery/v1/types.go`).
fn backend(endpoint: &Endpoint, port: u16) -> Option<Backend> {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let pod = endpoint.target_ref.as_ref().filter(|r| r.kind.as_deref() == Some("Pod"));
    Some(Backend {
        ip: Arc::from(endpoint.addresses.first()?.as_str()),
        port,
        node: endpoint.node_name.as_deref().map(Arc::from),
        pod: pod.map(|r| {
            (
                Arc::from(r.namespace.as_deref().unwrap_or("")),
                Arc::from(r.name.as_deref().unwrap_or("")),
            )
        }),
        ready,
        serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        hostname: endpoint.hostname.as_deref().map(Arc::from),
    })
}
