//! Commands that replace an image's program: `sleep`, `true`, and small shell scripts of them.

use std::time::Duration;

use super::model::Launch;
use crate::base::{millis, secs};
use crate::sim::machines::ContainerStart;

/// What a command does as main process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The image's own program, after this time.
    Main { after: Duration, log: Vec<String> },
    /// Something without a listener, that ends after some time with an exit code.
    Ends { after: Duration, code: i32, log: Vec<String> },
    /// Something without a listener that does not end.
    Runs { log: Vec<String> },
}

/// Time a process takes to start and end.
const PROCESS: Duration = millis(5);
/// Exit code of a shell for a program that does not exist.
const NOT_FOUND: i32 = 127;

/// What `start` runs; `own` are the names of the image's own programs.
pub(super) fn command(start: &ContainerStart, own: &[&str]) -> Command {
    let mut words: Vec<&str> =
        start.command.iter().chain(&start.args).map(String::as_str).collect();
    if start.command.is_empty() && words.first().is_none_or(|first| first.starts_with('-')) {
        // Arguments alone are options of the entrypoint.
        return Command::Main { after: Duration::ZERO, log: Vec::new() };
    }
    let shell = words.first().map(|first| base_name(first));
    if matches!(shell, Some("sh" | "bash" | "ash"))
        && words.get(1).is_some_and(|w| w.starts_with('-'))
    {
        return script(words.get(2).copied().unwrap_or(""), own);
    }
    if matches!(shell, Some("sh" | "bash" | "ash")) {
        // A shell without a terminal reads the end of its input.
        return Command::Ends { after: PROCESS, code: 0, log: Vec::new() };
    }
    if words.first().is_some_and(|first| base_name(first) == "tini") {
        words.retain(|word| !matches!(base_name(word), "tini" | "--"));
    }
    one(&words, own, Duration::ZERO, Vec::new())
}

/// The launch of a command that is not the image's own program.
pub(super) fn launch(command: Command) -> Launch {
    let base = Launch { memory_bytes: 1 << 20, n_workers: 1, ..Launch::default() };
    match command {
        Command::Ends { after, code, log } => Launch { exits: Some((after, code)), log, ..base },
        Command::Runs { log } | Command::Main { log, .. } => Launch { log, ..base },
    }
}

fn script(text: &str, own: &[&str]) -> Command {
    let mut after = Duration::ZERO;
    let mut log = Vec::new();
    if text.contains("while true") || text.contains("while :") || text.contains("tail -f") {
        return Command::Runs { log };
    }
    let mut code = 0;
    for step in text.split([';', '\n']).flat_map(|part| part.split("&&")) {
        let words: Vec<&str> = step.split_whitespace().filter(|word| *word != "exec").collect();
        if words.is_empty() {
            continue;
        }
        if words[0] == "exit" {
            let code = words.get(1).and_then(|text| text.parse().ok()).unwrap_or(code);
            return Command::Ends { after, code, log };
        }
        match one(&words, own, after, log) {
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

fn one(words: &[&str], own: &[&str], after: Duration, mut log: Vec<String>) -> Command {
    let Some(program) = words.first().map(|first| base_name(first)) else {
        return Command::Ends { after: after + PROCESS, code: 0, log };
    };
    let ends = |after: Duration, code, log| Command::Ends { after, code, log };
    match program {
        _ if own.contains(&program) => Command::Main { after, log },
        "sleep" => match words.get(1).copied().unwrap_or("") {
            "infinity" | "inf" => Command::Runs { log },
            text => match seconds(text) {
                Some(time) => ends(after + time, 0, log),
                None => ends(after + PROCESS, 1, log),
            },
        },
        "true" | "chown" | "chmod" | "mkdir" | "touch" | "cp" | "rm" | "test" | "date" | "ls"
        | "cat" | "env" | "set" | "cd" | "export" => ends(after + PROCESS, 0, log),
        "false" => ends(after + PROCESS, 1, log),
        "echo" => {
            log.push(words[1..].join(" ").trim_matches(['"', '\'']).to_owned());
            ends(after + PROCESS, 0, log)
        }
        other => {
            log.push(format!("sh: {other}: not found"));
            ends(after + PROCESS, NOT_FOUND, log)
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

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::testing::start;
    use super::*;

    #[rstest]
    #[case(&["sleep", "3600"], Some((3_600_000, 0)))]
    #[case(&["sh", "-c", "sleep 2; exit 3"], Some((2_000, 3)))]
    #[case(&["sh", "-c", "echo hi && false && sleep 9"], Some((10, 1)))]
    #[case(&["/bin/nonsense"], Some((5, 127)))]
    #[case(&["sh", "-c", "while true; do sleep 1; done"], None)]
    fn a_command_ends_when_its_steps_are_done(
        #[case] words: &[&str],
        #[case] expected: Option<(u64, i32)>,
    ) {
        let mut start = start("busybox");
        start.command = words.iter().map(|word| (*word).to_owned()).collect();
        let got = match command(&start, &["httpd"]) {
            Command::Ends { after, code, .. } => {
                Some((u64::try_from(after.as_millis()).unwrap_or(0), code))
            }
            Command::Runs { .. } | Command::Main { .. } => None,
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn a_script_can_delay_the_images_own_program() {
        let mut start = start("nginx");
        start.command =
            ["sh", "-c", "sleep 7 && exec nginx -g 'daemon off'"].map(str::to_owned).into();
        let main = Command::Main { after: secs(7), log: Vec::new() };
        assert_eq!(command(&start, &["nginx"]), main);
    }
}
