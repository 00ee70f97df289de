//! Loops of scripts: those that only wait, for ever or until something listens.

use std::time::Duration;

use super::text::{Statement, as_loop, sleep_time, split_words, statements, without_output};
use super::{PROCESS, is_plain};
use crate::base::secs;
use crate::sim::apps::model::{AppCx, DialError};

/// How long Linux tries to connect where nothing answers (`tcp_syn_retries` 6: `tcp(7)`).
const CONNECT_PATIENCE: Duration = secs(127);

/// What a loop does to the script that it is in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looping {
    /// It is over at once.
    Over,
    /// It looks again after this time; these lines are written meanwhile.
    Again(Duration, Vec<String>),
    /// It never ends.
    ForEver(Vec<String>),
    /// It is not followed, and no word of it ends it.
    UnknownForEver,
    /// It is not followed.
    Unknown,
}

/// What the loop `statement` does now; `None` when it is no `while` or `until`.
pub(super) fn follow(statement: &str, has_nc: bool, cx: &mut AppCx<'_>) -> Option<Looping> {
    let (keyword, condition, body) = as_loop(statement)?;
    let body = statements(body);
    let (is_negated, condition) = match condition.strip_prefix("! ") {
        Some(rest) => (true, rest.trim()),
        None => (false, condition),
    };
    let waits_for_success = (keyword == "until") != is_negated;
    if matches!(condition, "true" | ":") && !waits_for_success {
        return Some(endless(&body, has_nc, cx));
    }
    let (true, true, Some(pause)) = (waits_for_success, has_nc, pause(&body)) else {
        return Some(Looping::Unknown);
    };
    Some(until(condition, pause, cx))
}

/// `while true` with `body`.
fn endless(body: &[Statement<'_>], has_nc: bool, cx: &mut AppCx<'_>) -> Looping {
    if let Some((time, log)) = pause(body) {
        return if time.is_zero() { Looping::UnknownForEver } else { Looping::ForEver(log) };
    }
    if let [condition, end, rest @ ..] = body
        && (end.text == "break" && end.after_success)
        && let (true, Some(pause)) = (has_nc, pause(rest))
    {
        return until(condition.text, pause, cx);
    }
    let ends = |statement: &Statement<'_>| {
        let mut words = statement.text.split(|c: char| !c.is_alphanumeric());
        words.any(|word| matches!(word, "break" | "exit" | "return" | "exec" | "kill"))
    };
    if body.iter().any(ends) { Looping::Unknown } else { Looping::UnknownForEver }
}

/// How long `body` waits and what it says, if it does nothing else.
fn pause(body: &[Statement<'_>]) -> Option<(Duration, Vec<String>)> {
    let (mut time, mut log) = (Duration::ZERO, Vec::new());
    for statement in body {
        let step = without_output(statement.text);
        let words = split_words(&step);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if statement.is_beside || !is_plain(&step, &words) {
            return None;
        }
        match words.as_slice() {
            ["sleep", text] => time += sleep_time(text)?,
            ["echo", rest @ ..] => log.push(rest.join(" ")),
            ["date" | "true" | ":", ..] => {}
            _ => return None,
        }
    }
    Some((time, log))
}

/// A wait until `condition`, which is a connection to something, succeeds.
fn until(condition: &str, (pause, log): (Duration, Vec<String>), cx: &mut AppCx<'_>) -> Looping {
    let Some((host, port, patience)) = target(condition, &cx.start.env) else {
        return Looping::Unknown;
    };
    let takes = match cx.peers.connect(&host, port) {
        None => return Looping::Unknown,
        Some(Ok(())) => return Looping::Over,
        Some(Err(DialError::Timeout)) => patience,
        Some(Err(DialError::Refused | DialError::UnknownHost)) => Duration::ZERO,
    };
    // A loop without a pause is as fast as the processor.
    if pause.is_zero() { Looping::Unknown } else { Looping::Again(takes + pause + PROCESS, log) }
}

/// Host, port and longest wait of `nc -z`.
fn target(condition: &str, env: &[(String, String)]) -> Option<(String, u16, Duration)> {
    let words = split_words(&without_output(condition));
    let mut words = words.iter().map(String::as_str).peekable();
    if words.next()? != "nc" {
        return None;
    }
    let (mut is_scan, mut patience) = (false, CONNECT_PATIENCE);
    while let Some(flags) = words.next_if(|word| word.starts_with('-')) {
        let mut flags = flags[1..].chars();
        while let Some(flag) = flags.next() {
            match flag {
                'z' => is_scan = true,
                'v' | 'n' | '4' => {}
                'w' => {
                    let rest = flags.as_str();
                    let text = if rest.is_empty() { words.next()? } else { rest };
                    patience = secs(text.parse().ok().filter(|seconds| *seconds > 0)?);
                    break;
                }
                _ => return None,
            }
        }
    }
    let (host, port) = (expanded(words.next()?, env)?, expanded(words.next()?, env)?);
    let port = port.parse().ok()?;
    (is_scan && words.next().is_none()).then_some((host, port, patience))
}

/// A word that is a variable of the container, or none at all.
fn expanded(word: &str, env: &[(String, String)]) -> Option<String> {
    let Some(name) = word.strip_prefix('$') else {
        return (!word.contains(['$', '`', '*', '<', '>', '|', '\\'])).then(|| word.to_owned());
    };
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    let value = env.iter().rev().find(|(key, _)| key == name);
    value.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
}
