//! One at a time at the leases of ended owners: sweeps, and runs that take a kept lease over.

use std::path::{Path, PathBuf};

use super::file_lock::FileLock;
use super::lease::{Lease, STALE_AFTER, write_over};
use super::lease_file::{LeaseFile, read};
use super::paths::Paths;
use super::process::{Life, Owner};
use crate::base::{Error, secs, wall};
use crate::wait::Deadline;

/// The file that is locked; the lock ends with its holder, however that ends.
const LOCK_FILE: &str = ".lock";
/// How long a run waits for a sweep beside it.
const SWEPT_ELSEWHERE: Deadline =
    Deadline::new(secs(120), "another process sweeps; clusters take seconds each to delete");

/// The file that is locked while the leases of others in `folder` are changed.
pub(super) fn lock_file(folder: &Path) -> PathBuf {
    folder.join(LOCK_FILE)
}

/// Whether the owner of `file` may still be at work, as far as can be told `here`.
pub(super) fn is_held(file: &LeaseFile, here: &Owner) -> bool {
    let silent = wall::unix_seconds().saturating_sub(file.heartbeat);
    match file.owner.life(here) {
        Life::Alive | Life::Elsewhere => true,
        Life::Dead => false,
        Life::OutOfSight => silent < STALE_AFTER.as_secs(),
    }
}

/// Takes over the kept lease `id`, whose owner has ended; `None` if there is no such lease. It
/// stays kept until [`Lease::keep_no_more`].
///
/// # Errors
/// Its owner lives, it is not understood, or it cannot be written.
pub async fn adopt(paths: &Paths, id: &str, purpose: &str) -> Result<Option<Lease>, Error> {
    let folder = paths.leases();
    let what = format!("the leases in {}", folder.display());
    let _lock = FileLock::take(&lock_file(&folder), &what, SWEPT_ELSEWHERE).await?;
    let path = LeaseFile::path_in(&folder, id);
    let Some(content) = read(&path) else { return Ok(None) };
    let mut file = content.map_err(|why| {
        let path = path.display();
        Error::environment(format!("{path} is not understood: {why}; look at it and delete it"))
    })?;
    let here = Owner::current();
    if is_held(&file, &here) {
        let (owner, machine) = (&file.owner.process, &file.owner.machine);
        return Err(Error::environment(format!(
            "{id} is in use by {owner} on {machine}; wait for its end, or use another"
        )));
    }
    file.owner = here;
    purpose.clone_into(&mut file.purpose);
    file.heartbeat = wall::unix_seconds();
    write_over(&path, &file)?;
    Ok(Some(Lease::hold(&folder, file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kept_lease_is_taken_over_only_from_an_ended_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = Paths::below(folder.path());
        assert!(adopt(&paths, "st-1", "run").await.expect("no error").is_none());

        let lease = Lease::take(&paths.leases(), "st-1", "up").expect("taken");
        lease.keep().expect("written");
        let error = adopt(&paths, "st-1", "run").await.expect_err("its owner lives").to_string();
        assert!(error.contains("in use by process"), "{error}");

        let path = LeaseFile::path_in(&paths.leases(), "st-1");
        let mut file = read(&path).expect("it is there").expect("whole");
        file.owner.process.started += 1;
        write_over(&path, &file).expect("written");
        adopt(&paths, "st-1", "run").await.expect("no error").expect("it is there");
        let file = read(&path).expect("it is there").expect("whole");
        assert_eq!((file.owner, file.purpose.as_str(), file.kept), (Owner::current(), "run", true));
    }
}
