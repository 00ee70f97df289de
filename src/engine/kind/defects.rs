//! Defects of old Kubernetes releases that only a young cluster shows, and that would be taken for
//! the stack's.

use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::base::{Error, secs};
use crate::k8s::Profile;
use crate::wait::{Condition, Deadline, Scope, until};

use super::cluster::KindCluster;
use super::container::Containers;

/// The controller manager, as a program and as the name of its lock.
const MANAGER: &str = "kube-controller-manager";
/// A new instance takes over when the lock of the one before has run out.
const TAKEN_OVER: Deadline =
    Deadline::new(secs(90), "the kubelet restarts it within seconds, its lock lasts 15 s");

/// Begins a new instance of the controller manager once all nodes are Ready, where that matters.
///
/// Up to 1.20, nodes that were not Ready when it started stay in its queue of nodes to be tainted,
/// and one that is lost later never gets the taint that moves its pods (kubernetes#97100, #110028).
///
/// # Errors
/// It does not come back.
pub(super) async fn restart_controller_manager(
    client: &kube::Client,
    cluster: &KindCluster,
    kubernetes: Profile,
    containers: &Containers,
) -> Result<(), Error> {
    if kubernetes.at_least(21) {
        return Ok(());
    }
    let locks: Api<Lease> = Api::namespaced(client.clone(), "kube-system");
    let scope = Scope::named(locks, MANAGER);
    let failed = |error: &dyn std::fmt::Display| Error::environment(error.to_string());
    let before = scope.list().await.map_err(|error| failed(&error))?;
    let before = before.first().and_then(|lock| holder(lock));
    let script = format!("kill $(pidof {MANAGER})");
    for node in cluster.nodes.iter().filter(|node| !node.worker) {
        containers.exec(&node.name, &["sh", "-c", &script]).await?;
    }
    let taken = Condition::new(format!("{MANAGER} began anew"), move |locks: &[Arc<Lease>]| {
        match locks.first().and_then(|lock| holder(lock)) {
            now @ Some(_) if now != before => Ok(()),
            now => Err(format!("its lock is still held by {}", now.unwrap_or_default())),
        }
    });
    until(&scope, &taken, TAKEN_OVER).await.map(drop).map_err(|error| failed(&error))
}

fn holder(lock: &Lease) -> Option<String> {
    lock.spec.as_ref()?.holder_identity.clone()
}
