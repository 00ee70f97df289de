//! Images on a node: which can be pulled, how long that takes, what the node reports
//! (`pkg/kubelet/images/image_manager.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::{SimTime, Streams, millis};
use crate::k8s::image_reference;

/// Bytes a node pulls and unpacks in a second: 20 to 40 MB on a common link.
const PULL_BYTES_PER_SECOND: (u64, u64) = (20_000_000, 40_000_000);
/// Asking a registry for a manifest; also how long it takes to learn that there is none.
const REGISTRY_TIME: (Duration, Duration) = (millis(300), millis(1500));
/// Size of an image whose size is not listed, in bytes.
const DEFAULT_IMAGE_BYTES: u64 = 100_000_000;
/// Compressed sizes of common images, in bytes, as Docker Hub shows them.
const IMAGE_BYTES: &[(&str, u64)] = &[
    ("wordpress", 260_000_000),
    ("mysql", 230_000_000),
    ("mariadb", 110_000_000),
    ("nginx", 70_000_000),
    ("busybox", 2_200_000),
    ("pause", 320_000),
];

/// What registries have, the same for all nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    names: BTreeSet<String>,
    repositories: BTreeSet<String>,
}

impl Published {
    /// The images a stack names.
    pub(super) fn new(images: &[String]) -> Self {
        let names: BTreeSet<String> =
            images.iter().filter_map(|name| image_reference(name).ok()).collect();
        let repositories = names.iter().map(|name| repository(name).to_owned()).collect();
        Published { names, repositories }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter()
    }

    /// Whether a registry has `image` (normalized). A repository of the stack has the tags that the
    /// stack names; of others, those with a program model exist with any tag.
    pub(super) fn has(&self, image: &str, has_model: bool) -> bool {
        let host = image.split('/').next().unwrap_or("");
        // RFC 6761: names below `invalid` never resolve.
        let resolves = !host.split(':').next().unwrap_or("").ends_with(".invalid");
        self.names.contains(image)
            || (resolves && has_model && !self.repositories.contains(repository(image)))
    }
}

/// The images of one node, and its puller (one pull at a time: `serializeImagePulls`).
#[derive(Debug, Default)]
pub(super) struct Images {
    present: BTreeMap<String, u64>,
    free_at: SimTime,
}

impl Images {
    pub(super) fn add(&mut self, image: &str) -> bool {
        self.present.insert(image.to_owned(), image_bytes(image)).is_none()
    }

    pub(super) fn has(&self, image: &str) -> bool {
        self.present.contains_key(image)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, u64)> {
        self.present.iter().map(|(name, bytes)| (name, *bytes))
    }

    /// Books a pull: when it will be done.
    pub(super) fn book(
        &mut self,
        image: &str,
        exists: bool,
        now: SimTime,
        rng: &mut Streams,
    ) -> SimTime {
        let mut time = rng.between("image-pull", REGISTRY_TIME.0, REGISTRY_TIME.1);
        if exists && !self.has(image) {
            let (slow, fast) = PULL_BYTES_PER_SECOND;
            let millions = rng.index("image-pull", ((fast - slow) / 1_000_000) as usize) as u64;
            let rate = slow + millions * 1_000_000;
            time += millis(image_bytes(image) * 1000 / rate);
        }
        self.free_at = self.free_at.max(now) + time;
        self.free_at
    }
}

/// Repository and tag, without a digest.
fn split_tag(image: &str) -> (&str, Option<&str>) {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rfind('/').map_or(0, |at| at + 1);
    match name[last..].find(':') {
        Some(at) => (&name[..last + at], Some(&name[last + at + 1..])),
        None => (name, None),
    }
}

fn repository(image: &str) -> &str {
    split_tag(image).0
}

fn image_bytes(image: &str) -> u64 {
    let name = repository(image).rsplit('/').next().unwrap_or("");
    IMAGE_BYTES
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(DEFAULT_IMAGE_BYTES, |(_, bytes)| *bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_of_the_stack_has_only_its_tags() {
        let published = Published::new(&["wordpress:6.8".into()]);
        assert!(published.has("docker.io/library/wordpress:6.8", true));
        assert!(!published.has("docker.io/library/wordpress:6.9-typo", true));
        assert!(published.has("docker.io/library/nginx:1", true));
        assert!(!published.has("docker.io/library/unheard-of:1", false));
        assert!(!published.has("registry.invalid/nginx:1", true));
    }
}
