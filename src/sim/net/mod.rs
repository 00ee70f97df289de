//! Net: the data plane: DNS, Services, endpoint propagation, the ingress controller, connections.
//! Owns: which pod gets which request when; keep-alive reuse, sync lags, retries, time-outs, TLS facts.
//! Imports: base, k8s, sim::api, sim::apps, sim::machines. Never: sim::kubelet, sim::controllers, sockets.
//! Time and errors: each lag is a named constant with its source; refused, reset, time-out, 502, 503, 504 stay distinct.
//! Source: pkg/proxy at v1.20.2, ingress-nginx controller-v1.15.1. Proof: tests/conformance net_*.

mod call;
mod connections;
mod dial;
mod direct;
mod dns;
mod endpoints;
mod exchange;
mod ingress;
mod network;
mod proxied;
mod proxy;
#[cfg(test)]
mod tests;

pub use call::{CallFailure, CallId, CallResult, ClientCall, Hop, HopState, TlsFacts};
pub use ingress::{IngressEvent, MODELLED_ANNOTATIONS};
pub use network::{Net, NetEvent};
