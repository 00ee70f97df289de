//! Cluster DNS: names of Services and of pods behind headless ones, as CoreDNS answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::endpoints::{Endpoints, Key, ServiceId};
use crate::base::{SimTime, secs};

/// The cluster domain (`--cluster-domain`).
const DOMAIN: &str = "cluster.local";
/// A name that does not exist is remembered (`cache 30` in kubeadm's Corefile; semantics 6.6).
const NEGATIVE_TTL: Duration = secs(30);

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A Service with a cluster address.
    Cluster(ServiceId),
    /// Addresses of the pods behind a headless Service.
    Pods(Vec<Arc<str>>),
    /// No such name.
    Unknown,
}

/// The resolver and its negative cache.
#[derive(Debug, Default)]
pub(super) struct Dns {
    denied: BTreeMap<(String, String), SimTime>,
}

impl Dns {
    /// Resolves `host` for a pod of `namespace`.
    pub(super) fn resolve(
        &mut self,
        now: SimTime,
        namespace: &str,
        host: &str,
        endpoints: &Endpoints,
    ) -> Answer {
        let cached = (namespace.to_owned(), host.to_owned());
        if self.denied.get(&cached).is_some_and(|until| *until > now) {
            return Answer::Unknown;
        }
        let answer = look_up(namespace, host, endpoints);
        if answer == Answer::Unknown {
            self.denied.insert(cached, now + NEGATIVE_TTL);
        } else if !self.denied.is_empty() {
            self.denied.remove(&cached);
        }
        answer
    }
}

fn look_up(namespace: &str, host: &str, endpoints: &Endpoints) -> Answer {
    let host = host.trim_end_matches('.');
    let stem = host.strip_suffix(DOMAIN).map_or(host, |stem| stem.trim_end_matches('.'));
    let stem = stem.strip_suffix(".svc").unwrap_or(stem);
    let labels: Vec<&str> = stem.split('.').collect();
    // The search list of resolv.conf: the pod's namespace, then `svc.cluster.local`.
    let (pod, service, namespace) = match labels.as_slice() {
        [service] => (None, *service, namespace),
        [service, namespace] => (None, *service, *namespace),
        [pod, service, namespace] => (Some(*pod), *service, *namespace),
        _ => return Answer::Unknown,
    };
    let key: Key = (Arc::from(namespace), Arc::from(service));
    let found = endpoints.by_key(&key).and_then(|id| Some((id, endpoints.service(id, u64::MAX)?)));
    let Some((id, spec)) = found.and_then(|(id, service)| Some((id, service.spec.as_ref()?)))
    else {
        return Answer::Unknown;
    };
    if spec.type_.as_deref() == Some("ExternalName") {
        return Answer::Unknown;
    }
    if spec.cluster_ip.as_deref() != Some("None") {
        return if pod.is_none() { Answer::Cluster(id) } else { Answer::Unknown };
    }
    let port = spec.ports.iter().flatten().next().and_then(|port| port.name.as_deref());
    let all = spec.publish_not_ready_addresses == Some(true);
    let backends = endpoints.backends(id, port.unwrap_or(""), u64::MAX);
    let chosen = backends.into_iter().filter(|backend| {
        (all || backend.ready) && pod.is_none_or(|pod| backend.hostname.as_deref() == Some(pod))
    });
    let ips: Vec<Arc<str>> = chosen.map(|backend| backend.ip).collect();
    if ips.is_empty() { Answer::Unknown } else { Answer::Pods(ips) }
}
