//! Where each wanted image comes from, settled before the cluster is made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::base::Error;

use super::archive::{Archive, archives_in};
use super::container::Containers;
use super::image::ImageName;
use super::spec::KindSpec;

/// Where the images of a cluster come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagePlan {
    /// Archives to load, each once.
    pub archives: Vec<PathBuf>,
    /// Images to save from the engine.
    pub local: Vec<String>,
    /// Images that nodes pull through registries when a pod asks for them.
    pub pulled: Vec<ImageName>,
    /// All images that are loaded: those of `archives` and `local`.
    pub loaded: Vec<ImageName>,
    /// Loaded images whose digest no archive can prove: name and tag fit.
    pub unproven: Vec<ImageName>,
    /// What each archive and each image of the engine is now: it differs once one was made anew.
    pub identities: BTreeMap<String, String>,
}

impl ImagePlan {
    /// Images that are asked for by digest, which an import does not name: they get that name in
    /// the nodes after loading.
    pub fn aliases(&self) -> impl Iterator<Item = (String, String)> {
        let pinned = self.loaded.iter().filter(|image| image.digest.is_some());
        pinned.filter_map(|image| Some((image.tagged()?, image.asked_for())))
    }
}

/// Finds every wanted image.
///
/// # Errors
/// A name is none (usage), or images are nowhere to be found: all are listed, with how to get them.
pub async fn plan(spec: &KindSpec, containers: &Containers) -> Result<ImagePlan, Error> {
    let archives = match &spec.images {
        Some(folder) => archives_in(folder)?,
        None => Vec::new(),
    };
    let mut wanted = Vec::new();
    for text in &spec.wanted_images {
        let image = ImageName::parse(text)
            .ok_or_else(|| Error::usage(format!("`{text}` is no name of an image")))?;
        wanted.push((image, text));
    }
    wanted.sort();
    wanted.dedup_by(|a, b| a.0 == b.0);
    let mut plan = ImagePlan::default();
    let mut missing = Vec::new();
    for (image, text) in wanted {
        if let Some((archive, proven)) = in_archives(&archives, &image) {
            if !plan.archives.contains(&archive.path) {
                plan.archives.push(archive.path.clone());
                let identity = identity_of(&archive.path);
                plan.identities.insert(archive.path.display().to_string(), identity);
            }
            if !proven {
                plan.unproven.push(image.clone());
            }
            plan.loaded.push(image);
        } else if let Some((name, id)) = in_engine(containers, &image, text).await? {
            plan.identities.insert(name.clone(), id);
            plan.local.push(name);
            plan.loaded.push(image);
        } else if spec.registry {
            plan.pulled.push(image);
        } else {
            missing.push(text.as_str());
        }
    }
    plan.archives.sort();
    if missing.is_empty() {
        return Ok(plan);
    }
    Err(Error::environment(missing_text(&missing, spec, archives.len(), containers.provider())))
}

/// The archive that holds `image`, and whether the digest asked for is proven.
fn in_archives<'a>(archives: &'a [Archive], image: &ImageName) -> Option<(&'a Archive, bool)> {
    let named = || {
        archives
            .iter()
            .flat_map(|archive| archive.images.iter().map(move |archived| (archive, archived)))
    };
    let Some(digest) = &image.digest else {
        let same = named().find(|(_, archived)| archived.name == *image);
        return same.map(|(archive, _)| (archive, true));
    };
    let proof = named().find(|(_, archived)| {
        archived.digest.as_ref() == Some(digest)
            && archived.name.repository() == image.repository()
            && image.tag.as_ref().is_none_or(|_| archived.name.tagged() == image.tagged())
    });
    if let (Some((archive, _)), true) = (proof, image.tag.is_some()) {
        return Some((archive, true));
    }
    let tagged = image.tagged()?;
    let same = named().find(|(_, archived)| archived.name.tagged().as_ref() == Some(&tagged));
    same.map(|(archive, _)| (archive, false))
}

/// Size and time of an archive: reading gigabytes to compare them takes longer than loading them.
fn identity_of(archive: &Path) -> String {
    let metadata = std::fs::metadata(archive);
    let modified = metadata.as_ref().ok().and_then(|metadata| metadata.modified().ok());
    let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let size = metadata.map_or(0, |metadata| metadata.len());
    format!("{size} {}", modified.map_or(0, |time| time.as_nanos()))
}

/// The name under which the engine can save `image`, and its identity, if it has it. With a digest,
/// the tag must be there too and mean the same image, because an archive knows tags only.
async fn in_engine(
    containers: &Containers,
    image: &ImageName,
    text: &str,
) -> Result<Option<(String, String)>, Error> {
    let Some(id) = containers.image_id(text).await? else { return Ok(None) };
    match (&image.digest, image.tagged()) {
        (None, _) => Ok(Some((text.to_owned(), id))),
        (Some(_), None) => Ok(None),
        (Some(_), Some(tagged)) => {
            let same = containers.image_id(&tagged).await?.is_some_and(|tagged| tagged == id);
            Ok(same.then_some((tagged, id)))
        }
    }
}

fn missing_text(missing: &[&str], spec: &KindSpec, archives: usize, provider: &str) -> String {
    let (n, are) = match missing.len() {
        1 => ("1 image".to_owned(), "is"),
        n => (format!("{n} images"), "are"),
    };
    let searched = match &spec.images {
        Some(folder) => {
            format!("neither in {} (archives: {archives}) nor in {provider}", folder.display())
        }
        None => format!("not in {provider}, and no archives were named"),
    };
    let mut text = format!("{n} of the stack and its add-ons {are} {searched}:");
    for image in missing {
        text.push_str(&format!("\n  {image}"));
    }
    text.push_str("\nget each in one of these ways:");
    for image in missing {
        // A pull by digest sets no tag, and only tags can be saved.
        let tag = image.split_once('@').filter(|(tagged, _)| !tagged.is_empty());
        let and_tag = tag.map(|(tagged, _)| format!(" && {provider} tag {image} {tagged}"));
        text.push_str(&format!("\n  {provider} pull {image}{}", and_tag.unwrap_or_default()));
    }
    text.push_str(&format!(
        "\n  or `{provider} save --output NAME.tar IMAGE...` where it is, and the file into the folder \
         of --images"
    ));
    text
}
