//! Upstream's files as objects: many documents a file, in their order.

use serde::Deserialize as _;
use serde_json::Value;

use crate::base::{Error, ObjectRef};

/// One object of an add-on.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The object.
    pub value: Value,
    /// The file it comes from, for messages.
    pub file: String,
}

impl Document {
    /// All objects in `text`, the content of `file`; empty documents are left out, lists are opened.
    ///
    /// # Errors
    /// Usage: no YAML, or no object.
    pub(super) fn all_in(file: &str, text: &str) -> Result<Vec<Document>, Error> {
        let mut found = Vec::new();
        for (idx, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
            let broken = |why: &dyn std::fmt::Display| {
                Error::usage(format!("{file}: document {}: {why}", idx + 1))
            };
            let value = Value::deserialize(document).map_err(|error| broken(&error))?;
            open(file, value, &mut found).map_err(|why| broken(&why))?;
        }
        Ok(found)
    }

    /// An object of our own making.
    pub(super) fn ours(value: Value) -> Document {
        Document { value, file: "seatrial".to_owned() }
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Its namespace; empty where it names none.
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// Its API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.text("/apiVersion").split_once('/').map_or("", |(group, _)| group)
    }

    /// Kind, namespace and name.
    pub fn object_ref(&self) -> ObjectRef {
        ObjectRef::new(self.kind(), self.namespace(), self.name())
    }

    /// Whether it is the `kind` called `name`.
    pub fn is(&self, kind: &str, name: &str) -> bool {
        self.kind() == kind && self.name() == name
    }

    fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
    }

    /// The container lists of the pods that it makes, init containers included.
    pub(super) fn containers_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        let pod = match self.kind() {
            "Pod" => "/spec",
            "CronJob" => "/spec/jobTemplate/spec/template/spec",
            _ => "/spec/template/spec",
        };
        let spec = self.value.pointer_mut(pod).and_then(Value::as_object_mut);
        spec.into_iter()
            .flat_map(serde_json::Map::iter_mut)
            .filter(|(key, _)| matches!(key.as_str(), "containers" | "initContainers"))
            .filter_map(|(_, list)| list.as_array_mut())
            .flatten()
    }
}

fn open(file: &str, value: Value, found: &mut Vec<Document>) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or("").to_owned();
    if kind.ends_with("List")
        && let Some(items) = value.get("items").and_then(Value::as_array)
    {
        for item in items {
            open(file, item.clone(), found)?;
        }
        return Ok(());
    }
    let document = Document { value, file: file.to_owned() };
    let version = document.text("/apiVersion");
    if kind.is_empty() || version.is_empty() || document.name().is_empty() {
        return Err("expected an object with apiVersion, kind and metadata.name".to_owned());
    }
    found.push(document);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a licence
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: a, namespace: shop}}
- {apiVersion: batch/v1, kind: Job, metadata: {name: b, namespace: shop}, spec: {template: {spec:
    {containers: [{name: c, image: one}], initContainers: [{name: i, image: two}]}}}}
";

    #[test]
    fn documents_keep_their_order_and_lists_are_opened() {
        let mut documents = Document::all_in("f.yaml", TEXT).expect("objects");
        let refs: Vec<_> = documents.iter().map(|each| each.object_ref().to_string()).collect();
        assert_eq!(refs, ["Namespace shop", "Secret shop/a", "Job shop/b"]);
        assert_eq!(documents[2].group(), "batch");
        let images: Vec<_> = documents[2].containers_mut().map(|c| c["image"].clone()).collect();
        assert_eq!(images, ["one", "two"]);
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_place() {
        let error = Document::all_in("f.yaml", "kind: Pod\n").expect_err("refused");
        assert!(error.to_string().starts_with("f.yaml: document 1: expected an object"), "{error}");
        let error = Document::all_in("f.yaml", "a: 1\n---\n{: :\n").expect_err("refused");
        assert!(error.to_string().starts_with("f.yaml: document"), "{error}");
        let html = Document::all_in("f.yaml", "<html>sign in</html>").expect_err("refused");
        assert!(html.to_string().contains("expected an object"), "{html}");
    }
}
