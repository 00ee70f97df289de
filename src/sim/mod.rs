//! Sim: a deterministic Kubernetes in this process: a pure, synchronous state machine in virtual time.
//! Owns: `World` and its `step`; API, controllers, scheduler, kubelets, machines, network, volumes, program models.
//! Imports: base, k8s. Never: tokio, kube, sockets, threads, the wall clock, hash-ordered maps, OS randomness.
//! Time and errors: `now` is an argument; what a client can meet is data, a broken invariant is a panic with the event.
//! Source: each rule cites the upstream file it follows. Proof: tests/determinism.rs, tests/conformance.

pub mod api;
pub mod apps;
mod bootstrap;
mod context;
pub mod controllers;
mod event;
mod fact;
pub mod kubelet;
pub mod machines;
pub mod metrics;
pub mod net;
pub mod profile;
mod queue;
pub mod scheduler;
mod subscriptions;
mod system_objects;
mod trace;
pub mod volumes;
mod world;

pub use bootstrap::{ClusterSpec, NodeSpec};
pub use context::Cx;
pub use event::{Event, Subscriber};
pub use fact::{Fact, FactKind};
pub use queue::Queue;
pub use trace::Trace;
pub use volumes::has_driver;
pub use world::{Output, World};
