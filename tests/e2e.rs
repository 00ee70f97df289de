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
use seatrial::cli::{Args, Command, Settings};
use seatrial::observe::{ScenarioOutcome, Verdict};
use seatrial::report::Text;
use seatrial::suite::{self, RunRequest, full_names, run, select};
use seatrial::suites;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials(&arguments) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// The trials; listing them reads no manifest and starts no cluster.
fn trials(arguments: &Arguments) -> Result<Vec<Trial>, Error> {
    if arguments.list {
        let listed = full_names(suites::all()).into_iter();
        return Ok(listed.map(|name| Trial::test(name, || Ok(()))).collect());
    }
    let typed = Args::try_parse_from(["seatrial", "run"]);
    let typed = typed.map_err(|error| Error::usage(error.to_string()))?;
    let Command::Run(run_args) = typed.command else {
        return Err(Error::usage("`run` was not understood"));
    };
    let settings = Settings::resolve(&run_args)?;
    let request = Arc::new(settings.request()?);
    // A closed pipe leaves nobody to tell.
    let _ = std::io::stdout().write_all(settings.headline().as_bytes());
    let chosen = select(suites::all(), &settings.selection)?;
    let named = |(suite, scenario): &(&suite::Suite, &suite::Scenario)| {
        format!("{}::{}", suite.name, scenario.name)
    };
    Ok(chosen.iter().map(named).map(|name| trial(name, &request)).collect())
}

/// One scenario, run when it is its turn; libtest-mimic runs several at a time.
fn trial(name: String, request: &Arc<RunRequest>) -> Trial {
    let request = Arc::clone(request);
    let (wanted, tag) = (name.clone(), request.engine.name());
    Trial::test(name, move || {
        let request = RunRequest { selection: vec![wanted], jobs: 1, ..(*request).clone() };
        let outcome = run(&request, &mut |_| {})?;
        let is_broken =
            |s: &&ScenarioOutcome| !matches!(s.verdict, Verdict::Passed | Verdict::Ignored);
        match outcome.scenarios.iter().find(is_broken) {
            None => Ok(()),
            Some(scenario) => Err(Failed::from(explain(scenario))),
        }
    })
    .with_kind(tag)
}

/// The scenario as `seatrial run` prints it.
fn explain(scenario: &ScenarioOutcome) -> String {
    Text::new(1).scenario(std::slice::from_ref(scenario))
}
