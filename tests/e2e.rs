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
use seatrial::cli::{Args, Command, Exit, Running, Screen, Settings};
use seatrial::observe::{RunOutcome, ScenarioOutcome, Verdict};
use seatrial::report::Text;
use seatrial::suite::{RunRequest, full_names, select};
use seatrial::suites;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match Trials::new(&arguments) {
        Ok(trials) => trials.run(&arguments),
        Err(error) => complain(&error),
    }
}

/// The trials, and the cluster that they share on a real engine.
struct Trials {
    trials: Vec<Trial>,
    running: Option<Arc<Running>>,
}

impl Trials {
    /// Listing them reads no manifest and starts no cluster.
    fn new(arguments: &Arguments) -> Result<Trials, Error> {
        if arguments.list {
            let listed = full_names(suites::all()).into_iter();
            let trials = listed.map(|name| Trial::test(name, || Ok(()))).collect();
            return Ok(Trials { trials, running: None });
        }
        let typed = Args::try_parse_from(["seatrial", "run"]);
        let typed = typed.map_err(|error| Error::usage(error.to_string()))?;
        let Command::Run(run_args) = typed.command else {
            return Err(Error::usage("`run` was not understood"));
        };
        let settings = Settings::resolve(&run_args)?;
        // libtest-mimic runs as many at a time as are wanted.
        let request = RunRequest { jobs: 1, ..settings.request()? };
        // Nobody to tell when the pipe is closed.
        let _ = write!(std::io::stdout(), "{}", settings.headline(&request.stack));
        let chosen = select(suites::all(), &settings.selection)?;
        let whisper = Arc::new(|line: &str| eprintln!("{line}"));
        let running = Arc::new(Running::new(&settings, request, whisper, Screen::Shared)?);
        let trials = chosen
            .iter()
            .map(|(suite, scenario)| format!("{}::{}", suite.name, scenario.name))
            .map(|name| trial(name, settings.engine.name(), &running))
            .collect();
        Ok(Trials { trials, running: Some(running) })
    }

    fn run(self, arguments: &Arguments) -> ExitCode {
        let conclusion = libtest_mimic::run(arguments, self.trials);
        let Some(running) = self.running else { return conclusion.exit_code() };
        if conclusion.has_failed() {
            running.note_failure();
        }
        match running.session.close() {
            Err(left) => complain(&left),
            Ok(()) => running.interrupted().map_or(conclusion.exit_code(), ExitCode::from),
        }
    }
}

fn complain(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    Exit::from(error).into()
}

/// One scenario, run when it is its turn; on the simulator libtest-mimic runs several at a time.
fn trial(name: String, engine: &'static str, running: &Arc<Running>) -> Trial {
    let running = Arc::clone(running);
    let wanted = vec![name.clone()];
    Trial::test(name, move || {
        let outcome = running.session.run(&wanted, &mut |_| {})?;
        let is_broken =
            |s: &ScenarioOutcome| !matches!(s.verdict, Verdict::Passed | Verdict::Ignored);
        match outcome.scenarios.iter().any(is_broken) {
            false => Ok(()),
            true => Err(Failed::from(explain(&outcome))),
        }
    })
    .with_kind(engine)
}

/// The scenario of `run` as `seatrial run` prints it.
fn explain(run: &RunOutcome) -> String {
    Text::new(run.n_seeds).scenario(&run.scenarios)
}
