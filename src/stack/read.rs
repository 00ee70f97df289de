//! Files to objects: folders, documents, `List` objects.

use std::fs;
use std::path::{Path, PathBuf};

use super::problem::Problems;
use crate::base::Error;
use crate::base::yaml::{self, Data, Node};

/// The largest file read: a manifest of more is no manifest.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// One object as written, not yet checked.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) file: PathBuf,
    pub(super) node: Node,
}

/// File endings that are read, as kubectl reads them.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// The manifest files at `path`: itself, or those of a folder, by name.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error: std::io::Error| {
        Error::usage(format!("{}: cannot be read: {}", path.display(), reason(&error)))
    };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or("");
        if ENDINGS.contains(&ending) && !file.is_dir() {
            found.push(file);
        }
    }
    if found.is_empty() {
        let message = format!("{}: no .yaml, .yml or .json file in this folder", path.display());
        return Err(Error::usage(message));
    }
    found.sort();
    Ok(found)
}

/// The objects in `file`; what is no YAML or no object becomes a problem.
pub(super) fn objects(file: &Path, problems: &mut Problems) -> Vec<Written> {
    match text(file) {
        Ok(text) => text_objects(file, &text, problems),
        Err(message) => {
            problems.add(file, 1, &message);
            Vec::new()
        }
    }
}

/// The objects in `text`, the content of `file`.
pub(super) fn text_objects(file: &Path, text: &str, problems: &mut Problems) -> Vec<Written> {
    let (documents, error) = yaml::documents(text.strip_prefix('\u{feff}').unwrap_or(text));
    if let Some(error) = error {
        problems.add(file, error.line, &error.message);
    }
    let mut found = Vec::new();
    for node in documents {
        flatten(file, node, problems, &mut found);
    }
    found
}

fn text(file: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {}", reason(&error));
    let size = fs::metadata(file).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{size} bytes are too many for a manifest (at most {FILE_BYTES_MAX})"));
    }
    let bytes = fs::read(file).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())
}

/// The same words on every platform.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Takes a document, or the items of a list, over.
fn flatten(file: &Path, node: Node, problems: &mut Problems, found: &mut Vec<Written>) {
    let line = node.line;
    match node.data {
        // An empty document, as between two `---`.
        Data::Scalar(serde_json::Value::Null) => {}
        Data::Map(entries) => {
            let is_list = entries.iter().any(|entry| {
                entry.key == "kind"
                    && entry.node.as_str().is_some_and(|kind| kind.ends_with("List"))
            });
            let has_items = entries.iter().any(|entry| entry.key == "items");
            if !(is_list && has_items) {
                let node = Node { data: Data::Map(entries), line };
                found.push(Written { file: file.to_owned(), node });
                return;
            }
            for entry in entries.into_iter().filter(|entry| entry.key == "items") {
                match entry.node.data {
                    Data::List(items) => {
                        for item in items {
                            flatten(file, item, problems, found);
                        }
                    }
                    Data::Scalar(serde_json::Value::Null) => {}
                    _ => problems.add(file, entry.line, "items: expected a list"),
                }
            }
        }
        _ => problems.add(file, line, "expected an object with `apiVersion` and `kind`"),
    }
}
