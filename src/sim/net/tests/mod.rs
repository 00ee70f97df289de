//! The data plane with real processes, Services and slices; the test plays controllers and kubelet.

mod ingress;
mod node_port;
mod rig;
mod whole;
