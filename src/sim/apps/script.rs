//! Commands that replace an image's program: `sleep`, `true`, and small shell scripts of them.

mod loops;
mod paths;
#[cfg(test)]
mod tests;
mod text;

use std::mem::take;
use std::time::Duration;

use loops::Looping;
use paths::Made;
use text::{Statement, statements};

use super::model::{App, AppCx, Launch};
use crate::base::millis;

pub(in crate::sim) use text::{sleep_time, split_words, without_output};

/// What a command does as main process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The image's own program, after some time.
    Main(Main),
    /// Something without a listener, that ends after some time with an exit code.
    Ends { after: Duration, code: i32, log: Vec<String> },
    /// Something without a listener that does not end.
    Runs { log: Vec<String> },
    /// Something that waits for another program, and looks again after some time.
    Waits { again: Duration, log: Vec<String> },
}

/// How the image's own program comes to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Main {
    /// It starts after this time.
    pub after: Duration,
    /// What was written before.
    pub log: Vec<String>,
    /// Its words, where the container states them; none when it runs as the image has it.
    pub words: Vec<String>,
    /// Whether the image's entrypoint does not run before it: a container's `command` takes its place.
    pub is_bare: bool,
}

/// The programs of an image.
pub(super) struct Programs<'a> {
    /// The names of what it runs without a command, besides its entrypoint.
    pub own: &'a [&'a str],
    /// Whether its entrypoint takes arguments alone for options of that program.
    pub takes_options: bool,
    /// Knows which others it holds.
    pub app: &'a dyn App,
}

/// The entrypoint of the official images.
const ENTRYPOINT: &str = "docker-entrypoint.sh";
/// Time a process takes to start and end.
const PROCESS: Duration = millis(5);
/// Exit code of a shell for a program that does not exist.
const NOT_FOUND: i32 = 127;

/// Words that begin, join or end what is more than one command.
const KEYWORDS: &[&str] = &[
    "if", "then", "else", "elif", "fi", "until", "while", "for", "do", "done", "case", "esac", "{",
    "}", "(", ")", "[", "[[", "!",
];

/// What the container runs. What is not understood is noted, and taken to succeed.
pub(super) fn command(cx: &mut AppCx<'_>, programs: &Programs<'_>) -> Command {
    let start = cx.start;
    let words = start.command.iter().chain(&start.args).map(String::as_str);
    let words: Vec<&str> = words.skip_while(|word| is_init(word)).collect();
    let is_default = start.command.is_empty();
    match words.first() {
        None if is_default => Command::Main(Main::default()),
        Some(_) if is_default => through_entrypoint(&words, programs, cx),
        _ => run(&words, programs, cx),
    }
}

/// What the entrypoint does with its arguments: it prepares for the image's own program, and runs any
/// other as it is.
fn through_entrypoint(words: &[&str], programs: &Programs<'_>, cx: &mut AppCx<'_>) -> Command {
    let Some(first) = words.first() else {
        return Command::Ends { after: PROCESS, code: 0, log: Vec::new() };
    };
    if first.starts_with('-') && !programs.takes_options {
        note(&words.join(" "), cx);
    } else if !first.starts_with('-') && !programs.own.contains(&base_name(first)) {
        return run(words, programs, cx);
    }
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Command::Main(Main { words, ..Main::default() })
}

fn run(words: &[&str], programs: &Programs<'_>, cx: &mut AppCx<'_>) -> Command {
    let shell = words.first().map(|first| base_name(first));
    let is_shell = matches!(shell, Some("sh" | "bash" | "ash"));
    if is_shell && shell.is_some_and(|name| programs.app.has_binary(name) != Some(false)) {
        let mut rest = words.iter().skip_while(|word| !is_command_flag(word));
        if let (Some(flag), Some(text)) = (rest.next(), rest.next()) {
            let mut steps = Steps::new(programs, cx);
            steps.exits_on_error = flag.contains('e');
            return steps.script(text);
        }
        if words.len() > 1 {
            note(&words.join(" "), cx);
        }
        // Without a terminal it reads the end of its input.
        return Command::Ends { after: PROCESS, code: 0, log: Vec::new() };
    }
    let mut steps = Steps::new(programs, cx);
    let command = steps.one(words);
    command.unwrap_or(Command::Ends { after: steps.after, code: steps.code, log: steps.log })
}

/// The launch of a command that is not the image's own program.
pub(super) fn launch(command: Command) -> Launch {
    let base = Launch { memory_bytes: 1 << 20, n_workers: 1, ..Launch::default() };
    match command {
        Command::Ends { after, code, log } => Launch { exits: Some((after, code)), log, ..base },
        Command::Waits { again, log } => Launch { tries_again: Some(again), log, ..base },
        Command::Runs { log } | Command::Main(Main { log, .. }) => Launch { log, ..base },
    }
}

/// The steps of a script as they are done.
struct Steps<'s, 'p, 'c> {
    programs: &'s Programs<'p>,
    cx: &'s mut AppCx<'c>,
    /// How long they have taken.
    after: Duration,
    log: Vec<String>,
    /// Exit code of the last.
    code: i32,
    made: Made,
    exits_on_error: bool,
}

impl<'s, 'p, 'c> Steps<'s, 'p, 'c> {
    fn new(programs: &'s Programs<'p>, cx: &'s mut AppCx<'c>) -> Self {
        let (after, log, made) = (Duration::ZERO, Vec::new(), Made::default());
        Steps { programs, cx, after, log, code: 0, made, exits_on_error: false }
    }

    fn script(mut self, text: &str) -> Command {
        let statements = statements(text);
        for (idx, statement) in statements.iter().enumerate() {
            if statement.after_success && self.code != 0 {
                continue;
            }
            if let Some(command) = self.statement(statement, text) {
                return command;
            }
            let decides = statements.get(idx + 1).is_some_and(|next| next.after_success);
            if self.exits_on_error && self.code != 0 && !decides {
                break;
            }
        }
        Command::Ends { after: self.after.max(PROCESS), code: self.code, log: self.log }
    }

    /// What the script comes to be, where `statement` decides that.
    fn statement(&mut self, statement: &Statement<'_>, text: &str) -> Option<Command> {
        let step = without_output(statement.text);
        let words = split_words(&step);
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|w| *w != "exec").collect();
        let first = words.first()?;
        self.code = 0;
        if statement.is_beside {
            note(text, self.cx);
            return None;
        }
        let has_nc = self.programs.app.has_binary("nc") == Some(true);
        if let Some(looping) = loops::follow(statement.text, has_nc, self.cx) {
            return self.looping(looping, text);
        }
        if !is_plain(&step, &words) {
            note(text, self.cx);
            return None;
        }
        match *first {
            "exit" => {
                let code = words.get(1).and_then(|text| text.parse().ok()).unwrap_or(self.code);
                Some(Command::Ends { after: self.after, code, log: take(&mut self.log) })
            }
            "set" => {
                let is_on = |word: &&str| word.starts_with('-') && word.contains('e');
                self.exits_on_error |= words[1..].iter().any(is_on);
                None
            }
            _ => self.one(&words),
        }
    }

    fn looping(&mut self, looping: Looping, text: &str) -> Option<Command> {
        match looping {
            Looping::Over => self.after += PROCESS,
            // The script begins anew when it looks again, so that what was done before must not matter.
            Looping::Again(again, lines) if self.after <= PROCESS * 20 => {
                self.log.extend(lines);
                return Some(Command::Waits { again, log: take(&mut self.log) });
            }
            Looping::ForEver(lines) => {
                self.log.extend(lines);
                return Some(Command::Runs { log: take(&mut self.log) });
            }
            Looping::UnknownForEver => {
                note(text, self.cx);
                return Some(Command::Runs { log: take(&mut self.log) });
            }
            Looping::Again(..) | Looping::Unknown => note(text, self.cx),
        }
        None
    }

    /// What a command comes to be, unless it ends and the script goes on.
    fn one(&mut self, words: &[&str]) -> Option<Command> {
        let Some(program) = words.first().map(|first| base_name(first)) else {
            return self.ends(PROCESS, 0);
        };
        match program {
            ENTRYPOINT => match through_entrypoint(&words[1..], self.programs, self.cx) {
                Command::Main(main) => {
                    let (after, log) = (self.after, take(&mut self.log));
                    Some(Command::Main(Main { after, log, ..main }))
                }
                Command::Ends { after, code, log } => {
                    self.log.extend(log);
                    self.ends(after, code)
                }
                forever => Some(forever),
            },
            _ if self.programs.own.contains(&program) => {
                let words = words.iter().map(|word| (*word).to_owned()).collect();
                let (after, log) = (self.after, take(&mut self.log));
                Some(Command::Main(Main { after, log, words, is_bare: true }))
            }
            "sleep" => match words.get(1).copied().unwrap_or("") {
                "infinity" | "inf" => Some(Command::Runs { log: take(&mut self.log) }),
                text => match sleep_time(text) {
                    Some(time) => self.ends(time, 0),
                    None => self.ends(PROCESS, 1),
                },
            },
            // It ends with what it watches, which this device does not.
            "tail" if words.contains(&"-f") && words.last() == Some(&"/dev/null") => {
                Some(Command::Runs { log: take(&mut self.log) })
            }
            "ls" | "test" | "mkdir" | "chown" | "chmod" => match self.made.run(words, self.cx) {
                Some(code) => self.ends(PROCESS, code),
                None => self.unknown(words),
            },
            "touch" | "rm" => self.change_files(words),
            "true" | ":" | "date" | "set" | "umask" => self.ends(PROCESS, 0),
            _ if program.contains('=') && words.len() > 1 => {
                note(&words.join(" "), self.cx);
                self.one(&words[1..])
            }
            "false" => self.ends(PROCESS, 1),
            "echo" => {
                self.log.push(words[1..].join(" "));
                self.ends(PROCESS, 0)
            }
            other if self.programs.app.has_binary(other) == Some(false) => {
                self.log.push(format!("sh: {other}: not found"));
                self.ends(PROCESS, NOT_FOUND)
            }
            _ => self.unknown(words),
        }
    }

    fn ends(&mut self, takes: Duration, code: i32) -> Option<Command> {
        self.after += takes;
        self.code = code;
        None
    }

    fn unknown(&mut self, words: &[&str]) -> Option<Command> {
        note(&words.join(" "), self.cx);
        self.ends(PROCESS, 0)
    }

    /// `touch` and `rm`, done as the process starts: later ones would have to wait for their time.
    fn change_files(&mut self, words: &[&str]) -> Option<Command> {
        let is_computed = |word: &&str| word.contains(['*', '?', '$', '`']);
        if self.after > PROCESS * 20 || words.iter().any(is_computed) {
            return self.unknown(words);
        }
        let code = match words[0] {
            "rm" => self.made.run(words, self.cx),
            _ => Some(0),
        };
        let Some(code) = code else { return self.unknown(words) };
        let code = code.max(paths::change(words, self.cx));
        self.ends(PROCESS, code)
    }
}

/// Whether a step is one command, with nothing of a shell but quotes.
fn is_plain(step: &str, words: &[&str]) -> bool {
    let Some(first) = words.first() else { return false };
    let computed = matches!(*first, "sleep" | "exit") && step.contains('$');
    !KEYWORDS.contains(first)
        && !step.contains(['|', '<', '>', '&', '`'])
        && !step.contains("$(")
        && !first.starts_with('$')
        && !computed
}

fn note(text: &str, cx: &mut AppCx<'_>) {
    let what = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !cx.notes.contains(&what) {
        cx.notes.push(what);
    }
}

/// `-c`, `-ec`, `-lc`: the next argument is a script.
pub(in crate::sim) fn is_command_flag(arg: &str) -> bool {
    arg.starts_with('-') && !arg.starts_with("--") && arg.ends_with('c')
}

/// A program that only reaps the children of the one it starts.
fn is_init(word: &str) -> bool {
    matches!(base_name(word), "tini" | "--")
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
