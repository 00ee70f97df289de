//! Loading a stack: files, documents, lists, duplicates.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::base::{Error, ObjectRef};
use crate::k8s::Profile;

use super::manifest::{Location, Manifest, namespace_of};
use super::yaml::{self, Lines};

/// File endings that are read.
const ENDINGS: &[&str] = &["yaml", "yml", "json"];
/// More problems than this are not listed.
const PROBLEMS_MAX: usize = 20;

/// A stack's manifests, in the order in which they are applied.
#[derive(Clone, Debug)]
pub struct Stack {
    manifests: Vec<Manifest>,
}

/// Something wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) message: String,
}

impl Stack {
    /// Reads and checks the stack at `path`: a file, or a folder's files ending in `.yaml`, `.yml`
    /// or `.json`, in order of their names.
    ///
    /// # Errors
    /// A usage error with a line a problem: `file:line: what is wrong and how to mend it`.
    pub fn load(path: &Path, profile: &Profile) -> Result<Stack, Error> {
        let _ = profile;
        let mut manifests = Vec::new();
        let mut problems = Vec::new();
        for file in files(path)? {
            match read(&file) {
                Ok(documents) => {
                    for document in documents {
                        collect(&file, document, &mut manifests, &mut problems);
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(duplicates(&manifests));
        if !problems.is_empty() {
            return Err(refusal(&problems));
        }
        if manifests.is_empty() {
            return Err(Error::usage(format!("{}: no object in it", path.display())));
        }
        manifests.sort_by_key(|manifest| rank(&manifest.object_ref.kind));
        Ok(Stack { manifests })
    }

    /// The objects, in the order in which they are applied.
    pub fn objects(&self) -> &[Manifest] {
        &self.manifests
    }

    /// The manifest of an object.
    pub fn manifest(&self, object: &ObjectRef) -> Option<&Manifest> {
        self.manifests.iter().find(|manifest| manifest.object_ref == *object)
    }

    /// Where field `path` of `object` stands; its nearest parent where the field is absent.
    pub fn locate(&self, object: &ObjectRef, path: &str) -> Option<Location> {
        self.manifest(object).map(|manifest| manifest.locate(path))
    }
}

/// What must exist before what.
fn rank(kind: &str) -> u8 {
    match kind {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "PriorityClass" | "StorageClass" | "IngressClass" | "ServiceAccount" => 2,
        "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding" => 3,
        "Secret" | "ConfigMap" => 4,
        "PersistentVolume" => 5,
        "PersistentVolumeClaim" => 7,
        "Service" => 8,
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Pod" | "Job" | "CronJob" => 9,
        "HorizontalPodAutoscaler" | "PodDisruptionBudget" => 10,
        "Ingress" => 11,
        _ => 6,
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |path: &Path, error: std::io::Error| {
        Error::usage(format!("cannot read {}: {error}", path.display()))
    };
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| unreadable(path, error))? {
        let file = entry.map_err(|error| unreadable(path, error))?.path();
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or("");
        if ENDINGS.contains(&ending) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        let endings = ENDINGS.join(", .");
        return Err(Error::usage(format!("{}: no file ending in .{endings}", path.display())));
    }
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<yaml::Document>, Problem> {
    let problem = |line, message: String| Problem { file: file.to_owned(), line, message };
    let bytes = fs::read(file).map_err(|error| problem(1, format!("cannot read it: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        problem(line, "not UTF-8 text".into())
    })?;
    yaml::documents(&text)
        .map_err(|broken| problem(broken.line, format!("broken YAML: {}", broken.message)))
}

/// Adds the objects of a document, or says why it has none.
fn collect(
    file: &Path,
    document: yaml::Document,
    manifests: &mut Vec<Manifest>,
    problems: &mut Vec<Problem>,
) {
    let lines = Arc::new(document.lines);
    let is_list = document.value.get("kind").and_then(Value::as_str) == Some("List");
    let items = match document.value.get("items") {
        Some(Value::Array(items)) if is_list => items
            .iter()
            .enumerate()
            .map(|(idx, item)| (format!("items[{idx}]"), item.clone()))
            .collect(),
        _ => vec![(String::new(), document.value)],
    };
    for (prefix, value) in items {
        match object(file, &lines, prefix, value) {
            Ok(manifest) => manifests.push(manifest),
            Err(problem) => problems.push(problem),
        }
    }
}

fn object(
    file: &Path,
    lines: &Arc<Lines>,
    prefix: String,
    value: Value,
) -> Result<Manifest, Problem> {
    let line = lines.get(&prefix).copied().unwrap_or(1);
    let problem = |message: &str| Problem { file: file.to_owned(), line, message: message.into() };
    if !value.is_object() {
        return Err(problem(
            "not a Kubernetes object: a mapping with apiVersion and kind is expected",
        ));
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    let api_version = text("/apiVersion").filter(|text| !text.is_empty());
    let api_version = api_version
        .ok_or_else(|| problem("apiVersion is missing; add it, as in `apiVersion: v1`"))?;
    let kind = text("/kind").filter(|text| !text.is_empty());
    let kind = kind.ok_or_else(|| problem("kind is missing; add it, as in `kind: Service`"))?;
    let name = text("/metadata/name").filter(|text| !text.is_empty());
    let name =
        name.ok_or_else(|| problem(&format!("{kind}: metadata.name is missing; name it")))?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let namespace = namespace_of(group, kind, text("/metadata/namespace"));
    Ok(Manifest {
        object_ref: ObjectRef::new(kind, namespace, name),
        api_version: api_version.to_owned(),
        file: file.to_owned(),
        line,
        lines: Arc::clone(lines),
        prefix,
        value,
    })
}

fn duplicates(manifests: &[Manifest]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (idx, manifest) in manifests.iter().enumerate() {
        let same = |other: &&Manifest| {
            other.object_ref == manifest.object_ref && other.group() == manifest.group()
        };
        if let Some(first) = manifests[..idx].iter().find(same) {
            problems.push(Problem {
                file: manifest.file.clone(),
                line: manifest.line,
                message: format!(
                    "{} is defined twice; the first is at {}:{}",
                    manifest.object_ref,
                    first.file.display(),
                    first.line
                ),
            });
        }
    }
    problems
}

fn refusal(problems: &[Problem]) -> Error {
    let mut lines: Vec<String> = problems
        .iter()
        .take(PROBLEMS_MAX)
        .map(|p| format!("{}:{}: {}", p.file.display(), p.line, p.message))
        .collect();
    if problems.len() > PROBLEMS_MAX {
        lines.push(format!("... and {} more", problems.len() - PROBLEMS_MAX));
    }
    Error::usage(lines.join("\n"))
}
