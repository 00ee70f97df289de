//! The Node object and its Lease (`pkg/kubelet/kubelet_node_status.go`, `pkg/kubelet/nodelease`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints,
    NodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};

use super::KubeletEvent;
use super::agent::Agent;
use crate::base::{SimTime, secs};
use crate::sim::api::Part;
use crate::sim::context::Cx;
use crate::sim::event::Event;

/// Lease renewal (`nodelease`: a quarter of the lease's duration).
const RENEW_PERIOD: Duration = secs(10);
/// Lease duration (`kl/apis/config/v1beta1/defaults.go`: NodeLeaseDurationSeconds).
const LEASE_SECONDS: i32 = 40;
/// An unchanged status is posted this often (NodeStatusReportFrequency).
const REPORT_PERIOD: Duration = secs(300);
/// Pods a node runs at most (MaxPods).
pub(super) const MAX_PODS: u64 = 110;
/// Images a node reports at most (NodeStatusMaxImages).
const REPORTED_IMAGES_MAX: usize = 50;
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Creates Node and Lease and starts the heartbeats.
pub(super) fn register(agent: &mut Agent, index: usize, single_node: bool, cx: &mut Cx<'_>) {
    let node = Node {
        metadata: ObjectMeta {
            name: Some(agent.spec.name.clone()),
            labels: Some(agent.spec.labels(agent.profile)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: Some(format!("10.{}.{}.0/24", 244 + index / 256, index % 256)),
            provider_id: Some(format!("kind://seatrial/{}", agent.spec.name)),
            taints: taints(agent, single_node),
            ..NodeSpec::default()
        }),
        status: None,
    };
    // Registration at boot cannot meet an existing node; a refusal would be a broken invariant that
    // every scenario shows at once.
    let created = cx.api.create(node);
    let uid = created.ok().and_then(|node| node.metadata.uid.clone()).unwrap_or_default();
    write_status(agent, cx);
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(agent.spec.name.clone()),
            namespace: Some(LEASE_NAMESPACE.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: agent.spec.name.clone(),
                uid,
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(agent.spec.name.clone()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(cx.now.micro_timestamp())),
            ..LeaseSpec::default()
        }),
    };
    let _ = cx.api.create(lease);
    let phase = cx.rng.between("kubelet-phase", Duration::ZERO, RENEW_PERIOD);
    schedule(agent, phase, cx);
}

/// Renews the lease; posts the status when it changed or is old.
pub(super) fn heartbeat(agent: &mut Agent, cx: &mut Cx<'_>) {
    renew(agent, cx);
    if agent.images_changed || cx.now.since(agent.node_written) >= REPORT_PERIOD {
        write_status(agent, cx);
    }
    schedule(agent, RENEW_PERIOD, cx);
}

/// A kubelet that comes up posts its status and renews its lease at once.
pub(super) fn report_boot(agent: &mut Agent, cx: &mut Cx<'_>) {
    write_status(agent, cx);
    renew(agent, cx);
    schedule(agent, RENEW_PERIOD, cx);
}

fn schedule(agent: &Agent, delay: Duration, cx: &mut Cx<'_>) {
    let event = KubeletEvent::Heartbeat(agent.epoch);
    cx.queue.after(delay, Event::Kubelet(Arc::clone(&agent.name), event));
}

fn renew(agent: &Agent, cx: &mut Cx<'_>) {
    let now = MicroTime(cx.now.micro_timestamp());
    // A lease that someone deleted, or a refusal, shows as a missing heartbeat.
    let _ = cx.api.patch::<Lease>(Part::Main, LEASE_NAMESPACE, &agent.name, |lease| {
        lease.spec.get_or_insert_default().renew_time = Some(now);
    });
}

fn write_status(agent: &mut Agent, cx: &mut Cx<'_>) {
    let now = cx.now;
    let status = status(agent);
    let _ = cx.api.patch::<Node>(Part::Status, "", &agent.name, |node| {
        let old = node.status.take().unwrap_or_default();
        let conditions = conditions(old.conditions.as_deref().unwrap_or(&[]), now);
        node.status = Some(NodeStatus {
            conditions: Some(conditions),
            volumes_attached: old.volumes_attached,
            volumes_in_use: old.volumes_in_use,
            ..status
        });
    });
    agent.images_changed = false;
    agent.node_written = now;
}

fn status(agent: &Agent) -> NodeStatus {
    let resources: BTreeMap<String, Quantity> = [
        ("cpu", quantity_of_cpu(agent.spec.cpu_milli)),
        ("memory", format!("{}Ki", agent.spec.memory_bytes / 1024)),
        ("pods", MAX_PODS.to_string()),
        ("ephemeral-storage", "103079832Ki".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), Quantity(value)))
    .collect();
    let address = |type_: &str, address: &str| NodeAddress {
        type_: type_.to_owned(),
        address: address.to_owned(),
    };
    let images = agent.images.iter().take(REPORTED_IMAGES_MAX).map(|(name, bytes)| {
        ContainerImage { names: Some(vec![name.clone()]), size_bytes: i64::try_from(bytes).ok() }
    });
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", &agent.spec.ip),
            address("Hostname", &agent.spec.name),
        ]),
        allocatable: Some(resources.clone()),
        capacity: Some(resources),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: 10250 }),
        }),
        images: Some(images.collect()),
        node_info: Some(NodeSystemInfo {
            architecture: "amd64".to_owned(),
            operating_system: "linux".to_owned(),
            kubelet_version: format!("v{}.0", agent.profile),
            kube_proxy_version: format!("v{}.0", agent.profile),
            container_runtime_version: "containerd://2.1.0".to_owned(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

fn quantity_of_cpu(milli: u64) -> String {
    if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") }
}

/// The four conditions a kubelet reports, with the times of earlier flips kept.
fn conditions(old: &[NodeCondition], now: SimTime) -> Vec<NodeCondition> {
    let table = [
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    table
        .into_iter()
        .map(|(type_, status, reason, message)| {
            let kept = old.iter().find(|c| c.type_ == type_ && c.status == status);
            let flipped = kept.and_then(|c| c.last_transition_time.clone());
            NodeCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_heartbeat_time: Some(Time(now.timestamp())),
                last_transition_time: flipped.or_else(|| Some(Time(now.timestamp()))),
            }
        })
        .collect()
}

/// kubeadm's taints: `master` up to 1.24, `control-plane` from 1.24; kind drops them on a cluster of
/// one node.
fn taints(agent: &Agent, single_node: bool) -> Option<Vec<Taint>> {
    if !agent.spec.control_plane || single_node {
        return None;
    }
    let mut keys = Vec::new();
    if !agent.profile.at_least(25) {
        keys.push("node-role.kubernetes.io/master");
    }
    if agent.profile.at_least(24) {
        keys.push("node-role.kubernetes.io/control-plane");
    }
    let taint = |key: &str| Taint {
        key: key.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    Some(keys.into_iter().map(taint).collect())
}
