//! What is checked before anything is applied: kinds, versions, fields, types, the API server's
//! validation, duplicates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::manifest::Manifest;
use super::node_ports;
use super::problem::Problems;
use super::read::Written;
use crate::base::ObjectRef;
use crate::base::yaml::Node;
use crate::k8s::schema::{make_plain, metadata_schema, near_match, schema};
use crate::k8s::served::{Served, built_in, is_built_in_group};
use crate::k8s::validate::{self, Errors, NameRule};
use crate::k8s::{CustomKind, Profile, rook};

/// Group and kind.
type GroupKind = (String, String);
/// Where each object was first seen.
type Seen = BTreeMap<(String, ObjectRef), (PathBuf, usize)>;

/// Checks all objects and returns those without a problem.
pub(super) fn all(
    written: Vec<Written>,
    profile: Profile,
    problems: &mut Problems,
) -> Vec<Manifest> {
    let definitions = definitions(&written);
    let mut seen = Seen::new();
    let mut objects = Vec::new();
    for each in written {
        let before = problems.count();
        let mut check = Check { profile, definitions: &definitions, written: &each, problems };
        let Some(mut manifest) = check.object() else { continue };
        let key = (manifest.group().to_owned(), manifest.object_ref.clone());
        if let Some((file, line)) = seen.get(&key) {
            let message =
                format!("{}: already defined at {}:{line}", manifest.object_ref, file.display());
            problems.add(&each.file, each.node.line, &message);
        } else {
            seen.insert(key, (each.file.clone(), each.node.line));
        }
        if problems.count() == before {
            manifest.node = Arc::new(each.node);
            objects.push(manifest);
        }
    }
    node_ports::check_shared(&objects, problems);
    objects
}

/// The custom kinds that the stack itself defines.
fn definitions(written: &[Written]) -> BTreeMap<GroupKind, CustomKind> {
    let text = |node: &Node, path: &[&str]| {
        let mut node = node;
        for part in path {
            node = &node.entry(part)?.node;
        }
        node.as_str().map(str::to_owned)
    };
    let definition = |node: &Node| {
        if node.entry("kind")?.node.as_str() != Some("CustomResourceDefinition") {
            return None;
        }
        Some(CustomKind {
            group: text(node, &["spec", "group"])?,
            version: String::new(),
            kind: text(node, &["spec", "names", "kind"])?,
            plural: text(node, &["spec", "names", "plural"])?,
            namespaced: text(node, &["spec", "scope"]).as_deref() != Some("Cluster"),
        })
    };
    let kinds = written.iter().filter_map(|each| definition(&each.node));
    kinds.map(|kind| ((kind.group.clone(), kind.kind.clone()), kind)).collect()
}

struct Check<'a> {
    profile: Profile,
    definitions: &'a BTreeMap<GroupKind, CustomKind>,
    written: &'a Written,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn object(&mut self) -> Option<Manifest> {
        let api_version = self.wanted_text("apiVersion")?;
        let kind = self.wanted_text("kind")?;
        let name = self.name(&kind)?;
        let (group, version) = match api_version.split_once('/') {
            Some((group, version)) if !version.contains('/') && !group.is_empty() => {
                (group, version)
            }
            None if !api_version.is_empty() => ("", api_version.as_str()),
            _ => {
                let message = format!("apiVersion: {api_version:?} is not `group/version`");
                self.problem("apiVersion", &format!("{kind} {name}: {message}"));
                return None;
            }
        };
        let mut value = self.written.node.to_json();
        make_plain(group, version, &kind, &mut value);
        let own = is_built_in_group(group) || !group.contains('.');
        let (namespaced, custom_kind) = if own {
            let served = self.served(group, version, &kind, &name)?;
            (served.namespaced, None)
        } else {
            let custom = self.custom_kind(group, version, &kind);
            (custom.namespaced, Some(custom))
        };
        let namespace = match value.pointer("/metadata/namespace").and_then(Value::as_str) {
            _ if !namespaced => "",
            Some(namespace) if !namespace.is_empty() => namespace,
            _ => "default",
        };
        let object_ref = ObjectRef::new(kind.as_str(), namespace, name);
        self.fields(group, version, &object_ref, &value, namespaced);
        Some(Manifest {
            object_ref,
            api_version,
            value,
            file: self.written.file.clone(),
            line: self.written.node.line,
            custom_kind,
            node: Arc::new(Node { data: crate::base::yaml::Data::List(Vec::new()), line: 0 }),
        })
    }

    /// A problem at `path` of the object.
    fn problem(&mut self, path: &str, message: &str) {
        let line = self.written.node.line_of(path);
        self.problems.add(&self.written.file, line, message);
    }

    /// What a file may be that has neither `apiVersion` nor `kind`.
    fn hint_of_another_format(&self) -> &'static str {
        let has = |field| self.written.node.entry(field).is_some();
        match () {
            () if has("apiVersion") || has("kind") || has("metadata") => "",
            () if has("services") => {
                "; if it is a Compose file, name what `kompose convert --stdout` prints"
            }
            () => "; if it is no manifest, as values of a chart, keep it in another folder",
        }
    }

    /// The text of a field that every object has.
    fn wanted_text(&mut self, field: &str) -> Option<String> {
        match self.written.node.entry(field) {
            None => {
                let hint = self.hint_of_another_format();
                self.problem("", &format!("object without `{field}`{hint}"));
                None
            }
            Some(entry) => match entry.node.as_str() {
                Some(text) => Some(text.to_owned()),
                None => {
                    self.problem(field, &format!("{field}: expected a string"));
                    None
                }
            },
        }
    }

    fn name(&mut self, kind: &str) -> Option<String> {
        let metadata = self.written.node.entry("metadata").map(|entry| &entry.node);
        let name = metadata.and_then(|metadata| metadata.entry("name")).map(|entry| &entry.node);
        match name.map(Node::as_str) {
            Some(Some(name)) if !name.is_empty() => Some(name.to_owned()),
            Some(None) => {
                self.problem("metadata.name", &format!("{kind}: metadata.name: expected a string"));
                None
            }
            _ => {
                let generated = metadata.is_some_and(|m| m.entry("generateName").is_some());
                let hint =
                    if generated { " (an object to apply cannot use `generateName`)" } else { "" };
                let message = format!("{kind}: metadata.name: Required value{hint}");
                self.problem("metadata", &message);
                None
            }
        }
    }

    /// The kind as the profile serves it.
    fn served(&mut self, group: &str, version: &str, kind: &str, name: &str) -> Option<Served> {
        let wanted = |each: &Served| each.group == group && each.kind == kind;
        let known = built_in().find(|each| wanted(each) && each.version == version);
        if let Some(served) = known.filter(|served| served.is_served_by(self.profile)) {
            return Some(served);
        }
        let api_version =
            if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let profile = self.profile;
        let (path, what) = if built_in().any(|each| wanted(&each)) {
            let instead = match profile.replacement(group, kind) {
                Some(instead) => format!("write `{instead}`"),
                None => format!("Kubernetes {profile} has no {kind}"),
            };
            let what = format!("`{api_version}` is not served by Kubernetes {profile}: {instead}");
            ("apiVersion", what)
        } else if let Some(instead) = profile.replacement(group, kind) {
            ("apiVersion", format!("no {kind} in `{api_version}`: write `{instead}`"))
        } else if !is_built_in_group(group) {
            let groups = built_in().map(|each| each.group);
            let hint = near_match(group, groups).map(|near| format!("; did you mean `{near}`?"));
            let hint = hint.unwrap_or_default();
            ("apiVersion", format!("unknown API group `{group}`{hint}"))
        } else {
            let here = built_in().filter(|each| each.group == group).map(|each| each.kind);
            let near = near_match(kind, here)
                .or_else(|| near_match(kind, built_in().map(|each| each.kind)));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            ("kind", format!("unknown kind `{kind}` in `{api_version}`{hint}"))
        };
        self.problem(path, &format!("{kind} {name}: {path}: {what}"));
        None
    }

    fn custom_kind(&self, group: &str, version: &str, kind: &str) -> CustomKind {
        let key = (group.to_owned(), kind.to_owned());
        let (plural, namespaced) = match self.definitions.get(&key) {
            Some(definition) => (definition.plural.clone(), definition.namespaced),
            None => match rook::plural(group, kind) {
                Some(plural) => (plural.to_owned(), true),
                // Without its definition: cluster-wide kinds are usually called so.
                None => (usual_plural(kind), !kind.starts_with("Cluster")),
            },
        };
        CustomKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural,
            namespaced,
        }
    }

    /// Unknown fields and wrong types; without any, what the API server's validation refuses.
    fn fields(
        &mut self,
        group: &str,
        version: &str,
        object_ref: &ObjectRef,
        value: &Value,
        namespaced: bool,
    ) {
        let kind = object_ref.kind.as_str();
        let schema = schema(group, version, kind);
        let found = match (schema, value.get("metadata")) {
            (Some(schema), _) => schema.check(value),
            (None, Some(metadata)) => metadata_schema().check_below("metadata", metadata),
            (None, None) => Vec::new(),
        };
        for problem in &found {
            let message = format!("{object_ref}: {}: {}", problem.path, problem.message);
            self.problem(&problem.path, &message);
        }
        if !found.is_empty() {
            return;
        }
        let mut value = value.clone();
        if !namespaced && let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            // The API server drops it (registry/rest/create.go:BeforeCreate).
            metadata.remove("namespace");
        }
        let checked = match schema {
            Some(_) => validate::manifest(group, version, kind, value, self.profile),
            None => untyped(NameRule::of(group, kind, self.profile), value, namespaced),
        };
        match checked {
            Ok(errors) => {
                for error in errors.into_vec() {
                    self.problem(&error.field, &format!("{object_ref}: {error}"));
                }
            }
            Err(why) => self.problem("", &format!("{object_ref}: {why}")),
        }
    }
}

/// Custom resources and kinds without a schema: their metadata.
fn untyped(rule: NameRule, mut value: Value, namespaced: bool) -> Result<Errors, String> {
    let metadata = value.get_mut("metadata").map(Value::take).unwrap_or_default();
    let meta: ObjectMeta =
        serde_json::from_value(metadata).map_err(|error| format!("metadata: {error}"))?;
    let mut errors = Errors::default();
    validate::metadata(&meta, rule, namespaced, &mut errors);
    Ok(errors)
}

/// The plural that most definitions choose.
fn usual_plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    if kind.ends_with(['s', 'x', 'z']) || kind.ends_with("ch") || kind.ends_with("sh") {
        return format!("{kind}es");
    }
    match kind.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals() {
        assert_eq!(usual_plural("Certificate"), "certificates");
        assert_eq!(usual_plural("NetworkPolicy"), "networkpolicies");
        assert_eq!(usual_plural("Gateway"), "gateways");
        assert_eq!(usual_plural("Mesh"), "meshes");
    }
}
