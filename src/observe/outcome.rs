//! What a run leaves behind: verdicts, causes and counts. The runner fills it in, reports read it.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::{ErrorClass, ObjectRef};

/// The verdict on a scenario, and the worst of them on a suite or a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Not run: the engine or the stack lacks what it needs; with reason.
    Ignored,
    /// The claim holds.
    Passed,
    /// Too little exposure to claim it.
    Inconclusive,
    /// The model lacks something that matters here.
    Unknown,
    /// The claim is broken.
    Failed,
    /// The harness or the environment broke.
    Errored,
}

impl Verdict {
    /// As reports spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ignored => "ignored",
            Verdict::Passed => "passed",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Unknown => "unknown",
            Verdict::Failed => "failed",
            Verdict::Errored => "errored",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where in the manifests to look, and what to do there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Manifest file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Field path, as in `spec.template.spec.containers[0].readinessProbe`.
    pub path: String,
    /// What to change, in a sentence.
    pub advice: String,
}

/// Why a scenario did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Class, as in `termination-race`.
    pub class: String,
    /// How often it was met.
    pub count: u64,
    /// The object concerned.
    pub object: Option<ObjectRef>,
    /// When it was first met, in milliseconds from the start of the trial.
    pub at_ms: Option<u64>,
    /// Where to mend it.
    pub fix: Option<Fix>,
}

/// The requests of a scenario.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    /// Requests that were due.
    pub planned: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Answered as they were to be.
    pub ok: u64,
    /// Sent, and not answered so.
    pub failed: u64,
    /// Count by class (`2xx`, `404`, `502`, `refused`, ...).
    pub by_class: BTreeMap<String, u64>,
    /// Median latency in milliseconds, counted from when the request was due.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

/// One scenario on one engine at one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct ScenarioOutcome {
    /// Suite name.
    pub suite: &'static str,
    /// Scenario name.
    pub scenario: &'static str,
    /// Seed of the trial.
    pub seed: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// One line when it passed; expected, seen, last state and where to look when it did not.
    pub message: String,
    /// Why it did not pass, in the order of a pod's life.
    pub causes: Vec<Cause>,
    /// Whose fault an error is, where that is known.
    pub error_class: Option<ErrorClass>,
    /// Requests sent, if any.
    pub requests: Option<Requests>,
    /// Real time it took, in milliseconds.
    pub wall_ms: u64,
    /// Time that passed in the cluster, in milliseconds.
    pub virtual_ms: u64,
    /// Hash of the simulator's trace.
    pub trace_hash: Option<String>,
    /// Evidence gathered after a failure, one block of text each.
    pub diagnosis: Vec<String>,
}

impl ScenarioOutcome {
    /// `suite::scenario`.
    pub fn full_name(&self) -> String {
        format!("{}::{}", self.suite, self.scenario)
    }

    /// Whether it ran on a simulated cluster.
    pub fn is_simulated(&self) -> bool {
        self.trace_hash.is_some()
    }
}

/// A whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOutcome {
    /// Engine name.
    pub engine: &'static str,
    /// Why this engine was chosen.
    pub engine_reason: String,
    /// Kubernetes version, as in `1.37`.
    pub kubernetes: String,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub n_seeds: u64,
    /// The stack's folder or file, as given.
    pub manifests: String,
    /// The trials, in declaration order of their scenarios, each with its seeds in turn.
    pub scenarios: Vec<ScenarioOutcome>,
    /// Real time of the run, in milliseconds.
    pub wall_ms: u64,
}

impl RunOutcome {
    /// The worst verdict; `Ignored` when nothing was run.
    pub fn verdict(&self) -> Verdict {
        self.scenarios.iter().map(|s| s.verdict).max().unwrap_or(Verdict::Ignored)
    }

    /// Time that passed in all clusters together, in milliseconds.
    pub fn virtual_ms(&self) -> u64 {
        self.scenarios.iter().map(|s| s.virtual_ms).sum()
    }

    /// The number of trials with `verdict`.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.scenarios.iter().filter(|s| s.verdict == verdict).count()
    }
}

impl From<&crate::load::Stats> for Requests {
    fn from(stats: &crate::load::Stats) -> Self {
        Requests {
            planned: stats.planned,
            sent: stats.sent,
            ok: stats.ok,
            failed: stats.failed,
            by_class: stats.by_class.clone(),
            p50_ms: stats.latency_ms.p50,
            p90_ms: stats.latency_ms.p90,
            p99_ms: stats.latency_ms.p99,
            max_ms: stats.latency_ms.max,
        }
    }
}
