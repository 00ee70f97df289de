//! Settings as resolved: flag > environment > file > default. The environment is read by clap.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Error, wall};
use crate::engine::host::Programs;
use crate::engine::kind::Topology;
use crate::engine::sim::{GenericApp, Profile};
use crate::report::Folder;
use crate::stack::Stack;
use crate::suite::provision;
use crate::suite::{EngineChoice, RunRequest, select};
use crate::suites;

use super::args::{ArtifactsArg, ClusterArgs, EngineArg, KeepArg, RunArgs};
use super::config::Config;
use super::real;
use super::said::Said;

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
    /// Where reports go, and where that was said; by default into a folder of the run's own.
    pub report: Option<(PathBuf, String)>,
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
        let workers =
            config.checked(args.workers.as_ref(), config.workers.as_ref(), |&n| {
                match (1..=WORKERS_MAX).contains(&n) {
                    true => Ok(n),
                    false => Err(format!("{n} is not between 1 and {WORKERS_MAX}")),
                }
            })?;
        // The folder that is overruled may be one of another machine.
        let folder = |typed: &Option<Said<PathBuf>>, written: &Option<Said<PathBuf>>| {
            let said = typed.as_ref().or(written.as_ref());
            config.checked(said, None, |path| match path.is_dir() {
                true => Ok(path.clone()),
                false => Err(format!("{} is no folder; name one", path.display())),
            })
        };
        let topology = args.topology.as_ref().or(config.topology.as_ref());
        let topology = config.checked(topology, None, |file| match Topology::read(file) {
            Ok(_) => Ok(file.clone()),
            Err(error) => Err(error.to_string()),
        })?;
        Ok(ClusterSettings {
            node_image: text(&args.node_image, &config.node_image),
            images: folder(&args.images, &config.images)?,
            addons: folder(&args.addons, &config.addons)?,
            workers,
            topology,
        })
    }
}

impl Settings {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// A usage error for a value that cannot be.
    pub fn resolve(args: &RunArgs) -> Result<Settings, Error> {
        let config = Config::load(args.config.as_ref(), args.manifests.as_ref())?;
        let cluster = ClusterSettings::resolve(&args.cluster, &config)?;
        let typed = args.kubernetes.as_ref();
        let context = text(&args.context, &config.context);
        let said = args.engine.as_ref().or(config.engine.as_ref());
        let asked = said.map_or(EngineArg::Auto, |said| said.value);
        if let (EngineArg::Kubeconfig, Some(said), None) = (asked, said, &context) {
            return Err(config.wrong(
                said,
                "kubeconfig needs --context NAME: the current context is never used unasked; \
                 `kubectl config get-contexts` lists them",
            ));
        }
        let kubernetes = match (asked, &context, typed.or(config.kubernetes.as_ref())) {
            (EngineArg::Kubeconfig, Some(context), None) => real::minor_of(context)?,
            (EngineArg::Sim, ..) => kubernetes(typed, &config, None)?,
            _ => kubernetes(typed, &config, Some(&cluster))?,
        };
        let (engine, engine_reason) = engine(asked, &cluster, kubernetes)?;
        let manifests = manifests(args.manifests.as_ref(), &config)?.ok_or_else(no_stack)?;
        let n_seeds = config.checked(args.seeds.as_ref(), config.seeds.as_ref(), |&n| match (1
            ..=SEEDS_MAX)
            .contains(&n)
        {
            true => Ok(n),
            false => Err(format!("{n} is not between 1 and {SEEDS_MAX}")),
        })?;
        let jobs = config.checked(args.jobs.as_ref(), config.jobs.as_ref(), |&n| match n {
            0 => Err("0 is too few; run at least 1 at once".to_owned()),
            _ => Ok(n),
        })?;
        let selection = match (&args.suite[..], &config.suite) {
            ([], Some(written)) => selection(written, &config)?,
            (typed, _) => selection(typed, &config)?,
        };
        let report = args.report.as_ref().or(config.report.as_ref());
        let report = report.map(|said| (said.value.clone(), config.place(said)));
        Ok(Settings {
            manifests,
            selection,
            seed: value(&args.seed).or(config.seed).unwrap_or(1),
            n_seeds: n_seeds.unwrap_or(1),
            kubernetes,
            report,
            jobs: jobs.unwrap_or_else(n_cores),
            apps: config.apps()?,
            engine,
            engine_reason,
            cluster,
            context,
            keep: value(&args.keep).or(config.keep).unwrap_or(KeepArg::Never),
            reuse: value(&args.reuse).or(config.reuse).unwrap_or(false),
            install_addons: value(&args.install_addons).or(config.install_addons).unwrap_or(false),
            artifacts: value(&args.artifacts)
                .or(config.artifacts)
                .unwrap_or(ArtifactsArg::OnFailure),
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
        let stack = Stack::load(&self.manifests, &self.kubernetes)?;
        if self.engine == EngineChoice::Sim {
            stack.check_node_port_range()?;
        }
        Ok(stack)
    }

    /// The folder that reports go to.
    ///
    /// # Errors
    /// A usage error: it cannot be written.
    pub(super) fn claim_report(&self) -> Result<Folder, Error> {
        let Some((path, place)) = &self.report else {
            let name = format!("{}-{}", wall::calendar_stamp(), self.engine.name());
            return Folder::claim_new(&Path::new(DEFAULT_REPORTS).join(name));
        };
        Folder::claim(path).map_err(|error| Error::usage(format!("{place}: {error}")))
    }

    /// The first lines of a run: the engine and why, the version, the seeds, the stack, and what of its
    /// files is left out.
    pub fn headline(&self, stack: &Stack) -> String {
        let seeds = match self.n_seeds {
            _ if self.engine != EngineChoice::Sim => String::new(),
            1 => format!("seed {}, ", self.seed),
            n => format!("seeds {} to {}, ", self.seed, self.seed.saturating_add(n - 1)),
        };
        let left_out = stack.left_out().iter().map(|each| format!("left out: {each}\n"));
        format!(
            "engine: {} ({}), Kubernetes {}, {seeds}{}\n{}\n",
            self.engine.name(),
            self.engine_reason,
            self.kubernetes,
            self.manifests.display(),
            left_out.collect::<String>()
        )
    }
}

fn value<T: Copy>(said: &Option<Said<T>>) -> Option<T> {
    said.as_ref().map(|said| said.value)
}

/// The text that was `typed`, or else `written`.
fn text(typed: &Option<Said<String>>, written: &Option<Said<String>>) -> Option<String> {
    typed.as_ref().or(written.as_ref()).map(|said| said.value.clone())
}

/// The names in `said`, which there must be.
fn selection(said: &[Said<String>], config: &Config) -> Result<Vec<String>, Error> {
    let named = |said: &Said<String>| {
        let name = said.value.clone();
        match select(suites::all(), std::slice::from_ref(&name)) {
            Ok(_) => Ok(name),
            Err(error) => Err(Error::nothing_selected(format!("{}: {error}", config.place(said)))),
        }
    };
    said.iter().map(named).collect()
}

/// The stack: as typed, as configured, or the reference stack where that is in the working folder.
///
/// # Errors
/// A usage error: there is no such path.
pub(super) fn manifests(
    typed: Option<&Said<PathBuf>>,
    config: &Config,
) -> Result<Option<PathBuf>, Error> {
    let said = typed.or(config.manifests.as_ref());
    let path = config.checked(said, None, |path| match path.try_exists() {
        Ok(false) => Err(format!("{}: no such file or folder; name one of YAML", path.display())),
        _ => Ok(path.clone()),
    })?;
    let default = || Some(PathBuf::from(DEFAULT_MANIFESTS)).filter(|path| path.exists());
    Ok(path.or_else(default))
}

/// No stack is named, and the reference stack is not in the working folder.
pub(super) fn no_stack() -> Error {
    Error::usage(format!(
        "no stack is named, and {DEFAULT_MANIFESTS} is not in this folder: name a folder or file of \
         YAML with --manifests PATH"
    ))
}

/// The Kubernetes minor: as typed, as configured, as the tag of the node image of `cluster` says,
/// or the newest.
///
/// # Errors
/// A usage error for a minor that is not known.
pub(super) fn kubernetes(
    typed: Option<&Said<String>>,
    config: &Config,
    cluster: Option<&ClusterSettings>,
) -> Result<Profile, Error> {
    let said = config.checked(typed, config.kubernetes.as_ref(), |text| text.parse())?;
    if let Some(profile) = said {
        return Ok(profile);
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
