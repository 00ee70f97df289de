//! Room: memory, disk, ports, and whether a proxy stands in the way.

use std::net::{Ipv4Addr, TcpListener};

use super::Wish;
use super::container::Facts;
use super::finding::{Finding, Level, Trouble};
use super::machine::Host;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Memory of a control-plane node with add-ons and of a worker with its share of a small stack.
const CONTROL_PLANE_MEMORY: u64 = 1_536 * MIB;
const WORKER_MEMORY: u64 = 768 * MIB;
/// Memory of a Ceph cluster with three OSDs whose targets are set low.
const ROOK_MEMORY: u64 = 6 * GIB;
/// Disk of the engine for a node image, its copies' writes and loaded images; per node.
const NODE_DISK: u64 = 3 * GIB;
/// Disk for Ceph: images in each node, and what the OSDs write.
const ROOK_DISK: u64 = 28 * GIB;
/// State: kubeconfigs and reports; with Ceph, what is really written to the sparse files.
const STATE_DISK: u64 = GIB;
const STATE_DISK_ROOK: u64 = 10 * GIB;

/// Free memory against what a cluster of this size takes.
pub(super) fn memory(wish: &Wish, host: &Host) -> Finding {
    const NAME: &str = "memory";
    let workers = u64::try_from(wish.workers).unwrap_or(u64::MAX);
    let rook = if wish.rook { ROOK_MEMORY } else { 0 };
    let needed = CONTROL_PLANE_MEMORY + WORKER_MEMORY.saturating_mul(workers) + rook;
    let why = "nodes short of memory kill pods, and with them the claims under test";
    let fix =
        "end other programs or clusters (`kind get clusters`), or: --workers N with a smaller N";
    let available = host.read("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
    });
    let Some(available) = available else {
        let trouble = Trouble::new("/proc/meminfo cannot be read", why, "free -g");
        return Finding::warning(NAME, trouble);
    };
    room(NAME, "available", (available, needed), Trouble::new("", why, fix))
}

/// Free disk where the engine and where we store things.
pub(super) fn disk(wish: &Wish, facts: Option<&Facts>, host: &Host) -> Vec<Finding> {
    let why = "kind turns eviction off: a full disk shows as random write failures, in etcd first";
    let mut findings = Vec::new();
    if let Some(facts) = facts {
        let nodes = u64::try_from(wish.workers).unwrap_or(u64::MAX).saturating_add(1);
        let rook = if wish.rook { ROOK_DISK } else { 0 };
        let needed = NODE_DISK.saturating_mul(nodes).saturating_add(rook);
        let fix = format!("{} system prune", facts.program);
        if let Some((root, free)) =
            facts.root.as_ref().and_then(|root| Some((root, host.free(root)?)))
        {
            let place = format!("free in {}", root.display());
            findings.push(room(
                "engine's disk",
                &place,
                (free, needed),
                Trouble::new("", why, fix),
            ));
        }
    }
    let needed = if wish.rook && !wish.exists { STATE_DISK_ROOK } else { STATE_DISK };
    let why = "leases, kubeconfigs and the disks of Ceph are written there";
    let fix = "free some, or set XDG_STATE_HOME to a folder with more room";
    if let Some(free) = host.free(host.state()) {
        let place = format!("free in {}", host.state().display());
        findings.push(room("state folder", &place, (free, needed), Trouble::new("", why, fix)));
    }
    findings
}

/// Enough is fine, less is a warning, under a quarter is fatal.
fn room(name: &'static str, place: &str, (has, needed): (u64, u64), trouble: Trouble) -> Finding {
    if has >= needed {
        return Finding::ok(name, format!("{} {place}", gib(has)));
    }
    let seen = format!("{} {place}, below {}", gib(has), gib(needed));
    let level = if has < needed / 4 { Level::Fatal } else { Level::Warning };
    Finding::bad(name, level, Trouble { seen, ..trouble })
}

fn gib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / GIB;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// Ports of this machine that the cluster is to have.
pub(super) fn ports(wish: &Wish) -> Finding {
    const NAME: &str = "host ports";
    let taken = |port: u16| match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
        // Ports below 1024 are the engine's to open, not ours.
        Err(error) => error.kind() == std::io::ErrorKind::AddrInUse,
        Ok(_) => false,
    };
    if wish.ports.is_empty() {
        return Finding::ok(NAME, "picked free when the cluster is made");
    }
    match wish.ports.iter().find(|port| !wish.exists && taken(**port)) {
        Some(port) => {
            let seen = format!("{port} is taken");
            let fix = format!("sudo ss -ltnp 'sport = :{port}' shows by whom; end that");
            Finding::fatal(NAME, Trouble::new(seen, "clients reach the stack there", fix))
        }
        None => Finding::ok(NAME, format!("{:?} are free", wish.ports)),
    }
}

/// A proxy must be reachable from nodes. Nothing of the cluster is asked for through it, whatever
/// `NO_PROXY` says: our own requests know no proxy, those of kind and kubectl to this machine go
/// straight, and kind tells its nodes to leave it out for each other, pods and services.
pub(super) fn proxy(host: &Host) -> Finding {
    const NAME: &str = "proxy";
    let names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
    let proxy = names.into_iter().find_map(|name| host.variable(name));
    let Some(proxy) = proxy else { return Finding::ok(NAME, "none") };
    let address = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    // Without the password, if there is one.
    let address = address.rsplit_once('@').map_or(address, |(_, rest)| rest);
    let loopback = ["127.", "localhost", "[::1]"];
    if loopback.iter().any(|start| address.starts_with(start)) {
        let why = "kind hands the setting to the nodes, for which that address is their own";
        let fix = "name the proxy by an address of this machine that the nodes reach";
        return Finding::warning(NAME, Trouble::new(address, why, fix));
    }
    Finding::ok(NAME, address)
}
