//! Bystanders: workloads of a stack beside those that are judged, which nothing asks and nothing waits
//! for. How their pods start, run and end decides no verdict.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use crate::base::ObjectRef;
use crate::k8s::{matches_labels, matches_selector};
use crate::stack::Manifest;
use crate::suite::run::RunRequest;

use super::{holds, workloads};

/// The workloads of a stack by how much they matter.
pub(super) struct Bystanders {
    /// Those that are judged; empty where that is not known.
    judged: Vec<ObjectRef>,
    bystanders: Vec<ObjectRef>,
}

impl Bystanders {
    /// Those of the stack of `request`: none where an init container of a workload that is judged may
    /// wait for them.
    pub(super) fn of(request: &RunRequest) -> Self {
        let Ok(target) = request.target() else {
            return Bystanders { judged: Vec::new(), bystanders: Vec::new() };
        };
        let judged: Vec<ObjectRef> = workloads(&target).map(|each| each.reference()).collect();
        let waits = judged.iter().any(|each| {
            let manifest = request.stack.manifest(each);
            let pod = manifest.and_then(|manifest| manifest.value.pointer("/spec/template/spec"));
            pod.is_none_or(|pod| !pod["initContainers"].is_null())
        });
        let objects = request.stack.objects();
        let beside = objects.iter().filter(|each| {
            !waits && labels_of(each).is_some() && !judged.contains(&each.object_ref)
        });
        let unseen =
            beside.filter(|each| !objects.iter().any(|other| reaches(other, each, objects)));
        let bystanders = unseen.map(|each| each.object_ref.clone()).collect();
        Bystanders { judged, bystanders }
    }

    /// Whether `workload` is one.
    pub(super) fn contains(&self, workload: &ObjectRef) -> bool {
        self.bystanders.contains(workload)
    }

    /// Whether `line` of a diagnosis is about one of them: without a model of its program it does not run
    /// here, which is no evidence.
    pub(super) fn is_about(&self, line: &str) -> bool {
        self.bystanders.iter().any(|each| {
            let rest = line.strip_prefix(&format!("{} {} ", each.kind, each.name));
            rest.is_some_and(|rest| rest.starts_with('('))
        })
    }

    /// Whether `pod` is one of theirs, as far as names tell.
    pub(super) fn own(&self, pod: &ObjectRef) -> bool {
        let made = |workload: &&ObjectRef| {
            let rest = pod.name.strip_prefix(workload.name.as_str());
            workload.namespace == pod.namespace
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let longest = |all: &[ObjectRef]| {
            all.iter().filter(made).map(|workload| workload.name.len()).max().unwrap_or(0)
        };
        longest(&self.bystanders) > longest(&self.judged)
    }
}

/// The labels of the pods that `manifest` makes, or is.
fn labels_of(manifest: &Manifest) -> Option<BTreeMap<String, String>> {
    let at = match manifest.object_ref.kind.as_str() {
        "Pod" => "",
        "CronJob" => "/spec/jobTemplate/spec/template",
        _ => "/spec/template",
    };
    let pod = manifest.value.pointer(at).filter(|_| !manifest.is_custom())?;
    Some(read(&pod["metadata"]["labels"]).unwrap_or_default())
}

/// Whether `other` is a way from outside to the pods of `workload`, or a budget that counts them.
fn reaches(other: &Manifest, workload: &Manifest, objects: &[Manifest]) -> bool {
    let Some(labels) = labels_of(workload) else { return false };
    if other.object_ref.namespace != workload.object_ref.namespace {
        return false;
    }
    let spec = &other.value["spec"];
    match other.object_ref.kind.as_str() {
        "PodDisruptionBudget" => read::<LabelSelector>(&spec["selector"])
            .is_none_or(|selector| matches_selector(&selector, &labels)),
        "Service" => {
            let selects = read(&spec["selector"]).is_some_and(|selector: BTreeMap<_, _>| {
                !selector.is_empty() && matches_labels(&selector, &labels)
            });
            let is_inner = matches!(spec["type"].as_str(), None | Some("ClusterIP"))
                && spec["externalIPs"].is_null();
            let is_backend = |each: &Manifest| {
                each.object_ref.kind == "Ingress" && holds(&each.value, &other.object_ref.name)
            };
            selects && (!is_inner || objects.iter().any(is_backend))
        }
        _ => false,
    }
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}
