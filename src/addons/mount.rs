//! Unmounting before a kind cluster goes: CephFS is mounted by the host's kernel, and a mount whose
//! Ceph is gone hangs for ever, with the node's container and whatever looks at it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt as _};

use super::which::is_ceph_driver;
use crate::base::{Error, secs};
use crate::k8s::{controller_of, pod_claims};
use crate::wait::{self, Condition, Deadline, Scope};

/// Pods that were told to end in a second are gone.
const UNMOUNTED: Deadline =
    Deadline::new(secs(60), "one second of grace, then the kubelet unmounts and removes the pod");
/// Their volumes are no longer attached.
const DETACHED: Deadline = Deadline::new(secs(60), "nodes report volumes in use every 10 s");
/// Grace of the pods that are deleted: the cluster ends with them.
const GRACE_SECONDS: u32 = 1;

/// Namespace and name.
type Key = (String, String);

/// Ends all pods that use Ceph volumes, with their controllers, and waits until the volumes are
/// unmounted and detached. To be called before a cluster with Rook is deleted; it lasts two minutes
/// at most.
///
/// # Errors
/// Environment: what is still mounted, or the API did not answer. The cluster can be deleted all the same.
pub async fn before_delete(client: &Client) -> Result<(), Error> {
    wait::doing("unmount Ceph volumes", unmount(client)).await
}

async fn unmount(client: &Client) -> Result<(), Error> {
    let unread = |error: kube::Error| {
        Error::environment(format!("whether Ceph volumes are still mounted is not known: {error}"))
    };
    let claims = ceph_claims(client).await.map_err(unread)?;
    let pods: Api<Pod> = Api::all(client.clone());
    let pods = pods.list(&ListParams::default()).await.map_err(unread)?.items;
    let users: Vec<Pod> = pods.into_iter().filter(|pod| uses(pod, &claims)).collect();
    if !users.is_empty() {
        end(client, &users).await.map_err(unread)?;
        let uids = users.iter().filter_map(|pod| pod.uid()).collect();
        let gone = wait::none_of("the pods with Ceph volumes", uids);
        let scope = Scope::all(Api::<Pod>::all(client.clone()));
        wait::until(&scope, &gone, UNMOUNTED).await.map_err(|error| still_mounted(&error))?;
    }
    let scope = Scope::all(Api::<VolumeAttachment>::all(client.clone()));
    wait::until(&scope, &none_attached(), DETACHED).await.map_err(|error| still_mounted(&error))?;
    Ok(())
}

fn still_mounted(error: &wait::WaitError) -> Error {
    Error::environment(format!(
        "Ceph volumes are still mounted; a mount that outlives its cluster hangs until the host is \
         restarted\n{error}"
    ))
}

/// The claims whose volumes are Ceph's.
async fn ceph_claims(client: &Client) -> Result<BTreeSet<Key>, kube::Error> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let volumes = volumes.list(&ListParams::default()).await?.items;
    Ok(volumes.iter().filter(|volume| is_ceph(volume)).filter_map(claim).collect())
}

fn is_ceph(volume: &PersistentVolume) -> bool {
    let Some(spec) = &volume.spec else { return false };
    let by_driver = spec.csi.as_ref().is_some_and(|csi| is_ceph_driver(&csi.driver));
    by_driver || spec.cephfs.is_some() || spec.rbd.is_some()
}

fn claim(volume: &PersistentVolume) -> Option<Key> {
    let claim = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some((claim.namespace.clone()?, claim.name.clone()?))
}

fn uses(pod: &Pod, claims: &BTreeSet<Key>) -> bool {
    let namespace = pod.namespace().unwrap_or_default();
    pod_claims(pod).any(|(_, claim)| claims.contains(&(namespace.clone(), claim)))
}

/// Deletes the pods, then their controllers. In this order, because a controller's end would give its
/// pods their full grace, which a kubelet that began with it does not shorten (1.20); and on cordoned
/// nodes, so that nothing comes back in between.
async fn end(client: &Client, pods: &[Pod]) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    for node in nodes.list(&ListParams::default()).await? {
        nodes.cordon(&node.name_any()).await?;
    }
    let controllers = controllers(client, pods).await?;
    let params = DeleteParams::default().grace_period(GRACE_SECONDS);
    for pod in pods {
        let namespace = pod.namespace().unwrap_or_default();
        delete::<Pod>(client, &namespace, &pod.name_any(), &params).await?;
    }
    for ((kind, namespace), names) in controllers {
        for name in names {
            let params = DeleteParams::background();
            match kind.as_str() {
                "Deployment" => delete::<Deployment>(client, &namespace, &name, &params).await?,
                "ReplicaSet" => delete::<ReplicaSet>(client, &namespace, &name, &params).await?,
                "StatefulSet" => delete::<StatefulSet>(client, &namespace, &name, &params).await?,
                "DaemonSet" => delete::<DaemonSet>(client, &namespace, &name, &params).await?,
                "Job" => delete::<Job>(client, &namespace, &name, &params).await?,
                // Its pods may come back, and are then reported as mounted.
                _ => {}
            }
        }
    }
    Ok(())
}

/// The names of the pods' top controllers, by kind and namespace.
async fn controllers(
    client: &Client,
    pods: &[Pod],
) -> Result<BTreeMap<Key, BTreeSet<String>>, kube::Error> {
    let mut found: BTreeMap<Key, BTreeSet<String>> = BTreeMap::new();
    for pod in pods {
        let namespace = pod.namespace().unwrap_or_default();
        let Some(owner) = controller_of(&pod.metadata) else { continue };
        let (mut kind, mut name) = (owner.kind.clone(), owner.name.clone());
        if kind == "ReplicaSet" {
            let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), &namespace);
            let set = sets.get_opt(&name).await?;
            if let Some(top) = set.as_ref().and_then(|set| controller_of(&set.metadata)) {
                (kind, name) = (top.kind.clone(), top.name.clone());
            }
        }
        found.entry((kind, namespace)).or_default().insert(name);
    }
    Ok(found)
}

async fn delete<K>(
    client: &Client,
    namespace: &str,
    name: &str,
    params: &DeleteParams,
) -> Result<(), kube::Error>
where
    K: wait::Object + kube::Resource<Scope = kube::core::NamespaceResourceScope>,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    match api.delete(name, params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

fn none_attached() -> Condition<VolumeAttachment> {
    Condition::new("no Ceph volume is attached", |attachments: &[Arc<VolumeAttachment>]| {
        let left: Vec<_> = attachments
            .iter()
            .filter(|attachment| is_ceph_driver(&attachment.spec.attacher))
            .map(|attachment| {
                let volume = attachment.spec.source.persistent_volume_name.as_deref();
                format!("{} on {}", volume.unwrap_or("a volume"), attachment.spec.node_name)
            })
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("attached: {}", left.join(", "))) }
    })
}
