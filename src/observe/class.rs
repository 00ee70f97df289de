//! Cause classes: why a claim was broken, what to do about it, and at which field.

use std::fmt;

/// Why a claim was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CauseClass {
    /// A request reached a pod before it listened.
    EarlyTraffic,
    /// A pod stopped before everybody had dropped it from the endpoints.
    TerminationRace,
    /// A request was cut because the grace period ended.
    CutInFlight,
    /// The process ended without a deletion.
    Crashed,
    /// The kubelet killed the container because a probe of it failed.
    KilledByProbe,
    /// The process was killed for its memory.
    OutOfMemory,
    /// A request went to a node that was lost.
    NodeLost,
    /// No endpoint was left to serve a request.
    NoEndpoint,
    /// An answer took longer than the client waits.
    TooSlow,
    /// The program answered with an error of its own.
    AppError,
    /// There is only one replica.
    SingleReplica,
    /// Replicas share a node.
    ReplicasShareANode,
    /// A node cannot be drained: an eviction is refused for good.
    DrainBlocked,
    /// Fewer replicas were ready than wished.
    CapacityDip,
    /// Pods do not become ready.
    NeverReady,
    /// An unready pod was sent requests, or a ready one was not.
    ReadinessIgnored,
    /// A replica that hangs stays in service.
    HangUnnoticed,
    /// There is no autoscaler.
    NoAutoscaler,
    /// The autoscaler gets no metrics.
    AutoscalerBlind,
    /// The autoscaler did not ask for its maximum in time.
    ScaleOutLate,
    /// The autoscaler went beyond its maximum.
    AboveMaximum,
    /// The autoscaler did not come back in time.
    ScaleInLate,
    /// Data lives in a container and dies with it.
    DataInContainer,
    /// Acknowledged data is gone although it lives on a volume.
    DataLost,
    /// Acknowledged data lives on a volume, and the program that serves it may not read it.
    DataForbidden,
    /// Replicas do not share their files.
    FilesNotShared,
    /// There is no Ingress.
    NoIngress,
    /// HTTP is not redirected to HTTPS.
    NoRedirect,
    /// The redirect loses host, path or query.
    WrongRedirect,
    /// HTTPS does not serve the app.
    NotServed,
    /// The controller's own certificate is presented.
    FallbackCertificate,
    /// The certificate presented does not fit.
    WrongCertificate,
    /// No rule names the cause.
    Unattributed,
}

impl CauseClass {
    /// As reports spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            CauseClass::EarlyTraffic => "early-traffic",
            CauseClass::TerminationRace => "termination-race",
            CauseClass::CutInFlight => "cut-in-flight",
            CauseClass::Crashed => "crashed",
            CauseClass::KilledByProbe => "killed-by-probe",
            CauseClass::OutOfMemory => "out-of-memory",
            CauseClass::NodeLost => "node-lost",
            CauseClass::NoEndpoint => "no-endpoint",
            CauseClass::TooSlow => "too-slow",
            CauseClass::AppError => "app-error",
            CauseClass::SingleReplica => "single-replica",
            CauseClass::ReplicasShareANode => "replicas-share-a-node",
            CauseClass::DrainBlocked => "drain-blocked",
            CauseClass::CapacityDip => "capacity-dip",
            CauseClass::NeverReady => "never-ready",
            CauseClass::ReadinessIgnored => "readiness-ignored",
            CauseClass::HangUnnoticed => "hang-unnoticed",
            CauseClass::NoAutoscaler => "no-autoscaler",
            CauseClass::AutoscalerBlind => "autoscaler-blind",
            CauseClass::ScaleOutLate => "scale-out-late",
            CauseClass::AboveMaximum => "above-maximum",
            CauseClass::ScaleInLate => "scale-in-late",
            CauseClass::DataInContainer => "data-in-container",
            CauseClass::DataLost => "data-lost",
            CauseClass::DataForbidden => "data-forbidden",
            CauseClass::FilesNotShared => "files-not-shared",
            CauseClass::NoIngress => "no-ingress",
            CauseClass::NoRedirect => "no-redirect",
            CauseClass::WrongRedirect => "wrong-redirect",
            CauseClass::NotServed => "not-served",
            CauseClass::FallbackCertificate => "fallback-certificate",
            CauseClass::WrongCertificate => "wrong-certificate",
            CauseClass::Unattributed => "unattributed",
        }
    }

    /// What to do about it, in a sentence.
    pub fn advice(self) -> &'static str {
        match self {
            CauseClass::EarlyTraffic => {
                "add a readinessProbe: without one a pod gets traffic as soon as its container \
                 starts, before the program listens"
            }
            CauseClass::TerminationRace => {
                "add a preStop sleep longer than the proxies need to drop the pod (10 to 20 s); \
                 SIGTERM does not wait for them"
            }
            CauseClass::CutInFlight => {
                "raise terminationGracePeriodSeconds: it counts preStop and the time that \
                 requests in service need"
            }
            CauseClass::Crashed => "find out why the program ends by itself; see its log",
            CauseClass::KilledByProbe => {
                "let the probe ask for what the program answers, and give it time (timeoutSeconds, \
                 failureThreshold, a startupProbe): the kubelet kills the container when it fails"
            }
            CauseClass::OutOfMemory => "raise the memory limit above what the program needs",
            CauseClass::NodeLost => {
                "run several replicas on different nodes; requests fail until the loss is noticed"
            }
            CauseClass::NoEndpoint => "keep at least one replica ready at any time",
            CauseClass::TooSlow => "raise the CPU or memory limit, or the number of replicas",
            CauseClass::AppError => "see the program's log; its database may be unreachable",
            CauseClass::SingleReplica => {
                "run at least two replicas: one is a single point of failure"
            }
            CauseClass::ReplicasShareANode => {
                "add podAntiAffinity or topologySpreadConstraints over kubernetes.io/hostname; \
                 the scheduler's own spreading gives way when nodes differ"
            }
            CauseClass::DrainBlocked => {
                "let the budget spare one pod while all replicas are ready: maxUnavailable 1, or \
                 minAvailable below the number of replicas"
            }
            CauseClass::CapacityDip => {
                "set maxUnavailable to 0 and maxSurge to at least 1, with strategy RollingUpdate"
            }
            CauseClass::NeverReady => "see what blocks its pods",
            CauseClass::ReadinessIgnored => {
                "publish only ready pods: no publishNotReadyAddresses, and a Service with a selector"
            }
            CauseClass::HangUnnoticed => {
                "let a readinessProbe ask the program over HTTP: a TCP check succeeds while it hangs"
            }
            CauseClass::NoAutoscaler => "add a HorizontalPodAutoscaler for the front workload",
            CauseClass::AutoscalerBlind => {
                "give every container a CPU request: utilisation is a share of it; and install \
                 metrics-server"
            }
            CauseClass::ScaleOutLate => "lower the target utilisation or raise the CPU limit",
            CauseClass::AboveMaximum => "something else scales the workload; find and remove it",
            CauseClass::ScaleInLate => "shorten behavior.scaleDown.stabilizationWindowSeconds",
            CauseClass::DataInContainer => {
                "mount a persistent volume there: what a container writes to its own layer dies \
                 with it"
            }
            CauseClass::DataLost => {
                "let the program finish its writes: see its grace period and the volume's \
                 reclaimPolicy"
            }
            CauseClass::DataForbidden => {
                "let the program read the volume's folder: see its owner and mode (securityContext.\
                 fsGroup), and what the image's entry point does to them"
            }
            CauseClass::FilesNotShared => {
                "mount one ReadWriteMany volume in all replicas: each has files of its own now"
            }
            CauseClass::NoIngress => "add an Ingress with a host and TLS in front of the Service",
            CauseClass::NoRedirect => {
                "list the host under spec.tls, with the Secret of its certificate: without one, ingress-nginx \
                 redirects only where nginx.ingress.kubernetes.io/force-ssl-redirect is \"true\""
            }
            CauseClass::WrongRedirect => "let the redirect keep host, path and query",
            CauseClass::NotServed => {
                "see that the Ingress names the right Service and port, and that its pods listen there"
            }
            CauseClass::FallbackCertificate => {
                "create the Secret that spec.tls names, with a certificate that covers the host"
            }
            CauseClass::WrongCertificate => {
                "let the Secret's certificate cover the host in its subject alternative names"
            }
            CauseClass::Unattributed => "no rule explains it; see the timeline",
        }
    }

    /// The field of the front workload to look at, in its container number `container` where one
    /// is concerned; `None` where another object is.
    pub fn workload_field(self, container: usize) -> Option<String> {
        let of_container = |field: &str| Some(container_field(container, field));
        match self {
            CauseClass::EarlyTraffic | CauseClass::HangUnnoticed => of_container("readinessProbe"),
            CauseClass::TerminationRace => of_container("lifecycle.preStop"),
            CauseClass::CutInFlight => {
                Some("spec.template.spec.terminationGracePeriodSeconds".into())
            }
            CauseClass::Crashed | CauseClass::AppError | CauseClass::NeverReady => of_container(""),
            CauseClass::KilledByProbe => of_container("livenessProbe"),
            CauseClass::OutOfMemory => of_container("resources.limits.memory"),
            CauseClass::TooSlow => of_container("resources.limits.cpu"),
            CauseClass::AutoscalerBlind => of_container("resources.requests.cpu"),
            CauseClass::NodeLost | CauseClass::NoEndpoint | CauseClass::SingleReplica => {
                Some("spec.replicas".into())
            }
            CauseClass::ReplicasShareANode => Some("spec.template.spec.affinity".into()),
            CauseClass::CapacityDip => Some("spec.strategy".into()),
            CauseClass::DataInContainer
            | CauseClass::FilesNotShared
            | CauseClass::DataLost
            | CauseClass::DataForbidden => of_container("volumeMounts"),
            CauseClass::NoAutoscaler | CauseClass::NoIngress => Some("metadata.name".into()),
            _ => None,
        }
    }
}

/// The field `field` of container number `container` in a pod template; the container itself for none.
pub fn container_field(container: usize, field: &str) -> String {
    let dot = if field.is_empty() { "" } else { "." };
    format!("spec.template.spec.containers[{container}]{dot}{field}")
}

impl fmt::Display for CauseClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
