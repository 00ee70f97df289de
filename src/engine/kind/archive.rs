//! Image archives: which images a tar file holds, without unpacking it.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::Error;

use super::image::ImageName;

/// The list of images is small; a longer one is not what it claims to be.
const MAX_LIST_BYTES: u64 = 16 << 20;
/// First bytes of a file that gzip made.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// An archive as `docker save` or `podman save` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Archive {
    /// The file.
    pub path: PathBuf,
    /// The images in it.
    pub images: Vec<Archived>,
}

/// An image in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Archived {
    /// Its name and tag.
    pub name: ImageName,
    /// Digest of its manifest or index, where the archive is an OCI layout.
    pub digest: Option<String>,
}

/// One image of `manifest.json`, the list that Docker wrote first.
#[derive(Deserialize)]
struct DockerEntry {
    #[serde(rename = "RepoTags")]
    repo_tags: Option<Vec<String>>,
}

/// `index.json` of an OCI image layout.
#[derive(Deserialize)]
struct OciIndex {
    manifests: Vec<OciEntry>,
}

#[derive(Deserialize)]
struct OciEntry {
    digest: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// The archives in `folder`, in order of their names.
///
/// # Errors
/// The folder or a file in it cannot be read, or is no archive of images.
pub(super) fn archives_in(folder: &Path) -> Result<Vec<Archive>, Error> {
    let unreadable = |error: io::Error| {
        Error::usage(format!("--images: cannot read {}: {error}", folder.display()))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if [".tar", ".tar.gz", ".tgz"].iter().any(|ending| name.ends_with(ending)) {
            files.push(path);
        }
    }
    files.sort();
    files.iter().map(|file| Archive::open(file)).collect()
}

impl Archive {
    /// Lists the archive at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is no archive of images.
    pub(super) fn open(path: &Path) -> Result<Archive, Error> {
        let bad = |why: &dyn std::fmt::Display| {
            Error::usage(format!("--images: {} is no archive of images: {why}", path.display()))
        };
        let mut file = File::open(path).map_err(|error| bad(&error))?;
        let mut start = Vec::new();
        file.by_ref().take(2).read_to_end(&mut start).map_err(|error| bad(&error))?;
        if start == GZIP {
            return Err(bad(&"it is compressed; run `gunzip` on it, nodes load it faster so, too"));
        }
        let file = File::open(path).map_err(|error| bad(&error))?;
        let mut tar = tar::Archive::new(file);
        let mut images = None;
        let mut index = Vec::new();
        // Seeking skips the layers, which are nearly all of the file.
        for entry in tar.entries_with_seek().map_err(|error| bad(&error))? {
            let entry = entry.map_err(|error| bad(&error))?;
            let name = entry.path().map_err(|error| bad(&error))?.into_owned();
            let name = name.strip_prefix(".").unwrap_or(&name);
            if name == Path::new("manifest.json") {
                let list: Vec<DockerEntry> =
                    serde_json::from_reader(entry.take(MAX_LIST_BYTES)).map_err(|e| bad(&e))?;
                images = Some(list);
            } else if name == Path::new("index.json") {
                let list: OciIndex =
                    serde_json::from_reader(entry.take(MAX_LIST_BYTES)).map_err(|e| bad(&e))?;
                index = list.manifests;
            }
        }
        if images.is_none() && index.is_empty() {
            return Err(bad(&"it has neither `manifest.json` nor `index.json`"));
        }
        let named = oci_images(&index);
        let tagged = images.into_iter().flatten().flat_map(|e| e.repo_tags.unwrap_or_default());
        let mut all: Vec<Archived> = named;
        for name in tagged.filter_map(|tag| ImageName::parse(&tag)) {
            if !all.iter().any(|known| known.name == name) {
                all.push(Archived { name, digest: None });
            }
        }
        Ok(Archive { path: path.to_owned(), images: all })
    }
}

/// Images of an OCI layout whose annotations give a whole name: `ref.name` may be a bare tag.
fn oci_images(index: &[OciEntry]) -> Vec<Archived> {
    let whole = |name: &&String| name.contains(['/', ':']);
    index
        .iter()
        .filter_map(|entry| {
            let annotation = |key: &str| entry.annotations.get(key);
            let name = annotation("io.containerd.image.name")
                .or_else(|| annotation("org.opencontainers.image.ref.name").filter(whole))?;
            let name = ImageName::parse(name)?;
            Some(Archived { name, digest: Some(entry.digest.clone()) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::write_tar;
    use super::*;

    fn names(archive: &Archive) -> Vec<String> {
        archive.images.iter().map(|image| image.name.to_string()).collect()
    }

    #[test]
    fn a_docker_archive_lists_its_tags_behind_big_layers() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.tar");
        let layer = "x".repeat(300_000);
        write_tar(
            &path,
            &[
                ("layer.tar", &layer),
                ("manifest.json", r#"[{"RepoTags":["wordpress:6","rig/a:1"]},{"RepoTags":null}]"#),
            ],
        );
        let archive = Archive::open(&path).expect("it is one");
        assert_eq!(names(&archive), ["docker.io/library/wordpress:6", "docker.io/rig/a:1"]);
    }

    #[test]
    fn an_oci_layout_gives_digests_and_is_not_listed_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("b.tar");
        let index = r#"{"manifests":[
            {"digest":"sha256:aa","annotations":{"io.containerd.image.name":"docker.io/library/nginx:1",
             "org.opencontainers.image.ref.name":"1"}},
            {"digest":"sha256:bb","annotations":{"org.opencontainers.image.ref.name":"2"}}]}"#;
        let manifest = r#"[{"RepoTags":["nginx:1"]}]"#;
        write_tar(&path, &[("./index.json", index), ("manifest.json", manifest)]);
        let archive = Archive::open(&path).expect("it is one");
        assert_eq!(names(&archive), ["docker.io/library/nginx:1"]);
        assert_eq!(archive.images[0].digest.as_deref(), Some("sha256:aa"));
    }

    #[test]
    fn other_files_are_refused_with_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c.tar");
        write_tar(&path, &[("readme", "hello")]);
        let error = Archive::open(&path).expect_err("no list").to_string();
        assert!(error.contains("c.tar") && error.contains("manifest.json"), "{error}");
        fs::write(folder.path().join("d.tar.gz"), [0x1f, 0x8b, 8, 0]).expect("written");
        let error = archives_in(folder.path()).expect_err("compressed").to_string();
        assert!(error.contains("c.tar"), "{error}");
        fs::remove_file(path).expect("removed");
        let error = archives_in(folder.path()).expect_err("compressed").to_string();
        assert!(error.contains("gunzip"), "{error}");
    }
}
