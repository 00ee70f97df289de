//! Garbage: what has lost its owners goes (`pkg/controller/garbagecollector`).
//! Owns: the graph of owners and dependents; background, foreground and orphaning deletion.
//! Imports: base, k8s, sim::api. Never: other controllers.
//! Time and errors: the graph lags like any cache; owners are looked up at the API server before a deletion.
//! Source: semantics 9.1. Proof: unit tests here, tests/conformance.

mod controller;
mod graph;
#[cfg(test)]
mod tests;

pub use controller::GarbageCollector;
