//! Stack: reads manifests, keeps file and line of every field, checks and orders them, applies them.
//! Owns: `Stack`, apply order, the field manager `seatrial`.
//! Imports: base, k8s, wait. Never: engine, sim, suite, a template language.
//! Time and errors: reading is synchronous and lists every problem; what may pass by itself is tried again.
//! Source: sigs.k8s.io/yaml, server-side apply. Proof: tests/bad_input.rs, tests/fuzz.rs.

mod applier;
mod apply;
mod check;
mod coverage;
mod hooks;
mod manifest;
mod node_ports;
mod order;
mod problem;
mod read;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::base::{Error, ObjectRef};
use crate::k8s::{CustomKind, Profile};

pub use applier::{Applier, ApplyError};
pub use coverage::UnmodelledField;
pub use manifest::{Location, Manifest};

/// A set of manifests, checked and in apply order; none by default.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    objects: Vec<Manifest>,
    left_out: Vec<String>,
}

impl Stack {
    /// Reads the file or folder at `path` for a cluster of `profile`.
    ///
    /// # Errors
    /// Class usage: everything that is wrong with it, a line each.
    pub fn load(path: &Path, profile: &Profile) -> Result<Stack, Error> {
        let mut problems = problem::Problems::default();
        let mut written = Vec::new();
        for file in &read::files(path)? {
            written.extend(read::objects(file, &mut problems));
        }
        Stack::checked(path, written, profile, problems)
    }

    /// Reads `text` as if it were the file called `name`.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_text(name: &str, text: &str, profile: &Profile) -> Result<Stack, Error> {
        let mut problems = problem::Problems::default();
        let written = read::text_objects(Path::new(name), text, &mut problems);
        Stack::checked(Path::new(name), written, profile, problems)
    }

    fn checked(
        path: &Path,
        written: Vec<read::Written>,
        profile: &Profile,
        mut problems: problem::Problems,
    ) -> Result<Stack, Error> {
        let mut objects = check::all(written, *profile, &mut problems);
        problems.into_result()?;
        let mut left_out = Vec::new();
        objects.retain(|each| match hooks::other_hook(each) {
            Some(hook) => {
                let (at, object) = (each.locate(""), &each.object_ref);
                left_out.push(format!("{object} ({at}): Helm makes it at the hook {hook}"));
                false
            }
            None => true,
        });
        if objects.is_empty() {
            return Err(Error::usage(format!("{}: no objects in it", path.display())));
        }
        order::sort(&mut objects);
        Ok(Stack { objects, left_out })
    }

    /// The objects that are written with the others and are none of the stack, each with the reason.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The objects in apply order.
    pub fn objects(&self) -> &[Manifest] {
        &self.objects
    }

    /// The images that its pods use, in the order of the manifests.
    pub fn images(&self) -> Vec<String> {
        let templates = |manifest: &'_ Manifest| match manifest.object_ref.kind.as_ref() {
            "Pod" => manifest.value.get("spec").cloned(),
            "CronJob" => manifest.value.pointer("/spec/jobTemplate/spec/template/spec").cloned(),
            _ => manifest.value.pointer("/spec/template/spec").cloned(),
        };
        let images = |pod: Value| -> Vec<String> {
            let lists = ["containers", "initContainers"].into_iter();
            let containers = lists.filter_map(|list| pod.get(list)?.as_array()).flatten();
            let images = containers.filter_map(|each| each.get("image")?.as_str());
            images.map(str::to_owned).collect()
        };
        self.objects().iter().filter_map(templates).flat_map(images).collect()
    }

    /// The same stack with `labels` on every object itself, and on the claims of its StatefulSets, which
    /// outlive them. Templates of pods stay as written, so that what runs is what the manifests say.
    #[must_use]
    pub fn with_labels(&self, labels: &BTreeMap<String, String>) -> Stack {
        let mut stack = self.clone();
        for manifest in &mut stack.objects {
            add_labels(&mut manifest.value, labels);
            let claims = manifest.value.pointer_mut("/spec/volumeClaimTemplates");
            for claim in claims.and_then(Value::as_array_mut).into_iter().flatten() {
                add_labels(claim, labels);
            }
        }
        stack
    }

    /// The same stack without the objects that `is_left_out` names.
    #[must_use]
    pub fn without(&self, is_left_out: impl Fn(&ObjectRef) -> bool) -> Stack {
        let kept = self.objects.iter().filter(|each| !is_left_out(&each.object_ref));
        Stack { objects: kept.cloned().collect(), left_out: self.left_out.clone() }
    }

    /// Where `path` (as in `spec.template.spec.containers[0].image`) of an object is written, or the
    /// nearest part above it that is.
    pub fn locate(&self, object: &ObjectRef, path: &str) -> Option<Location> {
        self.manifest(object).map(|manifest| manifest.locate(path))
    }

    /// The manifest of an object.
    pub fn manifest(&self, object: &ObjectRef) -> Option<&Manifest> {
        self.objects.iter().find(|each| each.object_ref == *object)
    }

    /// The kinds of custom resources whose definitions the cluster must have: the stack has none.
    pub fn custom_kinds(&self) -> Vec<CustomKind> {
        let is_defined = |kind: &CustomKind| {
            let name = format!("{}.{}", kind.plural, kind.group);
            self.manifest(&ObjectRef::new("CustomResourceDefinition", "", name)).is_some()
        };
        let kinds = self.objects.iter().filter_map(|each| each.custom_kind.clone());
        let mut kinds: Vec<CustomKind> = kinds.filter(|kind| !is_defined(kind)).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }
}

fn add_labels(object: &mut Value, labels: &BTreeMap<String, String>) {
    let Value::Object(object) = object else { return };
    let meta = object.entry("metadata").or_insert_with(|| json!({}));
    let Value::Object(meta) = meta else { return };
    let own = meta.get("labels").and_then(Value::as_object).cloned();
    let mut all = own.unwrap_or_default();
    all.extend(labels.iter().map(|(name, value)| (name.clone(), json!(value))));
    meta.insert("labels".to_owned(), Value::Object(all));
}
