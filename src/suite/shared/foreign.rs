//! What somebody else has in a borrowed cluster that would be drawn into the stack, or the stack into
//! theirs, although no two objects have one name.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PersistentVolume, Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::k8s::matches_selector;
use crate::stack::Manifest;
use crate::wait::Scope;

use super::super::stop::Stop;
use super::SharedCluster;
use super::open::refusal;
use super::remove::was_provisioned;
use super::snapshot::{claim_prefixes, is_numbered};

impl SharedCluster {
    /// Why the stack cannot live beside what is there: one line for each thing that is in the way.
    ///
    /// # Errors
    /// What the API answered.
    pub(super) async fn entangled(&self) -> Result<Vec<String>, Stop> {
        let mut found = self.open_volumes().await?;
        found.extend(self.served_hosts().await?);
        for namespace in self.homes.difference(&self.made) {
            found.extend(self.selected_in(namespace).await?);
        }
        Ok(found)
    }

    /// Pods that an object of the stack would select, and Services that would select its pods.
    async fn selected_in(&self, namespace: &str) -> Result<Vec<String>, Stop> {
        let mut pods =
            Scope::all(Api::<Pod>::namespaced(self.client.clone(), namespace)).list().await?;
        pods.retain(|pod| !self.is_ours(&**pod));
        let services = Api::<Service>::namespaced(self.client.clone(), namespace);
        let mut services = Scope::all(services).list().await?;
        services.retain(|service| !self.is_ours(&**service));
        let mut found = Vec::new();
        for manifest in self.request.stack.objects() {
            if manifest.object_ref.namespace != namespace {
                continue;
            }
            let object = &manifest.object_ref;
            let selected = selector_of(manifest).and_then(|selector| {
                pods.iter().find(|pod| matches_selector(&selector, pod.labels()))
            });
            if let Some(pod) = selected {
                let what =
                    format!("Pod {namespace}/{}, which {object} would select,", pod.name_any());
                found.push(refusal(&what, manifest, &**pod));
            }
            let Some(labels) = labels_of_pods(manifest) else { continue };
            let selects = |service: &Service| {
                let wanted = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                wanted.is_some_and(|wanted| {
                    let is_met = |(key, value)| labels.get(key) == Some(value);
                    !wanted.is_empty() && wanted.iter().all(is_met)
                })
            };
            if let Some(service) = services.iter().find(|service| selects(service)) {
                let name = service.name_any();
                let what =
                    format!("Service {namespace}/{name}, which would select pods of {object},");
                found.push(refusal(&what, manifest, &**service));
            }
        }
        Ok(found)
    }

    /// Hosts that an Ingress of somebody else's serves.
    async fn served_hosts(&self) -> Result<Vec<String>, Stop> {
        let ours: Vec<_> = self.request.stack.objects().iter().filter_map(hosts_of).collect();
        if ours.is_empty() {
            return Ok(Vec::new());
        }
        let ingresses = Scope::all(Api::<Ingress>::all(self.client.clone())).list().await;
        let ingresses = match ingresses {
            // Who may not see those of others asks for no more than their own.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Vec::new(),
            listed => listed?,
        };
        let mut found = Vec::new();
        for ingress in ingresses.iter().filter(|ingress| !self.is_ours(&***ingress)) {
            let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
            let theirs: BTreeSet<_> =
                rules.map(|rule| rule.host.as_deref().unwrap_or_default()).collect();
            let both = ours.iter().find_map(|(manifest, hosts)| {
                Some((*manifest, *hosts.iter().find(|host| theirs.contains(*host))?))
            });
            if let Some((manifest, host)) = both {
                let namespace = ingress.namespace().unwrap_or_default();
                let host = if host.is_empty() { "all hosts" } else { host };
                let what = format!(
                    "Ingress {namespace}/{}, which serves {host} as {} would,",
                    ingress.name_any(),
                    manifest.object_ref
                );
                found.push(refusal(&what, manifest, &**ingress));
            }
        }
        Ok(found)
    }

    /// Volumes that a claim of the stack could be given with what is on them: reserved for its name, or
    /// free and of its class.
    async fn open_volumes(&self) -> Result<Vec<String>, Stop> {
        let volumes = Scope::all(Api::<PersistentVolume>::all(self.client.clone())).list().await?;
        let mut found = Vec::new();
        for volume in volumes.iter().filter(|volume| !self.is_ours(&***volume)) {
            let Some(spec) = &volume.spec else { continue };
            let could_have = |manifest: &&Manifest| match &spec.claim_ref {
                Some(claim) if claim.uid.is_some() => false,
                Some(claim) => {
                    let name = claim.name.as_deref().unwrap_or_default();
                    claim.namespace.as_deref() == Some(&*manifest.object_ref.namespace)
                        && makes_claim(manifest, name)
                }
                // A provisioner's are there to be given, and empty.
                None => spec.storage_class_name.as_ref().is_some_and(|class| {
                    !was_provisioned(volume) && claims_of_class(manifest, class)
                }),
            };
            if let Some(manifest) = self.request.stack.objects().iter().find(could_have) {
                let what = format!(
                    "PersistentVolume {}, which {} could be given,",
                    volume.name_any(),
                    manifest.object_ref
                );
                found.push(refusal(&what, manifest, &**volume));
            }
        }
        Ok(found)
    }
}

/// What selects pods in `manifest`; `None` for kinds and objects that select none.
fn selector_of(manifest: &Manifest) -> Option<LabelSelector> {
    let at = |path| manifest.value.pointer(path).cloned();
    let selector = match manifest.object_ref.kind.as_str() {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "PodDisruptionBudget" => {
            at("/spec/selector")?
        }
        "NetworkPolicy" => at("/spec/podSelector")?,
        "Service" => json!({"matchLabels": at("/spec/selector")?}),
        _ => return None,
    };
    serde_json::from_value(selector).ok()
}

/// Labels of the pods that a workload makes.
fn labels_of_pods(manifest: &Manifest) -> Option<BTreeMap<String, String>> {
    let labels = manifest.value.pointer("/spec/template/metadata/labels")?.clone();
    serde_json::from_value(labels).ok()
}

/// The hosts of an Ingress, with the empty one for a rule without.
fn hosts_of(manifest: &Manifest) -> Option<(&Manifest, BTreeSet<&str>)> {
    if manifest.object_ref.kind != "Ingress" {
        return None;
    }
    let rules = manifest.value.pointer("/spec/rules").and_then(Value::as_array);
    let hosts = rules.into_iter().flatten().map(|rule| rule["host"].as_str().unwrap_or_default());
    Some((manifest, hosts.collect()))
}

/// Whether `manifest` is the claim `name`, or a StatefulSet that makes one of that name.
fn makes_claim(manifest: &Manifest, name: &str) -> bool {
    let is_claim =
        manifest.object_ref.kind == "PersistentVolumeClaim" && manifest.object_ref.name == name;
    is_claim || claim_prefixes(manifest).iter().any(|prefix| is_numbered(name, prefix))
}

/// Whether `manifest` is a claim, or makes claims, of `class`.
fn claims_of_class(manifest: &Manifest, class: &str) -> bool {
    let templates = manifest.value.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    let own = (manifest.object_ref.kind == "PersistentVolumeClaim").then_some(&manifest.value);
    let mut claims = templates.into_iter().flatten().chain(own);
    claims.any(|claim| claim.pointer("/spec/storageClassName").is_some_and(|name| name == class))
}
