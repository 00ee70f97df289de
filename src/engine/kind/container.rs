//! The container engine, driven by its program: `docker` or `podman`.

use std::path::Path;
use std::time::Duration;

use crate::base::{Error, secs};
use crate::engine::host::{CLUSTER_LABEL, Call, ContainerEngine, ProgramError, Programs, Ran};

use super::error::explained;

/// Network of all clusters, unless `KIND_EXPERIMENTAL_DOCKER_NETWORK` names another.
const NETWORK: &str = "kind";
/// Containers that hold gigabytes take a while to be removed on a busy disk.
const REMOVAL_LIMIT: Duration = secs(180);
/// A pull of a node image, about 1 GB, on a slow line.
const PULL_LIMIT: Duration = secs(900);
/// A save writes gigabytes.
const SAVE_LIMIT: Duration = secs(600);

/// What the environment says about container engines; read once, with the other settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineHints {
    /// `KIND_EXPERIMENTAL_PROVIDER`.
    pub provider: Option<String>,
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `CONTAINER_HOST`.
    pub container_host: Option<String>,
    /// `KIND_EXPERIMENTAL_DOCKER_NETWORK` or `KIND_EXPERIMENTAL_PODMAN_NETWORK`.
    pub network: Option<String>,
}

/// How the engine keeps images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageStore {
    /// Layers unpacked by the engine itself: an image has one platform.
    Classic,
    /// containerd's store: an image may name platforms that were never pulled (kind#3795).
    Containerd,
}

/// What the engine said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFacts {
    /// Version of the server.
    pub version: String,
    /// Platform of its containers, as in `linux/amd64`.
    pub platform: String,
    /// How it keeps images.
    pub store: ImageStore,
}

/// A container engine that answers, and the `kind` program that uses it.
#[derive(Clone, Debug)]
pub struct Containers {
    programs: Programs,
    engine: ContainerEngine,
    kind: String,
    network: String,
    facts: EngineFacts,
}

impl Containers {
    /// Finds the engine: the one that `hints` name, else docker, else podman.
    ///
    /// # Errors
    /// None answers, or the hints name one that Seatrial does not drive.
    pub async fn detect(programs: &Programs, hints: &EngineHints) -> Result<Self, Error> {
        let candidates: &[&str] = match hints.provider.as_deref() {
            Some("docker") => &["docker"],
            Some("podman") => &["podman"],
            None | Some("") => &["docker", "podman"],
            Some(other) => {
                return Err(Error::usage(format!(
                    "KIND_EXPERIMENTAL_PROVIDER is `{other}`; Seatrial drives `docker` and `podman`"
                )));
            }
        };
        let mut failures = Vec::new();
        for program in candidates {
            let endpoint = match (*program, &hints.docker_host) {
                ("podman", _) => hints.container_host.clone(),
                (_, Some(host)) => Some(host.clone()),
                (_, None) => endpoint_of_context(programs).await,
            };
            let engine = ContainerEngine { program: (*program).to_owned(), endpoint };
            match Containers::connect(programs, engine).await {
                Ok(mut found) => {
                    if let Some(network) = hints.network.clone().filter(|name| !name.is_empty()) {
                        found.network = network;
                    }
                    return Ok(found);
                }
                Err(error) => failures.push(error.to_string()),
            }
        }
        Err(Error::environment(format!("no container engine answers\n{}", failures.join("\n"))))
    }

    /// Asks `engine` who it is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn connect(programs: &Programs, engine: ContainerEngine) -> Result<Self, Error> {
        let facts = EngineFacts {
            version: String::new(),
            platform: String::new(),
            store: ImageStore::Classic,
        };
        let mut found = Containers {
            programs: programs.clone(),
            engine,
            kind: "kind".to_owned(),
            network: NETWORK.to_owned(),
            facts,
        };
        let format = match found.provider() {
            "podman" => "{{.Client.Version}} {{.Client.OsArch}}",
            _ => "{{.Server.Version}} {{.Server.Os}}/{{.Server.Arch}}",
        };
        let version = found.call(["version", "--format", format]).when_dry("29.0.0 linux/amd64\n");
        let answer = found.run(&version).await?.stdout;
        let mut words = answer.split_whitespace().map(str::to_owned);
        found.facts.version = words.next().unwrap_or_default();
        found.facts.platform = words.next().unwrap_or_else(|| "linux/amd64".to_owned());
        if found.provider() == "docker" {
            let info = found.call(["info", "--format", "{{json .DriverStatus}}"]).when_dry("[]\n");
            if found.run(&info).await?.stdout.contains("io.containerd.snapshotter") {
                found.facts.store = ImageStore::Containerd;
            }
        }
        Ok(found)
    }

    /// The same, for calls that make things under the lease `id`.
    #[must_use]
    pub fn under(mut self, id: &str) -> Self {
        self.programs = self.programs.under(id);
        self
    }

    /// With another `kind` program.
    #[must_use]
    pub fn with_kind(mut self, program: impl Into<String>) -> Self {
        self.kind = program.into();
        self
    }

    /// The engine as leases name it.
    pub fn engine(&self) -> &ContainerEngine {
        &self.engine
    }

    /// What the engine said about itself.
    pub fn facts(&self) -> &EngineFacts {
        &self.facts
    }

    /// The network that kind's clusters share.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// What runs the programs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// `docker` or `podman`, whatever the path of the program.
    pub fn provider(&self) -> &str {
        let name = Path::new(&self.engine.program).file_name().and_then(|name| name.to_str());
        if name == Some("podman") { "podman" } else { "docker" }
    }

    /// A call of the engine's program.
    pub fn call<const N: usize>(&self, args: [&str; N]) -> Call {
        self.reaching(Call::new(self.engine.program.clone(), args))
    }

    /// A call of kind.
    pub fn kind<const N: usize>(&self, args: [&str; N]) -> Call {
        let call = Call::new(self.kind.clone(), args);
        self.reaching(call.env("KIND_EXPERIMENTAL_PROVIDER", self.provider()))
    }

    fn reaching(&self, call: Call) -> Call {
        let variable = if self.provider() == "podman" { "CONTAINER_HOST" } else { "DOCKER_HOST" };
        match &self.engine.endpoint {
            Some(endpoint) => call.env(variable, endpoint),
            None => call,
        }
    }

    /// Runs `call`.
    ///
    /// # Errors
    /// The known reason and its fix, then the command and its last lines.
    pub async fn run(&self, call: &Call) -> Result<Ran, Error> {
        self.programs.run(call).await.map_err(|error| explained(&error))
    }

    /// Identity of `image` in the engine; `None` if it is not there.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn image_id(&self, image: &str) -> Result<Option<String>, Error> {
        let call = self.call(["image", "inspect", "--format", "{{.Id}}", image]).when_dry("dry\n");
        match self.programs.run(&call).await {
            Ok(ran) => Ok(Some(ran.stdout.trim().to_owned())),
            Err(error) if says_no_image(&error) => Ok(None),
            Err(error) => Err(explained(&error)),
        }
    }

    /// Pulls `image`.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn pull(&self, image: &str) -> Result<(), Error> {
        self.run(&self.call(["pull", "--quiet", image]).limit(PULL_LIMIT)).await.map(drop)
    }

    /// Writes `images` into the archive `file`, for the engine's own platform where it can.
    ///
    /// # Errors
    /// One of them is not there, or the file cannot be written.
    pub async fn save(&self, images: &[String], file: &Path) -> Result<(), Error> {
        let save = |with_platform: bool| {
            let mut call = self.call(["save"]).limit(SAVE_LIMIT);
            if self.provider() == "podman" {
                call = call.arg("--multi-image-archive");
            } else if with_platform {
                call = call.arg("--platform").arg(self.facts.platform.clone());
            }
            call = call.arg("--output").arg(file);
            images.iter().fold(call, |call, image| call.arg(image.as_str()))
        };
        match self.programs.run(&save(true)).await {
            Ok(_) => Ok(()),
            // Engines before Docker 28 know no platform here.
            Err(error) if says_no_platform(&error) => self.run(&save(false)).await.map(drop),
            Err(error) => Err(explained(&error)),
        }
    }

    /// Names of the containers of cluster `name`, running or not.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn of_cluster(&self, name: &str) -> Result<Vec<String>, Error> {
        self.listed(&["--all"], &format!("label={CLUSTER_LABEL}={name}"), "").await
    }

    /// Names of the containers of cluster `name` that run.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn running_of_cluster(&self, name: &str) -> Result<Vec<String>, Error> {
        self.listed(&[], &format!("label={CLUSTER_LABEL}={name}"), "").await
    }

    /// Names of containers by `filter`; `dry` is what a dry run takes the answer to be.
    pub(super) async fn listed(
        &self,
        flags: &[&str],
        filter: &str,
        dry: &str,
    ) -> Result<Vec<String>, Error> {
        let call = flags.iter().fold(self.call(["ps"]), |call, flag| call.arg(*flag));
        let call = call.arg("--filter").arg(filter).arg("--format").arg("{{.Names}}").when_dry(dry);
        let ran = self.run(&call).await?;
        Ok(ran.stdout.split_whitespace().map(str::to_owned).collect())
    }

    /// Removes containers, running or not, with their volumes.
    ///
    /// # Errors
    /// One could not be removed.
    pub async fn remove(&self, containers: &[String]) -> Result<(), Error> {
        let call = self.call(["rm", "--force", "--volumes"]).limit(REMOVAL_LIMIT);
        let call = containers.iter().fold(call, |call, name| call.arg(name.as_str()));
        self.run(&call).await.map(drop)
    }

    /// Runs a command in a container.
    ///
    /// # Errors
    /// It failed, or the container does not run.
    pub async fn exec(&self, container: &str, command: &[&str]) -> Result<Ran, Error> {
        let call = command.iter().fold(self.call(["exec", container]), |call, arg| call.arg(*arg));
        self.run(&call).await
    }
}

/// Where the current context of Docker leads: another may be current when what is made now is to be
/// removed. `None` where an address alone does not lead there (TLS), or before contexts (Docker 19.03).
async fn endpoint_of_context(programs: &Programs) -> Option<String> {
    let format = "{{.Endpoints.docker.Host}}";
    let call = Call::new("docker", ["context", "inspect", "--format", format]).when_dry("");
    let host = programs.run(&call).await.ok()?.stdout.trim().to_owned();
    ["unix://", "ssh://"].iter().any(|scheme| host.starts_with(scheme)).then_some(host)
}

fn says_no_image(error: &ProgramError) -> bool {
    let text = error.stderr.to_lowercase();
    ["no such image", "image not known", "no such object"].iter().any(|words| text.contains(words))
}

fn says_no_platform(error: &ProgramError) -> bool {
    let text = error.stderr.to_lowercase();
    text.contains("unknown flag: --platform") || text.contains("requires api version")
}
