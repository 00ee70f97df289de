//! Connections between pods: names, cluster addresses and pod addresses.

use std::sync::Arc;

use super::dns::Answer;
use super::endpoints::{Backend, ServiceId};
use super::network::Net;
use super::proxy::{NoEndpoint, PortRef, Wish};
use crate::base::SimTime;
use crate::sim::apps::{DialError, Dialer};

impl Dialer for Net {
    fn dial(
        &mut self,
        now: SimTime,
        node: &str,
        namespace: &str,
        host: &str,
        port: u16,
    ) -> Result<(String, u16), DialError> {
        if is_address(host) {
            return match self.endpoints.by_cluster_ip(host) {
                Some(service) => self.dial_service(now, node, service, port),
                None => Ok((host.to_owned(), port)),
            };
        }
        match self.dns.resolve(now, namespace, host, &self.endpoints) {
            Answer::Cluster(service) => self.dial_service(now, node, service, port),
            Answer::Pods(ips) => {
                let chosen: &Arc<str> = &ips[self.dial_rng.index("dns-pick", ips.len())];
                Ok((chosen.to_string(), port))
            }
            Answer::Unknown => Err(DialError::UnknownHost),
        }
    }
}

impl Net {
    /// A connection from `node` to a cluster address.
    pub(super) fn dial_cluster_ip(
        &mut self,
        now: SimTime,
        node: &str,
        ip: &str,
        port: u16,
    ) -> Result<(String, u16), DialError> {
        let service = self.endpoints.by_cluster_ip(ip).ok_or(DialError::Timeout)?;
        self.dial_service(now, node, service, port)
    }

    fn dial_service(
        &mut self,
        now: SimTime,
        node: &str,
        service: ServiceId,
        port: u16,
    ) -> Result<(String, u16), DialError> {
        let wish = Wish { service, port: PortRef::Cluster(port), client: node };
        let (endpoints, synced) = (&self.endpoints, &mut self.synced);
        let picked = self.proxies.pick(now, node, wish, endpoints, &mut self.dial_rng, synced);
        let backend: Backend = picked.map_err(|error| match error {
            NoEndpoint::Rejected => DialError::Refused,
            NoEndpoint::Dropped => DialError::Timeout,
        })?;
        // The dialler connects to the address; what it meets there is for the machines to say.
        if self.is_lost(backend.node.as_deref()) {
            return Err(DialError::Timeout);
        }
        Ok((backend.ip.to_string(), backend.port))
    }
}

fn is_address(host: &str) -> bool {
    let mut octets = host.split('.');
    octets.clone().count() == 4 && octets.all(|octet| octet.parse::<u8>().is_ok())
}
