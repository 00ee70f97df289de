//! Taking a cluster over: what is in it already, and what of that is somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use kube::{Api, ResourceExt};

use crate::base::{Error, ObjectRef};
use crate::engine::Engine;
use crate::engine::host::LEASE_LABEL;
use crate::stack::Manifest;
use crate::wait::Scope;

use super::super::run::RunRequest;
use super::super::stop::Stop;
use super::objects::{Catalogue, Found};
use super::snapshot::{claim_ref, pods_of, selects_pods};
use super::{Ownership, SharedCluster, SharedOptions, State, nodes};

/// Where scenarios put objects of their own.
const DEFAULT_NAMESPACE: &str = "default";
/// Namespaces that Kubernetes makes, whatever a manifest says.
const OWN_NAMESPACES: [&str; 4] =
    [DEFAULT_NAMESPACE, "kube-system", "kube-public", "kube-node-lease"];
impl SharedCluster {
    /// Takes over the cluster behind `engine`: notes what is in it, and refuses what is not ours.
    ///
    /// # Errors
    /// The cluster cannot be read, or has objects of the stack that somebody else made.
    pub async fn open(
        engine: Arc<dyn Engine>,
        mut request: RunRequest,
        options: SharedOptions,
    ) -> Result<Self, Error> {
        let label = BTreeMap::from([(LEASE_LABEL.to_owned(), options.lease.clone())]);
        request.stack = Arc::new(request.stack.with_labels(&label));
        let client = engine.client();
        let catalogue = Catalogue::read(&client).await.map_err(unreadable)?;
        let nodes = nodes::read(&client).await.map_err(unreadable)?;
        let mut cluster = SharedCluster {
            target: request.target().ok(),
            homes: homes_of(&request),
            made: namespaces_of(&request),
            before: BTreeSet::new(),
            state: State::Empty,
            n_trials: 0,
            resets: Vec::new(),
            engine,
            client,
            request,
            options,
            nodes,
            catalogue,
        };
        cluster.look_around().await?;
        Ok(cluster)
    }

    /// Finds what of the stack exists already, and notes everything else that does.
    async fn look_around(&mut self) -> Result<(), Error> {
        let mut foreign = Vec::new();
        let mut existing = Vec::new();
        for manifest in self.request.stack.objects() {
            let Some(object) = self.read(manifest).await.map_err(unreadable)? else { continue };
            let is_namespace = manifest.object_ref.kind == "Namespace";
            let is_home = self.homes.contains(&manifest.object_ref.name);
            let may_go = self.options.ownership == Ownership::Made && (!is_namespace || is_home);
            if self.is_ours(&object) || may_go {
                existing.push(manifest.object_ref.clone());
            } else if is_namespace && !object.labels().contains_key(LEASE_LABEL) {
                self.made.remove(&manifest.object_ref.name);
            } else {
                foreign.push(refusal(&manifest.object_ref.to_string(), manifest, &object));
            }
        }
        // A StatefulSet takes claims by their names, whoever made them, and writes to what they hold.
        let mut of_sets = BTreeSet::new();
        for manifest in self.request.stack.objects() {
            for claim in self.claims_of(manifest).await.map_err(unreadable)? {
                let name = claim_ref(&claim);
                if self.is_ours(&*claim) || self.options.ownership == Ownership::Made {
                    of_sets.extend(claim.uid());
                    existing.push(name);
                } else {
                    let what = format!("{name}, whose data {} would use,", manifest.object_ref);
                    foreign.push(refusal(&what, manifest, &*claim));
                }
            }
        }
        if self.options.ownership == Ownership::Borrowed {
            foreign.extend(self.entangled().await.map_err(unreadable)?);
        }
        if let [first, ..] = &foreign[..] {
            let more = match foreign.len() - 1 {
                0 => String::new(),
                n => format!("\n({n} more of the stack's objects exist too)"),
            };
            return Err(Error::environment(format!("{first}{more}")));
        }
        // Namespaces of somebody else stay as they are.
        let made = self.made.clone();
        let left_out =
            |object: &ObjectRef| object.kind == "Namespace" && !made.contains(&object.name);
        self.request.stack = Arc::new(self.request.stack.without(left_out));
        if !existing.is_empty() {
            self.state = State::Dirty;
        }
        let is_stack = |object: &ObjectRef| self.request.stack.manifest(object).is_some();
        let mut before = BTreeSet::new();
        for namespace in &self.homes {
            // Whatever is in a namespace of the stack's own goes with it.
            if self.made.contains(namespace) {
                continue;
            }
            let listed = self.catalogue.objects_in(&self.client, namespace).await;
            let mut listed = listed.map_err(unreadable)?;
            listed.retain(|found| !is_stack(&found.object) && !of_sets.contains(&found.uid()));
            before.extend(listed.iter().map(Found::uid));
        }
        before.extend(self.uids_of_volumes_and_pods().await.map_err(unreadable)?);
        self.before = before;
        Ok(())
    }

    async fn uids_of_volumes_and_pods(&self) -> Result<Vec<String>, Stop> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let mut uids: Vec<String> = Vec::new();
        for volume in Scope::all(volumes).list().await? {
            let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
            let namespace = claim.and_then(|claim| claim.namespace.as_deref()).unwrap_or_default();
            if self.options.ownership == Ownership::Borrowed || !self.made.contains(namespace) {
                uids.extend(volume.uid());
            }
        }
        for namespace in self.homes.difference(&self.made) {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let pods = Scope::all(pods).list().await?;
            // Pods of an earlier stack go with it.
            let stays = |pod: &&Arc<Pod>| {
                !self.request.stack.objects().iter().any(|manifest| {
                    selects_pods(manifest)
                        && !pods_of(manifest, std::slice::from_ref(*pod)).is_empty()
                })
            };
            uids.extend(pods.iter().filter(stays).filter_map(|pod| pod.uid()));
        }
        Ok(uids)
    }
}

fn unreadable(stop: impl Into<Stop>) -> Error {
    Error::environment(format!("the cluster cannot be read: {}", stop.into().message))
}

/// Why `object` of somebody else's keeps the stack out; `what` it is, and the manifest that needs it gone.
pub(super) fn refusal(what: &str, manifest: &Manifest, object: &impl ResourceExt) -> String {
    let what = format!("{what} exists already ({}:{})", manifest.file.display(), manifest.line);
    match object.labels().get(LEASE_LABEL) {
        Some(lease) => format!(
            "{what} and belongs to another run, lease {lease}: nothing was touched; run `seatrial gc` \
             if that run has ended"
        ),
        None => format!(
            "{what} and is not ours: nothing was touched; remove it, or choose another namespace or \
             name in the manifests"
        ),
    }
}

/// Namespaces of the stack's workloads, and the one that scenarios use.
fn homes_of(request: &RunRequest) -> BTreeSet<String> {
    let runs_pods = |manifest: &&Manifest| {
        manifest.value.pointer("/spec/template/spec/containers").is_some()
            || manifest.object_ref.kind == "Pod"
    };
    let workloads = request.stack.objects().iter().filter(runs_pods);
    let namespaces = workloads.map(|manifest| manifest.object_ref.namespace.clone());
    namespaces.chain([DEFAULT_NAMESPACE.to_owned()]).collect()
}

fn namespaces_of(request: &RunRequest) -> BTreeSet<String> {
    let namespaces = request.stack.objects().iter().filter(|m| m.object_ref.kind == "Namespace");
    let names = namespaces.map(|manifest| manifest.object_ref.name.clone());
    names.filter(|name| !OWN_NAMESPACES.contains(&name.as_str())).collect()
}
