//! Programs that call each other: a query of a database, with the time it takes there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Machines;
use super::files::{View, VolumeTrees};
use super::types::{ConnectError, ContainerStart};
use crate::base::{SimTime, Streams};
use crate::sim::apps::{AppCx, DialError, Dialer, Peers, configured_for};

/// Namespaces of what runs without a model of its pods.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "ingress-nginx", "rook-ceph"];

/// The programs one program can call.
pub(super) struct Callees<'a> {
    pub(super) machines: &'a mut Machines,
    pub(super) volumes: &'a VolumeTrees,
    pub(super) rng: &'a mut Streams,
    pub(super) dialer: &'a mut dyn Dialer,
    pub(super) caller: &'a Arc<ContainerStart>,
    pub(super) now: SimTime,
}

impl Peers for Callees<'_> {
    fn query(
        &mut self,
        host: &str,
        port: u16,
        query: &[u8],
    ) -> Result<(Bytes, Duration), DialError> {
        let (ip, port) = self.dial(host, port)?;
        let id = self.machines.connect(&ip, port).map_err(|error| match error {
            ConnectError::Refused => DialError::Refused,
            ConnectError::NoAnswer => DialError::Timeout,
        })?;
        let container = self.machines.containers.get_mut(&id).ok_or(DialError::Timeout)?;
        if container.is_frozen() {
            return Err(DialError::Timeout);
        }
        // A program that is itself in the middle of a call is not entered again.
        let mut app = container.app.take().ok_or(DialError::Timeout)?;
        let mut layer = std::mem::take(&mut container.layer);
        let start = Arc::clone(&container.start);
        let (mounts, volumes) = (&start.mounts, self.volumes);
        let mut files = View { owner: id, mounts, layer: &mut layer, volumes };
        let mut notes = Vec::new();
        let (cpu, answer) = app.query(
            query,
            &mut AppCx {
                now: self.now,
                rng: self.rng,
                start: &start,
                files: &mut files,
                peers: &mut NoPeers,
                notes: &mut notes,
            },
        );
        notes.into_iter().for_each(|note| self.machines.note_unmodelled(id, note));
        let cores = self.machines.nodes.get(&start.node).map_or(1000, |node| node.cpu_milli);
        let container = self.machines.containers.get_mut(&id).ok_or(DialError::Timeout)?;
        container.app = Some(app);
        container.layer = layer;
        container.cpu.charge(cpu);
        let rate_milli = start.cpu_limit_milli.unwrap_or(cores).clamp(1, cores.max(1));
        let (done, taken) = queue_time(container.queries_done_at, self.now, cpu, rate_milli);
        container.queries_done_at = done;
        Ok((answer, taken))
    }

    fn connect(&mut self, host: &str, port: u16) -> Option<Result<(), DialError>> {
        let met = match self.dial(host, port) {
            Ok((ip, port)) => self.reach(&ip, port)?,
            Err(error) => Err(error),
        };
        (met.is_ok() || self.is_modelled(host)).then_some(met)
    }
}

impl Callees<'_> {
    fn dial(&mut self, host: &str, port: u16) -> Result<(String, u16), DialError> {
        let caller = self.caller;
        if matches!(host, "localhost" | "127.0.0.1" | "::1") {
            return Ok((caller.pod_ip.clone(), port));
        }
        self.dialer.dial(self.now, &caller.node, &caller.namespace, host, port)
    }

    /// A connection to an address; `None` where it is none of a modelled program.
    fn reach(&self, ip: &str, port: u16) -> Option<Result<(), DialError>> {
        if self.machines.by_ip.get(ip).is_none_or(Vec::is_empty) {
            return None;
        }
        match self.machines.connect(ip, port) {
            Ok(_) => Some(Ok(())),
            Err(ConnectError::NoAnswer) => Some(Err(DialError::Timeout)),
            Err(ConnectError::Refused) if self.may_listen(ip) => None,
            Err(ConnectError::Refused) => Some(Err(DialError::Refused)),
        }
    }

    /// Whether what is behind a name is all in the model: not what is outside, and not what a cluster
    /// brings along.
    fn is_modelled(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let short = host.strip_suffix(".cluster.local").unwrap_or(host);
        let stem = short.strip_suffix(".svc").unwrap_or(short);
        let own = self.caller.namespace.as_str();
        let (name, namespace) = stem.rsplit_once('.').unwrap_or((stem, own));
        let is_whole = stem != short || !stem.contains('.');
        (is_whole || namespace == "default" || namespace == own)
            && !SYSTEM_NAMESPACES.contains(&namespace)
            && (namespace, name) != ("default", "kubernetes")
    }

    /// Whether a program at `ip` may listen where no model says that it does.
    fn may_listen(&self, ip: &str) -> bool {
        let uids = self.machines.by_ip.get(ip).into_iter().flatten();
        let sandboxes = uids.filter_map(|uid| self.machines.sandboxes.get(uid));
        let mut ids = sandboxes.flat_map(super::nodes::Sandbox::current);
        ids.any(|id| {
            let container = self.machines.containers.get(&id);
            container.is_some_and(|container| {
                let is_described =
                    configured_for(&container.start.image, &self.machines.configured).is_some();
                container.app.is_none() || (is_described && !container.listening.is_empty())
            })
        })
    }
}

/// Queries share the container's cores in order of arrival: when the last is served, and how long
/// this one takes.
fn queue_time(
    done_at: SimTime,
    now: SimTime,
    cpu: Duration,
    rate_milli: u64,
) -> (SimTime, Duration) {
    let micros = u64::try_from(cpu.as_micros()).unwrap_or(0);
    let share = Duration::from_micros(micros * 1000 / rate_milli.max(1));
    let done = done_at.max(now) + share;
    (done, done.since(now).max(cpu))
}

/// A called program calls no one.
struct NoPeers;

impl Peers for NoPeers {
    fn query(&mut self, _: &str, _: u16, _: &[u8]) -> Result<(Bytes, Duration), DialError> {
        Err(DialError::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{millis, secs};

    #[test]
    fn queries_beyond_the_limit_queue() {
        let t0 = SimTime::ZERO + secs(1);
        // Two cores: a 4 ms query alone takes 4 ms; the third at once waits for the first two.
        let (d1, t1) = queue_time(SimTime::ZERO, t0, millis(4), 2000);
        let (d2, t2) = queue_time(d1, t0, millis(4), 2000);
        let (_, t3) = queue_time(d2, t0, millis(4), 2000);
        assert_eq!((t1, t2, t3), (millis(4), millis(4), millis(6)));
        assert_eq!(queue_time(SimTime::ZERO, t0, millis(4), 500).1, millis(8));
    }
}
