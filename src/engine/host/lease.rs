//! Leases: what a run is about to make on this machine, written down before it is made.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::lease_file::{FORMAT, LeaseFile, Thing};
use super::paths::{make_private_folder, unwritable};
use super::process::Owner;
use crate::base::{Error, TEMPORARY_PREFIX, secs, wall};

/// The label on everything made under a lease; its value is the lease's id.
pub const LEASE_LABEL: &str = "seatrial.dev/lease";
/// From heartbeat to heartbeat: short beside [`STALE_AFTER`], long beside a write of the file.
const HEARTBEAT_EVERY: Duration = secs(5);
/// An owner out of sight counts as dead after so long without a heartbeat: a machine so slow
/// that it misses twelve in a row has lost its cluster too.
pub(super) const STALE_AFTER: Duration = secs(60);

/// A lease of this process. Clones are the same lease.
#[derive(Clone, Debug)]
pub struct Lease {
    id: Arc<str>,
    path: Arc<Path>,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug)]
struct Held {
    file: LeaseFile,
    released: bool,
}

impl Lease {
    /// Takes a lease called `id` in `folder`.
    ///
    /// # Errors
    /// The folder cannot be written, or there is a lease of this name.
    pub fn take(folder: &Path, id: &str, purpose: &str) -> Result<Lease, Error> {
        make_private_folder(folder)?;
        let now = wall::unix_seconds();
        let lease = Lease::hold(
            folder,
            LeaseFile {
                format: FORMAT,
                id: id.to_owned(),
                owner: Owner::current(),
                purpose: purpose.to_owned(),
                created: now,
                heartbeat: now,
                kept: false,
                things: Vec::new(),
            },
        );
        write_new(&lease.path, &lease.lock().file)?;
        Ok(lease)
    }

    pub(super) fn hold(folder: &Path, file: LeaseFile) -> Lease {
        Lease {
            id: file.id.as_str().into(),
            path: LeaseFile::path_in(folder, &file.id).into(),
            held: Arc::new(Mutex::new(Held { file, released: false })),
        }
    }

    /// Its name; also the value of our label on everything made under it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// As it is written down now.
    pub(super) fn file(&self) -> LeaseFile {
        self.lock().file.clone()
    }

    /// What exists or may exist, oldest first.
    pub fn things(&self) -> Vec<Thing> {
        self.lock().file.things.clone()
    }

    /// Writes down what is about to be made. Returns when it is on disk.
    ///
    /// # Errors
    /// The lease cannot be written, or has ended: then nothing must be made.
    pub fn will_make(&self, thing: Thing) -> Result<(), Error> {
        let mut held = self.lock();
        if held.released {
            return Err(Error::environment(format!(
                "the lease {} has ended: {thing} must not be made any more",
                self.id
            )));
        }
        if held.file.things.contains(&thing) {
            return Ok(());
        }
        held.file.things.push(thing);
        let written = write_over(&self.path, &held.file);
        if written.is_err() {
            held.file.things.pop();
        }
        written
    }

    /// Strikes out what is gone.
    ///
    /// # Errors
    /// The lease cannot be written (a full disk). It is struck out for [`Lease::release`] all the
    /// same, and a sweep would find it gone, so this error need not end a clean-up.
    pub fn is_gone(&self, thing: &Thing) -> Result<(), Error> {
        self.change(|file| file.things.retain(|known| known != thing))
    }

    /// Says that the owner lives.
    ///
    /// # Errors
    /// The lease cannot be written.
    pub fn beat(&self) -> Result<(), Error> {
        self.change(|file| file.heartbeat = wall::unix_seconds())
    }

    /// Says so every few seconds, until the answer is dropped. Needs a tokio runtime.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        let lease = self.clone();
        Heartbeat(tokio::spawn(async move {
            let mut ticks = interval(HEARTBEAT_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // A full disk may have room again by the next one.
                let _ = lease.beat();
            }
        }))
    }

    /// Leaves everything in place when the owner ends: only `down` and `gc --all` remove it.
    ///
    /// # Errors
    /// The lease cannot be written.
    pub fn keep(&self) -> Result<(), Error> {
        self.change(|file| file.kept = true)
    }

    /// Leaves nothing in place any more, after [`Lease::keep`] or an adoption.
    ///
    /// # Errors
    /// The lease cannot be written.
    pub fn keep_no_more(&self) -> Result<(), Error> {
        self.change(|file| file.kept = false)
    }

    /// Ends the lease; everything made under it must be gone.
    ///
    /// # Errors
    /// Something is left, or the file cannot be removed.
    pub fn release(&self) -> Result<(), Error> {
        let mut held = self.lock();
        if let [first, ..] = &held.file.things[..] {
            return Err(Error::leftovers(format!(
                "not all is gone: {first} is left; `seatrial gc` removes it"
            )));
        }
        held.released = true;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(unwritable(&self.path, &error))
            }
            _ => Ok(()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut LeaseFile)) -> Result<(), Error> {
        let mut held = self.lock();
        change(&mut held.file);
        // A beat that comes late must not bring the file back.
        if held.released { Ok(()) } else { write_over(&self.path, &held.file) }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Beats for a lease until it is dropped.
#[derive(Debug)]
pub struct Heartbeat(JoinHandle<()>);

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes `file` so that a reader sees the old or the new one, whatever happens in between.
pub(super) fn write_over(path: &Path, file: &LeaseFile) -> Result<(), Error> {
    let written = || -> std::io::Result<()> {
        written_beside(path, file)?.persist(path)?;
        Ok(())
    };
    written().map_err(|error| unwritable(path, &error))
}

fn write_new(path: &Path, file: &LeaseFile) -> Result<(), Error> {
    let written = || -> std::io::Result<()> {
        written_beside(path, file)?.persist_noclobber(path)?;
        Ok(())
    };
    written().map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::environment(format!(
            "there is a lease {} already; when its owner has ended, `seatrial gc` removes it, or \
             `seatrial gc --all` if it was kept",
            path.display()
        )),
        _ => unwritable(path, &error),
    })
}

fn written_beside(path: &Path, file: &LeaseFile) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder)?;
    serde_json::to_writer_pretty(&mut temporary, file)?;
    temporary.flush()?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

#[cfg(test)]
mod tests {
    use super::super::lease_file::read_all;
    use super::*;

    fn path_thing(path: &str) -> Thing {
        Thing::Path { path: path.into() }
    }

    fn on_disk(folder: &Path) -> LeaseFile {
        let mut found = read_all(folder).expect("readable");
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0).content.expect("whole")
    }

    #[test]
    fn what_will_be_made_is_on_disk_before_it_is_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let lease = Lease::take(folder.path(), "run-1", "run").expect("taken");
        let (one, two) = (path_thing("/one"), path_thing("/two"));
        lease.will_make(one.clone()).expect("written");
        lease.clone().will_make(two.clone()).expect("written by a clone");
        lease.will_make(one.clone()).expect("known already");
        assert_eq!(on_disk(folder.path()).things, [one.clone(), two.clone()]);

        let error = lease.release().expect_err("two things are left").to_string();
        assert!(error.contains("/one"), "{error}");
        lease.is_gone(&two).expect("written");
        assert_eq!(on_disk(folder.path()).things, std::slice::from_ref(&one));
        lease.is_gone(&one).expect("written");
        lease.release().expect("all is gone");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
    }

    #[test]
    fn an_ended_lease_does_not_come_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let lease = Lease::take(folder.path(), "run-1", "run").expect("taken");
        let other = lease.clone();
        lease.release().expect("nothing was made");
        other.beat().expect("nothing to say");
        other.will_make(path_thing("/one")).expect_err("too late to make anything");
        assert!(read_all(folder.path()).expect("readable").is_empty());
    }

    #[test]
    fn a_lease_is_not_taken_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let lease = Lease::take(folder.path(), "run-1", "run").expect("taken");
        lease.will_make(path_thing("/one")).expect("written");
        let error = Lease::take(folder.path(), "run-1", "run").expect_err("taken").to_string();
        assert!(error.contains("seatrial gc"), "{error}");
        assert_eq!(on_disk(folder.path()).things.len(), 1);
    }

    #[test]
    fn what_cannot_be_written_down_is_not_to_be_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("leases");
        let lease = Lease::take(&inner, "run-1", "run").expect("taken");
        fs::remove_dir_all(&inner).expect("removed");
        lease.will_make(path_thing("/one")).expect_err("no folder");
        assert_eq!(lease.things(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn the_heart_beats_until_its_guard_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let lease = Lease::take(folder.path(), "run-1", "run").expect("taken");
        let stopped = |lease: &Lease| lease.lock().file.heartbeat = 0;
        let beating = lease.heartbeat();
        stopped(&lease);
        tokio::time::sleep(HEARTBEAT_EVERY * 2).await;
        assert!(on_disk(folder.path()).heartbeat > 0);
        drop(beating);
        stopped(&lease);
        tokio::time::sleep(HEARTBEAT_EVERY * 2).await;
        assert_eq!(lease.lock().file.heartbeat, 0);
    }
}
