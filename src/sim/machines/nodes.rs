//! Nodes and pod network namespaces: power, addresses, who is behind an address.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::types::ContainerId;

/// First and last host number of a node's pod subnet (a /24, as kindnet hands out).
const HOSTS: (u8, u8) = (2, 254);

/// One machine.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) ip: String,
    pub(super) up: bool,
    pub(super) cpu_milli: u64,
    /// Sum of its containers' demand, in thousandths of a core.
    pub(super) demand: u64,
    /// Sum of the CPU weights of containers that have work.
    pub(super) shares: u64,
    index: usize,
    next_host: u8,
}

impl Node {
    pub(super) fn new(ip: &str, cpu_milli: u64, index: usize) -> Self {
        Node {
            ip: ip.to_owned(),
            up: true,
            cpu_milli,
            demand: 0,
            shares: 0,
            index,
            next_host: HOSTS.0,
        }
    }

    /// The next free address; an address is reused as late as possible (host-local IPAM).
    pub(super) fn take_address(&mut self, is_free: impl Fn(&str) -> bool) -> String {
        let (second, third) = (244 + self.index / 256, self.index % 256);
        let n_hosts = HOSTS.1 - HOSTS.0 + 1;
        let mut address = String::new();
        for _ in 0..n_hosts {
            address = format!("10.{second}.{third}.{}", self.next_host);
            self.next_host = if self.next_host == HOSTS.1 { HOSTS.0 } else { self.next_host + 1 };
            if is_free(&address) {
                break;
            }
        }
        address
    }
}

/// A pod's network namespace. It stays known after it is torn down, until its address is reused.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) node: Arc<str>,
    pub(super) ip: String,
    pub(super) removed: bool,
    pub(super) pod: Option<crate::base::ObjectRef>,
    pub(super) has_listened: bool,
    /// Containers started in it that are still kept: by container name, the latest last.
    pub(super) containers: BTreeMap<String, Vec<ContainerId>>,
}

impl Sandbox {
    pub(super) fn new(node: Arc<str>, ip: String) -> Self {
        Sandbox {
            node,
            ip,
            removed: false,
            pod: None,
            has_listened: false,
            containers: BTreeMap::new(),
        }
    }

    /// The latest instance of each container.
    pub(super) fn current(&self) -> impl Iterator<Item = ContainerId> {
        self.containers.values().filter_map(|instances| instances.last().copied())
    }
}
