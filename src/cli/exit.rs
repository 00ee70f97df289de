//! Exit codes, and the one place that turns errors into them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser as _;

use crate::base::{Error, ErrorClass};
use crate::observe::{RunOutcome, Verdict};

use super::args::{Args, Command};
use super::{clusters, run};

/// Why the process ends; the README's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All scenarios passed.
    Passed,
    /// A scenario failed, was inconclusive or unknown.
    Failed,
    /// Wrong arguments or an invalid manifest.
    Usage,
    /// The environment is at fault.
    Environment,
    /// Nothing was selected.
    NothingSelected,
    /// A bug in Seatrial.
    Bug,
    /// A signal ended it, after cleaning up: 128 and its number, as shells have it.
    Signal(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Passed => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Environment => 3,
            Exit::NothingSelected => 4,
            Exit::Bug => 5,
            Exit::Signal(code) => code,
        })
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Exit {
        Exit::from(error.class())
    }
}

impl From<ErrorClass> for Exit {
    fn from(class: ErrorClass) -> Exit {
        match class {
            ErrorClass::Usage => Exit::Usage,
            ErrorClass::Environment | ErrorClass::Leftovers => Exit::Environment,
            ErrorClass::NothingSelected => Exit::NothingSelected,
        }
    }
}

impl From<&RunOutcome> for Exit {
    fn from(run: &RunOutcome) -> Exit {
        match run.verdict() {
            Verdict::Passed => Exit::Passed,
            Verdict::Failed | Verdict::Inconclusive | Verdict::Unknown => Exit::Failed,
            Verdict::Errored => errored(run),
            Verdict::Ignored => Exit::NothingSelected,
        }
    }
}

/// What a run with errors ends with: a manifest that is refused explains what went wrong after it.
fn errored(run: &RunOutcome) -> Exit {
    let errored = || run.scenarios.iter().filter(|trial| trial.verdict == Verdict::Errored);
    if errored().any(|trial| trial.error_class == Some(ErrorClass::Usage)) {
        return Exit::Usage;
    }
    // The simulator depends on nothing outside; a real cluster on much.
    match errored().find(|trial| trial.error_class.is_none()) {
        Some(_) if run.engine == "sim" => Exit::Bug,
        _ => Exit::Environment,
    }
}

/// The program: parses the arguments, runs the command, returns the exit code.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Passed };
            // Help and errors go where clap sends them; a closed pipe changes nothing.
            let _ = error.print();
            return exit.into();
        }
    };
    let result = catch_unwind(AssertUnwindSafe(|| match &args.command {
        Command::Run(args) => run::run(args),
        Command::List => run::list(),
        Command::Up(args) => clusters::up(args),
        Command::Down(args) => clusters::down(args),
        Command::Gc(args) => clusters::gc(args),
        Command::Doctor(args) => clusters::doctor(args),
    }));
    match result {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => {
            run::complain(&error);
            Exit::from(&error).into()
        }
        // The message is out already.
        Err(_panic) => Exit::Bug.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::ScenarioOutcome;

    fn ended(engine: &'static str, errors: &[Option<ErrorClass>]) -> Exit {
        let trial = |&error_class: &Option<ErrorClass>| ScenarioOutcome {
            suite: "https",
            scenario: "redirect",
            seed: 1,
            verdict: Verdict::Errored,
            message: String::new(),
            causes: Vec::new(),
            error_class,
            requests: None,
            wall_ms: 0,
            virtual_ms: 0,
            trace_hash: None,
            diagnosis: Vec::new(),
        };
        Exit::from(&RunOutcome {
            engine,
            engine_reason: String::new(),
            kubernetes: "1.37".into(),
            seed: 1,
            n_seeds: 1,
            manifests: String::new(),
            scenarios: errors.iter().map(trial).collect(),
            wall_ms: 0,
        })
    }

    #[test]
    fn an_error_ends_the_run_by_whose_fault_it_is() {
        let (usage, environment) = (Some(ErrorClass::Usage), Some(ErrorClass::Environment));
        for engine in ["sim", "kind", "kubeconfig"] {
            assert_eq!(ended(engine, &[None, usage, environment]), Exit::Usage, "{engine}");
            assert_eq!(ended(engine, &[environment]), Exit::Environment, "{engine}");
        }
        assert_eq!(ended("sim", &[environment, None]), Exit::Bug);
        assert_eq!(ended("kind", &[None]), Exit::Environment);
    }
}
