//! The ingress controller: one ingress-nginx on the control-plane node.

mod config;
mod key_pair;
mod route;
mod sync;
mod tls;
mod upstream;

pub use config::MODELLED_ANNOTATIONS;

pub(super) use config::{Certificate, Settings};
pub(super) use route::{add_hsts, host_of, https_redirect, page};
pub use sync::IngressEvent;

pub(super) use sync::IngressController;
pub(super) use upstream::{Peer, Pooled, Upstream};
