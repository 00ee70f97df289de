//! Controllers: kube-controller-manager: one shared cache, one work queue, a controller per file.
//! Owns: what Deployments, ReplicaSets, StatefulSets, endpoints, HPAs, claims, budgets, owners and nodes lead to.
//! Imports: base, k8s, sim::api, sim::metrics. Never: sim::scheduler, sim::kubelet, sim::net, the store beside the cache.
//! Time and errors: reconcile acts on the lagged cache; a refused write is retried with back-off.
//! Source: pkg/controller at v1.20.2, differences by profile. Proof: tests/conformance.

mod autoscaler;
mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod garbage;
mod namespace;
mod node_lifecycle;
mod owned;
mod pod_gc;
mod replicaset;
mod services;
mod statefulset;
#[cfg(test)]
mod testing;
mod volume_binder;
mod work;

use super::api::{Change, Objects};
use super::bootstrap::ClusterSpec;
use super::context::Cx;

pub use work::{Backoff, ControllersEvent, Key, Work};

/// One control loop. `reconcile` reads the cache and writes through `cx.api`.
pub trait Controller: std::fmt::Debug + Send {
    /// Its name in the work queue and in traces.
    fn name(&self) -> &'static str;

    /// How failed keys come back.
    fn backoff(&self) -> Backoff {
        Backoff::DEFAULT
    }

    /// Called once at boot.
    fn start(&mut self, _work: &mut Work, _cx: &mut Cx<'_>) {}

    /// A change has reached the shared cache (which already holds it): enqueue what it concerns.
    fn on_change(&mut self, change: &Change, cache: &Objects, work: &mut Work, cx: &mut Cx<'_>);

    /// One pass over one object.
    ///
    /// # Errors
    /// The refused write; the key is retried with back-off.
    fn reconcile(
        &mut self,
        key: &Key,
        cache: &Objects,
        work: &mut Work,
        cx: &mut Cx<'_>,
    ) -> Result<(), super::api::Status>;
}

/// kube-controller-manager.
#[derive(Debug)]
pub struct Controllers {
    cache: Objects,
    work: Work,
    controllers: Vec<Box<dyn Controller>>,
}

impl Controllers {
    /// All controllers.
    pub fn new(_spec: &ClusterSpec) -> Self {
        let controllers: Vec<Box<dyn Controller>> = vec![
            Box::new(deployment::DeploymentController::default()),
            Box::new(replicaset::ReplicaSetController::default()),
            Box::new(statefulset::StatefulSetController::default()),
            Box::new(disruption::DisruptionController::default()),
            Box::new(endpoints::EndpointsController::default()),
            Box::new(endpointslice::EndpointSliceController::default()),
            Box::new(garbage::GarbageCollector::default()),
            Box::new(namespace::NamespaceController),
            Box::new(autoscaler::AutoscalerController::default()),
            Box::new(volume_binder::VolumeBinder::default()),
            Box::new(node_lifecycle::NodeLifecycle::default()),
            Box::new(pod_gc::PodGc::default()),
        ];
        Controllers { cache: Objects::default(), work: Work::default(), controllers }
    }

    /// Starts periodic work.
    pub fn start(&mut self, cx: &mut Cx<'_>) {
        for (idx, controller) in self.controllers.iter_mut().enumerate() {
            self.work.select(idx);
            controller.start(&mut self.work, cx);
        }
    }

    /// A change arrives at the shared informers.
    pub fn on_change(&mut self, change: &Change, cx: &mut Cx<'_>) {
        self.cache.apply(change);
        for (idx, controller) in self.controllers.iter_mut().enumerate() {
            self.work.select(idx);
            controller.on_change(change, &self.cache, &mut self.work, cx);
        }
    }

    /// A key of the work queue is due.
    pub fn on_event(&mut self, event: ControllersEvent, cx: &mut Cx<'_>) {
        let Some((idx, key)) = self.work.take(&event, cx.now) else { return };
        let controller = &mut self.controllers[idx];
        self.work.select(idx);
        cx.trace.line(
            cx.now,
            controller.name(),
            format_args!("reconcile {}/{}", key.namespace, key.name),
        );
        match controller.reconcile(&key, &self.cache, &mut self.work, cx) {
            Ok(()) => self.work.forget(&key),
            Err(status) => {
                let retried = self.work.retry(&key, controller.backoff(), cx);
                let outcome = if retried { "retry" } else { "drop" };
                cx.trace.line(
                    cx.now,
                    controller.name(),
                    format_args!("{outcome} {}/{}: {}", key.namespace, key.name, status.reason),
                );
            }
        }
    }
}
