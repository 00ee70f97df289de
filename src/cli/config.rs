//! `seatrial.toml`: settings of a stack, and models for programs that the simulator does not know.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::base::Error;
use crate::engine::sim::GenericApp;

use super::args::{ArtifactsArg, EngineArg, KeepArg};
use super::said::{At, EMPTY, Said};
use super::settings::DEFAULT_MANIFESTS;

/// File name looked for beside the manifests and in the working folder.
const FILE_NAME: &str = "seatrial.toml";

/// The file as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) engine: Option<Said<EngineArg>>,
    pub(super) manifests: Option<Said<PathBuf>>,
    pub(super) suite: Option<Vec<Said<String>>>,
    pub(super) seed: Option<u64>,
    pub(super) seeds: Option<Said<u64>>,
    pub(super) kubernetes: Option<Said<String>>,
    pub(super) report: Option<Said<PathBuf>>,
    pub(super) context: Option<Said<String>>,
    pub(super) node_image: Option<Said<String>>,
    pub(super) images: Option<Said<PathBuf>>,
    pub(super) addons: Option<Said<PathBuf>>,
    pub(super) workers: Option<Said<usize>>,
    pub(super) topology: Option<Said<PathBuf>>,
    pub(super) jobs: Option<Said<usize>>,
    pub(super) keep: Option<KeepArg>,
    pub(super) reuse: Option<bool>,
    pub(super) install_addons: Option<bool>,
    pub(super) artifacts: Option<ArtifactsArg>,
    #[serde(default, rename = "app")]
    pub(super) apps: Vec<AppConfig>,
    #[serde(skip)]
    origin: Origin,
}

/// Where settings were read.
#[derive(Clone, Debug, Default)]
struct Origin {
    path: PathBuf,
    text: String,
}

/// `[[app]]`: a generic HTTP server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppConfig {
    image: String,
    port: u16,
    #[serde(default = "default_start_ms")]
    start_ms: u64,
    cpu_per_request_ms: Option<Said<f64>>,
    memory_mib: Option<Said<u64>>,
    #[serde(default = "default_drains")]
    drains: bool,
    shell: Option<bool>,
    #[serde(default)]
    unprivileged: bool,
    #[serde(default)]
    probes: Vec<String>,
    #[serde(default)]
    statuses: BTreeMap<String, Said<u16>>,
}

/// A small server is up in a second.
fn default_start_ms() -> u64 {
    1000
}

/// A small dynamic page.
const DEFAULT_CPU: Duration = Duration::from_millis(5);
/// A request that takes longer is a typing error.
const CPU_MAX: Duration = Duration::from_secs(60);

/// A small interpreter with an application loaded.
const DEFAULT_MEMORY_MIB: u64 = 64;
/// A program that needs more than a tebibyte is a typing error.
const MEMORY_MIB_MAX: u64 = 1 << 20;

/// Most servers finish what they have begun.
fn default_drains() -> bool {
    true
}

impl Config {
    /// The named file, or the one beside the manifests, or the one in the working folder, or nothing.
    ///
    /// # Errors
    /// A usage error that names file and line.
    pub(super) fn load(
        named: Option<&Said<PathBuf>>,
        manifests: Option<&Said<PathBuf>>,
    ) -> Result<Config, Error> {
        if let Some(said) = named {
            let read = std::fs::read_to_string(&said.value);
            let text = read.map_err(|error| {
                let why = format!("cannot read {}: {error}", said.value.display());
                Config::default().wrong(said, why)
            })?;
            return Config::parse(&said.value, text);
        }
        let here = || match Path::new(FILE_NAME) {
            path if path.is_file() => Config::read(path),
            _ => Ok(Config::default()),
        };
        if manifests.is_none() {
            let here = here()?;
            // It is about the manifests that it names, whatever is beside those.
            if here.manifests.is_some() {
                return Ok(here);
            }
        }
        let manifests = manifests.map_or(Path::new(DEFAULT_MANIFESTS), |said| &said.value);
        let beside = match manifests.is_dir() {
            true => manifests.join(FILE_NAME),
            false => manifests.with_file_name(FILE_NAME),
        };
        if beside.is_file() { Config::read(&beside) } else { here() }
    }

    fn read(path: &Path) -> Result<Config, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::usage(format!("cannot read {}: {error}", path.display())))?;
        Config::parse(path, text)
    }

    fn parse(path: &Path, text: String) -> Result<Config, Error> {
        let origin = Origin { path: path.to_owned(), text };
        match toml::from_str(&origin.text) {
            Ok(config) => {
                let config = Config { origin, ..config };
                config.check_texts()?;
                Ok(config)
            }
            Err(error) => {
                let place = origin.place(error.span().map_or(0, |span| span.start));
                Err(Error::usage(format!("{place}: {}", error.message().trim())))
            }
        }
    }

    /// That no text and no path in it is empty.
    fn check_texts(&self) -> Result<(), Error> {
        let texts = [&self.context, &self.node_image];
        if let Some(said) = texts.into_iter().flatten().find(|said| said.value.is_empty()) {
            return Err(self.wrong(said, EMPTY));
        }
        let paths = [&self.manifests, &self.report, &self.images, &self.addons, &self.topology];
        let mut paths = paths.into_iter().flatten();
        let empty = paths.find(|said| said.value.as_os_str().is_empty());
        empty.map_or(Ok(()), |said| Err(self.wrong(said, EMPTY)))
    }

    /// Where `said` was said: a flag, a variable, or file, line and key.
    pub(super) fn place<T>(&self, said: &Said<T>) -> String {
        match &said.at {
            At::Typed(name) => name.clone(),
            At::File(offset) => self.origin.place(*offset),
        }
    }

    /// What is wrong with what was `said`, here or on the command line.
    pub(super) fn wrong<T>(&self, said: &Said<T>, why: impl Display) -> Error {
        Error::usage(format!("{}: {why}", self.place(said)))
    }

    /// What was `typed`, or else `written` here; what is overruled is checked too.
    ///
    /// # Errors
    /// A usage error with what `check` says, and the place.
    pub(super) fn checked<T, U>(
        &self,
        typed: Option<&Said<T>>,
        written: Option<&Said<T>>,
        check: impl Fn(&T) -> Result<U, String>,
    ) -> Result<Option<U>, Error> {
        let check = |said: &Said<T>| check(&said.value).map_err(|why| self.wrong(said, why));
        let typed = typed.map(check).transpose()?;
        Ok(typed.or(written.map(check).transpose()?))
    }

    /// The program models.
    ///
    /// # Errors
    /// A usage error for a value out of range.
    pub(super) fn apps(&self) -> Result<Vec<GenericApp>, Error> {
        self.apps.iter().map(|app| app.to_model(self)).collect()
    }
}

impl AppConfig {
    fn to_model(&self, config: &Config) -> Result<GenericApp, Error> {
        let cpu_per_request = config.checked(None, self.cpu_per_request_ms.as_ref(), |millis| {
            Duration::try_from_secs_f64(millis / 1e3)
                .ok()
                .filter(|cpu| *cpu <= CPU_MAX)
                .ok_or_else(|| format!("{millis} is not between 0 and {}", CPU_MAX.as_millis()))
        })?;
        let memory_mib =
            config.checked(None, self.memory_mib.as_ref(), |&mib| match mib <= MEMORY_MIB_MAX {
                true => Ok(mib),
                false => Err(format!("{mib} is not between 0 and {MEMORY_MIB_MAX}")),
            })?;
        let bad_status = self.statuses.values().find(|status| !(100..=599).contains(&status.value));
        if let Some(status) = bad_status {
            let why = format!("{} is no HTTP status; write one of 100 to 599", status.value);
            return Err(config.wrong(status, why));
        }
        let statuses = self.statuses.iter().map(|(path, status)| (path.clone(), status.value));
        Ok(GenericApp {
            image: self.image.clone(),
            port: self.port,
            start: Duration::from_millis(self.start_ms),
            cpu_per_request: cpu_per_request.unwrap_or(DEFAULT_CPU),
            memory_bytes: memory_mib.unwrap_or(DEFAULT_MEMORY_MIB) << 20,
            statuses: statuses.collect(),
            drains: self.drains,
            has_shell: self.shell,
            unprivileged: self.unprivileged,
            probes: self.probes.clone(),
        })
    }
}

impl Origin {
    /// File and line of the byte at `offset`, and the key whose value is written there.
    fn place(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let place = format!("{}:{}", self.path.display(), before.matches('\n').count() + 1);
        let (table, _) = DeTable::parse_recoverable(&self.text);
        match key_at(table.get_ref(), offset) {
            Some(key) => format!("{place}: {key}"),
            None => place,
        }
    }
}

/// The key of `table`, or of a table in it with a header of its own, that the byte at `offset` belongs to.
fn key_at<'t>(table: &'t DeTable<'_>, offset: usize) -> Option<&'t str> {
    table.iter().find_map(|(key, value)| {
        let own = || {
            let entry = key.span().start..=value.span().end;
            entry.contains(&offset).then_some(key.get_ref().as_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) => own().or_else(|| key_at(inner, offset)),
            DeValue::Array(items) => {
                let mut tables = items.iter().filter_map(|item| item.get_ref().as_table());
                tables.find_map(|inner| key_at(inner, offset)).or_else(own)
            }
            _ => own(),
        }
    })
}
