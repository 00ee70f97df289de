//! What an update may not change (`Validate*Update` of each kind).

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, PodSpec, Secret, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::workload::immutable_selector;
use super::{Errors, Path, quoted};
use crate::k8s::{Profile, bytes};

/// `ValidateObjectMetaUpdate`: while an object goes, its finalizers may only shrink.
pub fn metadata_update(meta: &ObjectMeta, old: &ObjectMeta, errors: &mut Errors) {
    if old.deletion_timestamp.is_none() {
        return;
    }
    let known = old.finalizers.as_deref().unwrap_or(&[]);
    let added: Vec<String> = (meta.finalizers.iter().flatten())
        .filter(|finalizer| !known.contains(finalizer))
        .map(|finalizer| quoted(finalizer))
        .collect();
    if !added.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers \
             []string{{{}}}",
            added.join(", ")
        );
        errors.forbidden(&Path::root("metadata").field("finalizers"), &why);
    }
}

/// `ValidateDeploymentUpdate`.
pub fn deployment_update(deployment: &Deployment, old: &Deployment, errors: &mut Errors) {
    immutable_selector(&deployment.spec.selector, &old.spec.selector, errors);
}

/// `ValidateReplicaSetUpdate`.
pub fn replica_set_update(set: &ReplicaSet, old: &ReplicaSet, errors: &mut Errors) {
    immutable_selector(&set.spec.selector, &old.spec.selector, errors);
}

/// `ValidateDaemonSetUpdate`.
pub fn daemon_set_update(set: &DaemonSet, old: &DaemonSet, errors: &mut Errors) {
    immutable_selector(&set.spec.selector, &old.spec.selector, errors);
}

/// `ValidateStatefulSetUpdate`: the listed fields only.
pub fn stateful_set_update(
    set: &StatefulSet,
    old: &StatefulSet,
    profile: Profile,
    errors: &mut Errors,
) {
    let mut allowed = old.spec.clone();
    allowed.replicas = set.spec.replicas;
    allowed.template.clone_from(&set.spec.template);
    allowed.update_strategy.clone_from(&set.spec.update_strategy);
    let mut list = "'replicas', 'template', and 'updateStrategy'";
    if profile.at_least(25) {
        allowed.min_ready_seconds = set.spec.min_ready_seconds;
        list = "'replicas', 'template', 'updateStrategy' and 'minReadySeconds'";
    }
    if profile.at_least(27) {
        allowed.ordinals.clone_from(&set.spec.ordinals);
        let policy = &set.spec.persistent_volume_claim_retention_policy;
        allowed.persistent_volume_claim_retention_policy.clone_from(policy);
        list = "'replicas', 'ordinals', 'template', 'updateStrategy', \
                'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'";
    }
    if profile.at_least(32) {
        allowed.revision_history_limit = set.spec.revision_history_limit;
        list = "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', \
                'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'";
    }
    if set.spec != allowed {
        let why = format!("updates to statefulset spec for fields other than {list} are forbidden");
        errors.forbidden(&Path::root("spec"), &why);
    }
}

/// `ValidatePodUpdate`: images, the active deadline, further tolerations, a shorter gate list.
pub fn pod_update(pod: &Pod, old: &Pod, profile: Profile, errors: &mut Errors) {
    let (Some(new), Some(old)) = (&pod.spec, &old.spec) else { return };
    if new == old {
        return;
    }
    if allowed_pod_spec(new, old) == *new {
        return;
    }
    let fields = if profile.at_least(22) {
        "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
         `spec.tolerations` (only additions to existing tolerations),\
         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    } else {
        "`spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds` \
         or `spec.tolerations` (only additions to existing tolerations)"
    };
    let why = format!("pod updates may not change fields other than {fields}");
    errors.forbidden(&Path::root("spec"), &why);
}

/// The old spec with everything that may change taken from the new one.
fn allowed_pod_spec(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut allowed = old.clone();
    if new.containers.len() == old.containers.len() {
        for (container, newer) in allowed.containers.iter_mut().zip(&new.containers) {
            container.image.clone_from(&newer.image);
        }
    }
    let newer = new.init_containers.iter().flatten();
    for (container, newer) in allowed.init_containers.iter_mut().flatten().zip(newer) {
        container.image.clone_from(&newer.image);
    }
    if new.active_deadline_seconds.is_some() {
        allowed.active_deadline_seconds = new.active_deadline_seconds;
    }
    let known = old.tolerations.as_deref().unwrap_or(&[]);
    let given = new.tolerations.as_deref().unwrap_or(&[]);
    if known.iter().all(|toleration| given.contains(toleration)) {
        allowed.tolerations.clone_from(&new.tolerations);
    }
    // A binding names the node of a pod that has none.
    if old.node_name.as_deref().unwrap_or("").is_empty() {
        allowed.node_name.clone_from(&new.node_name);
    }
    let gates = old.scheduling_gates.as_deref().unwrap_or(&[]);
    if new.scheduling_gates.iter().flatten().all(|gate| gates.contains(gate)) {
        allowed.scheduling_gates.clone_from(&new.scheduling_gates);
    }
    if old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        allowed.termination_grace_period_seconds = new.termination_grace_period_seconds;
    }
    allowed
}

/// `ValidateServiceUpdate`: an address stays as long as the type has one.
pub fn service_update(service: &Service, old: &Service, errors: &mut Errors) {
    let (Some(new), Some(old)) = (&service.spec, &old.spec) else { return };
    let named = |type_: &Option<String>| type_.as_deref() == Some("ExternalName");
    let address = old.cluster_ip.as_deref().unwrap_or("");
    if named(&old.type_) || named(&new.type_) || address.is_empty() {
        return;
    }
    if new.cluster_ip != old.cluster_ip {
        let list = Path::root("spec");
        let list = list.field("clusterIPs");
        let given = new.cluster_ip.as_deref().unwrap_or("");
        let why = "may not change once set";
        errors.invalid(&list.index(0), format!("[]string{{{given:?}}}"), why);
    }
}

/// `ValidatePersistentVolumeClaimUpdate`: a bound claim may only grow.
pub fn claim_update(
    claim: &PersistentVolumeClaim,
    old: &PersistentVolumeClaim,
    errors: &mut Errors,
) {
    let (Some(new), Some(stored)) = (&claim.spec, &old.spec) else { return };
    let root = Path::root("spec");
    let phase = old.status.as_ref().and_then(|status| status.phase.as_deref());
    let mut allowed = stored.clone();
    // The binder names the volume of a claim that has none.
    if stored.volume_name.as_deref().unwrap_or("").is_empty() {
        allowed.volume_name.clone_from(&new.volume_name);
    }
    // A class may be named later (RetroactiveDefaultStorageClass).
    if stored.storage_class_name.is_none() {
        allowed.storage_class_name.clone_from(&new.storage_class_name);
    }
    allowed.volume_attributes_class_name.clone_from(&new.volume_attributes_class_name);
    if phase == Some("Bound") {
        allowed.resources.clone_from(&new.resources);
    }
    if *new != allowed {
        let why = "spec is immutable after creation except resources.requests and \
                   volumeAttributesClassName for bound claims";
        errors.forbidden(&root, why);
    }
    let size = |spec: &k8s_openapi::api::core::v1::PersistentVolumeClaimSpec| {
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        requests.and_then(|requests| requests.get("storage")).and_then(bytes)
    };
    if size(new) < size(stored) {
        let at = root.field("resources.requests.storage");
        errors.forbidden(&at, "field can not be less than previous value");
    }
}

/// `ValidateSecretUpdate`.
pub fn secret_update(secret: &Secret, old: &Secret, errors: &mut Errors) {
    if secret.type_ != old.type_ {
        let type_ = quoted(secret.type_.as_deref().unwrap_or(""));
        errors.invalid(&Path::root("type"), type_, "field is immutable");
    }
    if old.immutable == Some(true) {
        immutable(secret.immutable != Some(true), "immutable", errors);
        immutable(secret.data != old.data, "data", errors);
    }
}

/// `ValidateConfigMapUpdate`.
pub fn config_map_update(map: &ConfigMap, old: &ConfigMap, errors: &mut Errors) {
    if old.immutable == Some(true) {
        immutable(map.immutable != Some(true), "immutable", errors);
        immutable(map.data != old.data, "data", errors);
        immutable(map.binary_data != old.binary_data, "binaryData", errors);
    }
}

/// `ValidateStorageClassUpdate`.
pub fn storage_class_update(class: &StorageClass, old: &StorageClass, errors: &mut Errors) {
    let updates = "updates to parameters are forbidden.";
    if class.parameters != old.parameters {
        errors.forbidden(&Path::root("parameters"), updates);
    }
    let updates = "updates to provisioner are forbidden.";
    if class.provisioner != old.provisioner {
        errors.forbidden(&Path::root("provisioner"), updates);
    }
    let updates = "updates to reclaimPolicy are forbidden.";
    if class.reclaim_policy != old.reclaim_policy {
        errors.forbidden(&Path::root("reclaimPolicy"), updates);
    }
    if class.volume_binding_mode != old.volume_binding_mode {
        let mode = quoted(class.volume_binding_mode.as_deref().unwrap_or(""));
        errors.invalid(&Path::root("volumeBindingMode"), mode, "field is immutable");
    }
}

fn immutable(changed: bool, field: &str, errors: &mut Errors) {
    if changed {
        let why = "field is immutable when `immutable` is set";
        errors.forbidden(&Path::root(field), why);
    }
}
