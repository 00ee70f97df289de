//! Stand-ins for programs, for tests: shell scripts in a folder that is searched first.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Programs;

/// A folder of stand-ins; it goes when this is dropped.
pub(crate) struct FakeTools {
    folder: tempfile::TempDir,
}

impl FakeTools {
    /// None yet.
    pub(crate) fn new() -> Self {
        FakeTools { folder: tempfile::tempdir().expect("a folder") }
    }

    /// Where they are, and where their scripts may keep what they remember.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds or replaces the program `name`: a script for `sh`, in which `$HERE` is the folder.
    pub(crate) fn add(&self, name: &str, script: &str) {
        let text = self.folder().join(format!("{name}.script"));
        let here = self.folder().display();
        fs::write(&text, format!("#!/bin/sh\nHERE='{here}'\n{script}\n")).expect("written");
        // Copied by another process: a program that this one has open for writing, or whose
        // descriptor a fork beside us inherited, could not be started (`Text file busy`).
        let copied = Command::new("install")
            .args(["-m", "755"])
            .args([&text, &self.folder().join(name)])
            .status();
        assert!(copied.expect("`install` runs").success());
    }

    /// Programs that find these first.
    pub(crate) fn programs(&self) -> Programs {
        Programs::real_in(self.folder())
    }
}
