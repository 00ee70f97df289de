//! The machine as the checks see it: files below a root folder, variables, free space.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::host::Paths;

/// Tells the free bytes of the file system that a folder is on.
type FreeBytes = Arc<dyn Fn(&Path) -> Option<u64> + Send + Sync>;

/// A machine.
#[derive(Clone)]
pub struct Host {
    root: PathBuf,
    state: PathBuf,
    variables: BTreeMap<String, String>,
    free: FreeBytes,
}

/// Variables that the checks look at.
const VARIABLES: [&str; 6] = [
    "DOCKER_HOST",
    "KIND_EXPERIMENTAL_PROVIDER",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
];

impl Host {
    /// This machine; `paths` says where our files are to be.
    pub fn this(paths: &Paths) -> Host {
        let set = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
        Host {
            root: "/".into(),
            state: paths.state.clone(),
            variables: VARIABLES.into_iter().filter_map(set).collect(),
            free: Arc::new(free_bytes),
        }
    }

    /// A machine whose files are below `root`, for planted faults.
    #[cfg(test)]
    pub(super) fn planted(root: &Path, variables: &[(&str, &str)], free: u64) -> Host {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Host {
            root: root.to_owned(),
            state: "/state".into(),
            variables: variables.collect(),
            free: Arc::new(move |_| Some(free)),
        }
    }

    /// Where our lasting files are to be.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// The value of a variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A file without the white space around its text.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        Some(fs::read_to_string(self.at(path)).ok()?.trim().to_owned())
    }

    /// A file that holds a number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// Whether a device can be opened by this user.
    pub(super) fn can_open(&self, path: &str) -> bool {
        fs::File::options().read(true).write(true).open(self.at(path)).is_ok()
    }

    /// Free bytes where `folder` is or will be.
    pub(super) fn free(&self, folder: &Path) -> Option<u64> {
        (self.free)(folder)
    }

    /// The release of the kernel, as in `6.1.0-18-amd64`.
    pub(super) fn kernel(&self) -> Option<String> {
        self.read("proc/sys/kernel/osrelease")
    }

    /// Whether `release` is the kernel of this machine: an engine on another one (a remote
    /// machine, the virtual machine of a desktop product) is not described by files here.
    pub(super) fn runs_kernel(&self, release: &str) -> bool {
        self.kernel().is_some_and(|own| own == release)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

/// Free bytes for an ordinary user, where `folder` or the nearest folder above it is.
fn free_bytes(folder: &Path) -> Option<u64> {
    let found = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_that_of_the_nearest_folder_there_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let host = Host::this(&Paths::below(folder.path()));
        let missing = host.free(&folder.path().join("a/b/c"));
        assert!(missing.is_some_and(|bytes| bytes > 0), "{missing:?}");
    }
}
