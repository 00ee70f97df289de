//! What a stack is made of, as far as suites care: its front, its database, its doors.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::base::ObjectRef;

use super::autoscaler::Autoscaler;

/// The parts of a stack that scenarios act on.
#[derive(Clone, Debug)]
pub struct StackTarget {
    /// What serves users.
    pub front: Front,
    /// Where its data lives; the front workload itself when both share a pod.
    pub database: Option<Workload>,
    /// Hosts of all Ingresses.
    pub hosts: Vec<IngressHost>,
}

/// What serves users.
#[derive(Clone, Debug)]
pub struct Front {
    /// The workload.
    pub workload: Workload,
    /// Name of its Service.
    pub service: String,
    /// Port of the Service.
    pub port: i64,
    /// Where that ends in a pod: a number, or the name of a container's port.
    pub target_port: IntOrString,
    /// Its autoscaler.
    pub autoscaler: Option<Autoscaler>,
    /// What runs in it.
    pub program: Program,
}

impl Front {
    /// The container of `pod` that serves users: the one with the Service's target port, or the
    /// first.
    pub fn container_in<'a>(&self, pod: &'a Pod) -> Option<&'a Container> {
        let containers = &pod.spec.as_ref()?.containers;
        let serves = |container: &&Container| {
            container.ports.iter().flatten().any(|port| match &self.target_port {
                IntOrString::Int(number) => port.container_port == *number,
                IntOrString::String(name) => port.name.as_ref() == Some(name),
            })
        };
        containers.iter().find(serves).or_else(|| containers.first())
    }
}

/// A Deployment or StatefulSet of the stack.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Which of the two.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Replicas the manifest asks for.
    pub replicas: i32,
    /// Label selector of its pods, as list requests carry it.
    pub selector: String,
    /// Its containers: name and image.
    pub containers: Vec<(String, String)>,
    /// Mounts of persistent volumes.
    pub mounts: Vec<Mount>,
    /// `maxSurge` and `maxUnavailable` in pods; `None` when it does not roll.
    pub surge: Option<(i32, i32)>,
}

/// Kind of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
}

/// A persistent volume in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Container name.
    pub container: String,
    /// Where.
    pub path: String,
    /// Claim or claim template.
    pub claim: String,
}

/// A host of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressHost {
    /// The Ingress.
    pub ingress: ObjectRef,
    /// The host.
    pub host: String,
    /// Secret with its certificate; `None` without TLS for this host.
    pub secret: Option<String>,
}

/// What runs in the front, as far as suites can drive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// WordPress: suites can install it, log in, write and read back.
    WordPress,
    /// Anything else: suites can only send requests.
    Other,
}

impl Workload {
    /// Its reference.
    pub fn reference(&self) -> ObjectRef {
        let kind = match self.kind {
            WorkloadKind::Deployment => "Deployment",
            WorkloadKind::StatefulSet => "StatefulSet",
        };
        ObjectRef::new(kind, &self.namespace, &self.name)
    }

    /// Whether it is the same object as `other`.
    pub fn is(&self, other: &Workload) -> bool {
        self.reference() == other.reference()
    }
}

impl StackTarget {
    /// Replicas the front has when it is at rest: without load an autoscaler keeps its minimum,
    /// whatever the workload's own manifest says.
    pub fn wish(&self) -> i32 {
        let autoscaler = self.front.autoscaler.as_ref();
        autoscaler.map_or(self.front.workload.replicas, |autoscaler| autoscaler.min)
    }
}
