//! Arguments as typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use super::said::{self, Said};

/// Exit codes, as `--help` shows them.
const EXIT_CODES: &str = "\
Exit codes:
  0  passed
  1  a scenario failed, was inconclusive or unknown
  2  wrong arguments (a report folder that cannot be written, say) or an invalid manifest
  3  the environment (no container engine, cluster lost, disk full)
  4  nothing selected
  5  a bug in Seatrial
  129, 130, 143  ended by SIGHUP, SIGINT or SIGTERM, after cleaning up

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
    /// Bring up a cluster with the add-ons and leave it running
    Up(Box<UpArgs>),
    /// Remove clusters that `up`, --keep or --reuse left running
    Down(DownArgs),
    /// Remove what runs that died have left on this machine
    Gc(GcArgs),
    /// Say whether this machine can run the kind engine, and how to mend what is missing
    Doctor(Box<TargetArgs>),
}

/// Where the stack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

/// When a cluster stays after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepArg {
    /// The cluster goes
    Never,
    /// It stays when a scenario did not pass
    OnFailure,
    /// It stays
    Always,
}

/// When evidence is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactsArg {
    /// For scenarios that did not pass
    OnFailure,
    /// For every scenario
    Always,
}

/// How a kind cluster is made.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// Node image [default: kind's image of the chosen minor, pinned by digest]
    #[arg(long, env = "SEATRIAL_NODE_IMAGE", value_name = "IMAGE", value_parser = said::text())]
    pub node_image: Option<Said<String>>,
    /// Folder of image archives (docker save) to load into the nodes
    #[arg(long, env = "SEATRIAL_IMAGES", value_name = "DIR", value_parser = said::path())]
    pub images: Option<Said<PathBuf>>,
    /// Folder of add-on manifests, one folder each, instead of the pinned downloads
    #[arg(long, env = "SEATRIAL_ADDONS", value_name = "DIR", value_parser = said::path())]
    pub addons: Option<Said<PathBuf>>,
    /// Worker nodes [default: those of the topology: 3]
    #[arg(long, env = "SEATRIAL_WORKERS", value_name = "N", value_parser = said::number::<usize>())]
    pub workers: Option<Said<usize>>,
    /// kind configuration to start from [default: manifests/kind/cluster.yaml, built in]
    #[arg(long, env = "SEATRIAL_TOPOLOGY", value_name = "FILE", value_parser = said::path())]
    pub topology: Option<Said<PathBuf>>,
}

/// Which cluster a command is about.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// The stack that says which add-ons and images are needed [default: manifests/wordpress]
    #[arg(long, env = "SEATRIAL_MANIFESTS", value_name = "PATH", value_parser = said::path())]
    pub manifests: Option<Said<PathBuf>>,
    /// Kubernetes minor [default: that of the node image, or the newest]
    #[arg(long, env = "SEATRIAL_KUBERNETES", value_name = "MINOR", value_parser = said::text())]
    pub kubernetes: Option<Said<String>>,
    /// Settings file [default: seatrial.toml beside the manifests or in the working folder]
    #[arg(long, env = "SEATRIAL_CONFIG", value_name = "FILE", value_parser = said::path())]
    pub config: Option<Said<PathBuf>>,
    /// How the cluster is made.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `up`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct UpArgs {
    /// Engine [default: kind]
    #[arg(long, env = "SEATRIAL_ENGINE", value_parser = said::choice::<EngineArg>())]
    pub engine: Option<Said<EngineArg>>,
    /// Print the commands that would be run, in order, and run none
    #[arg(long)]
    pub dry_run: bool,
    /// Which cluster.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// Arguments of `down`.
#[derive(Clone, Debug, clap::Args)]
pub struct DownArgs {
    /// Name of the cluster [default: all that were left running]
    pub name: Option<String>,
}

/// Arguments of `gc`.
#[derive(Clone, Debug, clap::Args)]
pub struct GcArgs {
    /// Also remove what was kept on purpose
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `run`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct RunArgs {
    /// Engine [default: auto]
    #[arg(long, env = "SEATRIAL_ENGINE", value_parser = said::choice::<EngineArg>())]
    pub engine: Option<Said<EngineArg>>,
    /// The stack: a folder or file of YAML [default: manifests/wordpress]
    #[arg(long, env = "SEATRIAL_MANIFESTS", value_name = "PATH", value_parser = said::path())]
    pub manifests: Option<Said<PathBuf>>,
    /// Suite, or suite::scenario; repeatable [default: all]
    #[arg(long, env = "SEATRIAL_SUITE", value_name = "NAME", value_delimiter = ',', value_parser = said::text())]
    pub suite: Vec<Said<String>>,
    /// First seed [default: 1]
    #[arg(long, env = "SEATRIAL_SEED", value_name = "N", value_parser = said::number::<u64>())]
    pub seed: Option<Said<u64>>,
    /// How many seeds, from the first on [default: 1]
    #[arg(long, env = "SEATRIAL_SEEDS", value_name = "N", value_parser = said::number::<u64>())]
    pub seeds: Option<Said<u64>>,
    /// Kubernetes minor to simulate or to create, 1.20 to 1.37 [default: newest]
    #[arg(long, env = "SEATRIAL_KUBERNETES", value_name = "MINOR", value_parser = said::text())]
    pub kubernetes: Option<Said<String>>,
    /// Folder for report.json and junit.xml [default: one of its own in target/seatrial]
    #[arg(long, env = "SEATRIAL_REPORT", value_name = "DIR", value_parser = said::path())]
    pub report: Option<Said<PathBuf>>,
    /// Settings file [default: seatrial.toml beside the manifests or in the working folder]
    #[arg(long, env = "SEATRIAL_CONFIG", value_name = "FILE", value_parser = said::path())]
    pub config: Option<Said<PathBuf>>,
    /// Trials to run at once [default: one a core]
    #[arg(long, env = "SEATRIAL_JOBS", value_name = "N", value_parser = said::number::<usize>())]
    pub jobs: Option<Said<usize>>,
    /// Context of the kubeconfig engine; there is no silent use of the current one
    #[arg(long, env = "SEATRIAL_CONTEXT", value_name = "NAME", value_parser = said::text())]
    pub context: Option<Said<String>>,
    /// How a kind cluster is made.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// When the kind cluster stays after the run [default: never]
    #[arg(long, env = "SEATRIAL_KEEP", num_args = 0..=1, default_missing_value = "always",
          value_parser = said::choice::<KeepArg>())]
    pub keep: Option<Said<KeepArg>>,
    /// Use the cluster that an earlier run with the same version, topology and add-ons left, and leave it
    #[arg(long, env = "SEATRIAL_REUSE", value_name = "BOOL", value_parser = said::switch(),
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub reuse: Option<Said<bool>>,
    /// Install missing add-ons into a cluster that exists
    #[arg(long, env = "SEATRIAL_INSTALL_ADDONS", value_name = "BOOL", value_parser = said::switch(),
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub install_addons: Option<Said<bool>>,
    /// When events, logs and states are written beside the reports [default: on-failure]
    #[arg(long, env = "SEATRIAL_ARTIFACTS", value_parser = said::choice::<ArtifactsArg>())]
    pub artifacts: Option<Said<ArtifactsArg>>,
    /// Print the commands that would be run, in order, and run none
    #[arg(long)]
    pub dry_run: bool,
}
