//! Paths: where on this machine clusters, leases and locks are kept.

use std::path::{Path, PathBuf};

/// Folders of ours; each is made when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// A file per lease.
    pub leases: PathBuf,
    /// A folder per cluster: its topology, kubeconfig and record.
    pub clusters: PathBuf,
    /// Lock files; they stay, because removing one while another waits for it lets two in.
    pub locks: PathBuf,
}

impl Paths {
    /// The folders below `state`, as in `~/.local/state/seatrial`.
    pub fn under(state: &Path) -> Self {
        Paths {
            leases: state.join("leases"),
            clusters: state.join("clusters"),
            locks: state.join("locks"),
        }
    }

    /// The folder of the cluster called `name`.
    pub fn cluster(&self, name: &str) -> PathBuf {
        self.clusters.join(name)
    }
}
