//! Metadata and label selectors (`apimachinery/pkg/api/validation/objectmeta.go`,
//! `apis/meta/v1/validation`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::{Errors, Path, quoted, text};
use crate::k8s::Profile;

/// All annotations of an object together, in bytes (`TotalAnnotationSizeLimitB`).
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// Which names a kind takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Most kinds.
    Subdomain,
    /// Namespaces, and Services and StatefulSets of new minors.
    Label,
    /// Services of old minors.
    Label1035,
    /// RBAC kinds.
    PathSegment,
}

impl NameRule {
    /// The rule of a kind.
    pub fn of(group: &str, kind: &str, profile: Profile) -> NameRule {
        match (group, kind) {
            ("", "Namespace") => NameRule::Label,
            // RelaxedServiceNameValidation is on by default from 1.36.
            ("", "Service") if profile.at_least(36) => NameRule::Label,
            ("", "Service") => NameRule::Label1035,
            // The names of its pods are host names, which hold no dots.
            ("apps", "StatefulSet") if profile.at_least(27) => NameRule::Label,
            ("rbac.authorization.k8s.io", _) => NameRule::PathSegment,
            _ => NameRule::Subdomain,
        }
    }

    /// Why `name` is refused.
    pub fn check(self, name: &str) -> Vec<String> {
        match self {
            NameRule::Subdomain => text::subdomain_1123(name),
            NameRule::Label => text::label_1123(name),
            NameRule::Label1035 => text::label_1035(name),
            NameRule::PathSegment => text::path_segment(name),
        }
    }
}

/// `ValidateObjectMeta`.
pub fn metadata(meta: &ObjectMeta, rule: NameRule, namespaced: bool, errors: &mut Errors) {
    let root = Path::root("metadata");
    let name = meta.name.as_deref().unwrap_or("");
    let generate_name = meta.generate_name.as_deref().unwrap_or("");
    if !name.is_empty() {
        errors.refused(&root.field("name"), name, rule.check(name));
    } else if generate_name.is_empty() {
        errors.required(&root.field("name"), "name or generateName is required");
    }
    let namespace = meta.namespace.as_deref().unwrap_or("");
    if !namespaced && !namespace.is_empty() {
        errors.forbidden(&root.field("namespace"), "not allowed on this type");
    } else if !namespace.is_empty() {
        errors.refused(&root.field("namespace"), namespace, text::label_1123(namespace));
    }
    if let Some(map) = &meta.labels {
        labels(map, &root.field("labels"), errors);
    }
    if let Some(map) = &meta.annotations {
        annotations(map, &root.field("annotations"), errors);
    }
    owners(meta, errors);
    for (idx, finalizer) in meta.finalizers.iter().flatten().enumerate() {
        let finalizers = root.field("finalizers");
        errors.refused(&finalizers.index(idx), finalizer, text::qualified_name(finalizer));
    }
}

fn owners(meta: &ObjectMeta, errors: &mut Errors) {
    let root = Path::root("metadata");
    let list = root.field("ownerReferences");
    let mut controllers = 0;
    for (idx, owner) in meta.owner_references.iter().flatten().enumerate() {
        let path = list.index(idx);
        let wanted =
            [("apiVersion", &owner.api_version), ("kind", &owner.kind), ("name", &owner.name)];
        for (field, value) in wanted {
            if value.is_empty() {
                errors.invalid(&path.field(field), "\"\"", &format!("{field} must not be empty"));
            }
        }
        if owner.uid.is_empty() {
            errors.invalid(&path.field("uid"), "\"\"", "uid must not be empty");
        }
        controllers += usize::from(owner.controller == Some(true));
    }
    if controllers > 1 {
        let why = "Only one reference can have Controller set to true";
        errors.invalid(&list, "[]metav1.OwnerReference", why);
    }
}

/// `ValidateLabels`.
pub fn labels(map: &BTreeMap<String, String>, path: &Path<'_>, errors: &mut Errors) {
    for (key, value) in map {
        errors.refused(path, key, text::qualified_name(key));
        errors.refused(path, value, text::label_value(value));
    }
}

/// `ValidateAnnotations`.
pub fn annotations(map: &BTreeMap<String, String>, path: &Path<'_>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in map {
        errors.refused(path, key, text::qualified_name(&key.to_lowercase()));
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_BYTES_MAX {
        errors.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

/// `ValidateLabelSelector`.
pub fn selector(selector: &LabelSelector, path: &Path<'_>, errors: &mut Errors) {
    if let Some(pairs) = &selector.match_labels {
        labels(pairs, &path.field("matchLabels"), errors);
    }
    let list = path.field("matchExpressions");
    for (idx, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let at = list.index(idx);
        let n_values = requirement.values.as_ref().map_or(0, Vec::len);
        match requirement.operator.as_str() {
            "In" | "NotIn" if n_values == 0 => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(&at.field("values"), why);
            }
            "Exists" | "DoesNotExist" if n_values > 0 => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&at.field("values"), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.invalid(
                    &at.field("operator"),
                    quoted(other),
                    "not a valid selector operator",
                );
            }
        }
        errors.refused(&at.field("key"), &requirement.key, text::qualified_name(&requirement.key));
        for (n, value) in requirement.values.iter().flatten().enumerate() {
            let values = at.field("values");
            errors.refused(&values.index(n), value, text::label_value(value));
        }
    }
}

/// Whether a selector selects by nothing.
pub fn is_empty_selector(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// A map in Go syntax, as messages show it.
pub fn go_map(map: Option<&BTreeMap<String, String>>) -> String {
    let pairs: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key:?}:{value:?}")).collect();
    match map {
        Some(_) => format!("map[string]string{{{}}}", pairs.join(", ")),
        None => "null".to_owned(),
    }
}

/// A selector in Go syntax, as messages show it.
pub fn go_selector(selector: &LabelSelector) -> String {
    let labels = match &selector.match_labels {
        Some(map) => go_map(Some(map)),
        None => "map[string]string(nil)".to_owned(),
    };
    let expressions: Vec<String> = (selector.match_expressions.iter().flatten())
        .map(|requirement| {
            let values: Vec<String> =
                requirement.values.iter().flatten().map(|value| quoted(value)).collect();
            format!(
                "v1.LabelSelectorRequirement{{Key:{:?}, Operator:{:?}, Values:[]string{{{}}}}}",
                requirement.key,
                requirement.operator,
                values.join(", ")
            )
        })
        .collect();
    let list = if expressions.is_empty() {
        "[]v1.LabelSelectorRequirement(nil)".to_owned()
    } else {
        format!("[]v1.LabelSelectorRequirement{{{}}}", expressions.join(", "))
    };
    format!("v1.LabelSelector{{MatchLabels:{labels}, MatchExpressions:{list}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_names_change_with_the_minor() {
        let rule = |group, kind, minor: &str| {
            NameRule::of(group, kind, minor.parse().expect("a minor that is modelled"))
        };
        assert_eq!(rule("", "Service", "1.35"), NameRule::Label1035);
        assert_eq!(rule("", "Service", "1.36"), NameRule::Label);
        assert_eq!(rule("apps", "StatefulSet", "1.26"), NameRule::Subdomain);
        assert_eq!(rule("apps", "StatefulSet", "1.27"), NameRule::Label);
    }
}
