//! Label and field selectors of list, watch and deletecollection
//! (`apimachinery/pkg/labels/selector.go`, `fields/selector.go`; semantics 1.10).

use std::borrow::Cow;

use crate::sim::api::{Obj, Status};

/// Which objects a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LabelTerm {
    key: String,
    rule: LabelRule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LabelRule {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    field: String,
    value: String,
    is_equal: bool,
}

impl Selection {
    /// Reads both selectors of a request for objects of kind `kind` (as in `Pod`).
    pub(super) fn parse(kind: &str, labels: &str, fields: &str) -> Result<Self, Status> {
        Ok(Selection { labels: parse_labels(labels)?, fields: parse_fields(kind, fields)? })
    }

    /// Adds a requirement on the name.
    pub(super) fn only_name(&mut self, name: &str) {
        let field = "metadata.name".to_owned();
        self.fields.push(FieldTerm { field, value: name.to_owned(), is_equal: true });
    }

    /// Whether `object` is selected.
    pub(super) fn matches(&self, object: &Obj) -> bool {
        self.labels.iter().all(|term| term.matches(object))
            && self.fields.iter().all(|term| term.matches(object))
    }
}

impl LabelTerm {
    fn matches(&self, object: &Obj) -> bool {
        let value = object.meta().labels.as_ref().and_then(|labels| labels.get(&self.key));
        match &self.rule {
            LabelRule::In(values) => value.is_some_and(|v| values.contains(v)),
            LabelRule::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            LabelRule::Exists => value.is_some(),
            LabelRule::Absent => value.is_none(),
        }
    }
}

impl FieldTerm {
    fn matches(&self, object: &Obj) -> bool {
        (field_of(object, &self.field) == self.value.as_str()) == self.is_equal
    }
}

fn parse_labels(text: &str) -> Result<Vec<LabelTerm>, Status> {
    split_terms(text).into_iter().map(|term| label_term(&term)).collect()
}

/// Splits at commas outside parentheses.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut depth = 0_usize;
    for symbol in text.chars() {
        match symbol {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match terms.last_mut() {
            Some(last) if symbol != ',' || depth > 0 => last.push(symbol),
            _ => terms.push(String::new()),
        }
    }
    terms.retain(|term| !term.trim().is_empty());
    terms
}

fn label_term(term: &str) -> Result<LabelTerm, Status> {
    let text = term.trim();
    let one = |value: &str| vec![value.trim().to_owned()];
    let (key, rule) = if let Some(key) = text.strip_prefix('!') {
        (key, LabelRule::Absent)
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, LabelRule::NotIn(one(value)))
    } else if let Some((key, value)) = text.split_once("==") {
        (key, LabelRule::In(one(value)))
    } else if let Some((key, value)) = text.split_once('=') {
        (key, LabelRule::In(one(value)))
    } else if let Some((head, values)) = text.split_once('(') {
        let values = values.strip_suffix(')').ok_or_else(|| malformed(text, "expected: ')'"))?;
        let values: Vec<String> = values.split(',').map(|v| v.trim().to_owned()).collect();
        match head.trim().split_once(char::is_whitespace) {
            Some((key, operator)) if operator.trim() == "in" => (key, LabelRule::In(values)),
            Some((key, operator)) if operator.trim() == "notin" => (key, LabelRule::NotIn(values)),
            _ => return Err(malformed(text, "expected: in, notin, =, ==, !=")),
        }
    } else {
        (text, LabelRule::Exists)
    };
    let key = key.trim();
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(is_key) {
        return Err(malformed(text, "expected: !, identifier, or 'end of string'"));
    }
    Ok(LabelTerm { key: key.to_owned(), rule })
}

fn malformed(term: &str, expected: &str) -> Status {
    Status::bad_request(format!("unable to parse requirement: found '{term}', {expected}"))
}

fn parse_fields(kind: &str, text: &str) -> Result<Vec<FieldTerm>, Status> {
    let terms = text.split(',').filter(|term| !term.trim().is_empty());
    terms
        .map(|term| {
            let (field, value, is_equal) = if let Some((field, value)) = term.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = term.split_once("==") {
                (field, value, true)
            } else if let Some((field, value)) = term.split_once('=') {
                (field, value, true)
            } else {
                let message = format!("invalid selector: '{text}'; can't understand '{term}'");
                return Err(Status::bad_request(message));
            };
            let field = field.trim();
            if !is_selectable(kind, field) {
                return Err(unknown_field(kind, field));
            }
            let value = value.trim().to_owned();
            Ok(FieldTerm { field: field.to_owned(), value, is_equal })
        })
        .collect()
}

/// Fields a selector may name, beyond name and namespace (`registry/*/strategy.go:SelectableFields`).
fn selectable(kind: &str) -> &'static [&'static str] {
    match kind {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Node" => &["spec.unschedulable"],
        "ReplicaSet" | "ReplicationController" => &["status.replicas"],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "Namespace" => &["status.phase"],
        "Secret" => &["type"],
        "Job" => &["status.successful"],
        _ => &[],
    }
}

fn is_selectable(kind: &str, field: &str) -> bool {
    matches!(field, "metadata.name" | "metadata.namespace") || selectable(kind).contains(&field)
}

fn unknown_field(kind: &str, field: &str) -> Status {
    Status::bad_request(if selectable(kind).is_empty() {
        format!(
            "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )
    } else {
        format!("field label not supported: {field}")
    })
}

fn field_of<'a>(object: &'a Obj, field: &str) -> Cow<'a, str> {
    match (field, object) {
        ("metadata.name", _) => object.name().into(),
        ("metadata.namespace", _) => object.namespace().into(),
        (_, Obj::Pod(pod)) => pod_field(pod, field),
        (_, Obj::Event(event)) => event_field(event, field),
        ("spec.unschedulable", Obj::Node(node)) => {
            let is_cordoned = node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
            if is_cordoned { "true" } else { "false" }.into()
        }
        ("status.replicas", Obj::ReplicaSet(set)) => {
            set.status.as_ref().map_or(0, |s| s.replicas).to_string().into()
        }
        ("status.phase", Obj::Namespace(namespace)) => {
            text(namespace.status.as_ref().and_then(|s| s.phase.as_ref()))
        }
        ("type", Obj::Secret(secret)) => text(secret.type_.as_ref()),
        ("status.successful", Obj::Job(job)) => {
            let succeeded = job.status.as_ref().and_then(|s| s.succeeded);
            succeeded.unwrap_or(0).to_string().into()
        }
        _ => "".into(),
    }
}

fn pod_field<'a>(pod: &'a k8s_openapi::api::core::v1::Pod, field: &str) -> Cow<'a, str> {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    match field {
        "spec.nodeName" => text(spec.and_then(|s| s.node_name.as_ref())),
        "spec.restartPolicy" => text(spec.and_then(|s| s.restart_policy.as_ref())),
        "spec.schedulerName" => text(spec.and_then(|s| s.scheduler_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|s| s.service_account_name.as_ref())),
        "spec.hostNetwork" => {
            if spec.and_then(|s| s.host_network).unwrap_or(false) { "true" } else { "false" }.into()
        }
        "status.phase" => text(status.and_then(|s| s.phase.as_ref())),
        "status.podIP" => text(status.and_then(|s| s.pod_ip.as_ref())),
        "status.nominatedNodeName" => text(status.and_then(|s| s.nominated_node_name.as_ref())),
        _ => "".into(),
    }
}

fn event_field<'a>(event: &'a k8s_openapi::api::core::v1::Event, field: &str) -> Cow<'a, str> {
    let involved = &event.involved_object;
    match field {
        "involvedObject.kind" => text(involved.kind.as_ref()),
        "involvedObject.namespace" => text(involved.namespace.as_ref()),
        "involvedObject.name" => text(involved.name.as_ref()),
        "involvedObject.uid" => text(involved.uid.as_ref()),
        "involvedObject.apiVersion" => text(involved.api_version.as_ref()),
        "involvedObject.resourceVersion" => text(involved.resource_version.as_ref()),
        "involvedObject.fieldPath" => text(involved.field_path.as_ref()),
        "reason" => text(event.reason.as_ref()),
        "reportingComponent" => text(event.reporting_component.as_ref()),
        "source" => text(event.source.as_ref().and_then(|s| s.component.as_ref())),
        "type" => text(event.type_.as_ref()),
        _ => "".into(),
    }
}

fn text(value: Option<&String>) -> Cow<'_, str> {
    value.map_or("", String::as_str).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::{Pod, PodSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn pod(labels: &[(&str, &str)]) -> Obj {
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Obj::Pod(Arc::new(Pod {
            metadata: ObjectMeta { labels: Some(labels), ..ObjectMeta::default() },
            spec: Some(PodSpec { node_name: Some("n1".into()), ..PodSpec::default() }),
            ..Pod::default()
        }))
    }

    fn selects(labels: &str, fields: &str) -> bool {
        let object = pod(&[("app", "web"), ("tier", "front")]);
        Selection::parse("Pod", labels, fields).expect("parses").matches(&object)
    }

    #[test]
    fn label_terms_are_anded() {
        assert!(selects("app=web,tier in (front, back)", ""));
        assert!(selects("app==web,!gone,tier", ""));
        assert!(selects("gone!=x,gone notin (a,b)", ""));
        assert!(!selects("app!=web", ""));
        assert!(!selects("app=web,gone", ""));
    }

    #[test]
    fn field_terms_know_their_kind() {
        assert!(selects("", "spec.nodeName=n1,status.phase!=Running"));
        assert!(!selects("", "spec.nodeName=n2"));
        let refused = Selection::parse("Service", "", "spec.type=NodePort").expect_err("unknown");
        assert_eq!(refused.code, 400);
        assert!(refused.message.contains("not a known field selector"));
        let refused = Selection::parse("Pod", "", "spec.x=1").expect_err("unknown");
        assert_eq!(refused.message, "field label not supported: spec.x");
    }

    #[test]
    fn malformed_label_selectors_are_refused() {
        assert_eq!(Selection::parse("Pod", "a in (b", "").expect_err("open").code, 400);
        assert_eq!(Selection::parse("Pod", "=x", "").expect_err("no key").code, 400);
    }
}
