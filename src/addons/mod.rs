//! Add-ons: ingress-nginx, metrics-server, Rook-Ceph: what a stack needs, pins, installing, readiness.
//! Owns: `AddOn`, the pins in `manifests/addons`, downloads, the changes to upstream's files, unmounting.
//! Imports: base, k8s, wait, stack. Never: engine, suite; nothing that starts programs or touches devices.
//! Time and errors: downloads and applies are retried; an add-on that does not come up says which object blocks.
//! Source: upstream's manifests and readiness as in the releases pinned. Proof: tests beside the files.

mod diagnose;
mod document;
mod fetch;
mod foreign;
mod install;
mod mount;
mod osds;
mod pins;
mod present;
mod ready;
mod rook;
#[cfg(test)]
mod tests;
mod tweak;
mod which;

use std::fmt;

pub use document::Document;
pub use fetch::Source;
pub use install::{Loaded, Plan, content, images_of, install, load, runs_ceph, wants_devices};
pub use mount::before_delete;
pub use pins::{Pin, PinnedFile, pin};
pub use present::{Present, present};
pub use ready::{Probe, filesystem_ready};
pub use tweak::{CephMount, Setup};
pub use which::{Storage, needed, storage_of};

/// What a stack may need beyond Kubernetes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddOn {
    /// Serves Ingress objects.
    IngressNginx,
    /// Serves the metrics that autoscalers read.
    MetricsServer,
    /// Provides CephFS and RBD volumes.
    RookCeph,
}

impl AddOn {
    /// All of them.
    pub const ALL: [AddOn; 3] = [AddOn::IngressNginx, AddOn::MetricsServer, AddOn::RookCeph];

    /// Its name; the folder below `--addons` is called so too.
    pub fn name(self) -> &'static str {
        match self {
            AddOn::IngressNginx => "ingress-nginx",
            AddOn::MetricsServer => "metrics-server",
            AddOn::RookCeph => "rook-ceph",
        }
    }

    /// The namespace of its workloads, in upstream's files.
    pub fn namespace(self) -> &'static str {
        match self {
            AddOn::IngressNginx => "ingress-nginx",
            AddOn::MetricsServer => "kube-system",
            AddOn::RookCeph => "rook-ceph",
        }
    }
}

impl fmt::Display for AddOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
