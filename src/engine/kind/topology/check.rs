//! Whether kind can use a topology: what is wrong, at which line and field, and what to write.

use serde_yaml::{Mapping, Value};

use super::{API_VERSION, is_worker, role, sequence};
use crate::base::Error;
use crate::base::yaml::{self, Node};
use crate::k8s::schema::near_match;

/// What kind reads in the file (`kind@v0.32.0:pkg/apis/config/v1alpha4/types.go`); it refuses the rest.
const CLUSTER_FIELDS: &[&str] = &[
    "kind",
    "apiVersion",
    "name",
    "nodes",
    "networking",
    "featureGates",
    "runtimeConfig",
    "kubeadmConfigPatches",
    "kubeadmConfigPatchesJSON6902",
    "containerdConfigPatches",
    "containerdConfigPatchesJSON6902",
];
const NODE_FIELDS: &[&str] = &[
    "role",
    "image",
    "labels",
    "extraMounts",
    "extraPortMappings",
    "kubeadmConfigPatches",
    "kubeadmConfigPatchesJSON6902",
];
const PORT_FIELDS: &[&str] = &["containerPort", "hostPort", "listenAddress", "protocol"];

/// Where in which file something is wrong.
struct Place<'a> {
    source: &'a str,
    root: &'a Node,
    path: String,
}

impl Place<'_> {
    fn wrong(&self, why: impl std::fmt::Display) -> Error {
        let line = self.root.line_of(&self.path);
        Error::usage(format!("{}:{line}: `{}`: {why}", self.source, self.path))
    }

    fn at(&self, field: &str) -> Place<'_> {
        let dot = if self.path.is_empty() || field.starts_with('[') { "" } else { "." };
        Place { path: format!("{}{dot}{field}", self.path), ..*self }
    }

    fn known(&self, fields: &Mapping, known: &[&str]) -> Result<(), Error> {
        for key in fields.keys().filter_map(Value::as_str) {
            if known.contains(&key) {
                continue;
            }
            let near = near_match(key, known.iter().copied());
            let hint = near.map(|name| format!("; did you mean `{name}`?"));
            let hint = hint.unwrap_or_default();
            return Err(self.at(key).wrong(format!("kind knows no such field{hint}")));
        }
        Ok(())
    }
}

/// The document in `text`, which errors call `source`, and its nodes.
///
/// # Errors
/// A usage error that names file, line and field.
pub(super) fn read(text: &str, source: &str) -> Result<(Mapping, Vec<Mapping>), Error> {
    let (documents, broken) = yaml::documents(text);
    if let Some(broken) = broken {
        return Err(Error::usage(format!("{source}:{}: {}", broken.line, broken.message)));
    }
    let none = |line: usize, why: &str| {
        Error::usage(format!("{source}:{line}: no kind configuration: {why}"))
    };
    let root = match documents.as_slice() {
        [root] => root,
        [] => return Err(none(1, "the file is empty")),
        [_, second, ..] => return Err(none(second.line, "it is one document, not several")),
    };
    let document: Mapping =
        serde_yaml::from_str(text).map_err(|error| none(root.line, &error.to_string()))?;
    let top = Place { source, root, path: String::new() };
    top.known(&document, CLUSTER_FIELDS)?;
    expect_text(&top, &document, "kind", "Cluster")?;
    expect_text(&top, &document, "apiVersion", API_VERSION)?;
    check_patches(&top, &document)?;
    let nodes = match document.get("nodes") {
        // kind's own default.
        None | Some(Value::Null) => vec![role("control-plane")],
        Some(Value::Sequence(nodes)) => {
            let numbered = nodes.iter().enumerate();
            numbered.map(|(n, node)| check_node(&top, n, node)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(top.at("nodes").wrong("a list of nodes is needed")),
    };
    if !nodes.iter().any(|node| !is_worker(node)) {
        return Err(top.at("nodes").wrong("at least one node must be a control-plane"));
    }
    Ok((document, nodes))
}

fn expect_text(place: &Place, fields: &Mapping, field: &str, wanted: &str) -> Result<(), Error> {
    match fields.get(field).and_then(Value::as_str) {
        Some(text) if text == wanted => Ok(()),
        _ => Err(place.at(field).wrong(format!("it must be `{wanted}`"))),
    }
}

/// A patch that names an apiVersion is dropped without a word where kind generates another one
/// (`kind@v0.32.0:pkg/internal/patch/resource.go`).
fn check_patches(place: &Place, fields: &Mapping) -> Result<(), Error> {
    for (n, patch) in sequence(fields, "kubeadmConfigPatches").iter().enumerate() {
        let text = patch.as_str().unwrap_or_default();
        if text.lines().any(|line| line.trim_start().starts_with("apiVersion:")) {
            return Err(place.at("kubeadmConfigPatches").at(&format!("[{n}]")).wrong(
                "take the line `apiVersion` out: kind drops the patch without a word for the \
                 Kubernetes minors that use another version",
            ));
        }
    }
    Ok(())
}

fn check_node(top: &Place, n: usize, node: &Value) -> Result<Mapping, Error> {
    let nodes = top.at("nodes");
    let place = nodes.at(&format!("[{n}]"));
    let Value::Mapping(node) = node else { return Err(place.wrong("a node has fields")) };
    place.known(node, NODE_FIELDS)?;
    match node.get("role").map(|role| role.as_str()) {
        None | Some(Some("control-plane" | "worker")) => {}
        _ => return Err(place.at("role").wrong("it must be `control-plane` or `worker`")),
    }
    for field in ["extraMounts", "extraPortMappings", "kubeadmConfigPatches"] {
        if node.get(field).is_some_and(|value| !value.is_sequence() && !value.is_null()) {
            return Err(place.at(field).wrong("a list is needed"));
        }
    }
    if node.get("labels").is_some_and(|labels| !labels.is_mapping() && !labels.is_null()) {
        return Err(place.at("labels").wrong("names and values are needed"));
    }
    for (m, mapping) in sequence(node, "extraPortMappings").iter().enumerate() {
        let list = place.at("extraPortMappings");
        let place = list.at(&format!("[{m}]"));
        let Value::Mapping(mapping) = mapping else {
            return Err(place.wrong("a port mapping has fields"));
        };
        place.known(mapping, PORT_FIELDS)?;
        let port = mapping.get("containerPort").and_then(Value::as_u64);
        if !port.is_some_and(|port| (1..=65_535).contains(&port)) {
            return Err(place.at("containerPort").wrong("a port, 1 to 65535, is needed"));
        }
    }
    check_patches(&place, node)?;
    Ok(node.clone())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::base::ErrorClass;

    #[rstest]
    #[case::kind("kind: Pod\napiVersion: v1\n", "1: `kind`: it must be `Cluster`")]
    #[case::version(
        "kind: Cluster\napiVersion: v1\n",
        "2: `apiVersion`: it must be `kind.x-k8s.io/v1alpha4`"
    )]
    #[case::field(
        "kind: Cluster\nnods: []\n",
        "2: `nods`: kind knows no such field; did you mean `nodes`?"
    )]
    #[case::empty("# nothing\n", "1: no kind configuration: the file is empty")]
    #[case::two("kind: Cluster\n---\nkind: Pod\n", "3: no kind configuration: it is one document")]
    #[case::a_list("- kind: Cluster\n", "1: no kind configuration: ")]
    #[case::broken("kind: Cluster\nnodes: [\n", "2: broken YAML: unclosed bracket")]
    fn heads_are_checked(#[case] text: &str, #[case] wanted: &str) {
        let error = read(text, "file.yaml").expect_err("it is wrong");
        assert_eq!(error.class(), ErrorClass::Usage);
        assert!(error.to_string().starts_with(&format!("file.yaml:{wanted}")), "{error}");
    }

    #[rstest]
    #[case::role(
        "nodes:\n- role: control-plane\n- role: master",
        "5: `nodes[1].role`: it must be `control-plane` or `worker`"
    )]
    #[case::no_plane(
        "nodes: [{role: worker}]",
        "3: `nodes`: at least one node must be a control-plane"
    )]
    #[case::node_field(
        "nodes:\n- image: a:1\n  rol: worker",
        "5: `nodes[0].rol`: kind knows no such field; did you mean `role`?"
    )]
    #[case::port(
        "nodes:\n- extraPortMappings:\n  - hostPort: 80\n    containerPort: http",
        "6: `nodes[0].extraPortMappings[0].containerPort`: a port, 1 to 65535, is needed"
    )]
    #[case::patch(
        "kubeadmConfigPatches: ['{kind: X}', \"apiVersion: kubeadm.k8s.io/v1beta3\\nkind: X\"]",
        "3: `kubeadmConfigPatches[1]`: take the line `apiVersion` out"
    )]
    #[case::nodes("nodes: 3", "3: `nodes`: a list of nodes is needed")]
    fn nodes_are_checked(#[case] rest: &str, #[case] wanted: &str) {
        heads_are_checked(&format!("kind: Cluster\napiVersion: {API_VERSION}\n{rest}"), wanted);
    }
}
