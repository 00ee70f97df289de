//! Which slice an endpoint goes into (`endpointslice/reconciler.go:reconcileByPortMapping`): touch as
//! few slices as possible, fill those that are touched anyway, then the fullest with enough room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::super::owned::name;
use super::endpoint::Desired;

/// Endpoints in one slice (`--max-endpoints-per-slice`).
const SLICE_MAX: usize = 100;

/// The slices of one Service and address family, as last written.
#[derive(Debug, Default)]
pub struct Placement {
    slices: BTreeMap<String, Arc<EndpointSlice>>,
    /// The slice a pod is in.
    slice_of: BTreeMap<String, String>,
}

/// What to write. Created slices have no name yet.
#[derive(Debug, Default)]
pub struct Plan {
    /// New slices: ports and endpoints.
    pub create: Vec<(Vec<EndpointPort>, Vec<Endpoint>)>,
    /// Slices with other ports or endpoints.
    pub update: Vec<EndpointSlice>,
    /// Slices that are empty.
    pub delete: Vec<String>,
}

/// Slices being changed.
#[derive(Default)]
struct Draft {
    touched: BTreeMap<String, EndpointSlice>,
    to_add: Vec<Desired>,
}

impl Placement {
    /// Takes a slice over as it was written.
    pub fn insert(&mut self, slice: Arc<EndpointSlice>) {
        let slice_name = name(&slice.metadata).to_owned();
        self.forget(&slice_name);
        for pod in slice.endpoints.iter().flatten().filter_map(pod_of) {
            self.slice_of.insert(pod.to_owned(), slice_name.clone());
        }
        self.slices.insert(slice_name, slice);
    }

    /// Forgets a slice that is gone.
    pub fn forget(&mut self, slice_name: &str) {
        let Some(slice) = self.slices.remove(slice_name) else { return };
        for pod in slice.endpoints.iter().flatten().filter_map(pod_of) {
            if self.slice_of.get(pod).is_some_and(|at| at == slice_name) {
                self.slice_of.remove(pod);
            }
        }
    }

    /// The slices.
    pub fn slices(&self) -> &BTreeMap<String, Arc<EndpointSlice>> {
        &self.slices
    }

    /// The pods that are in some slice.
    pub fn pods(&self) -> impl Iterator<Item = &String> {
        self.slice_of.keys()
    }

    /// What to write so that the given pods are where they belong.
    pub fn plan(&self, changes: BTreeMap<String, Option<Desired>>) -> Plan {
        let mut draft = Draft::default();
        for (pod, wanted) in changes {
            self.apply(&pod, wanted, &mut draft);
        }
        let mut groups: Vec<(Vec<EndpointPort>, Vec<Endpoint>)> = Vec::new();
        for (ports, endpoint) in draft.to_add.drain(..) {
            match groups.iter_mut().find(|(known, _)| *known == ports) {
                Some((_, endpoints)) => endpoints.push(endpoint),
                None => groups.push((ports, vec![endpoint])),
            }
        }
        let mut plan = Plan::default();
        for (ports, endpoints) in groups {
            self.place(ports, endpoints, &mut draft, &mut plan);
        }
        for (slice_name, slice) in draft.touched {
            if slice.endpoints.as_ref().is_none_or(Vec::is_empty) {
                plan.delete.push(slice_name);
            } else {
                plan.update.push(slice);
            }
        }
        self.delete_placeholders(&mut plan);
        self.reuse(&mut plan);
        plan
    }

    /// Removes, replaces or notes one pod.
    fn apply(&self, pod: &str, wanted: Option<Desired>, draft: &mut Draft) {
        let at = self.slice_of.get(pod).and_then(|at| Some((at, self.slices.get(at)?)));
        let Some((slice_name, slice)) = at else {
            draft.to_add.extend(wanted);
            return;
        };
        let current = slice.endpoints.iter().flatten().find(|e| pod_of(e) == Some(pod));
        let stays = wanted.as_ref().is_some_and(|(ports, endpoint)| {
            slice.ports.as_deref().unwrap_or(&[]) == ports.as_slice()
                && current.is_some_and(|current| current.addresses == endpoint.addresses)
        });
        if stays && current == wanted.as_ref().map(|(_, endpoint)| endpoint) {
            return;
        }
        let touched = draft.touched.entry(slice_name.clone());
        let touched = touched.or_insert_with(|| EndpointSlice::clone(slice));
        let endpoints = touched.endpoints.get_or_insert_default();
        let Some(idx) = endpoints.iter().position(|e| pod_of(e) == Some(pod)) else { return };
        match wanted {
            Some((_, endpoint)) if stays => endpoints[idx] = endpoint,
            wanted => {
                endpoints.remove(idx);
                draft.to_add.extend(wanted);
            }
        }
    }

    /// Places endpoints of one port group.
    fn place(
        &self,
        ports: Vec<EndpointPort>,
        endpoints: Vec<Endpoint>,
        draft: &mut Draft,
        plan: &mut Plan,
    ) {
        let mut left = endpoints.into_iter().peekable();
        for slice in draft.touched.values_mut().filter(|slice| has_ports(slice, &ports)) {
            let room = slice.endpoints.get_or_insert_default();
            while room.len() < SLICE_MAX && left.peek().is_some() {
                room.extend(left.next());
            }
        }
        while left.peek().is_some() {
            let n_left = left.len();
            let fullest = self
                .slices
                .iter()
                .filter(|(name, slice)| {
                    !draft.touched.contains_key(*name) && has_ports(slice, &ports)
                })
                .map(|(name, slice)| (slice.endpoints.as_ref().map_or(0, Vec::len), name))
                .filter(|(len, _)| n_left < SLICE_MAX && len + n_left <= SLICE_MAX)
                .max_by_key(|(len, name)| (*len, std::cmp::Reverse(*name)));
            let room = left.by_ref();
            match fullest {
                Some((_, slice_name)) => {
                    let mut slice = EndpointSlice::clone(&self.slices[slice_name]);
                    slice.endpoints.get_or_insert_default().extend(room);
                    draft.touched.insert(slice_name.clone(), slice);
                }
                None => plan.create.push((ports.clone(), room.take(SLICE_MAX).collect())),
            }
        }
    }

    /// An empty slice that stands for "no endpoints" goes when there are some.
    fn delete_placeholders(&self, plan: &mut Plan) {
        if plan.create.is_empty() && plan.update.is_empty() {
            return;
        }
        let written: BTreeSet<&str> = plan.update.iter().map(|s| name(&s.metadata)).collect();
        let empty = self.slices.iter().filter(|(slice_name, slice)| {
            slice.endpoints.as_ref().is_none_or(Vec::is_empty)
                && !written.contains(slice_name.as_str())
                && !plan.delete.contains(slice_name)
        });
        let empty: Vec<String> = empty.map(|(slice_name, _)| slice_name.clone()).collect();
        plan.delete.extend(empty);
    }

    /// Slices to delete are written anew instead of creating others; the last one stays as a
    /// placeholder (`reconciler.go:finalize`, `newPlaceholder...`).
    fn reuse(&self, plan: &mut Plan) {
        while let Some((ports, endpoints)) = plan.create.pop() {
            let Some(slice_name) = plan.delete.pop() else {
                plan.create.push((ports, endpoints));
                return;
            };
            plan.update.push(self.rewritten(&slice_name, ports, endpoints));
        }
        if !plan.delete.is_empty() && plan.delete.len() == self.slices.len() {
            let kept = plan.delete.remove(0);
            plan.update.push(self.rewritten(&kept, Vec::new(), Vec::new()));
        }
    }

    fn rewritten(
        &self,
        slice_name: &str,
        ports: Vec<EndpointPort>,
        endpoints: Vec<Endpoint>,
    ) -> EndpointSlice {
        let mut slice = EndpointSlice::clone(&self.slices[slice_name]);
        slice.ports = (!ports.is_empty()).then_some(ports);
        slice.endpoints = (!endpoints.is_empty()).then_some(endpoints);
        slice
    }
}

fn has_ports(slice: &EndpointSlice, ports: &[EndpointPort]) -> bool {
    slice.ports.as_deref().unwrap_or(&[]) == ports
}

/// The pod behind an endpoint.
fn pod_of(endpoint: &Endpoint) -> Option<&str> {
    endpoint.target_ref.as_ref()?.name.as_deref()
}
