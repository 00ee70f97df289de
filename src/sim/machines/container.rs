//! One running container: its program, sockets, memory and output.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::cpu::Cpu;
use super::files::Tree;
use super::types::{ContainerStart, MachinesEvent, Origin, ProcessState, Usage};
use crate::base::{ObjectRef, SimTime};
use crate::sim::apps::{App, Launch, Shutdown};

/// Lines of output kept per container.
const LOG_LINES_MAX: usize = 10_000;
/// The job that stands for the program's own start.
pub(super) const LAUNCH_JOB: u64 = 0;
/// Smallest CPU weight (`helpers_linux.go:MinShares`).
const MIN_SHARES: u64 = 2;

/// A request in service.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) origin: Origin,
    pub(super) wait: std::time::Duration,
    pub(super) memory_bytes: u64,
    pub(super) response: Option<http::Response<Bytes>>,
    pub(super) log: Option<String>,
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    pub(super) plan: Shutdown,
    pub(super) closed: bool,
    pub(super) exit_due: bool,
}

/// A started container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) start: Arc<ContainerStart>,
    /// Its program; none when the image has no model, and while the program runs.
    pub(super) app: Option<Box<dyn App>>,
    pub(super) state: ProcessState,
    pub(super) started_at: SimTime,
    pub(super) launch: Launch,
    pub(super) listening: Vec<u16>,
    /// Ports whose time has come while the start still burns CPU.
    pub(super) held_ports: Vec<u16>,
    pub(super) has_listened: bool,
    pub(super) memory_bytes: u64,
    pub(super) cpu: Cpu,
    /// What its node counts as its demand.
    pub(super) demand: u64,
    pub(super) cpu_due: Option<SimTime>,
    pub(super) next_request: u64,
    pub(super) serving: BTreeMap<u64, Serving>,
    pub(super) backlog: VecDeque<(Origin, Arc<http::Request<Bytes>>)>,
    pub(super) stopping: Option<Stopping>,
    /// What its processes have to do once they are thawed; none while they run.
    pub(super) held: Option<Vec<MachinesEvent>>,
    pub(super) layer: Tree,
    pub(super) log: VecDeque<String>,
    /// When the queries of peers taken so far are served.
    pub(super) queries_done_at: SimTime,
}

impl Container {
    pub(super) fn new(start: ContainerStart, app: Option<Box<dyn App>>, now: SimTime) -> Self {
        Container {
            cpu: Cpu::new(start.cpu_limit_milli, now),
            start: Arc::new(start),
            app,
            state: ProcessState::Running,
            started_at: now,
            launch: Launch::default(),
            listening: Vec::new(),
            held_ports: Vec::new(),
            has_listened: false,
            memory_bytes: 0,
            demand: 0,
            cpu_due: None,
            next_request: LAUNCH_JOB + 1,
            serving: BTreeMap::new(),
            backlog: VecDeque::new(),
            stopping: None,
            held: None,
            layer: Tree::new(),
            log: VecDeque::new(),
            queries_done_at: now,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == ProcessState::Running
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.held.is_some()
    }

    /// Whether it takes new requests on connections it has accepted.
    pub(super) fn takes_requests(&self) -> bool {
        self.is_running() && !self.listening.is_empty()
    }

    /// Whether no further connection finds room in its accept queue: the kernel holds one more than
    /// the program asked for (`net/sock.h:sk_acceptq_is_full`). A waiting request stands for its
    /// connection, also after its client has given up; connections without one are not counted.
    pub(super) fn accept_queue_is_full(&self) -> bool {
        self.backlog.len() > self.launch.listen_backlog
    }

    pub(super) fn pod_ref(&self) -> ObjectRef {
        ObjectRef::new("Pod", self.start.namespace.as_str(), self.start.pod.as_str())
    }

    /// CPU weight under contention (`helpers_linux.go:MilliCPUToShares`).
    pub(super) fn shares(&self) -> u64 {
        (self.start.cpu_request_milli * 1024 / 1000).max(MIN_SHARES)
    }

    pub(super) fn exceeds_memory(&self) -> bool {
        self.start.memory_limit_bytes.is_some_and(|limit| self.memory_bytes > limit)
    }

    pub(super) fn write_log(&mut self, line: String) {
        if self.log.len() == LOG_LINES_MAX {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    pub(super) fn usage(&self, now: SimTime) -> Usage {
        Usage {
            cpu: self.cpu.used(now),
            memory_bytes: if self.is_running() { self.memory_bytes } else { 0 },
            started_at: self.started_at,
        }
    }
}
