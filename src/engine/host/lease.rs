//! Leases: what a run is about to make on this machine, written down before it is made.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::process::ProcessId;
use crate::base::{Error, wall};

/// Something that outlives its maker unless somebody removes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "thing", rename_all = "kebab-case")]
pub enum Thing {
    /// A kind cluster: all containers that carry its name as kind's label.
    KindCluster {
        /// Where.
        engine: ContainerEngine,
        /// Its name.
        name: String,
    },
    /// A container of ours beside the clusters.
    Container {
        /// Where.
        engine: ContainerEngine,
        /// Its name.
        name: String,
    },
    /// A loop device over a file of ours.
    LoopDevice {
        /// The device, as in `/dev/loop7`.
        device: PathBuf,
        /// The file behind it.
        file: PathBuf,
    },
    /// A file or folder of ours.
    Path {
        /// Absolute path.
        path: PathBuf,
    },
    /// Objects in somebody's cluster that carry the label of this lease.
    Objects {
        /// Kubeconfig files, as in `KUBECONFIG`; empty means the default one.
        kubeconfig: String,
        /// Context in it.
        context: String,
    },
    /// A program that we started and that makes things while it runs.
    Process {
        /// Which.
        process: ProcessId,
    },
}

/// A container engine: the program, and the endpoint that it was told to use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerEngine {
    /// `docker` or `podman`.
    pub program: String,
    /// Value of `DOCKER_HOST` or `CONTAINER_HOST`, if set.
    pub endpoint: Option<String>,
}

/// The file behind a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseFile {
    /// Its name; also the value of our label on everything made under it.
    pub id: String,
    /// Who holds it.
    pub owner: ProcessId,
    /// What the owner does, as in `run`.
    pub purpose: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Seconds since 1970; renewed while the owner lives.
    pub heartbeat: u64,
    /// Kept on purpose after its owner has ended (`up`, `--keep`, `--reuse`).
    pub kept: bool,
    /// What exists or may exist, oldest first.
    pub things: Vec<Thing>,
}

/// A lease of this process.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    file: LeaseFile,
}

impl Lease {
    /// Takes a lease called `id` in `folder`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn take(folder: &Path, id: &str, purpose: &str) -> Result<Lease, Error> {
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        let now = wall::unix_seconds();
        let lease = Lease {
            path: folder.join(format!("{id}.json")),
            file: LeaseFile {
                id: id.to_owned(),
                owner: ProcessId::current(),
                purpose: purpose.to_owned(),
                created: now,
                heartbeat: now,
                kept: false,
                things: Vec::new(),
            },
        };
        lease.write()?;
        Ok(lease)
    }

    /// Its name; also the value of our label on everything made under it.
    pub fn id(&self) -> &str {
        &self.file.id
    }

    /// What exists or may exist.
    pub fn things(&self) -> &[Thing] {
        &self.file.things
    }

    /// Writes down what is about to be made. Returns when it is on disk.
    ///
    /// # Errors
    /// The lease cannot be written: then nothing must be made.
    pub fn will_make(&mut self, thing: Thing) -> Result<(), Error> {
        if !self.file.things.contains(&thing) {
            self.file.things.push(thing);
        }
        self.write()
    }

    /// Strikes out what is gone.
    ///
    /// # Errors
    /// The lease cannot be written.
    pub fn is_gone(&mut self, thing: &Thing) -> Result<(), Error> {
        self.file.things.retain(|known| known != thing);
        self.write()
    }

    /// Says that the owner lives.
    ///
    /// # Errors
    /// The lease cannot be written.
    pub fn beat(&mut self) -> Result<(), Error> {
        self.file.heartbeat = wall::unix_seconds();
        self.write()
    }

    /// Leaves everything in place for later: only `down` and `gc --all` remove it.
    ///
    /// # Errors
    /// The lease cannot be written.
    pub fn keep(mut self) -> Result<(), Error> {
        self.file.kept = true;
        self.write()
    }

    /// Ends the lease; everything made under it must be gone.
    ///
    /// # Errors
    /// Something is left, or the file cannot be removed.
    pub fn release(self) -> Result<(), Error> {
        if let [first, ..] = &self.file.things[..] {
            return Err(Error::environment(format!("not all is gone: {first:?}")));
        }
        fs::remove_file(&self.path).map_err(|error| unwritable(&self.path, &error))
    }

    fn write(&self) -> Result<(), Error> {
        write_whole(&self.path, &self.file)
    }
}

/// Writes `file` so that a reader sees the old or the new one, whatever happens in between.
fn write_whole(path: &Path, file: &LeaseFile) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = || -> std::io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut temporary, file)?;
        temporary.flush()?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        Ok(())
    };
    written().map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("cannot write {}: {error}", path.display()))
}
