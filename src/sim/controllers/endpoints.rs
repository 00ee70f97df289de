//! Endpoints: the older list of a Service's addresses, one object a Service
//! (`pkg/controller/endpoint/endpoints_controller.go`, semantics 6.1).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::k8s;
use crate::sim::api::{Change, ChangeType, DeleteOptions, Kind, Obj, Objects, Status};
use crate::sim::context::Cx;
use crate::sim::profile::Profile;

use super::owned::{is_namespace_terminating, name, namespace};
use super::services::{
    ServiceIndex, belongs, hostname, ip, is_headless, node_name, ports, publishes_unready,
    selected_pods, selector, selects, target_port, target_ref,
};
use super::{Backoff, Controller, Key, Work};

/// Addresses in one object, from the minor below on (`maxCapacity`).
const ADDRESSES_MAX: usize = 1000;
/// Truncation is annotated and done from this minor (semantics 6.1).
const TRUNCATED_SINCE: u8 = 22;
/// Marks objects that were truncated.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Marks the objects of headless Services.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The Endpoints controller.
#[derive(Debug, Default)]
pub struct EndpointsController {
    index: ServiceIndex,
    services: BTreeMap<Key, Tracked>,
}

/// What the controller knows of a Service's pods.
#[derive(Debug, Default)]
struct Tracked {
    entries: BTreeMap<String, Entry>,
    dirty: BTreeSet<String>,
    rebuild: bool,
}

/// One pod among the addresses.
#[derive(Debug)]
struct Entry {
    ports: Vec<EndpointPort>,
    address: EndpointAddress,
    ready: bool,
}

impl Controller for EndpointsController {
    fn name(&self) -> &'static str {
        "endpoints"
    }

    /// The default limiter, 15 times (`endpoints_controller.go:NewEndpointController`, `maxRetries`).
    fn backoff(&self) -> Backoff {
        Backoff { max_retries: Some(15), ..Backoff::DEFAULT }
    }

    fn on_change(&mut self, change: &Change, cache: &Objects, work: &mut Work, cx: &mut Cx<'_>) {
        match &change.object {
            Obj::Service(service) => {
                self.index.on_service(change);
                let key = Key::new(namespace(&service.metadata), name(&service.metadata));
                if change.change_type == ChangeType::Deleted {
                    self.services.remove(&key);
                } else {
                    self.services.entry(key.clone()).or_default().rebuild = true;
                }
                work.add(key, cx);
            }
            Obj::Pod(pod) => {
                for key in self.index.concerned(change, pod, cache) {
                    let tracked = self.services.entry(key.clone()).or_default();
                    tracked.dirty.insert(name(&pod.metadata).to_owned());
                    work.add(key, cx);
                }
            }
            // Someone else's deletion is repaired.
            Obj::Endpoints(endpoints) if change.change_type == ChangeType::Deleted => {
                let key = Key::new(namespace(&endpoints.metadata), name(&endpoints.metadata));
                if self.services.contains_key(&key) {
                    work.add(key, cx);
                }
            }
            _ => {}
        }
    }

    fn reconcile(
        &mut self,
        key: &Key,
        cache: &Objects,
        _work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), Status> {
        let Some(service) = cache.get::<Service>(&key.namespace, &key.name) else {
            return delete(key, cx);
        };
        if selector(service).is_none() {
            return Ok(());
        }
        let tracked = self.services.entry(key.clone()).or_default();
        tracked.sync(service, cache, cx.api.profile);
        match write(service, tracked, cache, cx) {
            Err(status) if is_namespace_terminating(&status) => Ok(()),
            outcome => outcome,
        }
    }
}

impl Tracked {
    /// Brings the entries up to date with the pods that changed.
    fn sync(&mut self, service: &Service, cache: &Objects, profile: Profile) {
        let mut dirty = std::mem::take(&mut self.dirty);
        if std::mem::take(&mut self.rebuild) {
            self.entries.clear();
            let pods = selected_pods(service, cache);
            dirty.extend(pods.map(|pod| name(&pod.metadata).to_owned()));
        }
        let space = namespace(&service.metadata);
        for pod_name in dirty {
            let pod = cache.get::<Pod>(space, &pod_name);
            match pod.and_then(|pod| entry(pod, service, profile)) {
                Some(entry) => self.entries.insert(pod_name, entry),
                None => self.entries.remove(&pod_name),
            };
        }
    }

    /// The addresses grouped by ports (`endpoints.RepackSubsets`).
    fn subsets(&self, limit: usize) -> Vec<EndpointSubset> {
        let mut groups: Vec<(&[EndpointPort], Vec<&Entry>)> = Vec::new();
        // Ready addresses are kept before others when there are too many.
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        entries.sort_by(|a, b| (!a.ready, &a.address.ip).cmp(&(!b.ready, &b.address.ip)));
        for entry in entries.into_iter().take(limit) {
            match groups.iter_mut().find(|(ports, _)| *ports == entry.ports.as_slice()) {
                Some((_, members)) => members.push(entry),
                None => groups.push((&entry.ports, vec![entry])),
            }
        }
        groups.into_iter().map(|(ports, members)| subset(ports, &members)).collect()
    }
}

fn subset(ports: &[EndpointPort], members: &[&Entry]) -> EndpointSubset {
    let addresses = |ready: bool| {
        let some: Vec<EndpointAddress> =
            members.iter().filter(|e| e.ready == ready).map(|e| e.address.clone()).collect();
        (!some.is_empty()).then_some(some)
    };
    EndpointSubset {
        addresses: addresses(true),
        not_ready_addresses: addresses(false),
        ports: (!ports.is_empty()).then(|| ports.to_vec()),
    }
}

/// The pod as an address of `service` (`addEndpointSubset`).
fn entry(pod: &Pod, service: &Service, profile: Profile) -> Option<Entry> {
    let unready_too = publishes_unready(service);
    if !selects(service, pod) || !belongs(pod, unready_too, profile) {
        return None;
    }
    let resolved: Vec<EndpointPort> = ports(service)
        .iter()
        .filter_map(|port| {
            Some(EndpointPort {
                name: port.name.clone(),
                port: target_port(pod, port)?,
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    // A pod without the named port is left out; a headless Service may have no ports at all.
    if resolved.is_empty() && !(ports(service).is_empty() && is_headless(service)) {
        return None;
    }
    let address = EndpointAddress {
        ip: ip(pod)?.to_owned(),
        hostname: hostname(pod, service),
        node_name: node_name(pod),
        target_ref: Some(target_ref(pod)),
    };
    Some(Entry { ports: resolved, address, ready: unready_too || k8s::is_pod_ready(pod) })
}

fn write(
    service: &Service,
    tracked: &Tracked,
    cache: &Objects,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let truncates = cx.api.profile.at_least(TRUNCATED_SINCE);
    let limit = if truncates { ADDRESSES_MAX } else { usize::MAX };
    let subsets = tracked.subsets(limit);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let space = namespace(&service.metadata);
    let current = cache.get::<Endpoints>(space, name(&service.metadata));
    let mut annotations = current.and_then(|e| e.metadata.annotations.clone()).unwrap_or_default();
    if tracked.entries.len() > limit {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    let wanted = Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: (!labels.is_empty()).then_some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    };
    let Some(current) = current else { return cx.api.create(wanted).map(|_| ()) };
    if current.subsets == wanted.subsets
        && current.metadata.labels == wanted.metadata.labels
        && current.metadata.annotations == wanted.metadata.annotations
    {
        return Ok(());
    }
    let metadata = ObjectMeta {
        labels: wanted.metadata.labels,
        annotations: wanted.metadata.annotations,
        ..current.metadata.clone()
    };
    cx.api.update(Endpoints { metadata, subsets: wanted.subsets }).map(|_| ())
}

/// The Service is gone: so are its Endpoints.
fn delete(key: &Key, cx: &mut Cx<'_>) -> Result<(), Status> {
    let options = DeleteOptions::default();
    match cx.api.delete(Kind::ENDPOINTS, &key.namespace, &key.name, &options) {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}
