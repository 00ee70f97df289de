//! The product's claims as tests: one trial a scenario, named `suite::scenario`.
//!
//! `cargo test --test e2e -- --list`, name filters and `cargo nextest run --test e2e` work. The
//! settings are those of `seatrial run`, from the environment and `seatrial.toml`.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use libtest_mimic::{Arguments, Failed, Trial};
use seatrial::base::Error;
use seatrial::cli::{Args, Command, Exit, Settings};
use seatrial::observe::{ScenarioOutcome, Verdict};
use seatrial::report::Text;
use seatrial::suite::{self, RunRequest, Session, full_names, select};
use seatrial::suites;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials(&arguments) {
        Ok((trials, session)) => {
            let conclusion = libtest_mimic::run(&arguments, trials);
            match session.map_or(Ok(()), |session| session.close()) {
                Ok(()) => conclusion.exit_code(),
                Err(error) => complain(&error),
            }
        }
        Err(error) => complain(&error),
    }
}

fn complain(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    Exit::from(error).into()
}

/// The trials and the session they share; listing them reads no manifest and starts no cluster.
fn trials(arguments: &Arguments) -> Result<(Vec<Trial>, Option<Arc<Session>>), Error> {
    if arguments.list {
        let listed = full_names(suites::all()).into_iter();
        return Ok((listed.map(|name| Trial::test(name, || Ok(()))).collect(), None));
    }
    let typed = Args::try_parse_from(["seatrial", "run"]);
    let typed = typed.map_err(|error| Error::usage(error.to_string()))?;
    let Command::Run(run_args) = typed.command else {
        return Err(Error::usage("`run` was not understood"));
    };
    let settings = Settings::resolve(&run_args)?;
    let request = settings.request()?;
    let tag = request.engine.name();
    let session = Arc::new(Session::sim(RunRequest { jobs: 1, ..request }));
    // Nobody to tell when the pipe is closed.
    let _ = write!(std::io::stdout(), "{}", settings.headline());
    let chosen = select(suites::all(), &settings.selection)?;
    let named = |(suite, scenario): &(&suite::Suite, &suite::Scenario)| {
        format!("{}::{}", suite.name, scenario.name)
    };
    let trials = chosen.iter().map(named).map(|name| trial(name, &session).with_kind(tag));
    Ok((trials.collect(), Some(session)))
}

/// One scenario, run when it is its turn; libtest-mimic runs several at a time.
fn trial(name: String, session: &Arc<Session>) -> Trial {
    let session = Arc::clone(session);
    Trial::test(name.clone(), move || {
        let outcome = session.run(&[name], &mut |_| {})?;
        let is_broken =
            |s: &&ScenarioOutcome| !matches!(s.verdict, Verdict::Passed | Verdict::Ignored);
        match outcome.scenarios.iter().find(is_broken) {
            None => Ok(()),
            Some(scenario) => Err(Failed::from(explain(scenario))),
        }
    })
}

/// The scenario as `seatrial run` prints it.
fn explain(scenario: &ScenarioOutcome) -> String {
    Text::new(1).scenario(std::slice::from_ref(scenario))
}
