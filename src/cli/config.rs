//! `seatrial.toml`: settings of a stack, and models for programs that the simulator does not know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::base::Error;
use crate::engine::sim::GenericApp;

use super::args::{ArtifactsArg, KeepArg};
use super::settings::DEFAULT_MANIFESTS;

/// File name looked for beside the manifests and in the working folder.
const FILE_NAME: &str = "seatrial.toml";

/// The file as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) engine: Option<String>,
    pub(super) manifests: Option<PathBuf>,
    pub(super) suite: Option<Vec<String>>,
    pub(super) seed: Option<u64>,
    pub(super) seeds: Option<u64>,
    pub(super) kubernetes: Option<String>,
    pub(super) report: Option<PathBuf>,
    pub(super) context: Option<String>,
    pub(super) node_image: Option<String>,
    pub(super) images: Option<PathBuf>,
    pub(super) addons: Option<PathBuf>,
    pub(super) workers: Option<usize>,
    pub(super) topology: Option<PathBuf>,
    pub(super) jobs: Option<usize>,
    pub(super) keep: Option<KeepArg>,
    pub(super) reuse: Option<bool>,
    pub(super) install_addons: Option<bool>,
    pub(super) artifacts: Option<ArtifactsArg>,
    #[serde(default, rename = "app")]
    pub(super) apps: Vec<AppConfig>,
}

/// `[[app]]`: a generic HTTP server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppConfig {
    image: String,
    port: u16,
    #[serde(default = "default_start_ms")]
    start_ms: u64,
    #[serde(default = "default_cpu_ms")]
    cpu_per_request_ms: f64,
    #[serde(default = "default_memory_mib")]
    memory_mib: u64,
    #[serde(default = "default_drains")]
    drains: bool,
    #[serde(default)]
    statuses: BTreeMap<String, u16>,
}

/// A small server is up in a second.
fn default_start_ms() -> u64 {
    1000
}

/// A small dynamic page.
fn default_cpu_ms() -> f64 {
    5.0
}

/// A small interpreter with an application loaded.
fn default_memory_mib() -> u64 {
    64
}

/// Most servers finish what they have begun.
fn default_drains() -> bool {
    true
}

impl Config {
    /// The named file, or the one beside the manifests, or the one in the working folder, or nothing.
    ///
    /// # Errors
    /// A usage error that names file and line.
    pub(super) fn load(named: Option<&Path>, manifests: Option<&Path>) -> Result<Config, Error> {
        if let Some(path) = named {
            return Config::read(path);
        }
        let here = Path::new(FILE_NAME);
        let here = if here.is_file() { Config::read(here)? } else { Config::default() };
        // A file that names other manifests is about those, wherever it is.
        if manifests.is_none() && here.manifests.is_some() {
            return Ok(here);
        }
        let manifests = manifests.unwrap_or(Path::new(DEFAULT_MANIFESTS));
        let beside = match manifests.is_dir() {
            true => manifests.join(FILE_NAME),
            false => manifests.with_file_name(FILE_NAME),
        };
        if beside.is_file() { Config::read(&beside) } else { Ok(here) }
    }

    fn read(path: &Path) -> Result<Config, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::usage(format!("cannot read {}: {error}", path.display())))?;
        toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(&text, span.start));
            Error::usage(format!("{}:{line}: {}", path.display(), error.message().trim()))
        })
    }

    /// The program models.
    ///
    /// # Errors
    /// A usage error for a value out of range.
    pub(super) fn apps(&self) -> Result<Vec<GenericApp>, Error> {
        self.apps.iter().map(AppConfig::to_model).collect()
    }
}

impl AppConfig {
    fn to_model(&self) -> Result<GenericApp, Error> {
        let cpu_per_request = Duration::try_from_secs_f64(self.cpu_per_request_ms / 1e3)
            .ok()
            .filter(|cpu| *cpu <= Duration::from_secs(60))
            .ok_or_else(|| {
                Error::usage(format!(
                    "{FILE_NAME}: app `{}`: cpu_per_request_ms must be between 0 and 60000",
                    self.image
                ))
            })?;
        let bad_status = self.statuses.values().find(|status| !(100..=599).contains(*status));
        if let Some(status) = bad_status {
            return Err(Error::usage(format!(
                "{FILE_NAME}: app `{}`: {status} is no HTTP status",
                self.image
            )));
        }
        Ok(GenericApp {
            image: self.image.clone(),
            port: self.port,
            start: Duration::from_millis(self.start_ms),
            cpu_per_request,
            memory_bytes: self.memory_mib.saturating_mul(1 << 20),
            statuses: self.statuses.clone(),
            drains: self.drains,
        })
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
