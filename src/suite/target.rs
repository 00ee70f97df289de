//! What a stack is made of, as far as suites care: its front, its database, its doors.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::base::ObjectRef;
use crate::observe::container_field;

use super::autoscaler::Autoscaler;
use super::classes::OtherIngress;
use super::routes::Routes;

/// The parts of a stack that scenarios act on.
#[derive(Clone, Debug)]
pub struct StackTarget {
    /// What serves users.
    pub front: Front,
    /// Where its data lives; the front workload itself when both share a pod.
    pub database: Option<Workload>,
    /// Why no database was found; empty where one was.
    pub no_database: NoDatabase,
    /// Hosts of all Ingresses of ingress-nginx.
    pub hosts: Vec<IngressHost>,
    /// The other Ingresses, which nobody here serves.
    pub other_ingresses: Vec<OtherIngress>,
}

/// Why no workload of the stack is known as the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoDatabase {
    /// The reason.
    pub why: String,
    /// What the name that the front is told of may be the name of, in the cluster's DNS: Services
    /// that are not of the stack, or select no workload of it.
    pub services: Vec<ObjectRef>,
    /// The variable that names a host which is no Service of the stack, if it has one, and that host.
    pub elsewhere: Option<(String, String)>,
}

impl NoDatabase {
    pub(super) fn because(why: impl Into<String>) -> Self {
        NoDatabase { why: why.into(), ..NoDatabase::default() }
    }

    /// With `what` before the reason.
    pub(super) fn of(self, what: &str) -> Self {
        NoDatabase { why: format!("{what} {}", self.why), ..self }
    }
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
    /// Its autoscaler.
    pub autoscaler: Option<Autoscaler>,
    /// What runs in it.
    pub program: Program,
    /// How users come in.
    pub way_in: WayIn,
    /// Which paths lead to it there.
    pub routes: Routes,
}

/// How users outside the cluster reach the front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayIn {
    /// A host of an Ingress; `None` is a rule without one, which serves any name.
    Ingress(Option<IngressHost>),
    /// A port of the nodes.
    NodePort,
    /// An Ingress that is not ingress-nginx's.
    OtherIngress,
}

impl Front {
    /// The container of `pod` that serves users; the first if the pod lacks it.
    pub fn container_in<'a>(&self, pod: &'a Pod) -> Option<&'a Container> {
        let containers = &pod.spec.as_ref()?.containers;
        let serves = |container: &&Container| {
            self.workload.container_name().is_some_and(|name| container.name == name)
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
    /// Number of the container that scenarios are about: it serves users, or keeps the data.
    pub container: usize,
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
    /// A path that one of its rules takes.
    pub path: String,
    /// Whether that rule takes what is below the path as well.
    pub is_prefix: bool,
}

impl IngressHost {
    /// A name to ask for: a wildcard stands for any label.
    pub fn name(&self) -> String {
        self.host.replacen('*', "seatrial", 1)
    }
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

    /// Name of the container that scenarios are about.
    pub fn container_name(&self) -> Option<&str> {
        self.containers.get(self.container).map(|(name, _)| name.as_str())
    }

    /// The field `field` of that container in the manifest.
    pub fn container_field(&self, field: &str) -> String {
        container_field(self.container, field)
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
