//! Locks between processes: a file that one of them holds.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::paths::{make_private_folder, unwritable};
use crate::base::Error;
use crate::wait::{Deadline, until_ok};

/// A lock file, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct FileLock(File);

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing alone unlocks late where another thread is starting a program: for a moment the
        // new process has the file open too.
        let _ = self.0.unlock();
    }
}

impl FileLock {
    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn try_take(path: &Path) -> Result<Option<FileLock>, Error> {
        path.parent().map_or(Ok(()), make_private_folder)?;
        let open = File::options().create(true).truncate(false).write(true).open(path);
        let file = open.map_err(|error| unwritable(path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FileLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(unwritable(path, &error)),
        }
    }

    /// Waits for the lock, which stands for `what`.
    ///
    /// # Errors
    /// Another process held it to the end, or the file cannot be locked.
    pub async fn take(path: &Path, what: &str, deadline: Deadline) -> Result<FileLock, Error> {
        until_ok(&format!("no other process uses {what}"), deadline, async || {
            match FileLock::try_take(path) {
                Ok(Some(lock)) => Ok(Ok(lock)),
                Ok(None) => Err(format!("another process holds {}", path.display())),
                Err(error) => Ok(Err(error)),
            }
        })
        .await
        .map_err(|error| Error::environment(error.to_string()))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_free_again_after_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("locks/one.lock");
        let held = FileLock::try_take(&path).expect("it can be locked").expect("nobody holds it");
        assert!(FileLock::try_take(&path).expect("it can be asked for").is_none());
        drop(held);
        assert!(FileLock::try_take(&path).expect("it can be locked").is_some());
    }
}
