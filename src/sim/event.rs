//! What can be due: one variant a room.

use std::sync::Arc;

use super::api::{Change, rest::RestEvent};
use super::controllers::ControllersEvent;
use super::kubelet::KubeletEvent;
use super::machines::MachinesEvent;
use super::metrics::MetricsEvent;
use super::net::NetEvent;
use super::scheduler::SchedulerEvent;
use super::volumes::VolumesEvent;

/// A queue entry.
#[derive(Clone, Debug)]
pub enum Event {
    /// A change of the API arrives at a watcher.
    Deliver(Subscriber, Arc<Change>),
    /// For kube-controller-manager.
    Controllers(ControllersEvent),
    /// For kube-scheduler.
    Scheduler(SchedulerEvent),
    /// For the kubelet of the named node.
    Kubelet(Arc<str>, KubeletEvent),
    /// For the machines: processes, CPU, memory.
    Machines(MachinesEvent),
    /// For the network.
    Net(NetEvent),
    /// For the storage provisioners and the attach/detach controller.
    Volumes(VolumesEvent),
    /// For metrics-server.
    Metrics(MetricsEvent),
    /// For the open watches of clients.
    Rest(RestEvent),
}

/// Who watches the API. Each watch delivers in order, after a lag of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subscriber {
    /// kube-controller-manager: one shared informer per kind.
    Controllers,
    /// kube-scheduler.
    Scheduler,
    /// The kubelet of a node: pods bound to it.
    Kubelet(Arc<str>),
    /// The network: Services, EndpointSlices, Ingresses and Secrets. Delivered without lag; kube-proxy,
    /// DNS and the ingress controller each add their own.
    Net,
    /// Storage provisioners and the attach/detach controller.
    Volumes,
    /// A client outside, by watch id.
    Client(u64),
}

macro_rules! from_room {
    ($($room:ident($event:ty)),+ $(,)?) => {
        $(impl From<$event> for Event {
            fn from(event: $event) -> Event { Event::$room(event) }
        })+
    };
}

from_room! {
    Controllers(ControllersEvent),
    Scheduler(SchedulerEvent),
    Machines(MachinesEvent),
    Net(NetEvent),
    Volumes(VolumesEvent),
    Metrics(MetricsEvent),
    Rest(RestEvent),
}
