//! Conformance: behaviours of Kubernetes as a client sees them, written against `kube::Client` and
//! `Transport` alone, so that the same bodies judge the simulator and a real cluster.

mod api;
mod autoscaling;
mod endpoints;
mod ingress;
mod pods;
mod scheduling;
mod support;
mod volumes;
mod workloads;
