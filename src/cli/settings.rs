//! Settings as resolved: flag > environment > file > default. The environment is read by clap.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Error, wall};
use crate::engine::host::Programs;
use crate::engine::sim::{GenericApp, Profile};
use crate::report::Folder;
use crate::stack::Stack;
use crate::suite::provision;
use crate::suite::{EngineChoice, RunRequest};
use crate::suites;

use super::args::{ArtifactsArg, ClusterArgs, EngineArg, KeepArg, RunArgs};
use super::config::Config;
use super::real;

/// The stack that is proved when none is named.
pub(super) const DEFAULT_MANIFESTS: &str = "manifests/wordpress";
/// Below it each run gets a folder of its own.
const DEFAULT_REPORTS: &str = "target/seatrial";
/// More seeds than this in one run are a typing error.
const SEEDS_MAX: u64 = 1_000_000;
/// More nodes than this do not fit on one machine.
const WORKERS_MAX: usize = 20;

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
    /// The minor to simulate or to create.
    pub kubernetes: Profile,
    /// Where reports go; by default into a folder of the run's own.
    pub report: Option<PathBuf>,
    /// Trials to run at once.
    pub jobs: usize,
    /// Program models for images that the simulator does not know.
    pub apps: Vec<GenericApp>,
    /// How a kind cluster is made.
    pub cluster: ClusterSettings,
    /// Context of the kubeconfig engine.
    pub context: Option<String>,
    /// When a kind cluster stays.
    pub keep: KeepArg,
    /// Whether clusters are shared with other runs.
    pub reuse: bool,
    /// Whether missing add-ons are installed into a cluster that exists.
    pub install_addons: bool,
    /// When evidence is gathered.
    pub artifacts: ArtifactsArg,
    /// Whether external commands are printed instead of run.
    pub dry_run: bool,
}

/// How a kind cluster is made.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Node image; by default kind's image of the chosen minor.
    pub node_image: Option<String>,
    /// Folder of image archives.
    pub images: Option<PathBuf>,
    /// Folder of add-on manifests.
    pub addons: Option<PathBuf>,
    /// Worker nodes; `None` for those of the topology.
    pub workers: Option<usize>,
    /// kind configuration to start from.
    pub topology: Option<PathBuf>,
}

impl ClusterSettings {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// A usage error for a value that cannot be.
    pub(super) fn resolve(args: &ClusterArgs, config: &Config) -> Result<Self, Error> {
        let workers = args.workers.or(config.workers);
        if workers.is_some_and(|workers| !(1..=WORKERS_MAX).contains(&workers)) {
            return Err(Error::usage(format!("--workers must be between 1 and {WORKERS_MAX}")));
        }
        let folder = |flag: &str, typed: &Option<PathBuf>, configured: &Option<PathBuf>| {
            let path = typed.clone().or_else(|| configured.clone());
            match path {
                Some(path) if !path.is_dir() => {
                    Err(Error::usage(format!("{flag}: {} is no folder", path.display())))
                }
                path => Ok(path),
            }
        };
        Ok(ClusterSettings {
            node_image: args.node_image.clone().or_else(|| config.node_image.clone()),
            images: folder("--images", &args.images, &config.images)?,
            addons: folder("--addons", &args.addons, &config.addons)?,
            workers,
            topology: args.topology.clone().or_else(|| config.topology.clone()),
        })
    }
}

impl Settings {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// A usage error for a value that cannot be.
    pub fn resolve(args: &RunArgs) -> Result<Settings, Error> {
        let config = Config::load(args.config.as_deref(), args.manifests.as_deref())?;
        let cluster = ClusterSettings::resolve(&args.cluster, &config)?;
        let typed = args.kubernetes.as_deref();
        let context = args.context.clone().or_else(|| config.context.clone());
        let asked = asked_engine(args.engine, config.engine.as_deref())?;
        let kubernetes = match (asked, &context, typed.or(config.kubernetes.as_deref())) {
            (EngineArg::Kubeconfig, Some(context), None) => real::minor_of(context)?,
            (EngineArg::Sim, ..) => kubernetes(typed, &config, None)?,
            _ => kubernetes(typed, &config, Some(&cluster))?,
        };
        let (engine, engine_reason) = engine(asked, &cluster, kubernetes)?;
        let manifests = manifests(args.manifests.as_ref(), &config);
        let n_seeds = args.seeds.or(config.seeds).unwrap_or(1);
        if !(1..=SEEDS_MAX).contains(&n_seeds) {
            return Err(Error::usage(format!("--seeds must be between 1 and {SEEDS_MAX}")));
        }
        let selection = if args.suite.is_empty() {
            config.suite.clone().unwrap_or_default()
        } else {
            args.suite.clone()
        };
        let report = args.report.clone().or_else(|| config.report.clone());
        if engine == EngineChoice::Kubeconfig && context.is_none() {
            return Err(Error::usage(
                "--engine kubeconfig needs --context NAME: the current context is never used \
                 unasked; `kubectl config get-contexts` lists them",
            ));
        }
        Ok(Settings {
            manifests,
            selection,
            seed: args.seed.or(config.seed).unwrap_or(1),
            n_seeds,
            kubernetes,
            report,
            jobs: args.jobs.or(config.jobs).unwrap_or_else(n_cores).max(1),
            apps: config.apps()?,
            engine,
            engine_reason,
            cluster,
            context,
            keep: args.keep.or(config.keep).unwrap_or(KeepArg::Never),
            reuse: args.reuse.or(config.reuse).unwrap_or(false),
            install_addons: args.install_addons.or(config.install_addons).unwrap_or(false),
            artifacts: args.artifacts.or(config.artifacts).unwrap_or(ArtifactsArg::OnFailure),
            dry_run: args.dry_run,
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
            stack: Arc::new(self.stack()?),
            suites: suites::all(),
            selection: self.selection.clone(),
            seed: self.seed,
            n_seeds: self.n_seeds,
            jobs: self.jobs,
            apps: self.apps.clone(),
        })
    }

    /// The stack, read and checked.
    ///
    /// # Errors
    /// A usage error for every fault of the manifests.
    pub fn stack(&self) -> Result<Stack, Error> {
        Stack::load(&self.manifests, &self.kubernetes)
    }

    /// The folder that reports go to.
    ///
    /// # Errors
    /// A usage error: it cannot be written.
    pub(super) fn claim_report(&self) -> Result<Folder, Error> {
        let Some(path) = &self.report else {
            let name = format!("{}-{}", wall::calendar_stamp(), self.engine.name());
            return Folder::claim_new(&Path::new(DEFAULT_REPORTS).join(name));
        };
        Folder::claim(path)
    }

    /// The first line of a run: the engine and why, the version, the seeds, the stack.
    pub fn headline(&self) -> String {
        let seeds = match self.n_seeds {
            _ if self.engine != EngineChoice::Sim => String::new(),
            1 => format!("seed {}, ", self.seed),
            n => format!("seeds {} to {}, ", self.seed, self.seed.saturating_add(n - 1)),
        };
        format!(
            "engine: {} ({}), Kubernetes {}, {seeds}{}\n\n",
            self.engine.name(),
            self.engine_reason,
            self.kubernetes,
            self.manifests.display()
        )
    }
}

/// The stack: as typed, as configured, or the reference stack.
pub(super) fn manifests(typed: Option<&PathBuf>, config: &Config) -> PathBuf {
    typed.or(config.manifests.as_ref()).cloned().unwrap_or_else(|| PathBuf::from(DEFAULT_MANIFESTS))
}

/// The Kubernetes minor: as typed, as configured, as the tag of the node image of `cluster` says,
/// or the newest.
///
/// # Errors
/// A usage error for a minor that is not known.
pub(super) fn kubernetes(
    typed: Option<&str>,
    config: &Config,
    cluster: Option<&ClusterSettings>,
) -> Result<Profile, Error> {
    if let Some(text) = typed.or(config.kubernetes.as_deref()) {
        return text.parse().map_err(|error: String| Error::usage(error));
    }
    let image = cluster.and_then(|cluster| cluster.node_image.as_deref());
    Ok(image.and_then(minor_in_tag).unwrap_or(Profile::NEWEST))
}

/// The minor in a tag such as `v1.35.8@sha256:...`.
fn minor_in_tag(image: &str) -> Option<Profile> {
    let tag = image.split('@').next()?.rsplit_once(':')?.1.strip_prefix('v')?;
    let mut numbers = tag.split('.');
    format!("{}.{}", numbers.next()?, numbers.next()?).parse().ok()
}

fn n_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The engine as typed or as configured.
fn asked_engine(typed: Option<EngineArg>, configured: Option<&str>) -> Result<EngineArg, Error> {
    match (typed, configured) {
        (Some(engine), _) => Ok(engine),
        (None, None | Some("auto")) => Ok(EngineArg::Auto),
        (None, Some("sim")) => Ok(EngineArg::Sim),
        (None, Some("kind")) => Ok(EngineArg::Kind),
        (None, Some("kubeconfig")) => Ok(EngineArg::Kubeconfig),
        (None, Some(other)) => Err(Error::usage(format!(
            "seatrial.toml: engine `{other}` is unknown; choose auto, sim, kind or kubeconfig"
        ))),
    }
}

/// The engine that `asked` means, and why.
fn engine(
    asked: EngineArg,
    cluster: &ClusterSettings,
    kubernetes: Profile,
) -> Result<(EngineChoice, String), Error> {
    let as_asked = "as asked for".to_owned();
    Ok(match asked {
        EngineArg::Sim => (EngineChoice::Sim, as_asked),
        EngineArg::Kind => (EngineChoice::Kind, as_asked),
        EngineArg::Kubeconfig => (EngineChoice::Kubeconfig, as_asked),
        EngineArg::Auto => {
            let (programs, hints) = (Programs::real(), real::hints());
            let image = cluster.node_image.as_deref();
            let here = provision::node_image_here(&programs, &hints, image, kubernetes);
            match real::block_on(here)? {
                Ok(engine) => {
                    (EngineChoice::Kind, format!("auto: {engine} and has the node image"))
                }
                Err(why) => (EngineChoice::Sim, format!("auto: {why}")),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Args, Command};
    use super::*;

    fn resolved(file: &str, typed: &[&str]) -> Settings {
        let config = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(config.path(), file).expect("it is writable");
        let path = config.path().to_str().expect("it is UTF-8");
        let words = ["seatrial", "run", "--engine", "sim", "--config", path];
        let args = Args::try_parse_from(words.iter().chain(typed)).expect("they are understood");
        let Command::Run(args) = args.command else { panic!("another command") };
        Settings::resolve(&args).expect("they can be")
    }

    #[test]
    fn what_the_file_says_of_the_run_gives_way_to_flags() {
        let file = "jobs = 3\nkeep = \"on-failure\"\nreuse = true\ninstall_addons = true\n\
                    artifacts = \"always\"\n";
        let of = |settings: Settings| {
            let Settings { jobs, keep, reuse, install_addons, artifacts, .. } = settings;
            (jobs, keep, reuse, install_addons, artifacts)
        };
        let from_file = (3, KeepArg::OnFailure, true, true, ArtifactsArg::Always);
        assert_eq!(of(resolved(file, &[])), from_file);
        let flags = [
            "--jobs=2",
            "--keep=never",
            "--reuse=false",
            "--install-addons=false",
            "--artifacts=on-failure",
        ];
        let from_flags = (2, KeepArg::Never, false, false, ArtifactsArg::OnFailure);
        assert_eq!(of(resolved(file, &flags)), from_flags);
        let bare = resolved("", &["--keep", "--reuse", "--install-addons", "--jobs=1"]);
        assert_eq!(of(bare), (1, KeepArg::Always, true, true, ArtifactsArg::OnFailure));
    }
}
