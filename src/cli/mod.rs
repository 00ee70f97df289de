//! Cli: arguments, settings, commands, exit codes.
//! Owns: `Args` (as typed), `Settings` (as resolved), flag > environment > file > default.
//! Imports: base, wait, stack, suites, suite, report, engine, observe. Never: logic that a test would want without a process.
//! Time and errors: parsing only parses; main alone returns an exit code.
//! Source: the README's table of exit codes. Proof: tests/cli.

mod again;
mod args;
mod clusters;
mod config;
mod exit;
mod real;
mod run;
mod said;
mod settings;

pub use args::{Args, ArtifactsArg, Command, EngineArg, KeepArg, RunArgs};
pub use exit::{Exit, main};
pub use real::{Running, Screen, open_cluster};
pub use said::Said;
pub use settings::{ClusterSettings, Settings};
