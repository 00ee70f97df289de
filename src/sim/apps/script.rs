//! Commands that replace an image's program: `sleep`, `true`, and small shell scripts of them.

use std::time::Duration;

use bytes::Bytes;

use super::model::{App, AppCx, Launch};
use crate::base::{millis, secs};

/// What a command does as main process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The image's own program, after some time.
    Main(Main),
    /// Something without a listener, that ends after some time with an exit code.
    Ends { after: Duration, code: i32, log: Vec<String> },
    /// Something without a listener that does not end.
    Runs { log: Vec<String> },
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
        if let Some(text) = words.iter().skip_while(|word| !is_command_flag(word)).nth(1) {
            return script(text, programs, cx);
        }
        if words.len() > 1 {
            note(&words.join(" "), cx);
        }
        // Without a terminal it reads the end of its input.
        return Command::Ends { after: PROCESS, code: 0, log: Vec::new() };
    }
    one(words, programs, Duration::ZERO, Vec::new(), cx)
}

/// The launch of a command that is not the image's own program.
pub(super) fn launch(command: Command) -> Launch {
    let base = Launch { memory_bytes: 1 << 20, n_workers: 1, ..Launch::default() };
    match command {
        Command::Ends { after, code, log } => Launch { exits: Some((after, code)), log, ..base },
        Command::Runs { log } | Command::Main(Main { log, .. }) => Launch { log, ..base },
    }
}

fn script(text: &str, programs: &Programs<'_>, cx: &mut AppCx<'_>) -> Command {
    let mut after = Duration::ZERO;
    let mut log = Vec::new();
    let waits = ["while true", "while :", "tail -f"].iter().any(|wait| text.contains(wait));
    let is_own =
        |word: &str| base_name(word) == ENTRYPOINT || programs.own.contains(&base_name(word));
    if waits && !text.split_whitespace().any(is_own) {
        return Command::Runs { log };
    }
    let mut code = 0;
    for joined in text.split([';', '\n']).flat_map(|part| part.split("&&")) {
        // What runs beside the rest is skipped.
        let (beside, step) = joined.rsplit_once(" & ").unwrap_or(("", joined));
        if !beside.is_empty() {
            note(text, cx);
        }
        let words: Vec<&str> = step.split_whitespace().filter(|word| *word != "exec").collect();
        if words.is_empty() || words[0].starts_with('#') {
            continue;
        }
        if !is_plain(step, &words) {
            note(text, cx);
            continue;
        }
        if words[0] == "exit" {
            let code = words.get(1).and_then(|text| text.parse().ok()).unwrap_or(code);
            return Command::Ends { after, code, log };
        }
        match one(&words, programs, after, log, cx) {
            Command::Ends { after: end, code: ended, log: lines } => {
                (after, code, log) = (end, ended, lines);
                if ended != 0 && text.contains("&&") {
                    break;
                }
            }
            other => return other,
        }
    }
    Command::Ends { after: after.max(PROCESS), code, log }
}

/// Whether a step is one command, with nothing of a shell but quotes and output that goes nowhere.
fn is_plain(step: &str, words: &[&str]) -> bool {
    let mut rest = step.to_owned();
    for nowhere in ["2>&1", ">&2", ">/dev/null", "> /dev/null"] {
        rest = rest.replace(nowhere, "");
    }
    let computed = matches!(words[0], "sleep" | "exit") && rest.contains('$');
    !KEYWORDS.contains(&words[0])
        && !rest.contains(['|', '<', '>', '&', '`'])
        && !rest.contains("$(")
        && !words[0].starts_with('$')
        && !computed
}

fn note(text: &str, cx: &mut AppCx<'_>) {
    let what = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !cx.notes.contains(&what) {
        cx.notes.push(what);
    }
}

/// `touch` and `rm`, done as the process starts: later ones would have to wait for their time.
fn change_files(words: &[&str], after: Duration, cx: &mut AppCx<'_>) {
    let paths = || words[1..].iter().filter(|word| !word.starts_with('-'));
    if after > PROCESS * 20 || paths().any(|path| path.contains(['*', '?', '$', '"', '\''])) {
        return note(&words.join(" "), cx);
    }
    for path in paths() {
        if words[0] == "touch" {
            if cx.files.read(path).is_none() {
                cx.files.write(path, Bytes::new());
            }
            continue;
        }
        for inner in cx.files.list(&format!("{}/", path.trim_end_matches('/'))) {
            cx.files.remove(&inner);
        }
        cx.files.remove(path);
    }
}

fn one(
    words: &[&str],
    programs: &Programs<'_>,
    after: Duration,
    mut log: Vec<String>,
    cx: &mut AppCx<'_>,
) -> Command {
    let Some(program) = words.first().map(|first| base_name(first)) else {
        return Command::Ends { after: after + PROCESS, code: 0, log };
    };
    let ends = |after: Duration, code, log| Command::Ends { after, code, log };
    match program {
        ENTRYPOINT => match through_entrypoint(&words[1..], programs, cx) {
            Command::Main(main) => Command::Main(Main { after, log, ..main }),
            Command::Ends { after: takes, code, log: lines } => {
                log.extend(lines);
                ends(after + takes, code, log)
            }
            forever => forever,
        },
        _ if programs.own.contains(&program) => {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            Command::Main(Main { after, log, words, is_bare: true })
        }
        "sleep" => match words.get(1).copied().unwrap_or("") {
            "infinity" | "inf" => Command::Runs { log },
            text => match seconds(text) {
                Some(time) => ends(after + time, 0, log),
                None => ends(after + PROCESS, 1, log),
            },
        },
        "touch" | "rm" => {
            change_files(words, after, cx);
            ends(after + PROCESS, 0, log)
        }
        "true" | ":" | "chown" | "chmod" | "mkdir" | "date" | "ls" | "set" | "umask" => {
            ends(after + PROCESS, 0, log)
        }
        _ if program.contains('=') && words.len() > 1 => {
            note(&words.join(" "), cx);
            one(&words[1..], programs, after, log, cx)
        }
        "false" => ends(after + PROCESS, 1, log),
        "echo" => {
            log.push(words[1..].join(" ").trim_matches(['"', '\'']).to_owned());
            ends(after + PROCESS, 0, log)
        }
        other if programs.app.has_binary(other) == Some(false) => {
            log.push(format!("sh: {other}: not found"));
            ends(after + PROCESS, NOT_FOUND, log)
        }
        _ => {
            note(&words.join(" "), cx);
            ends(after + PROCESS, 0, log)
        }
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let (digits, unit) = match text.char_indices().last()? {
        (idx, 's') => (&text[..idx], 1),
        (idx, 'm') => (&text[..idx], 60),
        (idx, 'h') => (&text[..idx], 3_600),
        (idx, 'd') => (&text[..idx], 86_400),
        _ => (text, 1),
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(unit).map(secs);
    }
    let part = digits.parse::<f64>().ok().filter(|part| (0.0..1e9).contains(part))?;
    Some(Duration::from_secs_f64(part))
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::generic::Idle;
    use super::super::testing::{Bench, Nobody};
    use super::*;

    fn run(bench: &mut Bench, own: &[&str]) -> Command {
        let app = Idle::shell();
        let programs = Programs { own, takes_options: false, app: &app };
        bench.with(&mut Nobody, |cx| command(cx, &programs))
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[rstest]
    #[case(&["sleep", "3600"], Some((3_600_000, 0)))]
    #[case(&["sh", "-c", "sleep 2; exit 3"], Some((2_000, 3)))]
    #[case(&["sh", "-c", "echo hi && false && sleep 9"], Some((10, 1)))]
    #[case(&["bash", "-c", "sleep 2"], Some((5, 127)))]
    #[case(&["sh", "-c", "bash -c 'sleep 2'; exit 3"], Some((5, 3)))]
    #[case(&["sh", "-c", "while true; do sleep 1; done"], None)]
    fn a_command_ends_when_its_steps_are_done(
        #[case] words: &[&str],
        #[case] expected: Option<(u64, i32)>,
    ) {
        let mut bench = Bench::new("busybox");
        bench.start.command = words.iter().map(|word| (*word).to_owned()).collect();
        let got = match run(&mut bench, &["httpd"]) {
            Command::Ends { after, code, .. } => {
                Some((u64::try_from(after.as_millis()).unwrap_or(0), code))
            }
            Command::Runs { .. } | Command::Main(_) => None,
        };
        assert_eq!(got, expected);
        assert_eq!(bench.notes, [] as [&str; 0]);
    }

    #[test]
    fn a_script_can_delay_the_images_own_program() {
        let mut bench = Bench::new("nginx");
        bench.start.command =
            ["sh", "-c", "sleep 7 && exec nginx -g 'daemon off'"].map(str::to_owned).into();
        let words = words(&["nginx", "-g", "'daemon", "off'"]);
        let main = Main { after: secs(7), log: Vec::new(), words, is_bare: true };
        assert_eq!(run(&mut bench, &["nginx"]), Command::Main(main));
    }

    #[rstest]
    #[case("until nc -z db 3306; do sleep 2; done; exec nginx")]
    #[case("for i in 1 2 3; do echo $i; done; nginx")]
    #[case("echo hello > /usr/share/nginx/html/index.html && nginx")]
    #[case("sleep 30; touch /ready; nginx")]
    #[case("rmdir /var/www/html/uploads && exec nginx")]
    #[case("/scripts/prepare.sh; nginx")]
    #[case("tail -f /dev/null & exec nginx")]
    #[case("while :; do sleep 6h; done & exec nginx")]
    #[case("export HOST=db; exec nginx")]
    #[case("HOST=db exec nginx")]
    #[case("test -f /ready && nginx")]
    fn what_is_not_understood_is_noted_and_skipped(#[case] script: &str) {
        let mut bench = Bench::new("nginx");
        bench.start.command = ["sh", "-c", script].map(str::to_owned).into();
        let command = run(&mut bench, &["nginx"]);
        assert!(matches!(command, Command::Main(_)), "{command:?}");
        assert_eq!(bench.notes.len(), 1, "{:?}", bench.notes);
    }

    /// A command takes the place of the entrypoint, arguments are handed to it.
    #[rstest]
    #[case(&[], &[], Some(false))]
    #[case(&[], &["httpd"], Some(false))]
    #[case(&["httpd"], &[], Some(true))]
    #[case(&["docker-entrypoint.sh"], &["httpd"], Some(false))]
    #[case(&["sh", "-c", "exec docker-entrypoint.sh httpd"], &[], Some(false))]
    #[case(&["sh", "-c", "exec httpd"], &[], Some(true))]
    #[case(&[], &["sh", "-c", "exec httpd"], Some(true))]
    #[case(&["docker-entrypoint.sh"], &[], None)]
    fn a_command_replaces_the_entrypoint(
        #[case] command: &[&str],
        #[case] args: &[&str],
        #[case] is_bare: Option<bool>,
    ) {
        let mut bench = Bench::new("httpd");
        (bench.start.command, bench.start.args) = (words(command), words(args));
        let main = match run(&mut bench, &["httpd"]) {
            Command::Main(main) => Some(main.is_bare),
            _ => None,
        };
        assert_eq!(main, is_bare);
        assert_eq!(bench.notes, [] as [&str; 0]);
    }

    #[rstest]
    #[case(&["migrate", "--all"])]
    #[case(&["sh", "/scripts/start.sh"])]
    fn a_program_that_is_not_known_is_noted(#[case] words: &[&str]) {
        let mut bench = Bench::new("busybox");
        bench.start.command = words.iter().map(|word| (*word).to_owned()).collect();
        run(&mut bench, &[]);
        assert_eq!(bench.notes, [words.join(" ")]);
    }

    #[test]
    fn files_that_a_script_makes_or_removes_are_seen() {
        let mut bench = Bench::new("busybox");
        bench.disk.files.insert("/data/lost+found/x".into(), Bytes::new());
        let script = "touch /run/ready; rm -rf /data/lost+found";
        bench.start.command = ["sh", "-c", script].map(str::to_owned).into();
        run(&mut bench, &[]);
        assert_eq!(bench.disk.files.keys().collect::<Vec<_>>(), ["/run/ready"]);
        assert_eq!(bench.notes, [] as [&str; 0]);
    }
}
