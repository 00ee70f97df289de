//! Arguments as typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Exit codes, as `--help` shows them.
const EXIT_CODES: &str = "\
Exit codes:
  0  passed
  1  a scenario failed, was inconclusive or unknown
  2  wrong arguments or an invalid manifest
  3  the environment (no container engine, cluster lost, report not writable)
  4  nothing selected
  5  a bug in Seatrial

Settings resolve flag > environment > seatrial.toml > default.";

/// Proves that a Kubernetes stack is fit for production.
#[derive(Clone, Debug, Parser)]
#[command(name = "seatrial", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the suites on a stack and print the verdicts
    Run(Box<RunArgs>),
    /// List all suites and scenarios with what they claim
    List,
}

/// Where the stack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// The best engine this machine offers; the choice and its reason are printed
    Auto,
    /// A simulated cluster in this process, in virtual time
    Sim,
    /// An ephemeral kind cluster
    Kind,
    /// A cluster that exists
    Kubeconfig,
}

/// Arguments of `run`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct RunArgs {
    /// Engine [default: auto]
    #[arg(long, env = "SEATRIAL_ENGINE", value_enum)]
    pub engine: Option<EngineArg>,
    /// The stack: a folder or file of YAML [default: manifests/wordpress]
    #[arg(long, env = "SEATRIAL_MANIFESTS", value_name = "PATH")]
    pub manifests: Option<PathBuf>,
    /// Suite, or suite::scenario; repeatable [default: all]
    #[arg(long, env = "SEATRIAL_SUITE", value_name = "NAME", value_delimiter = ',')]
    pub suite: Vec<String>,
    /// First seed [default: 1]
    #[arg(long, env = "SEATRIAL_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// How many seeds, from the first on [default: 1]
    #[arg(long, env = "SEATRIAL_SEEDS", value_name = "N")]
    pub seeds: Option<u64>,
    /// Kubernetes minor to simulate, 1.20 to 1.37 [default: newest]
    #[arg(long, env = "SEATRIAL_KUBERNETES", value_name = "MINOR")]
    pub kubernetes: Option<String>,
    /// Folder for report.json and junit.xml [default: one of its own in target/seatrial]
    #[arg(long, env = "SEATRIAL_REPORT", value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Settings file [default: seatrial.toml beside the manifests or in the working folder]
    #[arg(long, env = "SEATRIAL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Trials to run at once [default: one a core]
    #[arg(long, env = "SEATRIAL_JOBS", value_name = "N")]
    pub jobs: Option<usize>,
    /// Context of the kubeconfig engine; there is no silent use of the current one
    #[arg(long, env = "SEATRIAL_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
}
