//! Conditions on the kinds that suites wait for.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;

use crate::k8s::{has_finished, is_pod_active, is_pod_ready, is_terminating};

use super::condition::Condition;
use super::watched::Object;

/// At least one object is there.
pub fn exists<K: Object>() -> Condition<K> {
    Condition::new("the object exists", |objects: &[Arc<K>]| {
        if objects.is_empty() { Err("there is no such object".into()) } else { Ok(()) }
    })
}

/// None of the objects with these `uids` is left.
pub fn none_of<K: Object>(what: &str, uids: Vec<String>) -> Condition<K> {
    Condition::new(format!("{what} are gone"), move |objects: &[Arc<K>]| {
        let left: Vec<_> = objects
            .iter()
            .filter(|object| object.meta().uid.as_ref().is_some_and(|uid| uids.contains(uid)))
            .map(|object| object.reference().to_string())
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{} still exist", left.join(", "))) }
    })
}

/// The Deployment's newest template runs in all its replicas, they are available, and no old
/// replica is counted any more (`kubectl rollout status`).
pub fn deployment_rolled_out() -> Condition<Deployment> {
    Condition::new("the Deployment is rolled out", |objects: &[Arc<Deployment>]| {
        let Some(deployment) = objects.first() else {
            return Err("the Deployment does not exist".into());
        };
        let status = deployment.status.clone().unwrap_or_default();
        let wanted = deployment.spec.replicas.unwrap_or(1);
        if status.observed_generation < deployment.metadata.generation {
            return Err("the controller has not seen the newest template yet".into());
        }
        let updated = status.updated_replicas.unwrap_or(0);
        let available = status.available_replicas.unwrap_or(0);
        let total = status.replicas.unwrap_or(0);
        if updated < wanted {
            Err(format!("{updated} of {wanted} replicas have the newest template"))
        } else if total > updated {
            Err(format!("{} old replicas are left", total - updated))
        } else if available < updated {
            Err(format!("{available} of {updated} new replicas are available"))
        } else {
            Ok(())
        }
    })
}

/// All replicas of the StatefulSet have its newest template and are ready.
pub fn stateful_set_ready() -> Condition<StatefulSet> {
    Condition::new("the StatefulSet is rolled out", |objects: &[Arc<StatefulSet>]| {
        let Some(set) = objects.first() else {
            return Err("the StatefulSet does not exist".into());
        };
        let wanted = set.spec.replicas.unwrap_or(1);
        let Some(status) = &set.status else { return Err("it has no status yet".into()) };
        if status.observed_generation < set.metadata.generation {
            return Err("the controller has not seen the newest template yet".into());
        }
        let ready = status.ready_replicas.unwrap_or(0);
        if ready < wanted {
            return Err(format!("{ready} of {wanted} replicas are ready"));
        }
        if status.update_revision.is_some() && status.update_revision != status.current_revision {
            return Err("replicas with the old template are left".into());
        }
        Ok(())
    })
}

/// At least `wanted` pods are ready and not being deleted.
pub fn n_pods_ready(wanted: usize) -> Condition<Pod> {
    Condition::new(format!("at least {wanted} pods are Ready"), move |pods: &[Arc<Pod>]| {
        let ready = pods.iter().filter(|pod| is_pod_ready(pod) && is_pod_active(pod)).count();
        if ready >= wanted { Ok(()) } else { Err(format!("{ready} of {wanted} are Ready")) }
    })
}

/// No pod is being deleted.
pub fn none_terminating() -> Condition<Pod> {
    Condition::new("no pod is being deleted", |pods: &[Arc<Pod>]| {
        let names: Vec<_> =
            pods.iter().filter(|pod| is_terminating(pod)).map(|pod| pod.name_any()).collect();
        if names.is_empty() { Ok(()) } else { Err(format!("{} still end", names.join(", "))) }
    })
}

/// There are `wanted` pods, all of them ready, and none that still ends.
pub fn exactly_n_pods_ready(wanted: usize) -> Condition<Pod> {
    let name = format!("there are exactly {wanted} pods, and they are Ready");
    Condition::new(name, move |pods: &[Arc<Pod>]| {
        let left: Vec<_> = pods.iter().filter(|pod| !has_finished(pod)).collect();
        let n_ending = left.iter().filter(|pod| is_terminating(pod)).count();
        let n_active = left.len() - n_ending;
        let n_ready = left.iter().filter(|pod| is_pod_ready(pod) && !is_terminating(pod)).count();
        if (n_active, n_ready, n_ending) == (wanted, wanted, 0) {
            Ok(())
        } else {
            Err(format!("there are {n_active}, {n_ready} of them Ready, and {n_ending} still end"))
        }
    })
}

/// Every pod that has not ended and is not being deleted is ready, and there is at least one.
pub fn pods_ready() -> Condition<Pod> {
    Condition::new("all pods are Ready", |pods: &[Arc<Pod>]| {
        let alive: Vec<_> = pods.iter().filter(|pod| is_pod_active(pod)).collect();
        let ready = alive.iter().filter(|pod| is_pod_ready(pod)).count();
        if !alive.is_empty() && ready == alive.len() {
            Ok(())
        } else {
            Err(format!("{ready} of {} are Ready", alive.len()))
        }
    })
}

/// The node's Ready condition is `True`, or is anything else.
pub fn node_ready(wanted: bool) -> Condition<Node> {
    let name = if wanted { "the node is Ready" } else { "the node is noticed as lost" };
    Condition::new(name, move |nodes: &[Arc<Node>]| {
        let ready = nodes
            .first()
            .and_then(|node| node.status.as_ref()?.conditions.as_ref())
            .and_then(|conditions| conditions.iter().find(|c| c.type_ == "Ready"))
            .map_or("missing", |condition| condition.status.as_str());
        if (ready == "True") == wanted { Ok(()) } else { Err(format!("its Ready is {ready}")) }
    })
}

/// The autoscaler asks for exactly `wanted` replicas.
pub fn autoscaler_wants(wanted: i32) -> Condition<HorizontalPodAutoscaler> {
    let name = format!("the autoscaler asks for {wanted} replicas");
    Condition::new(name, move |objects: &[Arc<HorizontalPodAutoscaler>]| {
        let status = objects.first().and_then(|autoscaler| autoscaler.status.as_ref());
        match status.map(|status| status.desired_replicas) {
            Some(desired) if desired == wanted => Ok(()),
            Some(desired) => Err(format!("it asks for {desired}")),
            None => Err("it has no status".into()),
        }
    })
}
