//! The commands `run` and `list`.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::base::{Error, ErrorClass};
use crate::observe::{ScenarioOutcome, Verdict};
use crate::report::{self, Text};
use crate::suite::provision::{self, Fate, Tell};
use crate::suites;

use super::again;
use super::args::{KeepArg, RunArgs};
use super::exit::Exit;
use super::real::{self, Running, Screen};
use super::settings::Settings;

/// Runs the selected scenarios, prints them as they finish, and writes the reports.
///
/// # Errors
/// Usage and environment errors; failed scenarios are an `Exit`.
pub(super) fn run(args: &RunArgs) -> Result<Exit, Error> {
    let settings = Settings::resolve(args)?;
    let request = settings.request()?;
    if settings.dry_run {
        return dry_run(&settings);
    }
    let headline = settings.headline(&request.stack);
    let running = Running::new(&settings, request, whisper(), Screen::Ours)?;
    say(&headline);
    let mut text = Text::new(settings.n_seeds).with_flags(again::flags(std::env::args_os()));
    let mut trials: Vec<ScenarioOutcome> = Vec::new();
    let mut on_outcome = |outcome: &ScenarioOutcome| {
        if !matches!(outcome.verdict, Verdict::Passed | Verdict::Ignored) {
            running.note_failure();
        }
        if settings.n_seeds == 1 {
            say(&text.scenario(std::slice::from_ref(outcome)));
            return;
        }
        if trials.last().is_some_and(|last| last.full_name() != outcome.full_name()) {
            say(&text.scenario(&std::mem::take(&mut trials)));
        }
        trials.push(outcome.clone());
    };
    // A bug of ours must leave no cluster behind either.
    let ran = catch_unwind(AssertUnwindSafe(|| {
        running.session.run(&settings.selection, &mut on_outcome)
    }));
    say(&text.scenario(&trials));
    let closed = running.session.close();
    let ran = match ran {
        Ok(ran) => ran,
        Err(panic) => {
            if let Err(left) = closed {
                complain(&left);
            }
            resume_unwind(panic)
        }
    };
    let run = ran.and_then(|run| {
        // The verdict first: it is what the run was for.
        say(&Text::summary(&run));
        report::write(&run, running.report.path())?;
        say(&format!("reports: {}\n", running.report.path().display()));
        Ok(run)
    });
    // What is left on the machine matters more than a verdict.
    match (run, closed) {
        (Ok(_), Err(left)) => Err(left),
        // What could not begin has told it.
        (Err(error), Err(left)) if error.to_string() == left.to_string() => Err(left),
        (Err(error), Err(left)) => Err(Error::leftovers(format!("{error}\n{left}"))),
        (run, Ok(())) => unless_interrupted(run.map(|run| Exit::from(&run)), running.interrupted()),
    }
}

/// How a command ends that may have been interrupted: by the signal, unless something is left.
pub(super) fn unless_interrupted(
    ended: Result<Exit, Error>,
    interrupted: Option<u8>,
) -> Result<Exit, Error> {
    match (ended, interrupted) {
        (ended, None) => ended,
        (Err(error), _) if error.class() == ErrorClass::Leftovers => Err(error),
        (Err(error), Some(code)) => {
            complain(&error);
            Ok(Exit::Signal(code))
        }
        (Ok(_), Some(code)) => Ok(Exit::Signal(code)),
    }
}

/// Prints the external commands of a run.
fn dry_run(settings: &Settings) -> Result<Exit, Error> {
    let workshop = real::workshop(whisper())?;
    let stack = settings.stack()?;
    let wanted = real::wanted(settings);
    let fate = match settings.keep {
        KeepArg::Always => Fate::Keep,
        KeepArg::Never | KeepArg::OnFailure => Fate::Remove,
    };
    let commands = match settings.engine {
        crate::suite::EngineChoice::Sim => Vec::new(),
        _ => real::block_on(provision::dry_run(&wanted, &stack, &workshop.paths, fate))??,
    };
    if commands.is_empty() {
        say(&format!("engine {}: no external command is run\n", settings.engine.name()));
    }
    for command in commands {
        say(&format!("{command}\n"));
    }
    Ok(Exit::Passed)
}

/// Lists suites and scenarios.
///
/// # Errors
/// None; the signature is that of a command.
pub(super) fn list() -> Result<Exit, Error> {
    for suite in suites::all() {
        say(&format!("{}: {}\n", suite.name, suite.charter));
        for scenario in suite.scenarios {
            let name = format!("{}::{}", suite.name, scenario.name);
            say(&format!("  {name:<28} {}\n", scenario.claim));
        }
    }
    Ok(Exit::Passed)
}

/// Prints an error as the user should see it.
pub(super) fn complain(error: &Error) {
    whisper()(&format!("error: {error}"));
}

/// Prints what is not a result: progress and remarks, on standard error.
pub(super) fn whisper() -> Tell {
    Arc::new(|line| {
        // In one piece, so that lines of the report on the same terminal come between lines. A closed
        // pipe leaves nobody to tell.
        let _ = report::aside(|| std::io::stderr().write_all(format!("{line}\n").as_bytes()));
    })
}

pub(super) fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = report::aside(|| out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_matters_more_than_a_signal() {
        let ended = |ended, interrupted| {
            unless_interrupted(ended, interrupted).map_err(|error| error.to_string())
        };
        assert_eq!(ended(Ok(Exit::Failed), None), Ok(Exit::Failed));
        assert_eq!(ended(Ok(Exit::Failed), Some(130)), Ok(Exit::Signal(130)));
        let stopped = || Err(Error::environment("interrupted"));
        assert_eq!(ended(stopped(), Some(143)), Ok(Exit::Signal(143)));
        assert_eq!(ended(stopped(), None), Err("interrupted".into()));
        let left = Err(Error::leftovers("cluster st-1 is left"));
        assert_eq!(ended(left, Some(130)), Err("cluster st-1 is left".into()));
    }
}
