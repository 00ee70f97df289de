//! Processes as leases name them: a number alone is used again sooner or later, and means
//! something else after a restart of the machine, in another container and on another machine.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};

use rustix::process::{Pid, Signal, getpid, kill_process, test_kill_process};
use serde::{Deserialize, Serialize};

use super::program::LEASE_VARIABLE;

/// Bytes that hold all but very large environments; one variable may have as many
/// (`MAX_ARG_STRLEN` of `include/uapi/linux/binfmts.h`).
const LARGE_ENVIRONMENT: usize = 128 << 10;

/// Flag of the kernel's own threads (`include/linux/sched.h`).
const PF_KTHREAD: u64 = 0x0020_0000;

/// A process of this boot: its number and when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// Clock ticks from boot to its start (`proc(5)`, field 22); 0 where that is not known.
    pub started: u64,
}

impl ProcessId {
    /// This process.
    pub fn current() -> Self {
        ProcessId::of(std::process::id())
    }

    /// The process that has the number `pid` now.
    pub fn of(pid: u32) -> Self {
        ProcessId { pid, started: start_of(pid).unwrap_or(0) }
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        if has_proc() {
            return start_of(self.pid) == Some(self.started);
        }
        // Without start times a number in use may be somebody else's: then we leave too much.
        raw(self.pid).is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

/// A process, and where its number means something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process.
    #[serde(flatten)]
    pub process: ProcessId,
    /// Name of its machine or container.
    pub machine: String,
    /// Which start of the kernel it runs on; empty where that is not known.
    pub boot: String,
    /// In which space of process numbers; empty where there is but one.
    pub pid_space: String,
    /// Its session (`setsid(2)`), which the programs it starts stay in, where that is known. It is 0
    /// where the session began outside of the space of process numbers, as in some containers.
    #[serde(default)]
    pub session: Option<u32>,
}

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Alive,
    /// It has ended.
    Dead,
    /// Its process cannot be seen from here, only its heartbeat.
    OutOfSight,
    /// It is or was on another machine: whatever it made is there.
    Elsewhere,
}

impl Owner {
    /// This process.
    pub fn current() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Owner {
            process: ProcessId::current(),
            machine: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            boot: text("/proc/sys/kernel/random/boot_id"),
            pid_space: space.to_string_lossy().into_owned(),
            session: session_of(std::process::id()),
        }
    }

    /// What `here` can tell of it.
    pub fn life(&self, here: &Owner) -> Life {
        if self.boot == here.boot && !self.boot.is_empty() {
            // One kernel, whatever the containers on it are called.
            match self.pid_space == here.pid_space {
                true if self.process.is_alive() => Life::Alive,
                true => Life::Dead,
                false => Life::OutOfSight,
            }
        } else if self.machine != here.machine {
            Life::Elsewhere
        } else if !self.boot.is_empty() {
            // This machine before it restarted, or another of its name that shares the folder.
            Life::OutOfSight
        } else if self.process.is_alive() {
            Life::Alive
        } else {
            Life::Dead
        }
    }
}

/// What a look for the processes of a lease came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// How many were killed.
    pub killed: usize,
    /// How many could not be told, because they are just becoming another program.
    pub unclear: usize,
}

/// Kills the processes that were started under the lease `id` by `owner`. We and those who started us
/// are never among them, nor daemons: in a session of its own is what others use too by now, as
/// Podman's name server or an agent with keys. Does nothing where there is no `/proc`.
pub(super) fn kill_started_under(id: &str, owner: &Owner) -> Look {
    let mark = format!("{LEASE_VARIABLE}={id}");
    let spared = ancestors();
    let mut look = Look::default();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some(environment) = environment_of(pid) else {
            look.unclear += 1;
            continue;
        };
        let marked = environment.split(|byte| *byte == 0).any(|item| item == mark.as_bytes());
        if !marked || spared.contains(&pid) || start_of(pid).is_none() {
            continue;
        }
        if owner.session.is_some() && session_of(pid) != owner.session {
            continue;
        }
        if raw(pid).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok()) {
            look.killed += 1;
        }
    }
    look
}

/// The environment a process was started with, empty where it cannot be read, or `None` while the
/// process is within execve: until the new program is loaded its environment reads as empty
/// (`fs/proc/base.c`, `environ_read`).
fn environment_of(pid: u32) -> Option<Vec<u8>> {
    let environment = read_environment(pid);
    let is_empty = matches!(&environment, Ok(bytes) if bytes.is_empty());
    // One that is not empty now was loaded since.
    if is_empty && !has_no_environment(pid) {
        return None;
    }
    Some(environment.unwrap_or_default())
}

/// Reads an environment in one call, because a file of `/proc` that was opened before an execve
/// ends there.
fn read_environment(pid: u32) -> io::Result<Vec<u8>> {
    let mut file = File::open(format!("/proc/{pid}/environ"))?;
    let mut environment = vec![0; LARGE_ENVIRONMENT];
    let length = file.read(&mut environment)?;
    environment.truncate(length);
    if length == LARGE_ENVIRONMENT {
        file.read_to_end(&mut environment)?;
    }
    Ok(environment)
}

/// Whether it is one of the kernel's own, has ended, or was started without any variable (`proc(5)`,
/// fields 9, 50 and 51). Where the code begins (field 26) is told last, when the rest is in place
/// (`fs/binfmt_elf.c`, `load_elf_binary`).
fn has_no_environment(pid: u32) -> bool {
    let Some(fields) = fields_of(pid).map(Vec::from_iter) else { return true };
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    let is_kernel = number(9).is_none_or(|flags| flags & PF_KTHREAD != 0);
    let is_loaded = number(26).is_some_and(|code| code != 0);
    is_kernel || has_ended(&fields[0]) || (is_loaded && number(50) == number(51))
}

/// Whether start times can be read.
fn has_proc() -> bool {
    start_of(std::process::id()).is_some()
}

fn raw(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// This process and those above it.
fn ancestors() -> Vec<u32> {
    let own = u32::try_from(getpid().as_raw_nonzero().get()).ok();
    let parent = |pid: &u32| fields_of(*pid)?.nth(1)?.parse().ok();
    std::iter::successors(own, parent).take_while(|pid| *pid > 0).collect()
}

/// Start time of a process that has not ended; a zombie has ended.
fn start_of(pid: u32) -> Option<u64> {
    let mut fields = fields_of(pid)?;
    let state = fields.next()?;
    if has_ended(&state) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn session_of(pid: u32) -> Option<u32> {
    fields_of(pid)?.nth(3)?.parse().ok()
}

/// Whether the state is that of a zombie or of what is left of one.
fn has_ended(state: &str) -> bool {
    matches!(state, "Z" | "X")
}

/// Fields of `/proc/PID/stat` from field 3 on. The program's name in field 2 may contain anything,
/// so they are counted from its closing parenthesis.
fn fields_of(pid: u32) -> Option<std::vec::IntoIter<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<String> =
        stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect();
    Some(fields.into_iter())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn this_process_is_alive_and_its_number_with_another_start_is_not() {
        let this = ProcessId::current();
        assert!(this.is_alive());
        assert!(!ProcessId { started: this.started + 1, ..this }.is_alive());
    }

    fn owner(machine: &str, boot: &str, pid_space: &str) -> Owner {
        let process = ProcessId::current();
        let [machine, boot, pid_space] = [machine, boot, pid_space].map(str::to_owned);
        Owner { process, machine, boot, pid_space, session: None }
    }

    #[rstest]
    #[case::here("m", "b", "s", Life::Alive)]
    #[case::renamed_machine("other", "b", "s", Life::Alive)]
    #[case::another_container("c", "b", "s2", Life::OutOfSight)]
    #[case::before_a_restart_or_a_namesake("m", "b0", "s", Life::OutOfSight)]
    #[case::another_machine("other", "b2", "s", Life::Elsewhere)]
    #[case::no_boot_id("m", "", "", Life::Alive)]
    fn the_same_number_elsewhere_is_another_process(
        #[case] machine: &str,
        #[case] boot: &str,
        #[case] pid_space: &str,
        #[case] life: Life,
    ) {
        let here = owner("m", "b", "s");
        assert_eq!(owner(machine, boot, pid_space).life(&here), life);
    }

    #[test]
    fn a_used_again_number_is_a_dead_owner() {
        let here = Owner::current();
        let mut owner = here.clone();
        owner.process.started += 1;
        assert_eq!((owner.life(&here), here.life(&here)), (Life::Dead, Life::Alive));
    }

    #[test]
    fn this_process_is_among_those_spared() {
        let spared = ancestors();
        assert_eq!(spared.first(), Some(&std::process::id()));
        assert!(spared.len() > 1, "somebody started us: {spared:?}");
    }

    #[test]
    fn a_program_that_becomes_another_is_not_taken_for_one_without_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("again");
        fs::write(&script, "exec sh \"$0\"").expect("written");
        let mut command = std::process::Command::new("sh");
        command.arg(&script).env(LEASE_VARIABLE, "process-test");
        let mut child = command.spawn().expect("it starts");
        let mark = format!("{LEASE_VARIABLE}=process-test");
        let marked = |environment: &Vec<u8>| {
            environment.split(|byte| *byte == 0).any(|item| item == mark.as_bytes())
        };
        let looks: Vec<_> = (0..5_000).map(|_| environment_of(child.id())).collect();
        child.kill().expect("killed");
        child.wait().expect("ended");
        let first = looks.iter().position(|look| look.as_ref().is_some_and(marked));
        let rest = &looks[first.expect("it was seen")..];
        assert!(rest.iter().flatten().all(marked));
    }
}
