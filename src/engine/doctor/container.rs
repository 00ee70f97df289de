//! The container engine: whether it answers, and what it is.

use std::path::PathBuf;

use futures::future::join_all;
use serde_json::Value;

use super::super::host::{ContainerEngine, ProgramError, Programs, Trouble as Failure};
use super::ASK_LIMIT;
use super::finding::{Finding, Trouble};
use super::machine::Host;
use super::tools::Version;

const ENGINE: &str = "container engine";
const STORE: &str = "image store";
/// Older ones lack private cgroup namespaces, in which kind's nodes live.
const DOCKER_MIN: Version = Version(20, 10);
/// The first whose `save` takes one platform out of an image of many.
const SAVE_PLATFORM_MIN: Version = Version(28, 0);
/// The engine that kind is to use (`kind/pkg/cluster/provider.go:DetectNodeProvider`).
const PROVIDER: &str = "KIND_EXPERIMENTAL_PROVIDER";
const WHY_NEEDED: &str = "kind runs the nodes of a cluster as containers";

/// What an engine says of itself.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) program: String,
    pub(super) version: String,
    /// Where it stores images and containers.
    pub(super) root: Option<PathBuf>,
    /// 1 or 2.
    pub(super) cgroups: Option<u8>,
    pub(super) rootless: bool,
    /// Whether images are in containerd's store.
    pub(super) containerd_store: bool,
    /// Release of the kernel that it runs on.
    pub(super) kernel: String,
}

/// What came of asking.
pub(super) enum Answer {
    Facts(Facts),
    /// None is installed.
    Missing(Vec<String>),
    /// This one is, and does not tell.
    Silent {
        program: String,
        failure: Failure,
        said: String,
    },
}

impl Answer {
    pub(super) fn facts(&self) -> Option<&Facts> {
        match self {
            Answer::Facts(facts) => Some(facts),
            _ => None,
        }
    }
}

/// Asks the engine that the environment names, or docker and podman: the first that answers, else the
/// first that is there.
pub(super) async fn ask(programs: &Programs, host: &Host) -> Answer {
    let engines = match host.variable(PROVIDER) {
        Some(program @ ("docker" | "podman")) => vec![ContainerEngine::from_env(program)],
        _ => ["docker", "podman"].map(ContainerEngine::from_env).to_vec(),
    };
    let mut answers = join_all(engines.iter().map(|engine| ask_one(engine, programs))).await;
    let answered = answers.iter().position(|answer| matches!(answer, Answer::Facts(_)));
    let there = answers.iter().position(|answer| matches!(answer, Answer::Silent { .. }));
    match answered.or(there) {
        Some(idx) => answers.swap_remove(idx),
        None => Answer::Missing(engines.into_iter().map(|engine| engine.program).collect()),
    }
}

async fn ask_one(engine: &ContainerEngine, programs: &Programs) -> Answer {
    let call = engine.call(["info", "--format", "{{json .}}"]).limit(ASK_LIMIT);
    let program = engine.program.clone();
    let said = match programs.run(&call).await {
        Ok(ran) => {
            let info = serde_json::from_str(&ran.stdout).unwrap_or(Value::Null);
            let facts = if program == "podman" { podman(&info) } else { docker(&info) };
            match facts {
                Some(facts) => return Answer::Facts(Facts { program, ..facts }),
                // Some versions exit with 0 and tell of the trouble among the facts.
                None => info["ServerErrors"][0].as_str().unwrap_or("").to_owned(),
            }
        }
        Err(ProgramError { trouble: Failure::NotFound, .. }) => {
            return Answer::Missing(vec![program]);
        }
        Err(ProgramError { trouble, stderr, .. }) => {
            return Answer::Silent { program, failure: trouble, said: stderr };
        }
    };
    Answer::Silent { program, failure: Failure::Exit(Some(0)), said }
}

/// From `docker info`.
fn docker(info: &Value) -> Option<Facts> {
    let version = info["ServerVersion"].as_str().filter(|version| !version.is_empty())?;
    let list = |name: &str| info[name].as_array().cloned().unwrap_or_default();
    let rootless = list("SecurityOptions")
        .iter()
        .any(|option| option.as_str().is_some_and(|option| option.contains("rootless")));
    let containerd_store = list("DriverStatus").iter().any(|pair| {
        pair[1].as_str().is_some_and(|value| value.contains("io.containerd.snapshotter"))
    });
    Some(Facts {
        program: String::new(),
        version: version.to_owned(),
        root: info["DockerRootDir"].as_str().map(PathBuf::from),
        cgroups: info["CgroupVersion"].as_str().and_then(|version| version.parse().ok()),
        rootless,
        containerd_store,
        kernel: info["KernelVersion"].as_str().unwrap_or("").to_owned(),
    })
}

/// From `podman info`.
fn podman(info: &Value) -> Option<Facts> {
    let host = &info["host"];
    let version = info["version"]["Version"].as_str()?;
    let cgroups = host["cgroupVersion"].as_str().unwrap_or("").trim_start_matches('v');
    Some(Facts {
        program: String::new(),
        version: version.to_owned(),
        root: info["store"]["graphRoot"].as_str().map(PathBuf::from),
        cgroups: cgroups.parse().ok(),
        rootless: host["security"]["rootless"].as_bool().unwrap_or(false),
        containerd_store: false,
        kernel: host["kernel"].as_str().unwrap_or("").to_owned(),
    })
}

/// The engine and its image store.
pub(super) fn check(answer: &Answer, host: &Host) -> Vec<Finding> {
    let facts = match answer {
        Answer::Facts(facts) => facts,
        Answer::Missing(programs) => {
            let seen = format!("{} not installed", programs.join(" and "));
            let fix = match host.variable(PROVIDER) {
                Some(_) if programs.len() == 1 => {
                    "install it, or: unset KIND_EXPERIMENTAL_PROVIDER"
                }
                _ => "install Docker Engine: https://docs.docker.com/engine/install/",
            };
            return vec![Finding::fatal(ENGINE, Trouble::new(seen, WHY_NEEDED, fix))];
        }
        Answer::Silent { program, failure, said } => {
            return vec![silent(program, failure, said, host)];
        }
    };
    vec![engine(facts), store(facts)]
}

fn engine(facts: &Facts) -> Finding {
    let rights = if facts.rootless { "rootless" } else { "rootful" };
    let seen = format!("{} {}, {rights}", facts.program, facts.version);
    let is_old = facts.program == "docker" && Version::of(&facts.version) < Some(DOCKER_MIN);
    if is_old {
        let why = format!("kind's nodes need cgroup namespaces, which came with {DOCKER_MIN}");
        let fix = "install a newer Docker Engine: https://docs.docker.com/engine/install/";
        return Finding::fatal(ENGINE, Trouble::new(seen, why, fix));
    }
    Finding::ok(ENGINE, seen)
}

fn store(facts: &Facts) -> Finding {
    if !facts.containerd_store {
        return Finding::ok(STORE, "the engine's own");
    }
    if Version::of(&facts.version) >= Some(SAVE_PLATFORM_MIN) {
        return Finding::ok(STORE, "containerd's; images are saved for one platform");
    }
    let seen = format!("containerd's, and {} {}", facts.program, facts.version);
    let why = "images saved from it name platforms that are not there, and nodes refuse them with \
               `content digest not found` (kind#3795)";
    let fix = "install Docker Engine 28 or newer, or set \
               {\"features\":{\"containerd-snapshotter\":false}} in /etc/docker/daemon.json";
    Finding::warning(STORE, Trouble::new(seen, why, fix))
}

fn silent(program: &str, failure: &Failure, said: &str, host: &Host) -> Finding {
    let said = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no word");
    if let Failure::TimedOut(limit) = failure {
        let seen = format!("{program} did not answer within {} ms", limit.as_millis());
        let why = "it is busy or hangs; what else depends on it was not looked at";
        return Finding::warning(ENGINE, Trouble::new(seen, why, format!("{program} info")));
    }
    let seen = format!("{program} does not answer: {said}");
    if said.to_ascii_lowercase().contains("permission denied") {
        let fix = format!("sudo usermod -aG {program} \"$USER\", then log in anew");
        return Finding::fatal(ENGINE, Trouble::new(seen, WHY_NEEDED, fix));
    }
    let fix = match (program, host.variable("DOCKER_HOST")) {
        ("docker", Some(endpoint)) => {
            format!("start the engine at {endpoint}, or: unset DOCKER_HOST")
        }
        ("docker", None) => "sudo systemctl start docker".to_owned(),
        _ => format!("{program} info"),
    };
    Finding::fatal(ENGINE, Trouble::new(seen, WHY_NEEDED, fix))
}
