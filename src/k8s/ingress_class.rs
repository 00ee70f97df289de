//! Which Ingresses are ingress-nginx's, and how it reads their annotations.

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

/// The controller that classes of ingress-nginx name (`internal/k8s/main.go:IngressNGINXController`).
const CONTROLLER: &str = "k8s.io/ingress-nginx";
/// Name of its class, for the old annotation.
const CLASS_NAME: &str = "nginx";
/// The annotation that came before `spec.ingressClassName`.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Whether ingress-nginx takes `ingress`: by its class or the old annotation, or because it has none
/// (`--watch-ingress-without-class`, as kind's manifest sets it). `class_of` finds a class by name
/// (`internal/ingress/controller/store/store.go:GetIngressClass`).
pub fn is_nginx_ingress<'a>(
    ingress: &Ingress,
    class_of: impl FnOnce(&str) -> Option<&'a IngressClass>,
) -> bool {
    let annotations = ingress.metadata.annotations.as_ref();
    if let Some(class) = annotations.and_then(|a| a.get(CLASS_ANNOTATION)) {
        return class == CLASS_NAME;
    }
    let Some(name) = ingress.spec.as_ref().and_then(|s| s.ingress_class_name.as_deref()) else {
        return true;
    };
    let controller = class_of(name).and_then(|class| class.spec.as_ref()?.controller.as_deref());
    controller == Some(CONTROLLER)
}

/// A flag in an annotation, as Go's `strconv.ParseBool` reads it; `None` where that is an error, which
/// leaves the default (`internal/ingress/annotations/parser/main.go:parseBool`).
pub fn annotation_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
