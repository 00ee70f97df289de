//! Ingresses that ingress-nginx leaves to other controllers.

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use serde_json::{Value, json};

use crate::base::ObjectRef;
use crate::k8s::{CLASS_ANNOTATION, is_nginx_ingress};
use crate::stack::{Manifest, Stack};

use super::stop::Stop;
use super::trial::Trial;

/// An Ingress of another class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherIngress {
    /// The Ingress.
    pub ingress: ObjectRef,
    /// Its class, and where it is written.
    pub told: String,
}

/// The Ingresses of `stack` that ingress-nginx does not take, on a cluster whose classes are those of
/// the stack and ingress-nginx's own.
pub(super) fn other_ingresses(stack: &Stack) -> Vec<OtherIngress> {
    let ingresses = stack.objects().iter().filter(|each| each.object_ref.kind == "Ingress");
    let others = ingresses.filter(|ingress| !is_nginx(stack, ingress));
    others.map(OtherIngress::of).collect()
}

fn is_nginx(stack: &Stack, manifest: &Manifest) -> bool {
    let field = |pointer: &str| manifest.value.pointer(pointer).unwrap_or(&Value::Null);
    let parts = json!({
        "metadata": {"annotations": field("/metadata/annotations")},
        "spec": {"ingressClassName": field("/spec/ingressClassName")},
    });
    let Ok(ingress) = serde_json::from_value::<Ingress>(parts) else { return true };
    let name = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    let reference = ObjectRef::new("IngressClass", "", name.unwrap_or_default());
    // The stack may bring ingress-nginx's own class as well.
    let own = json!({"spec": {"controller": "k8s.io/ingress-nginx"}});
    let class = match stack.manifest(&reference) {
        Some(class) => Some(class.value.clone()),
        None => (name == Some("nginx")).then_some(own),
    };
    let class: Option<IngressClass> = class.and_then(|class| serde_json::from_value(class).ok());
    is_nginx_ingress(&ingress, |_| class.as_ref())
}

impl OtherIngress {
    fn of(manifest: &Manifest) -> OtherIngress {
        let annotations = manifest.value.pointer("/metadata/annotations");
        let annotation = annotations.and_then(|annotations| annotations.get(CLASS_ANNOTATION));
        let class = annotation.or_else(|| manifest.value.pointer("/spec/ingressClassName"));
        let field = match annotation {
            Some(_) => format!("metadata.annotations.{CLASS_ANNOTATION}"),
            None => "spec.ingressClassName".to_owned(),
        };
        let class = class.and_then(Value::as_str).unwrap_or_default();
        let (at, ingress) = (manifest.locate(&field), manifest.object_ref.clone());
        OtherIngress { told: format!("{at}: {field} of {ingress} is {class}"), ingress }
    }
}

impl Trial {
    /// What is not known because other controllers serve it, if anything.
    pub fn left_to_others(&self) -> Option<Stop> {
        let others = &self.target().other_ingresses;
        let told: Vec<&str> = others.iter().map(|other| other.told.as_str()).collect();
        (!told.is_empty()).then(|| {
            Stop::unknown(format!(
                "ingress-nginx, through which Seatrial reaches stacks, does not serve Ingresses of \
                 other classes (--engine kubeconfig tells where the class is ingress-nginx's):\n{}",
                told.join("\n")
            ))
        })
    }
}
