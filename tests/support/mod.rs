//! What several tests of the harness use.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::Path;
use std::sync::Arc;

use seatrial::base::{millis, secs};
use seatrial::engine::sim::{GenericApp, Profile};
use seatrial::observe::{RunOutcome, ScenarioOutcome};
use seatrial::stack::Stack;
use seatrial::suite::{self, EngineChoice, RunRequest};
use seatrial::suites;

/// A request for `manifests` on the simulator at the newest minor.
pub fn request(manifests: &Path, selection: &[&str], seed: u64, n_seeds: u64) -> RunRequest {
    let profile = Profile::NEWEST;
    let stack = Stack::load(manifests, &profile).unwrap_or_else(|error| panic!("{error}"));
    RunRequest {
        engine: EngineChoice::Sim,
        engine_reason: "a test".into(),
        profile,
        manifests: manifests.display().to_string(),
        stack: Arc::new(stack),
        suites: suites::all(),
        selection: selection.iter().map(|name| (*name).to_owned()).collect(),
        seed,
        n_seeds,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        apps: Vec::new(),
    }
}

/// As `request`, for the one manifest `yaml` and the first seed.
pub fn request_for(yaml: &str, selection: &[&str]) -> RunRequest {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("stack.yaml"), yaml).expect("written");
    request(folder.path(), selection, 1, 1)
}

/// What `scenario` comes to on the one manifest `yaml`.
pub fn judged(yaml: &str, scenario: &str) -> ScenarioOutcome {
    outcome(&request_for(yaml, &[scenario]))
}

/// What the first scenario of `request` comes to.
pub fn outcome(request: &RunRequest) -> ScenarioOutcome {
    let run = suite::run(request, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    run.scenarios.into_iter().next().expect("one is selected")
}

/// A program that listens on 8080 and answers everything with 200, as the image `example.com/team/NAME`.
pub fn app(name: &str) -> GenericApp {
    GenericApp {
        image: format!("example.com/team/{name}"),
        port: 8080,
        start: secs(1),
        cpu_per_request: millis(1),
        memory_bytes: 32 << 20,
        statuses: Default::default(),
        drains: true,
        has_shell: Some(true),
        unprivileged: false,
        probes: Vec::new(),
    }
}

/// Runs the chosen scenarios of a stack on the simulator.
pub fn run(manifests: &Path, selection: &[&str], seed: u64, n_seeds: u64) -> RunOutcome {
    let request = request(manifests, selection, seed, n_seeds);
    suite::run(&request, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// The reference stack.
pub fn reference() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/wordpress")
}

/// A number from the environment, or `default`.
pub fn number_from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
