//! Where a pod may run: tolerations, affinity, spread constraints
//! (`pkg/apis/core/validation/validation.go`: validateTolerations, validateAffinity,
//! validateTopologySpreadConstraints).

use k8s_openapi::api::core::v1::{
    NodeSelectorTerm, PodAffinityTerm, PodSpec, WeightedPodAffinityTerm,
};

use super::meta::selector;
use super::{Errors, Path, quoted, text};

/// Operators of node affinity.
const NODE_OPERATORS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

/// `ValidateTolerations`.
pub(super) fn tolerations(spec: &PodSpec, path: &Path<'_>, errors: &mut Errors) {
    let list = path.field("tolerations");
    for (idx, toleration) in spec.tolerations.iter().flatten().enumerate() {
        let at = list.index(idx);
        let key = toleration.key.as_deref().unwrap_or("");
        let value = toleration.value.as_deref().unwrap_or("");
        let operator = toleration.operator.as_deref().unwrap_or("");
        let effect = toleration.effect.as_deref().unwrap_or("");
        if !key.is_empty() {
            errors.refused(&at.field("key"), key, text::qualified_name(key));
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values \
                       and all keys\"";
            errors.invalid(&at.field("operator"), quoted(operator), why);
        }
        if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&at.field("effect"), quoted(effect), why);
        }
        match operator {
            "" | "Equal" => {
                errors.refused(&at.field("operator"), value, text::label_value(value));
            }
            "Exists" if !value.is_empty() => {
                let why = "value must be empty when `operator` is 'Exists'";
                errors.invalid(&at.field("operator"), "core.Toleration", why);
            }
            "Exists" => {}
            // `Gt` and `Lt` too: TaintTolerationComparisonOperators is alpha, off by default.
            other => errors.not_supported(&at.field("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            errors.one_of(&at.field("effect"), Some(effect), &effects);
        }
    }
}

/// `validateAffinity`.
pub(super) fn affinity(spec: &PodSpec, path: &Path<'_>, errors: &mut Errors) {
    let Some(affinity) = &spec.affinity else { return };
    let at = path.field("affinity");
    if let Some(node) = &affinity.node_affinity {
        let node_at = at.field("nodeAffinity");
        let required = node_at.field("requiredDuringSchedulingIgnoredDuringExecution");
        if let Some(terms) = &node.required_during_scheduling_ignored_during_execution {
            let list = required.field("nodeSelectorTerms");
            if terms.node_selector_terms.is_empty() {
                errors.required(&list, "must have at least one node selector term");
            }
            for (idx, term) in terms.node_selector_terms.iter().enumerate() {
                node_term(term, &list.index(idx), errors);
            }
        }
        let preferred = node_at.field("preferredDuringSchedulingIgnoredDuringExecution");
        let terms = node.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        for (idx, term) in terms.enumerate() {
            let each = preferred.index(idx);
            weight(term.weight, &each, errors);
            node_term(&term.preference, &each.field("preference"), errors);
        }
    }
    if let Some(pods) = &affinity.pod_affinity {
        pod_terms(
            pods.required_during_scheduling_ignored_during_execution.as_deref(),
            pods.preferred_during_scheduling_ignored_during_execution.as_deref(),
            &at.field("podAffinity"),
            errors,
        );
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        pod_terms(
            pods.required_during_scheduling_ignored_during_execution.as_deref(),
            pods.preferred_during_scheduling_ignored_during_execution.as_deref(),
            &at.field("podAntiAffinity"),
            errors,
        );
    }
}

fn pod_terms(
    required: Option<&[PodAffinityTerm]>,
    preferred: Option<&[WeightedPodAffinityTerm]>,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let list = path.field("requiredDuringSchedulingIgnoredDuringExecution");
    for (idx, term) in required.unwrap_or(&[]).iter().enumerate() {
        pod_term(term, &list.index(idx), errors);
    }
    let list = path.field("preferredDuringSchedulingIgnoredDuringExecution");
    for (idx, term) in preferred.unwrap_or(&[]).iter().enumerate() {
        let at = list.index(idx);
        weight(term.weight, &at, errors);
        pod_term(&term.pod_affinity_term, &at.field("podAffinityTerm"), errors);
    }
}

fn pod_term(term: &PodAffinityTerm, path: &Path<'_>, errors: &mut Errors) {
    if let Some(labels) = &term.label_selector {
        selector(labels, &path.field("labelSelector"), errors);
    }
    if let Some(namespaces) = &term.namespace_selector {
        selector(namespaces, &path.field("namespaceSelector"), errors);
    }
    let key = &term.topology_key;
    if key.is_empty() {
        errors.required(&path.field("topologyKey"), "can not be empty");
    }
    errors.refused(&path.field("topologyKey"), key, text::qualified_name(key));
}

fn weight(weight: i32, path: &Path<'_>, errors: &mut Errors) {
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.field("weight"), weight, "must be in the range 1-100");
    }
}

fn node_term(term: &NodeSelectorTerm, path: &Path<'_>, errors: &mut Errors) {
    let list = path.field("matchExpressions");
    for (idx, requirement) in term.match_expressions.iter().flatten().enumerate() {
        let at = list.index(idx);
        let operator = requirement.operator.as_str();
        let n_values = requirement.values.as_ref().map_or(0, Vec::len);
        match operator {
            "In" | "NotIn" if n_values == 0 => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(&at.field("values"), why);
            }
            "Exists" | "DoesNotExist" if n_values > 0 => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&at.field("values"), why);
            }
            "Gt" | "Lt" if n_values != 1 => {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.required(&at.field("values"), why);
            }
            _ if !NODE_OPERATORS.contains(&operator) => {
                let why = "not a valid selector operator";
                errors.invalid(&at.field("operator"), quoted(operator), why);
            }
            _ => {}
        }
        errors.refused(&at.field("key"), &requirement.key, text::qualified_name(&requirement.key));
    }
}

/// `validateTopologySpreadConstraints`.
pub(super) fn spread(spec: &PodSpec, path: &Path<'_>, errors: &mut Errors) {
    let list = path.field("topologySpreadConstraints");
    let constraints = spec.topology_spread_constraints.as_deref().unwrap_or(&[]);
    for (idx, constraint) in constraints.iter().enumerate() {
        let at = list.index(idx);
        if constraint.max_skew <= 0 {
            let why = "must be greater than zero";
            errors.invalid(&at.field("maxSkew"), constraint.max_skew, why);
        }
        if constraint.topology_key.is_empty() {
            errors.required(&at.field("topologyKey"), "can not be empty");
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        let action = constraint.when_unsatisfiable.as_str();
        errors.one_of(&at.field("whenUnsatisfiable"), Some(action), &actions);
        if let Some(labels) = &constraint.label_selector {
            selector(labels, &at.field("labelSelector"), errors);
        }
        if let Some(domains) = constraint.min_domains {
            if domains <= 0 {
                errors.invalid(&at.field("minDomains"), domains, "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule";
                errors.invalid(&at.field("minDomains"), domains, why);
            }
        }
        let same = |other: &&k8s_openapi::api::core::v1::TopologySpreadConstraint| {
            other.topology_key == constraint.topology_key && other.when_unsatisfiable == action
        };
        if constraints[..idx].iter().any(|other| same(&other)) {
            let pair = format!("\"{{{}, {action}}}\"", constraint.topology_key);
            errors.duplicate(&at.field("{topologyKey, whenUnsatisfiable}"), pair);
        }
    }
}
