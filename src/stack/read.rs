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

/// Files that manifests are made of, and what makes them of the folder that they are in.
const SOURCES: [(&str, &str, &str); 4] = [
    ("kustomization.yaml", "kustomization", "kubectl kustomize"),
    ("kustomization.yml", "kustomization", "kubectl kustomize"),
    ("Kustomization", "kustomization", "kubectl kustomize"),
    ("Chart.yaml", "Helm chart", "helm template"),
];

/// The manifest files at `path`: itself, or those of a folder, by name.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error: std::io::Error| {
        Error::usage(format!("{}: cannot be read: {}", path.display(), reason(&error)))
    };
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return match rendered_by(path) {
            Some(error) => Err(error),
            None => Ok(vec![path.to_owned()]),
        };
    }
    if let Some(error) = SOURCES.iter().find_map(|(name, ..)| rendered_by(&path.join(name))) {
        return Err(error);
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
        return Err(Error::usage(format!(
            "{}: no .yaml, .yml or .json file in this folder; those below it are not read",
            path.display()
        )));
    }
    found.sort();
    Ok(found)
}

/// What to do if `file` is there and is no manifest, but what manifests are made of.
fn rendered_by(file: &Path) -> Option<Error> {
    let name = file.file_name()?;
    let (_, what, renderer) = SOURCES.iter().find(|(source, ..)| name == *source)?;
    let folder = match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        folder => folder?,
    };
    file.is_file().then(|| {
        Error::usage(format!(
            "{}:1: a {what}, which manifests are made of: run `{renderer} {} > stack.yaml`, and name \
             that file",
            file.display(),
            folder.display()
        ))
    })
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
        let line = text.lines().nth(error.line.saturating_sub(1));
        let hint = match line.is_some_and(|line| line.contains("{{")) {
            true => "; if it is a template of a Helm chart, name what `helm template` prints",
            false => "",
        };
        problems.add(file, error.line, &format!("{}{hint}", error.message));
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
