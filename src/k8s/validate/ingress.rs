//! Ingresses and their classes (`pkg/apis/networking/validation/validation.go`).

use core::net::IpAddr;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressTLS,
};

use super::meta::metadata;
use super::{Errors, NameRule, Path, quoted, text};
use crate::k8s::Profile;

/// The class of an Ingress before it had a field for it.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// The annotation may say what the field says (kubernetes PR 115447).
const CLASS_MAY_REPEAT_SINCE: u8 = 27;
/// Sequences a path may not contain.
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
/// Endings a path may not have.
const BAD_ENDINGS: [&str; 2] = ["/..", "/."];

/// `ValidateIngress`.
pub fn ingress(ingress: &Ingress, profile: Profile, errors: &mut Errors) {
    metadata(&ingress.metadata, NameRule::Subdomain, true, errors);
    let root = Path::root("spec");
    let (rules, default) = match &ingress.spec {
        Some(spec) => (spec.rules.as_deref().unwrap_or(&[]), spec.default_backend.as_ref()),
        None => (&[][..], None),
    };
    if rules.is_empty() && default.is_none() {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.invalid(&root, "[]networking.IngressRule(nil)", why);
    }
    let Some(spec) = &ingress.spec else { return };
    if let Some(default) = default {
        backend(default, &root.field("defaultBackend"), profile, errors);
    }
    if let Some(class) = &spec.ingress_class_name {
        errors.refused(&root.field("ingressClassName"), class, text::subdomain_1123(class));
        annotated_class(ingress, class, profile, errors);
    }
    let list = root.field("tls");
    for (idx, tls) in spec.tls.iter().flatten().enumerate() {
        check_tls(tls, &list.index(idx), errors);
    }
    let list = root.field("rules");
    for (idx, rule) in rules.iter().enumerate() {
        let at = list.index(idx);
        if let Some(name) = rule.host.as_deref().filter(|host| !host.is_empty()) {
            host(name, &at.field("host"), errors);
        }
        let Some(http) = &rule.http else { continue };
        let paths = at.field("http.paths");
        if http.paths.is_empty() {
            errors.required(&paths, "");
        }
        for (n, each) in http.paths.iter().enumerate() {
            path(each, &paths.index(n), profile, errors);
        }
    }
}

/// `ValidateIngressCreate`: the annotation that came before the field `class`.
fn annotated_class(ingress: &Ingress, class: &str, profile: Profile, errors: &mut Errors) {
    let annotations = ingress.metadata.annotations.as_ref();
    let Some(annotated) = annotations.and_then(|all| all.get(CLASS_ANNOTATION)) else { return };
    let may_repeat = profile.at_least(CLASS_MAY_REPEAT_SINCE);
    if may_repeat && annotated == class {
        return;
    }
    let why = if may_repeat {
        "must match `ingressClassName` when both are specified"
    } else {
        "can not be set when the class field is also set"
    };
    let at = Path::root("metadata");
    let at = at.field("annotations");
    errors.invalid(&at.field(CLASS_ANNOTATION), quoted(annotated), why);
}

fn host(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.parse::<IpAddr>().is_ok() {
        errors.invalid(path, quoted(name), "must be a DNS name, not an IP address");
    } else if name.contains('*') {
        errors.refused(path, name, text::wildcard_subdomain(name));
    } else {
        errors.refused(path, name, text::subdomain_1123(name));
    }
}

/// `validateIngressTLS`.
fn check_tls(tls: &IngressTLS, path: &Path<'_>, errors: &mut Errors) {
    let hosts = path.field("hosts");
    for (idx, name) in tls.hosts.iter().flatten().enumerate() {
        let why = if name.contains('*') {
            text::wildcard_subdomain(name)
        } else {
            text::subdomain_1123(name)
        };
        errors.refused(&hosts.index(idx), name, why);
    }
    if let Some(secret) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) {
        errors.refused(&path.field("secretName"), secret, text::subdomain_1123(secret));
    }
}

/// `validateHTTPIngressPath`.
fn path(each: &HTTPIngressPath, at: &Path<'_>, profile: Profile, errors: &mut Errors) {
    let text = each.path.as_deref().unwrap_or("");
    let at_path = at.field("path");
    match each.path_type.as_str() {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.invalid(&at_path, quoted(text), "must be an absolute path");
            }
            for bad in BAD_SEQUENCES.iter().filter(|bad| text.contains(**bad)) {
                errors.invalid(&at_path, quoted(text), &format!("must not contain '{bad}'"));
            }
            for bad in BAD_ENDINGS.iter().filter(|bad| text.ends_with(**bad)) {
                errors.invalid(&at_path, quoted(text), &format!("cannot end with '{bad}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.invalid(&at_path, quoted(text), "must be an absolute path");
            }
        }
        "" => errors.required(&at.field("pathType"), "pathType must be specified"),
        other => {
            let types = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.not_supported(&at.field("pathType"), other, &types);
        }
    }
    backend(&each.backend, &at.field("backend"), profile, errors);
}

/// `validateIngressBackend`.
fn backend(backend: &IngressBackend, path: &Path<'_>, profile: Profile, errors: &mut Errors) {
    match (&backend.service, &backend.resource) {
        (Some(_), Some(_)) => {
            let why = "cannot set both resource and service backends";
            errors.invalid(path, "\"\"", why);
        }
        (None, Some(_)) => {}
        (None, None) => errors.required(path, "resource or service backend is required"),
        (Some(service), None) => {
            let at = path.field("service");
            if service.name.is_empty() {
                errors.required(&at.field("name"), "");
            } else {
                let why = NameRule::of("", "Service", profile).check(&service.name);
                errors.refused(&at.field("name"), &service.name, why);
            }
            let port = service.port.as_ref();
            let name = port.and_then(|port| port.name.as_deref()).unwrap_or("");
            let number = port.and_then(|port| port.number).unwrap_or(0);
            let at = at.field("port");
            match (name.is_empty(), number) {
                (false, 0) => errors.refused(&at.field("name"), name, text::port_name(name)),
                (false, _) => {
                    errors.invalid(&at, "\"\"", "cannot set both port name & port number");
                }
                (true, 0) => errors.required(path, "port name or number is required"),
                (true, number) => errors.port(&at.field("number"), number),
            }
        }
    }
}

/// `ValidateIngressClass`.
pub fn ingress_class(class: &IngressClass, errors: &mut Errors) {
    metadata(&class.metadata, NameRule::Subdomain, false, errors);
    let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref());
    let root = Path::root("spec");
    match controller.unwrap_or("") {
        "" => errors.required(&root.field("controller"), ""),
        name if !name.contains('/') => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.invalid(&root.field("controller"), quoted(name), why);
        }
        _ => {}
    }
}
