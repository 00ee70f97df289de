//! The autoscaler's claim to `spec.replicas`: it scales through the scale subresource, which makes
//! kube-controller-manager own the field (`pkg/controller/podautoscaler/horizontal.go`).

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::json;

use super::answer::api_version;
use super::fields::Fields;
use super::managed::Owner;
use crate::sim::api::{Api, Obj};

/// The entry of an autoscaler that has scaled `object`.
pub(super) fn autoscaler_entry(api: &Api, object: &Obj) -> Option<Owner> {
    let resource = api.registry.resource(object.kind());
    if !resource.has_scale {
        return None;
    }
    let is_target = |hpa: &HorizontalPodAutoscaler| {
        let target = &hpa.spec.scale_target_ref;
        target.kind == resource.kind && target.name == object.name()
    };
    let mut autoscalers = api.stored().list_in::<HorizontalPodAutoscaler>(object.namespace());
    let hpa = autoscalers.find(|hpa| is_target(hpa))?;
    let time = hpa.status.as_ref()?.last_scale_time.clone()?;
    Some(Owner {
        manager: "kube-controller-manager".into(),
        is_apply: false,
        api_version: api_version(&resource.group, &resource.version),
        subresource: api.profile.at_least(22).then(|| "scale".to_owned()),
        time: Some(time),
        fields: Fields::from_json(&json!({ "f:spec": { "f:replicas": {} } })),
    })
}
