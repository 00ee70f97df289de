//! The folder of a report: claimed before the run, so that a verdict is never lost for want of a place.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::base::Error;

use super::{JSON_FILE, JUNIT_FILE};

/// A folder that can be written. What was made for it and stays empty goes with this.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Folders that were made, outermost first.
    made: Vec<PathBuf>,
}

impl Folder {
    /// Claims `path`, which is made if need be.
    ///
    /// # Errors
    /// A usage error: it cannot be made or written; then nothing is left of the attempt.
    pub fn claim(path: &Path) -> Result<Folder, Error> {
        let mut folder = Folder { path: path.to_owned(), made: Vec::new() };
        let proved = folder.make(path).and_then(|()| folder.prove());
        proved.map_err(|error| unwritable(path, &error))?;
        Ok(folder)
    }

    /// Claims a folder that nobody else has: `path`, or `path-2` and so on where that exists.
    ///
    /// # Errors
    /// As `claim`.
    pub fn claim_new(path: &Path) -> Result<Folder, Error> {
        let mut folder = Folder { path: path.to_owned(), made: Vec::new() };
        let proved = folder.make_new().and_then(|()| folder.prove());
        proved.map_err(|error| unwritable(path, &error))?;
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn make(&mut self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make(parent)?;
        }
        match fs::create_dir(path) {
            Ok(()) => self.made.push(path.to_owned()),
            // Somebody else was faster, or it is a file.
            Err(_) if path.is_dir() => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(ErrorKind::NotADirectory.into());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn make_new(&mut self) -> io::Result<()> {
        let first = self.path.clone();
        if let Some(parent) = first.parent() {
            self.make(parent)?;
        }
        for n in 2.. {
            match fs::create_dir(&self.path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let mut name = first.clone().into_os_string();
                    name.push(format!("-{n}"));
                    self.path = name.into();
                }
                made => {
                    made?;
                    break;
                }
            }
        }
        self.made.push(self.path.clone());
        Ok(())
    }

    /// Makes a file there, and opens those of an earlier run.
    fn prove(&self) -> io::Result<()> {
        tempfile::NamedTempFile::new_in(&self.path)?.close()?;
        for name in [JSON_FILE, JUNIT_FILE] {
            match OpenOptions::new().append(true).open(self.path.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Error {
    Error::usage(format!(
        "no report can be written to {}: {error}; choose another folder with --report",
        path.display()
    ))
}

impl Drop for Folder {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            // Only an empty one can be removed so.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorClass;

    fn refused(path: &Path) {
        let error = Folder::claim(path).expect_err("it cannot be written");
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(error.to_string().contains("--report"), "{error}");
    }

    #[test]
    fn a_folder_that_stays_empty_goes_and_one_that_is_used_stays() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("a/b");
        drop(Folder::claim(&path).expect("it can be made"));
        assert!(!root.path().join("a").exists());
        let folder = Folder::claim(&path).expect("it can be made");
        fs::write(folder.path().join(JSON_FILE), "{}").expect("it can be written");
        drop(folder);
        drop(Folder::claim(&path).expect("it is there"));
        assert_eq!(fs::read_dir(&path).expect("a folder").count(), 1, "the report alone");
    }

    #[test]
    fn a_new_folder_is_nobody_elses() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("runs/20260102-030405-sim");
        let claimed = [(); 3].map(|()| Folder::claim_new(&path).expect("it can be made"));
        let names = claimed.each_ref().map(|folder| folder.path().file_name().expect("a name"));
        let wanted = ["20260102-030405-sim", "20260102-030405-sim-2", "20260102-030405-sim-3"];
        assert_eq!(names, wanted);
        claimed.into_iter().rev().for_each(drop);
        assert!(!root.path().join("runs").exists());
    }

    #[test]
    fn what_cannot_be_written_is_refused_and_leaves_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("file");
        fs::write(&file, "mine").expect("written");
        refused(&file);
        refused(&file.join("below"));
        refused(&root.path().join("a").join("x".repeat(300)));
        assert!(!root.path().join("a").exists());
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "mine");
        fs::create_dir_all(root.path().join("taken").join(JSON_FILE)).expect("a folder");
        refused(&root.path().join("taken"));
    }
}
