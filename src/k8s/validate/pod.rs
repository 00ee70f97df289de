//! Pods and pod templates (`pkg/apis/core/validation/validation.go:ValidatePodSpec`).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec};

use super::container::{self, Role};
use super::meta::{annotations, labels, metadata};
use super::{Errors, NameRule, Path, scheduling, text, volume};
use crate::k8s::Profile;

/// `ValidatePodCreate`.
pub fn pod(pod: &Pod, profile: Profile, errors: &mut Errors) {
    metadata(&pod.metadata, NameRule::Subdomain, true, errors);
    let root = Path::root("spec");
    match &pod.spec {
        Some(spec) => pod_spec(spec, &root, profile, errors),
        None => errors.required(&root.field("containers"), ""),
    }
}

/// `ValidatePodTemplateSpec`.
pub fn pod_template(
    template: &PodTemplateSpec,
    path: &Path<'_>,
    profile: Profile,
    errors: &mut Errors,
) {
    template_metadata(template, path, errors);
    let at = path.field("spec");
    match &template.spec {
        Some(spec) => pod_spec(spec, &at, profile, errors),
        None => errors.required(&at.field("containers"), ""),
    }
    let ephemeral = template.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_ref());
    if ephemeral.is_some_and(|list| !list.is_empty()) {
        let why = "ephemeral containers not allowed in pod template";
        errors.forbidden(&at.field("ephemeralContainers"), why);
    }
}

/// The labels and annotations of a template.
pub(super) fn template_metadata(template: &PodTemplateSpec, path: &Path<'_>, errors: &mut Errors) {
    let Some(meta) = &template.metadata else { return };
    let at = path.field("metadata");
    if let Some(map) = &meta.labels {
        labels(map, &at.field("labels"), errors);
    }
    if let Some(map) = &meta.annotations {
        annotations(map, &at.field("annotations"), errors);
    }
}

fn pod_spec(spec: &PodSpec, path: &Path<'_>, profile: Profile, errors: &mut Errors) {
    let volumes = volume::volumes(spec.volumes.as_deref().unwrap_or(&[]), path, errors);
    containers(spec, path, profile, &volumes, errors);
    errors.one_of(
        &path.field("restartPolicy"),
        spec.restart_policy.as_deref(),
        &["Always", "OnFailure", "Never"],
    );
    errors.one_of(
        &path.field("dnsPolicy"),
        spec.dns_policy.as_deref(),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    let no_servers = || {
        let servers = spec.dns_config.as_ref().and_then(|config| config.nameservers.as_ref());
        servers.is_none_or(Vec::is_empty)
    };
    if spec.dns_policy.as_deref() == Some("None") && no_servers() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.required(&path.field("dnsConfig.nameservers"), why);
    }
    errors.non_negative(
        &path.field("terminationGracePeriodSeconds"),
        spec.termination_grace_period_seconds,
    );
    if let Some(seconds) = spec.active_deadline_seconds.filter(|&seconds| seconds < 1) {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.invalid(&path.field("activeDeadlineSeconds"), seconds, why);
    }
    names(spec, path, errors);
    scheduling::tolerations(spec, path, errors);
    scheduling::affinity(spec, path, errors);
    scheduling::spread(spec, path, errors);
    for (idx, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let gates = path.field("readinessGates");
        let name = &gate.condition_type;
        let at = gates.index(idx);
        errors.refused(&at.field("conditionType"), name, text::qualified_name(name));
    }
}

fn names(spec: &PodSpec, path: &Path<'_>, errors: &mut Errors) {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(name) = given(&spec.service_account_name) {
        errors.refused(&path.field("serviceAccountName"), &name, text::subdomain_1123(&name));
    }
    if let Some(name) = given(&spec.node_name) {
        errors.refused(&path.field("nodeName"), &name, text::subdomain_1123(&name));
    }
    if let Some(name) = given(&spec.hostname) {
        errors.refused(&path.field("hostname"), &name, text::label_1123(&name));
    }
    if let Some(name) = given(&spec.subdomain) {
        errors.refused(&path.field("subdomain"), &name, text::label_1123(&name));
    }
    if let Some(name) = given(&spec.priority_class_name) {
        errors.refused(&path.field("priorityClassName"), &name, text::subdomain_1123(&name));
    }
    if let Some(map) = &spec.node_selector {
        labels(map, &path.field("nodeSelector"), errors);
    }
    for (idx, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        if secret.name.is_empty() {
            let list = path.field("imagePullSecrets");
            errors.required(&list.index(idx).field("name"), "");
        }
    }
}

fn containers(
    spec: &PodSpec,
    path: &Path<'_>,
    profile: Profile,
    volumes: &BTreeSet<&str>,
    errors: &mut Errors,
) {
    let list = path.field("containers");
    if spec.containers.is_empty() {
        errors.required(&list, "");
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let host_network = spec.host_network == Some(true);
    let grace_seconds = spec.termination_grace_period_seconds.unwrap_or(30);
    let mut check = container::Checker { profile, volumes, host_network, grace_seconds, errors };
    for (idx, each) in spec.containers.iter().enumerate() {
        let at = list.index(idx);
        check.container(each, &at, Role::Main);
        if !each.name.is_empty() && !seen.insert(&each.name) {
            check.errors.duplicate(&at.field("name"), format!("{:?}", each.name));
        }
    }
    let list = path.field("initContainers");
    for (idx, each) in spec.init_containers.iter().flatten().enumerate() {
        let at = list.index(idx);
        check.container(each, &at, Role::Init);
        if !each.name.is_empty() && !seen.insert(&each.name) {
            check.errors.duplicate(&at.field("name"), format!("{:?}", each.name));
        }
    }
    container::host_ports(spec.containers.iter(), &path.field("containers"), errors);
}
