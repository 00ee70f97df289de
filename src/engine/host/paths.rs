//! Paths: where Seatrial keeps its files on this machine.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::base::Error;

/// Our folder in the folders that the user has for such files.
const OURS: &str = "seatrial";

/// The folders of ours; they need not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// What must last: leases, files of clusters, files behind loop devices.
    pub state: PathBuf,
    /// What can be had again: downloads.
    pub cache: PathBuf,
}

/// The variables that decide, as they are set.
#[derive(Clone, Debug, Default)]
pub struct HomeVariables {
    /// `$XDG_STATE_HOME`.
    pub state: Option<OsString>,
    /// `$XDG_CACHE_HOME`.
    pub cache: Option<OsString>,
    /// `$HOME`.
    pub home: Option<OsString>,
}

impl Paths {
    /// From the environment.
    ///
    /// # Errors
    /// Neither `HOME` nor the variable of a folder is set.
    pub fn from_env() -> Result<Paths, Error> {
        Paths::new(&HomeVariables {
            state: std::env::var_os("XDG_STATE_HOME"),
            cache: std::env::var_os("XDG_CACHE_HOME"),
            home: std::env::var_os("HOME"),
        })
    }

    /// From `variables`: `$XDG_STATE_HOME/seatrial` or `~/.local/state/seatrial`, and
    /// `$XDG_CACHE_HOME/seatrial` or `~/.cache/seatrial`. A relative path counts as not set
    /// (XDG base directory specification).
    ///
    /// # Errors
    /// Neither `HOME` nor the variable of a folder is set.
    pub fn new(variables: &HomeVariables) -> Result<Paths, Error> {
        let absolute = |value: &Option<OsString>| {
            value.as_ref().map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let home = absolute(&variables.home);
        let folder = |own: &Option<OsString>, name: &str, below_home: &str| {
            let found = absolute(own).or_else(|| Some(home.as_ref()?.join(below_home)));
            found.map(|folder| folder.join(OURS)).ok_or_else(|| {
                Error::environment(format!(
                    "no place for Seatrial's files: neither HOME nor {name} is an absolute path; \
                     set one of them"
                ))
            })
        };
        Ok(Paths {
            state: folder(&variables.state, "XDG_STATE_HOME", ".local/state")?,
            cache: folder(&variables.cache, "XDG_CACHE_HOME", ".cache")?,
        })
    }

    /// All below one folder, for tests and tools.
    pub fn below(folder: &Path) -> Paths {
        Paths { state: folder.join("state"), cache: folder.join("cache") }
    }

    /// The leases.
    pub fn leases(&self) -> PathBuf {
        self.state.join("leases")
    }

    /// A folder for each cluster.
    pub fn clusters(&self) -> PathBuf {
        self.state.join("clusters")
    }

    /// Files of the cluster `name`: its kubeconfig and the like.
    pub fn cluster(&self, name: &str) -> PathBuf {
        self.clusters().join(name)
    }

    /// Files behind loop devices.
    pub fn loops(&self) -> PathBuf {
        self.state.join("loops")
    }

    /// Lock files; they stay, because removing one while another waits for it lets two in.
    pub fn locks(&self) -> PathBuf {
        self.state.join("locks")
    }

    /// Verified downloads.
    pub fn downloads(&self) -> PathBuf {
        self.cache.join("downloads")
    }
}

/// Makes `folder` and those above it that are missing, for this user only (mode 0700).
///
/// # Errors
/// It cannot be made.
pub fn make_private_folder(folder: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| unwritable(folder, &error))
}

pub(super) fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rstest::rstest;

    use super::*;

    fn set(text: &str) -> Option<OsString> {
        (!text.is_empty()).then(|| text.into())
    }

    #[rstest]
    #[case::home("", "", "/h", "/h/.local/state/seatrial", "/h/.cache/seatrial")]
    #[case::own("/s", "/c", "", "/s/seatrial", "/c/seatrial")]
    #[case::mixed("/s", "", "/h", "/s/seatrial", "/h/.cache/seatrial")]
    #[case::relative_is_ignored("s", "c", "/h", "/h/.local/state/seatrial", "/h/.cache/seatrial")]
    fn the_variables_decide(
        #[case] state: &str,
        #[case] cache: &str,
        #[case] home: &str,
        #[case] state_folder: &str,
        #[case] cache_folder: &str,
    ) {
        let (state, cache, home) = (set(state), set(cache), set(home));
        let paths = Paths::new(&HomeVariables { state, cache, home }).expect("there is a place");
        assert_eq!(paths.state, Path::new(state_folder));
        assert_eq!(paths.cache, Path::new(cache_folder));
    }

    #[test]
    fn without_a_home_the_variable_to_set_is_named() {
        let error = Paths::new(&HomeVariables { state: set("/s"), ..HomeVariables::default() });
        let error = error.expect_err("no cache").to_string();
        assert!(error.contains("XDG_CACHE_HOME"), "{error}");
    }

    #[test]
    fn private_folders_are_for_their_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Paths::below(folder.path()).cluster("st-1");
        make_private_folder(&cluster).expect("made");
        let mode = fs::metadata(&cluster).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
