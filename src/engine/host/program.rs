//! Programs: the one place that starts a process and waits for it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::call::Call;
use crate::base::Error;

/// Lines of output that an error quotes.
const TAIL_LINES: usize = 12;
/// What the environment must not decide: kind's default cluster and anybody's kubeconfig.
const SCRUBBED: [&str; 2] = ["KIND_CLUSTER_NAME", "KUBECONFIG"];
/// The environment variable that says under which lease a process was started. Its children inherit
/// it, so that the sweep finds all of them, from their first instruction on.
pub(super) const LEASE_VARIABLE: &str = "SEATRIAL_LEASE";

/// What a successful call printed.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such program.
    NotFound,
    /// It could not be started.
    NotStarted(String),
    /// It ended with this exit code; `None` when a signal ended it.
    Exit(Option<i32>),
    /// It took longer than this and was killed.
    TimedOut(Duration),
}

/// A call that did not succeed.
#[derive(Clone, Debug)]
pub struct ProgramError {
    /// The command line.
    pub command: String,
    /// What went wrong.
    pub trouble: Trouble,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.command.split(' ').find(|word| !word.contains('=')).unwrap_or_default();
        match &self.trouble {
            Trouble::NotFound => write!(f, "`{program}` is not installed or not on PATH")?,
            Trouble::NotStarted(why) => {
                write!(f, "`{}` could not be started: {why}", self.command)?
            }
            Trouble::Exit(Some(code)) => {
                write!(f, "`{}` ended with exit code {code}", self.command)?
            }
            Trouble::Exit(None) => write!(f, "`{}` was ended by a signal", self.command)?,
            Trouble::TimedOut(limit) => {
                write!(f, "`{}` took longer than {} s", self.command, limit.as_secs())?;
            }
        }
        // Programs explain themselves on standard error; standard output stands in where it is empty.
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ProgramError {}

impl From<ProgramError> for Error {
    fn from(error: ProgramError) -> Self {
        Error::environment(error.to_string())
    }
}

/// Runs calls, or writes them down. Clones share what is written down and what was cut short.
#[derive(Clone, Debug)]
pub struct Programs {
    dry: Option<Arc<Mutex<Vec<String>>>>,
    /// Searched before `PATH`.
    first: Option<PathBuf>,
    /// Id of the lease that processes are started under.
    lease: Option<String>,
    /// Whether a call was killed before its end.
    cut_short: Arc<AtomicBool>,
}

impl Programs {
    /// Runs every call.
    pub fn real() -> Self {
        Programs { dry: None, first: None, lease: None, cut_short: Arc::default() }
    }

    /// Runs every call; programs in `folder` come before those on `PATH`, for their children too.
    pub fn real_in(folder: impl Into<PathBuf>) -> Self {
        Programs { first: Some(folder.into()), ..Programs::real() }
    }

    /// Runs nothing; writes every call down.
    pub fn dry() -> Self {
        Programs { dry: Some(Arc::default()), ..Programs::real() }
    }

    /// The same, for calls that make things: when we are killed while they run, they run on, and
    /// the sweep of the lease `id` ends them and all their children before it removes anything.
    #[must_use]
    pub fn under(&self, id: &str) -> Self {
        Programs { lease: Some(id.to_owned()), ..self.clone() }
    }

    /// Whether nothing is run.
    pub fn is_dry(&self) -> bool {
        self.dry.is_some()
    }

    /// Whether a call was killed before its end since this was asked last: then the engine that it
    /// talked to may still do what it was asked for.
    pub(super) fn take_cut_short(&self) -> bool {
        self.cut_short.swap(false, Ordering::Relaxed)
    }

    /// The command lines written down so far, in order.
    pub fn written_down(&self) -> Vec<String> {
        match &self.dry {
            Some(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            None => Vec::new(),
        }
    }

    /// Runs `call` to its end. Dropping the future kills the process and its children.
    ///
    /// # Errors
    /// It could not be started, ended with another exit code than 0, or took too long.
    pub async fn run(&self, call: &Call) -> Result<Ran, ProgramError> {
        if let Some(lines) = &self.dry {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(call.command_line());
            return Ok(Ran { stdout: call.dry_answer.clone(), stderr: String::new() });
        }
        let failed = |trouble, stdout: &[u8], stderr: &[u8]| ProgramError {
            command: call.command_line(),
            trouble,
            stdout: String::from_utf8_lossy(stdout).into_owned(),
            stderr: String::from_utf8_lossy(stderr).into_owned(),
        };
        let child = self.start(call).map_err(|trouble| failed(trouble, b"", b""))?;
        let cut_short = Arc::clone(&self.cut_short);
        let mut group = Group { pid: group_of(&child), child, ended: false, cut_short };
        let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ended = tokio::time::timeout(call.limit, async {
            let (_, _, status) =
                tokio::join!(read(stdout, &mut out), read(stderr, &mut err), group.child.wait());
            status
        })
        .await;
        group.ended = ended.is_ok();
        match ended {
            Ok(Ok(status)) if status.success() => Ok(Ran {
                stdout: String::from_utf8_lossy(&out).into_owned(),
                stderr: String::from_utf8_lossy(&err).into_owned(),
            }),
            Ok(Ok(status)) => Err(failed(Trouble::Exit(status.code()), &out, &err)),
            Ok(Err(error)) => Err(failed(Trouble::NotStarted(error.to_string()), &out, &err)),
            Err(_) => Err(failed(Trouble::TimedOut(call.limit), &out, &err)),
        }
    }

    fn start(&self, call: &Call) -> Result<Child, Trouble> {
        let mut command = Command::new(&call.program);
        command.args(&call.args).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // A group of its own: a Ctrl-C on the terminal is ours to handle, in order.
        command.process_group(0);
        for name in SCRUBBED {
            command.env_remove(name);
        }
        if let Some(id) = &self.lease {
            command.env(LEASE_VARIABLE, id);
        }
        if let Some(path) = self.search_path() {
            command.env("PATH", path);
        }
        command.envs(&call.env);
        match &call.stdin {
            Some(file) => {
                let open = std::fs::File::open(file);
                let unreadable = |error| format!("{}: {error}", file.display());
                command.stdin(open.map_err(|error| Trouble::NotStarted(unreadable(error)))?);
            }
            None => {
                command.stdin(Stdio::null());
            }
        }
        command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Trouble::NotFound,
            _ => Trouble::NotStarted(error.to_string()),
        })
    }

    /// `PATH` for the programs, where it is not our own.
    fn search_path(&self) -> Option<OsString> {
        let first = self.first.clone()?;
        let ours = std::env::var_os("PATH").unwrap_or_default();
        std::env::join_paths(std::iter::once(first).chain(std::env::split_paths(&ours))).ok()
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    if let Some(mut pipe) = pipe {
        // What could be read is what there is to tell.
        let _ = pipe.read_to_end(into).await;
    }
}

/// A child whose whole process group is killed when it is dropped before its end: until it and
/// all that hold its output have ended.
struct Group {
    pid: Option<Pid>,
    child: Child,
    ended: bool,
    cut_short: Arc<AtomicBool>,
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.pid.filter(|_| !self.ended) {
            // Gone already is as good as killed.
            let _ = kill_process_group(pid, Signal::KILL);
            self.cut_short.store(true, Ordering::Relaxed);
        }
    }
}

/// The process group that `child` leads.
fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::super::testing::FakeTools;
    use super::*;

    fn shell(script: &str) -> Call {
        Call::new("sh", ["-c", script])
    }

    #[tokio::test]
    async fn a_call_gives_its_output() {
        let ran = Programs::real().run(&shell("echo out; echo err >&2")).await.expect("it runs");
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    }

    #[tokio::test]
    async fn an_error_quotes_command_code_and_last_lines() {
        let call = shell("seq 1 40 >&2; exit 7");
        let error = Programs::real().run(&call).await.expect_err("exit 7").to_string();
        assert!(error.starts_with("`sh -c 'seq 1 40 >&2; exit 7'` ended with exit code 7\n  29\n"));
        assert!(error.ends_with("\n  40"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Programs::real().run(&Call::new("no-such-program", ["x"])).await;
        let error = error.expect_err("not there").to_string();
        assert_eq!(error, "`no-such-program` is not installed or not on PATH");
    }

    #[tokio::test]
    async fn a_call_over_its_limit_ends_with_its_children() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark");
        let script = format!("(sleep 2; touch {}) & wait", mark.display());
        let error = Programs::real().run(&shell(&script).limit(crate::base::millis(200))).await;
        assert_eq!(
            error.expect_err("too long").trouble,
            Trouble::TimedOut(crate::base::millis(200))
        );
        tokio::time::sleep(crate::base::millis(2_500)).await;
        assert!(!mark.exists(), "the grandchild went on");
    }

    #[tokio::test]
    async fn a_child_left_behind_by_a_program_ends_with_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark");
        // The shell itself ends at once; its child holds the output open.
        let script = format!("(sleep 2; touch {}) &", mark.display());
        let error = Programs::real().run(&shell(&script).limit(crate::base::millis(200))).await;
        assert!(matches!(error.expect_err("too long").trouble, Trouble::TimedOut(_)));
        tokio::time::sleep(crate::base::millis(2_500)).await;
        assert!(!mark.exists(), "the child went on");
    }

    #[tokio::test]
    async fn a_missing_standard_input_is_not_a_missing_program() {
        let error = Programs::real().run(&shell("cat").stdin("/no/such/file")).await;
        let error = error.expect_err("no input").to_string();
        assert!(error.contains("could not be started: /no/such/file: "), "{error}");
    }

    #[tokio::test]
    async fn a_folder_of_programs_comes_first_for_programs_and_their_children() {
        let tools = FakeTools::new();
        tools.add("kind", "docker version");
        tools.add("docker", "echo \"fake $1\"");
        let ran = tools.programs().run(&Call::new("kind", ["x"])).await.expect("it runs");
        assert_eq!(ran.stdout, "fake version\n");
        let ran = tools.programs().run(&shell("echo usual")).await.expect("PATH is searched too");
        assert_eq!(ran.stdout, "usual\n");
    }

    #[tokio::test]
    async fn a_process_under_a_lease_says_so_in_its_environment() {
        let programs = Programs::real().under("run-7");
        let call = shell(&format!("echo ${LEASE_VARIABLE}"));
        assert_eq!(programs.run(&call).await.expect("it runs").stdout, "run-7\n");
    }

    #[tokio::test]
    async fn dry_calls_are_written_down_and_answered() {
        let programs = Programs::dry();
        let call = Call::new("kind", ["get", "clusters"]).env("A", "b c").when_dry("one\n");
        assert_eq!(programs.run(&call).await.expect("answered").stdout, "one\n");
        assert_eq!(programs.written_down(), ["A='b c' kind get clusters"]);
    }
}
