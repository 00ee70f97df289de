//! The file behind a lease, and how files of other versions and broken ones are read.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::container_engine::ContainerEngine;
use super::process::Owner;
use crate::base::Error;

/// The format written. It grows when an old reader would do harm with a new file; a new field or a
/// new kind of thing is no such case: the reader leaves what it does not know.
pub(super) const FORMAT: u32 = 1;

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
    /// A container of ours beside the clusters; it carries our label.
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
        /// Absolute paths of kubeconfigs, joined as in `KUBECONFIG`; empty means the default one.
        kubeconfig: String,
        /// Context in it.
        context: String,
    },
    /// Something that another version made and this one does not know.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::KindCluster { name, .. } => write!(f, "cluster {name}"),
            Thing::Container { name, .. } => write!(f, "container {name}"),
            Thing::LoopDevice { device, .. } => write!(f, "loop device {}", device.display()),
            Thing::Path { path } => write!(f, "{}", path.display()),
            Thing::Objects { context, .. } => write!(f, "objects in context {context}"),
            Thing::Unknown(value) => match value.get("thing").and_then(|kind| kind.as_str()) {
                Some(kind) => write!(f, "something called {kind}"),
                None => write!(f, "something unknown"),
            },
        }
    }
}

/// The file behind a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFile {
    /// The format; 1 is this one.
    pub format: u32,
    /// Its name; also the value of our label on everything made under it.
    pub id: String,
    /// Who holds it.
    pub owner: Owner,
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

impl LeaseFile {
    /// Where the lease called `id` is, in the folder of leases.
    pub fn path_in(folder: &Path, id: &str) -> PathBuf {
        folder.join(format!("{id}.json"))
    }
}

/// A file in the folder of leases.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// What it says, or why that is not understood: then nothing of it may be touched.
    pub content: Result<LeaseFile, String>,
}

/// All leases in `folder`, by name; none if there is no such folder.
///
/// # Errors
/// The folder cannot be read.
pub fn read_all(folder: &Path) -> Result<Vec<Found>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            paths.push(path);
        }
    }
    paths.sort();
    let found = paths.into_iter().filter_map(|path| {
        let content = read(&path)?;
        Some(Found { path, content })
    });
    Ok(found.collect())
}

fn unreadable(folder: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("cannot read {}: {error}", folder.display()))
}

/// The lease in the file `path`; `None` if it has gone.
pub(super) fn read(path: &Path) -> Option<Result<LeaseFile, String>> {
    /// What any format says.
    #[derive(Deserialize)]
    struct AnyFormat {
        format: u32,
    }
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error.to_string())),
    };
    Some(match serde_json::from_str::<AnyFormat>(&text) {
        Err(error) => Err(format!("it is no lease, or a broken one ({error})")),
        Ok(AnyFormat { format }) if format > FORMAT => {
            Err(format!("a newer Seatrial wrote it (format {format})"))
        }
        Ok(_) => match serde_json::from_str::<LeaseFile>(&text) {
            Ok(file) if Some(file.id.as_str()) != path.file_stem().and_then(|s| s.to_str()) => {
                Err(format!("it says that it is the lease {}", file.id))
            }
            Ok(file) => Ok(file),
            Err(error) => Err(format!("it is no lease, or a broken one ({error})")),
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> LeaseFile {
        LeaseFile {
            format: FORMAT,
            id: "run-1".into(),
            owner: Owner::current(),
            purpose: "run".into(),
            created: 1,
            heartbeat: 2,
            kept: false,
            things: vec![Thing::Path { path: "/one".into() }],
        }
    }

    fn read_json(value: &serde_json::Value) -> Result<LeaseFile, String> {
        read_text(&value.to_string())
    }

    fn read_text(text: &str) -> Result<LeaseFile, String> {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("run-1.json"), text).expect("written");
        let mut found = read_all(folder.path()).expect("the folder is readable");
        found.remove(0).content
    }

    #[test]
    fn things_of_other_versions_are_carried_along() {
        let mut value = serde_json::to_value(sample()).expect("JSON");
        value["colour"] = json!("red");
        value["things"] = json!([
            { "thing": "satellite", "orbit": 7 },
            { "thing": "path", "path": "/one", "since": 3 },
        ]);
        let file = read_json(&value).expect("understood");
        assert_eq!(file.things[0].to_string(), "something called satellite");
        assert_eq!(file.things[1], Thing::Path { path: "/one".into() });
        let again = serde_json::to_value(&file).expect("JSON");
        assert_eq!(again["things"][0], json!({ "thing": "satellite", "orbit": 7 }));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let mut newer = serde_json::to_value(sample()).expect("JSON");
        newer["format"] = json!(2);
        assert!(read_json(&newer).expect_err("newer").contains("newer Seatrial"));
        let mut other = serde_json::to_value(sample()).expect("JSON");
        other["id"] = json!("run-2");
        assert!(read_json(&other).expect_err("another's").contains("run-2"));
        let whole = serde_json::to_string(&sample()).expect("JSON");
        for text in ["", "notes", "{}", "[1]", "\u{0}\u{0}", &whole[..whole.len() / 2]] {
            assert!(read_text(text).expect_err("broken").contains("no lease"), "{text}");
        }
    }

    #[test]
    fn no_folder_is_no_leases() {
        assert!(read_all(Path::new("/no/such/folder")).expect("readable").is_empty());
    }
}
