//! Scheduler: kube-scheduler: queue, filters, scores, binding, preemption.
//! Owns: which node a pod gets, and the message when none fits.
//! Imports: base, k8s, sim::api. Never: sim::kubelet, sim::net, sim::controllers.
//! Time and errors: a pod that fits nowhere waits with back-off; ties are drawn from the seed.
//! Source: pkg/scheduler at v1.20.2, differences by profile. Proof: tests/conformance scheduling_*.

mod bind;
mod claims;
mod class;
mod cycle;
mod default_spread;
mod filter;
mod hints;
mod kube_scheduler;
mod node_info;
mod nodes;
mod pods;
mod preempt;
mod queue;
mod reason;
mod resources;
mod score;
mod terms;
mod watch;

#[cfg(test)]
mod tests;

pub use kube_scheduler::{Scheduler, SchedulerEvent};
