//! Exit codes, and the one place that turns errors into them.

use std::process::ExitCode;

use clap::Parser as _;

use crate::base::{Error, ErrorClass};
use crate::observe::{RunOutcome, Verdict};

use super::args::{Args, Command};
use super::run;

/// Why the process ends; the README's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All scenarios passed.
    Passed = 0,
    /// A scenario failed, was inconclusive or unknown.
    Failed = 1,
    /// Wrong arguments or an invalid manifest.
    Usage = 2,
    /// The environment is at fault.
    Environment = 3,
    /// Nothing was selected.
    NothingSelected = 4,
    /// A bug in Seatrial.
    Bug = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Exit {
        match error.class() {
            ErrorClass::Usage => Exit::Usage,
            ErrorClass::Environment => Exit::Environment,
            ErrorClass::NothingSelected => Exit::NothingSelected,
        }
    }
}

impl From<&RunOutcome> for Exit {
    fn from(run: &RunOutcome) -> Exit {
        match run.verdict() {
            Verdict::Passed => Exit::Passed,
            Verdict::Failed | Verdict::Inconclusive | Verdict::Unknown => Exit::Failed,
            Verdict::Errored => Exit::Bug,
            Verdict::Ignored => Exit::NothingSelected,
        }
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
    let result = match &args.command {
        Command::Run(args) => run::run(args),
        Command::List => run::list(),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            run::complain(&error);
            Exit::from(&error).into()
        }
    }
}
