//! Upstreams: the peers nginx balances over, and the connections it keeps to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::endpoints::Key;
use crate::base::SimTime;
use crate::base::secs;
use crate::sim::machines::ContainerId;

/// How long nginx keeps an idle upstream connection (`upstream-keepalive-timeout`).
const KEEP_IDLE: Duration = secs(60);
/// Idle connections kept (`upstream-keepalive-connections`).
const KEEP_MAX: usize = 320;

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Peer {
    pub ip: Arc<str>,
    pub port: u16,
    pub node: Option<Arc<str>>,
    pub pod: Option<Key>,
}

/// An upstream as the Lua balancer holds it.
#[derive(Debug, Default)]
pub(in super::super) struct Upstream {
    peers: Vec<Peer>,
    next: usize,
}

/// An idle connection to a peer.
#[derive(Clone, Copy, Debug)]
struct Idle {
    container: ContainerId,
    nginx_closes: SimTime,
    server_closes: SimTime,
}

/// What the pool has for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Pooled {
    /// The process at the other end.
    pub container: ContainerId,
    /// When it closes the connection for being idle.
    pub server_closes: SimTime,
}

impl Upstream {
    /// Replaces the peers; the balancer starts anew at a drawn peer only if they differ
    /// (`rootfs/etc/nginx/lua/balancer/round_robin.lua:sync`).
    pub(super) fn sync(&mut self, peers: &[Peer], start: impl FnOnce(usize) -> usize) {
        if self.peers != peers {
            self.peers = peers.to_vec();
            self.next = start(peers.len());
        }
    }

    /// The next peer in turn. A peer that has just failed is not skipped.
    pub(in super::super) fn next(&mut self) -> Option<Peer> {
        let peer = self.peers.get(self.next % self.peers.len().max(1))?.clone();
        self.next = (self.next + 1) % self.peers.len();
        Some(peer)
    }

    /// How many peers there are.
    pub(in super::super) fn len(&self) -> usize {
        self.peers.len()
    }
}

/// Idle upstream connections by peer address, the last used first.
#[derive(Debug, Default)]
pub(in super::super) struct Pool {
    idle: BTreeMap<(Arc<str>, u16), Vec<Idle>>,
    n_idle: usize,
}

impl Pool {
    /// Takes the connection to `peer` that was used last and that neither side has closed.
    pub(in super::super) fn take(
        &mut self,
        now: SimTime,
        peer: &Peer,
        is_open: impl Fn(ContainerId) -> bool,
    ) -> Option<Pooled> {
        let idle = self.idle.get_mut(&(Arc::clone(&peer.ip), peer.port))?;
        while let Some(last) = idle.pop() {
            self.n_idle -= 1;
            if last.nginx_closes > now && last.server_closes > now && is_open(last.container) {
                let Idle { container, server_closes, .. } = last;
                return Some(Pooled { container, server_closes });
            }
        }
        None
    }

    /// Keeps a connection after a response; `server_keeps` is how long the server leaves it open.
    pub(in super::super) fn put(
        &mut self,
        now: SimTime,
        peer: &Peer,
        container: ContainerId,
        server_keeps: Duration,
    ) {
        if self.n_idle >= KEEP_MAX {
            self.drop_closed(now);
        }
        if self.n_idle >= KEEP_MAX {
            return;
        }
        self.n_idle += 1;
        let key = (Arc::clone(&peer.ip), peer.port);
        let (nginx_closes, server_closes) = (now + KEEP_IDLE, now + server_keeps);
        self.idle.entry(key).or_default().push(Idle { container, nginx_closes, server_closes });
    }

    fn drop_closed(&mut self, now: SimTime) {
        let is_open = |idle: &Idle| idle.nginx_closes > now && idle.server_closes > now;
        self.idle.values_mut().for_each(|idle| idle.retain(is_open));
        self.idle.retain(|_, idle| !idle.is_empty());
        self.n_idle = self.idle.values().map(Vec::len).sum();
    }

    /// Closes everything: new workers have no connections.
    pub(super) fn clear(&mut self) {
        self.idle.clear();
        self.n_idle = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ip: &str) -> Peer {
        Peer { ip: ip.into(), port: 80, node: None, pod: None }
    }

    #[test]
    fn peers_take_turns() {
        let mut upstream = Upstream::default();
        assert_eq!(upstream.next(), None);
        upstream.sync(&[peer("a"), peer("b")], |_| 1);
        let order: Vec<_> = (0..3).filter_map(|_| upstream.next()).map(|p| p.ip).collect();
        assert_eq!(order, ["b".into(), "a".into(), Arc::from("b")]);
    }

    #[test]
    fn a_pooled_connection_is_taken_only_while_both_sides_keep_it() {
        let mut pool = Pool::default();
        let (p, id) = (peer("a"), ContainerId(1));
        let at = |n| SimTime::ZERO + secs(n);
        pool.put(at(0), &p, id, secs(5));
        assert!(pool.take(at(6), &p, |_| true).is_none(), "the server has closed it");
        pool.put(at(6), &p, id, secs(5));
        assert!(pool.take(at(7), &p, |_| false).is_none(), "the process is gone");
        pool.put(at(7), &p, id, secs(5));
        let taken = pool.take(at(8), &p, |_| true);
        assert_eq!(taken, Some(Pooled { container: id, server_closes: at(12) }));
    }
}
