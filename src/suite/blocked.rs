//! What keeps pods from being ready, traced to the field of the manifest that has to change.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::Value;

use crate::base::ObjectRef;
use crate::k8s::{is_pod_ready, is_terminating, pod_condition};
use crate::observe::{Cause, CauseClass, container_field};

use super::blame::advised;
use super::target::{Workload, WorkloadKind};
use super::trial::Trial;

mod unscheduled;

/// A field to change, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocked {
    pub class: CauseClass,
    pub field: String,
    pub advice: String,
}

impl Blocked {
    fn never_ready(field: impl Into<String>, advice: impl Into<String>) -> Self {
        Blocked { class: CauseClass::NeverReady, field: field.into(), advice: advice.into() }
    }
}

impl Trial {
    /// What keeps pods of `workload` from being ready, where a field of its manifest is to blame.
    pub async fn blocked(&self, workload: &Workload) -> Option<Cause> {
        let manifest = &self.stack().manifest(&workload.reference())?.value;
        let pods = self.pods_of(workload).await.ok()?;
        let events = self.events_in(&workload.namespace).await;
        let blocked = blocked(&pods, &events, workload, manifest)?;
        Some(self.blocked_cause(workload, &blocked))
    }

    /// Names the probe instead, where a container of the front did not crash but was killed for it.
    pub(super) async fn name_probes(&self, causes: &mut [Cause]) {
        let is_crash = |cause: &Cause| cause.class == CauseClass::Crashed.as_str();
        if !causes.iter().any(is_crash) {
            return;
        }
        let front = &self.target().front.workload;
        let Some(manifest) = self.stack().manifest(&front.reference()) else { return };
        let events = self.events_in(&front.namespace).await;
        for cause in causes.iter_mut().filter(|cause| is_crash(cause)) {
            let Some(pod) = &cause.object else { continue };
            if let Some(killed) = killed_by_probe(&pod.name, &events, &manifest.value) {
                let named = self.blocked_cause(front, &killed);
                cause.class = named.class;
                cause.fix = named.fix;
            }
        }
    }

    fn blocked_cause(&self, workload: &Workload, blocked: &Blocked) -> Cause {
        let cause = self.cause_at(blocked.class, &workload.reference(), &blocked.field);
        advised(cause, &blocked.advice)
    }

    async fn events_in(&self, namespace: &str) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(self.client(), namespace);
        let listed = events.list(&ListParams::default()).await;
        listed.map(|list| list.items).unwrap_or_default()
    }
}

fn blocked(
    pods: &[Arc<Pod>],
    events: &[Event],
    workload: &Workload,
    manifest: &Value,
) -> Option<Blocked> {
    let unready = || pods.iter().filter(|pod| !is_pod_ready(pod));
    let live = || unready().filter(|pod| !is_terminating(pod));
    let why = |pod: &Arc<Pod>| {
        let name = pod.name_any();
        let scheduled = pod_condition(pod, "PodScheduled").filter(|it| it.status == "False");
        let scheduled = scheduled.and_then(|condition| condition.message.as_deref());
        let waits = || statuses(pod).find_map(|status| waiting(status, manifest));
        let mounts = || {
            let told = of_pod(events, &name).filter(|event| reason(event) == "FailedMount");
            told.filter_map(|event| event.message.as_deref())
                .find_map(|message| missing_reference(message, manifest))
        };
        scheduled
            .and_then(|message| unscheduled::why(message, manifest))
            .or_else(waits)
            .or_else(mounts)
            .or_else(|| killed_by_probe(&name, events, manifest))
    };
    let stays = |pod: &&Arc<Pod>| {
        workload.kind == WorkloadKind::StatefulSet
            && is_terminating(pod)
            && of_pod(events, &pod.name_any()).any(|event| reason(event) == "NodeNotReady")
    };
    live().find_map(why).or_else(|| {
        // A StatefulSet starts no second pod of a name (`statefulset/stateful_set_control.go`).
        unready().any(|pod| stays(&pod)).then(|| Blocked {
            class: CauseClass::NodeLost,
            field: "kind".to_owned(),
            advice: "a StatefulSet replaces a pod of a lost node only once somebody deletes it by \
                     force, or taints the node node.kubernetes.io/out-of-service; use a Deployment \
                     if its pods need no names and volumes of their own"
                .to_owned(),
        })
    })
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    })
}

fn of_pod<'a>(events: &'a [Event], name: &str) -> impl Iterator<Item = &'a Event> {
    events.iter().filter(move |event| {
        event.involved_object.kind.as_deref() == Some("Pod")
            && event.involved_object.name.as_deref() == Some(name)
    })
}

fn reason(event: &Event) -> &str {
    event.reason.as_deref().unwrap_or_default()
}

/// Why a container waits, in the words of `pkg/kubelet/images` and `pkg/kubelet/kubelet_pods.go`.
fn waiting(status: &ContainerStatus, manifest: &Value) -> Option<Blocked> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    match waiting.reason.as_deref()? {
        "CreateContainerConfigError" => missing_reference(waiting.message.as_deref()?, manifest),
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            let (field, container) = container_named(manifest, &status.name)?;
            // Another image is one that a scenario rolls out.
            let own = container.get("image")?.as_str()? == status.image;
            let advice = "the nodes cannot pull it: see its name and tag, and imagePullSecrets";
            own.then(|| Blocked::never_ready(format!("{field}.image"), advice))
        }
        _ => None,
    }
}

/// The container called `name` and its field.
fn container_named<'a>(manifest: &'a Value, name: &str) -> Option<(String, &'a Value)> {
    ["containers", "initContainers"].iter().find_map(|list| {
        let containers = manifest.pointer(&format!("/spec/template/spec/{list}"))?.as_array()?;
        let n = containers.iter().position(|each| each["name"] == name)?;
        Some((format!("spec.template.spec.{list}[{n}]"), containers.get(n)?))
    })
}

/// The reference to a Secret or ConfigMap that `message` says is missing
/// (`pkg/kubelet/kubelet_pods.go:makeEnvironmentVariables`, and the volume plugins of both).
fn missing_reference(message: &str, manifest: &Value) -> Option<Blocked> {
    let template = manifest.pointer("/spec/template/spec")?;
    let base = "spec.template.spec";
    for (kind, said) in [("Secret", "secret"), ("ConfigMap", "configmap")] {
        if let Some(name) = between(message, &format!("{said} \""), "\" not found") {
            let found = reference(template, base, kind, name, None)?;
            let advice = format!(
                "add {kind} {name} to the stack, or name another: no container that needs it \
                 starts before it is there"
            );
            return Some(Blocked::never_ready(found, advice));
        }
        if let Some(said) = between(message, "couldn't find key ", "\n")
            && let Some((key, whole)) = said.split_once(&format!(" in {kind} "))
        {
            let name = whole.rsplit('/').next().unwrap_or(whole);
            let found = reference(template, base, kind, name, Some(key))?;
            let advice = format!("give {kind} {name} the key {key}, or name one that it has");
            return Some(Blocked::never_ready(found, advice));
        }
    }
    None
}

/// What stands between `start` and `end`, or the end of the text.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, after) = text.split_once(start)?;
    match after.split_once(end) {
        Some((within, _)) => Some(within),
        None => (end == "\n").then_some(after),
    }
}

/// The field below `value`, which is at `path`, that refers to `name`.
fn reference(
    value: &Value,
    path: &str,
    kind: &str,
    name: &str,
    key: Option<&str>,
) -> Option<String> {
    let fields: &[&str] = match kind {
        "Secret" => &["secretKeyRef", "secretRef", "secret"],
        _ => &["configMapKeyRef", "configMapRef", "configMap"],
    };
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(n, item)| reference(item, &format!("{path}[{n}]"), kind, name, key)),
        Value::Object(map) => map.iter().find_map(|(field, each)| {
            let path = format!("{path}.{field}");
            let named = each["name"] == name || each["secretName"] == name;
            let keyed = key.is_none_or(|key| each["key"] == key);
            if fields.contains(&field.as_str()) && named && keyed {
                return Some(path);
            }
            reference(each, &path, kind, name, key)
        }),
        _ => None,
    }
}

/// The probe for which the kubelet killed a container of the pod (`pkg/kubelet/kuberuntime/
/// kuberuntime_manager.go:computePodActions`: "Container %s failed liveness probe, will be restarted").
fn killed_by_probe(pod: &str, events: &[Event], manifest: &Value) -> Option<Blocked> {
    of_pod(events, pod).filter(|event| reason(event) == "Killing").find_map(|event| {
        let message = event.message.as_deref()?;
        let (name, kind) = between(message, "Container ", " probe,")?.split_once(" failed ")?;
        let (field, _) = container_named(manifest, name)?;
        Some(Blocked {
            class: CauseClass::KilledByProbe,
            field: format!("{field}.{kind}Probe"),
            advice: CauseClass::KilledByProbe.advice().to_owned(),
        })
    })
}

/// The field of a claim that ties pods to a node, if the workload shares one.
pub(super) fn claim_volume(manifest: &Value) -> Option<(usize, &str)> {
    let volumes = manifest.pointer("/spec/template/spec/volumes")?.as_array()?;
    volumes.iter().enumerate().find_map(|(n, volume)| {
        Some((n, volume.pointer("/persistentVolumeClaim/claimName")?.as_str()?))
    })
}

/// The claim `name` beside `workload`.
pub(super) fn claim(workload: &Workload, name: &str) -> ObjectRef {
    ObjectRef::new("PersistentVolumeClaim", &workload.namespace, name)
}

/// The field of the first container that has `pointer`.
fn of_container(manifest: &Value, pointer: &str) -> Option<String> {
    let containers = manifest.pointer("/spec/template/spec/containers")?.as_array()?;
    let n = containers.iter().position(|each| each.pointer(pointer).is_some())?;
    Some(container_field(n, pointer.trim_start_matches('/').replace('/', ".").as_str()))
}

#[cfg(test)]
mod tests;
