//! Plugins for pods: `ServiceAccount`, `Priority`, `DefaultTolerationSeconds`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec, ServiceAccount, Toleration};
use k8s_openapi::api::scheduling::v1::PriorityClass;

use super::forbidden;
use super::namespace::DEFAULT_ACCOUNT;
use crate::sim::api::{Api, Kind, Status};

/// Seconds a pod stays on a node that is lost
/// (`plugin/pkg/admission/defaulttolerationseconds/admission.go`).
const NODE_LOST_TOLERATION_SECONDS: i64 = 300;
/// Taints that get the default toleration.
const NODE_LOST_TAINTS: [&str; 2] =
    ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Completes the spec of a pod about to be created.
pub(super) fn admit(api: &Api, pod: &mut Arc<Pod>) -> Result<(), Status> {
    let pod = Arc::make_mut(pod);
    let name = pod.metadata.name.as_deref().unwrap_or("");
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("");
    let spec = pod.spec.get_or_insert_default();
    service_account(api, namespace, name, spec)?;
    priority(api, name, spec)?;
    tolerate_lost_nodes(spec);
    Ok(())
}

/// `plugin/pkg/admission/serviceaccount/admission.go:Admit`.
fn service_account(
    api: &Api,
    namespace: &str,
    pod: &str,
    spec: &mut PodSpec,
) -> Result<(), Status> {
    if spec.service_account_name.as_deref().unwrap_or("").is_empty() {
        spec.service_account_name = Some(DEFAULT_ACCOUNT.to_owned());
        spec.service_account = Some(DEFAULT_ACCOUNT.to_owned());
    }
    let name = spec.service_account_name.as_deref().unwrap_or("");
    let Some(account) = api.get::<ServiceAccount>(namespace, name) else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        );
        return Err(forbidden(api, Kind::POD, pod, &why));
    };
    if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty) {
        spec.image_pull_secrets.clone_from(&account.image_pull_secrets);
    }
    Ok(())
}

/// `plugin/pkg/admission/priority/admission.go:admitPod`.
fn priority(api: &Api, pod: &str, spec: &mut PodSpec) -> Result<(), Status> {
    let class = match spec.priority_class_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => {
            let Some(class) = api.get::<PriorityClass>("", name) else {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(forbidden(api, Kind::POD, pod, &why));
            };
            Some(class)
        }
        None => (api.list::<PriorityClass>())
            .filter(|class| class.global_default == Some(true))
            .min_by_key(|class| class.value),
    };
    let (value, policy) = match class {
        Some(class) => {
            spec.priority_class_name.clone_from(&class.metadata.name);
            (class.value.unwrap_or(0), class.preemption_policy.clone())
        }
        None => (0, None),
    };
    if spec.priority.is_some_and(|given| given != value) {
        let why = format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority \
             admission controller computed {value} from the given PriorityClass name",
            spec.priority.unwrap_or(0)
        );
        return Err(forbidden(api, Kind::POD, pod, &why));
    }
    spec.priority = Some(value);
    spec.preemption_policy
        .get_or_insert_with(|| policy.unwrap_or_else(|| "PreemptLowerPriority".to_owned()));
    Ok(())
}

/// `defaulttolerationseconds`: pods leave a lost node after 300 s unless they say otherwise.
fn tolerate_lost_nodes(spec: &mut PodSpec) {
    let tolerations = spec.tolerations.get_or_insert_default();
    for taint in NODE_LOST_TAINTS {
        let tolerated = tolerations.iter().any(|toleration| {
            let key = toleration.key.as_deref().unwrap_or("");
            let effect = toleration.effect.as_deref().unwrap_or("");
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            tolerations.push(Toleration {
                key: Some(taint.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(NODE_LOST_TOLERATION_SECONDS),
                value: None,
            });
        }
    }
}
