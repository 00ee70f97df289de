//! Report: text, JSON and JUnit from one `RunOutcome`, and what is under way meanwhile.
//! Owns: how a run is shown, live and afterwards, the schema of `report.json`, writing the report folder.
//! Imports: base, observe, and of wait the board. Never: suite, engine, kube; bars apart it prints nothing.
//! Time and errors: durations carry a unit; order as declared; claiming fails as usage, writing as environment.
//! Source: JUnit as Jenkins and GitLab read it; report.schema.json. Proof: tests/report.rs.

mod folder;
mod json;
mod junit;
mod progress;
mod text;

use std::fs;
use std::path::Path;

use crate::base::Error;
use crate::observe::RunOutcome;

pub use folder::Folder;
pub use json::{SCHEMA, report_json};
pub use junit::junit_xml;
pub use progress::{Watcher, aside, describe, watch};
pub use text::{Text, duration_text};

const JSON_FILE: &str = "report.json";
const JUNIT_FILE: &str = "junit.xml";

/// Writes `report.json` and `junit.xml` into `folder`, which is created if need be.
///
/// # Errors
/// An environment error that names the file.
pub fn write(run: &RunOutcome, folder: &Path) -> Result<(), Error> {
    let failed = |path: &Path, error: std::io::Error| {
        Error::environment(format!(
            "cannot write {}: {error}; choose another folder with --report",
            path.display()
        ))
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let json = serde_json::to_string_pretty(&report_json(run)).unwrap_or_default() + "\n";
    for (name, content) in [(JSON_FILE, json), (JUNIT_FILE, junit_xml(run))] {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
