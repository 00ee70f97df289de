//! Settings as resolved: flag > environment > file > default. The environment is read by clap.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::{Error, wall};
use crate::engine::sim::{GenericApp, Profile};
use crate::stack::Stack;
use crate::suite::{EngineChoice, RunRequest};
use crate::suites;

use super::args::{EngineArg, RunArgs};
use super::config::Config;

/// The stack that is proved when none is named.
const DEFAULT_MANIFESTS: &str = "manifests/wordpress";
/// Below it each run gets a folder of its own.
const DEFAULT_REPORTS: &str = "target/seatrial";
/// More seeds than this in one run are a typing error.
const SEEDS_MAX: u64 = 1_000_000;

/// All settings of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the stack runs.
    pub engine: EngineChoice,
    /// Why there.
    pub engine_reason: String,
    /// The stack.
    pub manifests: PathBuf,
    /// `suite` or `suite::scenario`; empty means all.
    pub selection: Vec<String>,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub n_seeds: u64,
    /// The minor to simulate.
    pub kubernetes: Profile,
    /// Where reports go.
    pub report: PathBuf,
    /// Trials to run at once.
    pub jobs: usize,
    /// Program models for images that the simulator does not know.
    pub apps: Vec<GenericApp>,
}

impl Settings {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// A usage error for a value that cannot be; an environment error for an engine that is not there.
    pub fn resolve(args: &RunArgs) -> Result<Settings, Error> {
        let config = Config::load(args.config.as_deref(), args.manifests.as_deref())?;
        let (engine, engine_reason) = engine(args.engine, config.engine.as_deref())?;
        let manifests = args
            .manifests
            .clone()
            .or_else(|| config.manifests.clone())
            .unwrap_or_else(|| PathBuf::from(DEFAULT_MANIFESTS));
        let kubernetes = match args.kubernetes.as_deref().or(config.kubernetes.as_deref()) {
            Some(text) => text.parse().map_err(|error: String| Error::usage(error))?,
            None => Profile::NEWEST,
        };
        let n_seeds = args.seeds.or(config.seeds).unwrap_or(1);
        if !(1..=SEEDS_MAX).contains(&n_seeds) {
            return Err(Error::usage(format!("--seeds must be between 1 and {SEEDS_MAX}")));
        }
        let selection = if args.suite.is_empty() {
            config.suite.clone().unwrap_or_default()
        } else {
            args.suite.clone()
        };
        let report = args.report.clone().or_else(|| config.report.clone()).unwrap_or_else(|| {
            PathBuf::from(DEFAULT_REPORTS).join(format!(
                "{}-{}",
                wall::calendar_stamp(),
                engine.name()
            ))
        });
        Ok(Settings {
            manifests,
            selection,
            seed: args.seed.or(config.seed).unwrap_or(1),
            n_seeds,
            kubernetes,
            report,
            jobs: args.jobs.unwrap_or_else(n_cores).max(1),
            apps: config.apps()?,
            engine,
            engine_reason,
        })
    }

    /// What the runner is asked for: the settings with the stack read and checked.
    ///
    /// # Errors
    /// A usage error for every fault of the manifests.
    pub fn request(&self) -> Result<RunRequest, Error> {
        Ok(RunRequest {
            engine: self.engine,
            engine_reason: self.engine_reason.clone(),
            profile: self.kubernetes,
            manifests: self.manifests.display().to_string(),
            stack: Arc::new(Stack::load(&self.manifests, &self.kubernetes)?),
            suites: suites::all(),
            selection: self.selection.clone(),
            seed: self.seed,
            n_seeds: self.n_seeds,
            jobs: self.jobs,
            apps: self.apps.clone(),
        })
    }

    /// The first line of a run: the engine and why, the version, the seeds, the stack.
    pub fn headline(&self) -> String {
        let seeds = match self.n_seeds {
            1 => format!("seed {}", self.seed),
            n => format!("seeds {} to {}", self.seed, self.seed.saturating_add(n - 1)),
        };
        format!(
            "engine: {} ({}), Kubernetes {}, {seeds}, {}\n\n",
            self.engine.name(),
            self.engine_reason,
            self.kubernetes,
            self.manifests.display()
        )
    }
}

fn n_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn engine(
    typed: Option<EngineArg>,
    configured: Option<&str>,
) -> Result<(EngineChoice, String), Error> {
    let choice = match (typed, configured) {
        (Some(engine), _) => engine,
        (None, None | Some("auto")) => EngineArg::Auto,
        (None, Some("sim")) => EngineArg::Sim,
        (None, Some("kind")) => EngineArg::Kind,
        (None, Some("kubeconfig")) => EngineArg::Kubeconfig,
        (None, Some(other)) => {
            return Err(Error::usage(format!(
                "seatrial.toml: engine `{other}` is unknown; choose auto, sim, kind or kubeconfig"
            )));
        }
    };
    let reason = match choice {
        EngineArg::Sim => "as asked for",
        EngineArg::Auto => "auto: the only engine in this version",
        EngineArg::Kind | EngineArg::Kubeconfig => {
            let name = if choice == EngineArg::Kind { "kind" } else { "kubeconfig" };
            return Err(Error::environment(format!(
                "engine `{name}` is not part of this version; run with --engine sim"
            )));
        }
    };
    Ok((EngineChoice::Sim, reason.into()))
}
