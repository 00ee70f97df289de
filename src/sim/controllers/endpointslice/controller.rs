//! The control loop: what wakes it, and one sync over the pods that changed
//! (`endpointslice_controller.go:syncService`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::base::secs;
use crate::sim::api::{Change, ChangeType, DeleteOptions, Kind, Obj, Objects, Status};
use crate::sim::context::Cx;

use super::super::owned::{controller_ref, is_namespace_terminating, name, namespace};
use super::super::services::{ServiceIndex, is_headless, selected_pods, selector};
use super::super::{Backoff, Controller, Key, Work};
use super::endpoint::desired;
use super::placement::{Placement, Plan};

/// Names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Names the writer of a slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// Marks slices of headless Services.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The EndpointSlice controller.
#[derive(Debug, Default)]
pub struct EndpointSliceController {
    index: ServiceIndex,
    services: BTreeMap<Key, Tracked>,
}

/// What the controller remembers of a Service.
#[derive(Debug, Default)]
struct Tracked {
    families: BTreeMap<String, Placement>,
    /// Pods to look at again.
    dirty: BTreeSet<String>,
    /// Look at all pods.
    rebuild: bool,
    /// Look at the slices as the cache has them: a write was refused.
    reload: bool,
}

impl Controller for EndpointSliceController {
    fn name(&self) -> &'static str {
        "endpointslice"
    }

    /// 1 s doubling to 100 s, 15 times (`defaultSyncBackOff`, `maxSyncBackOff`, `maxRetries`).
    fn backoff(&self) -> Backoff {
        Backoff { base: secs(1), max: secs(100), max_retries: Some(15) }
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
            Obj::EndpointSlice(slice) => self.on_slice(change, slice, work, cx),
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
        let Some(service) = cache.get::<Service>(&key.namespace, &key.name) else { return Ok(()) };
        if selector(service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let tracked = self.services.entry(key.clone()).or_default();
        let outcome = tracked.sync(service, cache, cx);
        match outcome {
            Err(status) if is_namespace_terminating(&status) => Ok(()),
            Err(status) => {
                (tracked.rebuild, tracked.reload) = (true, true);
                Err(status)
            }
            Ok(()) => Ok(()),
        }
    }
}

impl EndpointSliceController {
    /// Someone else's write of a slice brings it back under control; echoes of own writes do not
    /// (`endpointslice_tracker.go`).
    fn on_slice(
        &mut self,
        change: &Change,
        slice: &Arc<EndpointSlice>,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) {
        let labels = slice.metadata.labels.as_ref();
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
        let (Some(service), Some(CONTROLLER)) = (label(SERVICE_NAME), label(MANAGED_BY)) else {
            return;
        };
        let key = Key::new(namespace(&slice.metadata), service);
        let Some(tracked) = self.services.get_mut(&key) else { return };
        let known = tracked.families.get(&slice.address_type);
        let known = known.and_then(|placement| placement.slices().get(name(&slice.metadata)));
        let written =
            known.and_then(|slice| slice.metadata.resource_version.as_deref()?.parse().ok());
        let is_foreign = match written {
            Some(revision) => change.revision > revision,
            None => change.change_type != ChangeType::Deleted && change.previous.is_none(),
        };
        if !is_foreign {
            return;
        }
        let placement = tracked.families.entry(slice.address_type.clone()).or_default();
        if change.change_type == ChangeType::Deleted {
            placement.forget(name(&slice.metadata));
        } else {
            placement.insert(Arc::clone(slice));
        }
        tracked.rebuild = true;
        work.add(key, cx);
    }
}

impl Tracked {
    fn sync(&mut self, service: &Service, cache: &Objects, cx: &mut Cx<'_>) -> Result<(), Status> {
        let rebuild = std::mem::take(&mut self.rebuild);
        let mut dirty = std::mem::take(&mut self.dirty);
        let spec = service.spec.as_ref();
        let families = spec.and_then(|s| s.ip_families.clone()).filter(|f| !f.is_empty());
        let families = families.unwrap_or_else(|| vec!["IPv4".to_owned()]);
        if std::mem::take(&mut self.reload) {
            self.families = slices_of(service, cache);
        }
        if rebuild {
            dirty.extend(self.families.values().flat_map(Placement::pods).cloned());
            let pods = selected_pods(service, cache);
            dirty.extend(pods.map(|pod| name(&pod.metadata).to_owned()));
        }
        let space = namespace(&service.metadata);
        for family in families {
            let placement = self.families.entry(family.clone()).or_default();
            let change = |pod: &String| {
                let wanted = cache
                    .get::<Pod>(space, pod)
                    .and_then(|pod| desired(pod, service, &family, cache, cx.api.profile));
                (pod.clone(), wanted)
            };
            let changes = dirty.iter().map(change).collect();
            let plan = placement.plan(changes);
            write(placement, plan, service, &family, cx)?;
            if rebuild {
                relabel(placement, service, cx)?;
            }
        }
        Ok(())
    }
}

/// The slices of a Service as the cache shows them.
fn slices_of(service: &Service, cache: &Objects) -> BTreeMap<String, Placement> {
    let mut families: BTreeMap<String, Placement> = BTreeMap::new();
    let space = namespace(&service.metadata);
    let is_ours = |slice: &&Arc<EndpointSlice>| {
        let labels = slice.metadata.labels.as_ref();
        let has = |key: &str, value: &str| {
            labels.and_then(|l| l.get(key)).is_some_and(|found| found == value)
        };
        has(SERVICE_NAME, name(&service.metadata)) && has(MANAGED_BY, CONTROLLER)
    };
    for slice in cache.list_in::<EndpointSlice>(space).filter(is_ours) {
        families.entry(slice.address_type.clone()).or_default().insert(Arc::clone(slice));
    }
    families
}

fn write(
    placement: &mut Placement,
    plan: Plan,
    service: &Service,
    family: &str,
    cx: &mut Cx<'_>,
) -> Result<(), Status> {
    let space = namespace(&service.metadata);
    let is_bare = placement.slices().is_empty() && plan.create.is_empty();
    for (ports, endpoints) in plan.create {
        placement.insert(cx.api.create(new_slice(service, family, ports, endpoints, cx))?);
    }
    if is_bare {
        placement.insert(cx.api.create(new_slice(service, family, vec![], vec![], cx))?);
    }
    for slice in plan.update {
        placement.insert(cx.api.update(slice)?);
    }
    for slice_name in plan.delete {
        placement.forget(&slice_name);
        cx.api.delete(Kind::ENDPOINT_SLICE, space, &slice_name, &DeleteOptions::default())?;
    }
    Ok(())
}

/// Gives all slices the labels they should have now.
fn relabel(placement: &mut Placement, service: &Service, cx: &mut Cx<'_>) -> Result<(), Status> {
    let wanted = labels(service);
    let stale: Vec<_> = placement
        .slices()
        .values()
        .filter(|slice| slice.metadata.labels.as_ref() != Some(&wanted))
        .map(|slice| EndpointSlice::clone(slice))
        .collect();
    for mut slice in stale {
        slice.metadata.labels = Some(wanted.clone());
        placement.insert(cx.api.update(slice)?);
    }
    Ok(())
}

fn new_slice(
    service: &Service,
    family: &str,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
    cx: &Cx<'_>,
) -> EndpointSlice {
    EndpointSlice {
        address_type: family.to_owned(),
        endpoints: (!endpoints.is_empty()).then_some(endpoints),
        ports: (!ports.is_empty()).then_some(ports),
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", name(&service.metadata))),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            owner_references: Some(vec![controller_ref(cx.api, service)]),
            ..ObjectMeta::default()
        },
    }
}

/// The Service's labels and those that say whose the slice is (`setEndpointSliceLabels`).
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), name(&service.metadata).to_owned());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    labels
}
