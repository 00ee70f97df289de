//! EndpointSlice: what data planes read: the pods of a Service in slices of at most a hundred.
//! Owns: conditions of an endpoint, port groups, which slice an endpoint goes into.
//! Imports: base, k8s, sim::api. Never: other controllers.
//! Time and errors: a sync looks only at pods that changed; a refused write rebuilds from the cache.
//! Source: `pkg/controller/endpointslice`, semantics 6.2. Proof: unit tests here, tests/conformance.

mod controller;
mod endpoint;
mod placement;
#[cfg(test)]
mod tests;

pub use controller::EndpointSliceController;
