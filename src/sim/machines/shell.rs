//! Commands run inside a container by hooks and exec probes: how long they take and how they end.

use std::path::Path;
use std::time::Duration;

use super::Machines;
use super::container::Container;
use super::files::View;
use super::types::{ContainerId, ExecPlan, MachinesEvent};
use crate::base::millis;
use crate::sim::apps::{
    Files as _, configured_for, is_command_flag, is_common_tool, sleep_time, split_words,
    without_output,
};
use crate::sim::context::Cx;

/// Starting a process in a container through the runtime takes this long.
const EXEC_TIME: Duration = millis(20);
/// Exit code of a shell or runtime that finds no such program.
const NOT_FOUND: i32 = 127;
/// Exit code of a runtime that cannot run a program.
const CANNOT_RUN: i32 = 126;
/// Longest nesting of shells that is followed.
const MAX_DEPTH: usize = 4;
/// Programs that are only known to succeed, and do nothing that is modelled.
const HARMLESS: &[&str] = &["echo", "true", ":", "exit", "date", "mkdir"];
/// Programs that ask a server of the same container whether it answers, besides `curl` and `wget`.
const CLIENTS: &[&str] = &[
    "nc",
    "mysqladmin",
    "mariadb-admin",
    "mysql",
    "mariadb",
    "healthcheck.sh",
    "pg_isready",
    "redis-cli",
];

/// Signals that ask a server to end, as `kill` may be told of them.
const STOP_SIGNALS: [(&str, &[&str]); 3] = [
    ("TERM", &["", "-TERM", "-SIGTERM", "-15", "-s TERM"]),
    ("QUIT", &["-QUIT", "-SIGQUIT", "-3", "-s QUIT"]),
    ("WINCH", &["-WINCH", "-SIGWINCH", "-28", "-s WINCH"]),
];
/// Programs that see or change what time may change too.
const TIMELY: &[&str] =
    &["test", "[", "cat", "touch", "rm", "curl", "wget", "sh", "bash", "ash", "dash"];
/// Folders in which an image has no files of its own.
const EMPTY_AT_START: [&str; 4] = ["/tmp/", "/run/", "/var/run/", "/dev/shm/"];

/// What a command does, as far as it is understood.
enum Effect {
    Ends {
        duration: Duration,
        exit_code: i32,
    },
    /// It sends the main process a signal that asks it to stop.
    StopsMain,
    Unknown,
}

/// How a command went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Course {
    duration: Duration,
    exit_code: i32,
    /// When it first tells the main process to stop.
    stops: Option<Duration>,
}

impl Course {
    fn ended(exit_code: i32) -> Self {
        Course { exit_code, ..Course::default() }
    }
}

impl Machines {
    /// How `command` will go inside the container, which is killed at `limit`. A command that is not
    /// understood is taken to succeed, and recorded. `None` when the runtime refuses: the container is
    /// frozen (`runc exec`, from 1.1 on).
    pub fn exec(
        &mut self,
        id: ContainerId,
        command: &[String],
        limit: Option<Duration>,
        cx: &mut Cx<'_>,
    ) -> Option<ExecPlan> {
        let Some(container) = self.containers.get_mut(&id).filter(|c| c.is_running()) else {
            return Some(ExecPlan { duration: Duration::ZERO, exit_code: CANNOT_RUN });
        };
        if container.is_frozen() {
            return None;
        }
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut unknown = false;
        let mut shell = Shell { id, container, volumes: &self.volumes, unknown: &mut unknown };
        let Course { duration, exit_code, stops } = shell.run(&words, 0);
        if unknown {
            let image = &container.start.image;
            let is_tool = words.first().is_some_and(|first| is_common_tool(first));
            let hint = match configured_for(image, &self.configured) {
                Some(app) if app.has_shell.is_none() && is_tool => {
                    format!(" in {image} (say in seatrial.toml whether its image has a `shell`)")
                }
                Some(_) => format!(
                    " in {image} (a probe that tells whether it answers can be named among its `probes` \
                     in seatrial.toml)"
                ),
                None => String::new(),
            };
            self.note_unmodelled(id, command.join(" ") + &hint);
        }
        let stops = stops.map(|after| after + EXEC_TIME);
        if let Some(after) = stops.filter(|after| limit.is_none_or(|limit| *after < limit)) {
            cx.queue.after(after, MachinesEvent::Stop(id));
        }
        Some(ExecPlan { duration: duration + EXEC_TIME, exit_code })
    }

    /// Records a probe or hook of a container that is not understood.
    pub fn note_unmodelled(&mut self, id: ContainerId, what: String) {
        if let Some(container) = self.containers.get(&id) {
            self.unmodelled_commands.insert((container.pod_ref(), what));
        }
    }
}

/// A command that runs in a container.
pub(super) struct Shell<'a> {
    id: ContainerId,
    pub(super) container: &'a mut Container,
    volumes: &'a super::files::VolumeTrees,
    unknown: &'a mut bool,
}

impl Shell<'_> {
    fn run(&mut self, words: &[&str], depth: usize) -> Course {
        let Some((&program, args)) = words.split_first() else {
            return Course::ended(NOT_FOUND);
        };
        let name = program.rsplit('/').next().unwrap_or(program);
        if self.container.app.as_ref().is_some_and(|app| app.is_probe(name)) {
            return Course::ended(i32::from(self.container.listening.is_empty()));
        }
        let builtin = depth > 0 && matches!(name, "exit" | "true" | ":" | "echo" | "kill" | "test");
        match self.has_binary(name) {
            Some(false) if !builtin => return Course::ended(NOT_FOUND),
            None if !builtin => return self.unknown(),
            _ => {}
        }
        if matches!(name, "sh" | "bash" | "ash" | "dash") {
            let script = args.iter().skip_while(|arg| !is_command_flag(arg)).nth(1);
            return match script {
                Some(script) if depth < MAX_DEPTH => self.script(script, depth + 1),
                _ => self.unknown(),
            };
        }
        match self.effect(name, args) {
            Effect::Ends { duration, exit_code } => Course { duration, exit_code, stops: None },
            Effect::StopsMain => Course { stops: Some(Duration::ZERO), ..Course::default() },
            Effect::Unknown => self.unknown(),
        }
    }

    fn unknown(&mut self) -> Course {
        *self.unknown = true;
        Course::default()
    }

    /// Commands joined by `;`, `&&` and `||`; anything else of a shell is not understood.
    fn script(&mut self, script: &str, depth: usize) -> Course {
        let mut all = Course::default();
        for (joiner, part) in split_script(script) {
            let skipped =
                (joiner == "&&" && all.exit_code != 0) || (joiner == "||" && all.exit_code == 0);
            if skipped || part.is_empty() {
                continue;
            }
            let part = without_output(part);
            if part.contains(['|', '$', '`', '(', '{', '<', '>', '&']) || is_keyword(&part) {
                return self.unknown();
            }
            let words = split_words(&part);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let words = words.strip_prefix(&["exec"]).unwrap_or(&words);
            let name = words.first().and_then(|first| first.rsplit('/').next()).unwrap_or("");
            let is_timely = TIMELY.contains(&name) || CLIENTS.contains(&name);
            if is_timely && !all.duration.is_zero() {
                return self.unknown();
            }
            let part = self.run(words, depth);
            all = Course {
                duration: all.duration + part.duration,
                exit_code: part.exit_code,
                stops: all.stops.or_else(|| Some(all.duration + part.stops?)),
            };
            if words.first() == Some(&"exit") {
                break;
            }
        }
        all
    }

    fn effect(&mut self, name: &str, args: &[&str]) -> Effect {
        let ends = |exit_code| Effect::Ends { duration: Duration::ZERO, exit_code };
        match name {
            "sleep" => match args.iter().map(|arg| sleep_time(arg)).sum::<Option<Duration>>() {
                Some(duration) if !args.is_empty() => Effect::Ends { duration, exit_code: 0 },
                _ => ends(1),
            },
            "false" => ends(1),
            "exit" => ends(args.first().and_then(|code| code.parse().ok()).unwrap_or(0)),
            "test" | "[" => match args.strip_suffix(&["]"]).unwrap_or(args) {
                ["-f" | "-e" | "-s" | "-r", path] => self.finds(&[path]),
                ["-d", path] => {
                    let folder = format!("{}/", path.trim_end_matches('/'));
                    match self.view().list(&folder).is_empty() {
                        true if self.may_be_of_the_image(path) => Effect::Unknown,
                        is_empty => ends(i32::from(is_empty)),
                    }
                }
                _ => Effect::Unknown,
            },
            "cat" if !args.is_empty() => self.finds(args),
            "ls" if args.is_empty() => ends(0),
            "ls" => Effect::Unknown,
            "nginx" if args == ["-s", "quit"] => self.stop("QUIT"),
            "nginx" if args == ["-s", "stop"] => self.stop("TERM"),
            "apachectl" | "apache2ctl" if args.last() == Some(&"graceful-stop") => {
                self.stop("WINCH")
            }
            "apachectl" | "apache2ctl" if args.last() == Some(&"stop") => self.stop("TERM"),
            "kill" if args.last() == Some(&"1") => {
                let flags = args[..args.len() - 1].join(" ");
                let known = STOP_SIGNALS.iter().find(|(_, all)| all.contains(&flags.as_str()));
                match known {
                    _ if flags == "-0" => ends(0),
                    Some((signal, _)) => self.stop(signal),
                    None => Effect::Unknown,
                }
            }
            "touch" | "rm" => ends(self.change_files(name, args)),
            "curl" | "wget" => self.http_client(name, args).map_or(Effect::Unknown, ends),
            _ if CLIENTS.contains(&name) => self.client(name, args).map_or(Effect::Unknown, ends),
            _ if HARMLESS.contains(&name) => ends(0),
            _ => Effect::Unknown,
        }
    }

    /// What a program does on another signal than its stop signal, that is on a fast shutdown, is not
    /// followed.
    fn stop(&self, signal: &str) -> Effect {
        match &self.container.app {
            Some(app) if !app.stop_signals().contains(&signal) => Effect::Unknown,
            _ => Effect::StopsMain,
        }
    }

    /// `touch` and `rm`: the exit code.
    fn change_files(&mut self, name: &str, args: &[&str]) -> i32 {
        let (flags, paths): (Vec<&str>, Vec<&str>) =
            args.iter().partition(|arg| arg.starts_with('-'));
        let forced = flags.iter().any(|flag| flag.contains('f'));
        let mut code = 0;
        for path in paths {
            let exists = self.exists(path);
            if name == "touch" {
                let made = exists || self.view().write(path, bytes::Bytes::new());
                code = if made { code } else { 1 };
                continue;
            }
            let inner = self.view().list(&format!("{}/", path.trim_end_matches('/')));
            if !exists && inner.is_empty() && !forced {
                code = 1;
            }
            for path in inner.iter().map(String::as_str).chain([path]) {
                self.view().remove(path);
            }
        }
        code
    }

    /// An image without a model is not guessed about: its programs are taken to be there.
    fn has_binary(&self, name: &str) -> Option<bool> {
        self.container.app.as_ref().map_or(Some(true), |app| app.has_binary(name))
    }

    /// Whether all of `paths` are there.
    fn finds(&mut self, paths: &[&str]) -> Effect {
        let missing: Vec<&str> = paths.iter().copied().filter(|path| !self.exists(path)).collect();
        if missing.iter().any(|path| self.may_be_of_the_image(path)) {
            return Effect::Unknown;
        }
        Effect::Ends { duration: Duration::ZERO, exit_code: i32::from(!missing.is_empty()) }
    }

    /// Whether an image could have brought `path` along: no model lists an image's files.
    fn may_be_of_the_image(&self, path: &str) -> bool {
        let mut mounts = self.container.start.mounts.iter();
        let is_mounted = mounts.any(|mount| Path::new(path).starts_with(&mount.path));
        !is_mounted && !EMPTY_AT_START.iter().any(|folder| path.starts_with(folder))
    }

    fn exists(&mut self, path: &str) -> bool {
        self.view().read(path).is_some()
    }

    pub(super) fn view(&mut self) -> View<'_> {
        View {
            owner: self.id,
            mounts: &self.container.start.mounts,
            layer: &mut self.container.layer,
            volumes: self.volumes,
        }
    }
}

fn is_keyword(part: &str) -> bool {
    let first = part.split_whitespace().next().unwrap_or("");
    matches!(first, "if" | "while" | "until" | "for" | "case")
}

/// The commands of a script, each with the operator before it.
fn split_script(script: &str) -> Vec<(&'static str, &str)> {
    let mut parts = Vec::new();
    let (mut rest, mut joiner) = (script, ";");
    loop {
        let next = ["&&", "||", ";", "\n"]
            .into_iter()
            .filter_map(|operator| Some((rest.find(operator)?, operator)))
            .min();
        let Some((at, operator)) = next else {
            parts.push((joiner, rest.trim()));
            return parts;
        };
        parts.push((joiner, rest[..at].trim()));
        (rest, joiner) = (&rest[at + operator.len()..], operator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_split_at_their_operators() {
        let parts = split_script("sleep 5; nginx -s quit && echo 'a b' || true");
        let expected =
            [(";", "sleep 5"), (";", "nginx -s quit"), ("&&", "echo 'a b'"), ("||", "true")];
        assert_eq!(parts, expected);
    }
}
