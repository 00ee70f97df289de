//! The commands `run` and `list`.

use std::io::Write as _;

use crate::base::Error;
use crate::observe::ScenarioOutcome;
use crate::report::{self, Text};
use crate::suite;
use crate::suites;

use super::args::RunArgs;
use super::exit::Exit;
use super::settings::Settings;

/// Runs the selected scenarios, prints them as they finish, and writes the reports.
///
/// # Errors
/// Usage and environment errors; failed scenarios are an `Exit`.
pub(super) fn run(args: &RunArgs) -> Result<Exit, Error> {
    let settings = Settings::resolve(args)?;
    let request = settings.request()?;
    say(&settings.headline());
    let mut text = Text::new(settings.n_seeds);
    let mut trials: Vec<ScenarioOutcome> = Vec::new();
    let run = suite::run(&request, &mut |outcome| {
        if trials.last().is_some_and(|last| last.full_name() != outcome.full_name()) {
            say(&text.scenario(&std::mem::take(&mut trials)));
        }
        trials.push(outcome.clone());
    })?;
    say(&text.scenario(&trials));
    report::write(&run, &settings.report)?;
    say(&Text::summary(&run, Some(&settings.report)));
    Ok(Exit::from(&run))
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
    // A closed pipe leaves nobody to tell.
    let _ = writeln!(std::io::stderr(), "error: {error}");
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
