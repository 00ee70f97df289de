//! Which nodes a pod asks for by label or name.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

use super::selector::matches_labels;

/// Whether `node` has what the node selector and the required affinity of `spec` ask for.
pub fn fits_node(spec: &PodSpec, node: &Node) -> bool {
    let none = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&none);
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    spec.node_selector.as_ref().is_none_or(|wanted| matches_labels(wanted, labels))
        && required.is_none_or(|required| {
            required.node_selector_terms.iter().any(|term| node_term_matches(term, labels, name))
        })
}

/// Whether a node with `labels` and `name` has what `term` asks for
/// (`component-helpers/scheduling/corev1/nodeaffinity`); an empty term matches nothing.
pub fn node_term_matches(
    term: &NodeSelectorTerm,
    labels: &BTreeMap<String, String>,
    name: &str,
) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    let field = |r: &NodeSelectorRequirement| {
        r.key == "metadata.name" && requirement_matches(r, Some(name))
    };
    !(expressions.is_empty() && fields.is_empty())
        && expressions
            .iter()
            .all(|r| requirement_matches(r, labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(field)
}

fn requirement_matches(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or(&[]);
    let compare = |holds: fn(&i64, &i64) -> bool| {
        let actual = value.and_then(|v| v.parse::<i64>().ok());
        let bound = values.first().and_then(|v| v.parse::<i64>().ok());
        actual.zip(bound).is_some_and(|(actual, bound)| holds(&actual, &bound))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|v| values.iter().any(|known| known == v)),
        "NotIn" => value.is_none_or(|v| !values.iter().any(|known| known == v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fits(spec: Value) -> Vec<&'static str> {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let spec: PodSpec = serde_json::from_value(spec).expect("a pod spec");
        let node = |name: &str, disk: &str| -> Node {
            let metadata = json!({"name": name, "labels": {"disk": disk}});
            serde_json::from_value(json!({"metadata": metadata})).expect("a node")
        };
        let nodes = [("a", "ssd"), ("b", "ssd"), ("c", "hdd")];
        nodes.into_iter().filter(|(n, d)| fits_node(&spec, &node(n, d))).map(|(n, _)| n).collect()
    }

    #[test]
    fn selector_and_required_affinity_both_count() {
        let required = |terms: Value| {
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": terms}}})
        };
        let not_a = json!([{"matchFields":
            [{"key": "metadata.name", "operator": "NotIn", "values": ["a"]}]}]);
        assert_eq!(fits(json!({})), ["a", "b", "c"]);
        assert_eq!(fits(json!({"nodeSelector": {"disk": "ssd"}})), ["a", "b"]);
        assert_eq!(fits(json!({"affinity": required(not_a.clone())})), ["b", "c"]);
        let both = json!({"nodeSelector": {"disk": "ssd"}, "affinity": required(not_a)});
        assert_eq!(fits(both), ["b"]);
        assert!(fits(json!({"affinity": required(json!([{}]))})).is_empty());
    }
}
