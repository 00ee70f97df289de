//! What a program model answers to, and the catalogue of models by image.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::base::{SimTime, Streams};
use crate::sim::machines::ContainerStart;

/// Longest accept queue where the program does not ask for a shorter one: the kernel's
/// `net.core.somaxconn` (since Linux 5.4).
const SOMAXCONN: usize = 4_096;

/// How a program comes up.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Ports it will listen on, each after this time from the start of the process.
    pub listens: Vec<(u16, Duration)>,
    /// CPU time it burns while it comes up.
    pub cpu: Duration,
    /// Working set once up, in bytes.
    pub memory_bytes: u64,
    /// Requests it serves at once; further ones wait.
    pub n_workers: usize,
    /// Connections that wait at its socket at most, as it asks of `listen(2)`; beyond one more,
    /// the kernel drops what a client sends to connect (`tcp_input.c:tcp_conn_request`).
    pub listen_backlog: usize,
    /// It cannot go on yet, and is asked to launch again after this time.
    pub tries_again: Option<Duration>,
    /// It ends by itself after this time with this exit code (a failing entrypoint).
    pub exits: Option<(Duration, i32)>,
    /// Lines it writes to its output while it comes up.
    pub log: Vec<String>,
}

impl Default for Launch {
    fn default() -> Self {
        Launch {
            listens: Vec::new(),
            cpu: Duration::ZERO,
            memory_bytes: 0,
            n_workers: 0,
            listen_backlog: SOMAXCONN,
            tries_again: None,
            exits: None,
            log: Vec::new(),
        }
    }
}

/// What serving one request takes and gives.
#[derive(Debug)]
pub struct Work {
    /// CPU time in this container.
    pub cpu: Duration,
    /// Time spent waiting for others (the database), besides CPU.
    pub wait: Duration,
    /// Memory held while the request is served, in bytes.
    pub memory_bytes: u64,
    /// The response; `None` when the program never answers.
    pub response: Option<http::Response<Bytes>>,
    /// A line for the program's output, if it logs requests.
    pub log: Option<String>,
}

/// How a program goes down on its stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// New connections are refused after this time.
    pub stops_listening: Duration,
    /// Requests in service are finished; false: they are cut.
    pub drains: bool,
    /// It ends this long after the last request is done (or after the signal, if it does not drain).
    pub exits_after: Duration,
    /// Exit code.
    pub exit_code: i32,
    /// It ignores the signal and lives until SIGKILL.
    pub ignores: bool,
}

/// Why a connection from inside the cluster failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError {
    /// The name does not resolve.
    UnknownHost,
    /// Refused: no endpoint, or nothing listens.
    Refused,
    /// No answer.
    Timeout,
}

/// Connects programs to each other through DNS and Services; the network implements it.
pub trait Dialer {
    /// A connection from a pod on `node` in `namespace` to `host:port`: the pod address and port it ends at.
    ///
    /// # Errors
    /// Why there is no connection.
    fn dial(
        &mut self,
        now: SimTime,
        node: &str,
        namespace: &str,
        host: &str,
        port: u16,
    ) -> Result<(String, u16), DialError>;
}

/// What a program may use while it handles something.
pub struct AppCx<'a> {
    /// The current instant.
    pub now: SimTime,
    /// Randomness.
    pub rng: &'a mut Streams,
    /// The container it runs in.
    pub start: &'a ContainerStart,
    /// Its files: mounted volumes and the container's own layer.
    pub files: &'a mut dyn Files,
    /// Calls another program of the cluster: `request` to `host:port`.
    pub peers: &'a mut dyn Peers,
    /// What the container asks for and the model does not do; any of it makes a verdict `unknown`.
    pub notes: &'a mut Vec<String>,
}

/// Files as a program sees them: a path below a mount belongs to that volume, any other to the container.
pub trait Files {
    /// The content at `path`.
    fn read(&self, path: &str) -> Option<Bytes>;
    /// Writes `content` to `path`; false when the mount is read-only.
    fn write(&mut self, path: &str, content: Bytes) -> bool;
    /// Paths that begin with `prefix`, in order.
    fn list(&self, prefix: &str) -> Vec<String>;
    /// Removes `path`.
    fn remove(&mut self, path: &str);
    /// Locks `path` until the program ends (`fcntl_locking(2)`); false while another holds it.
    fn lock(&mut self, path: &str) -> bool;
}

/// Other programs of the cluster.
pub trait Peers {
    /// Sends `query` to the program at `host:port` and gets its answer at once; the time it took
    /// is the peer's `Work`.
    ///
    /// # Errors
    /// Why it could not be reached.
    fn query(
        &mut self,
        host: &str,
        port: u16,
        query: &[u8],
    ) -> Result<(Bytes, Duration), DialError>;

    /// Connects to `host:port`, and no more; `None` where it is not known what is there.
    fn connect(&mut self, _host: &str, _port: u16) -> Option<Result<(), DialError>> {
        None
    }
}

/// A program model. One value per running container.
pub trait App: std::fmt::Debug + Send {
    /// The process starts.
    fn launch(&mut self, cx: &mut AppCx<'_>) -> Launch;

    /// A request over HTTP. `port` is the one it arrived at.
    fn http(&mut self, port: u16, request: &http::Request<Bytes>, cx: &mut AppCx<'_>) -> Work;

    /// A query of another program (for databases); the CPU time and the answer.
    fn query(&mut self, _query: &[u8], _cx: &mut AppCx<'_>) -> (Duration, Bytes) {
        (Duration::ZERO, Bytes::new())
    }

    /// The stop signal arrives.
    fn shutdown(&mut self) -> Shutdown;

    /// The signals that [`App::shutdown`] tells of.
    fn stop_signals(&self) -> &'static [&'static str] {
        &["TERM"]
    }

    /// The status it answers `path` with, where that depends on nothing but its files.
    fn status(&self, _path: &str, _start: &ContainerStart, _files: &dyn Files) -> Option<u16> {
        None
    }

    /// Whether the image holds the program `name`, as in `sleep` or `bash`; `None` where that is not
    /// known.
    fn has_binary(&self, name: &str) -> Option<bool>;

    /// Whether the image's program `name` tells by its exit code whether this one listens.
    fn is_probe(&self, _name: &str) -> bool {
        false
    }
}

/// A generic HTTP server, configured in `seatrial.toml` for an image without a model.
#[derive(Clone, Debug, PartialEq)]
pub struct GenericApp {
    /// Image, without tag: matches any tag.
    pub image: String,
    /// Port it listens on.
    pub port: u16,
    /// Time from process start to listening.
    pub start: Duration,
    /// CPU time per request.
    pub cpu_per_request: Duration,
    /// Working set in bytes.
    pub memory_bytes: u64,
    /// Status by path prefix; 200 where none matches.
    pub statuses: BTreeMap<String, u16>,
    /// Whether it finishes requests in service on its stop signal.
    pub drains: bool,
    /// Whether its image has a shell and the tools that come with one, for hooks and probes that run
    /// a program; `None` where that is not said.
    pub has_shell: Option<bool>,
    /// Whether it, and what its hooks and probes run, gets by as a user of its own, without capabilities,
    /// on a root filesystem that is read-only.
    pub unprivileged: bool,
    /// Programs of its image that exec probes run: 0 while it listens, else 1.
    pub probes: Vec<String>,
}
