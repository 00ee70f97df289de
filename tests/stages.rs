//! The tutorial's stages: each gets the verdict that its `expected.toml` states for every scenario,
//! for the stated cause, at every seed. A stage that adds a property flips the scenarios about it.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;
use seatrial::observe::ScenarioOutcome;

/// Seeds a stage is run at, unless `SEATRIAL_STAGE_SEEDS` says otherwise.
const N_SEEDS: u64 = 20;

/// Suite, scenario, and the verdict with its cause class, as in `failed termination-race`.
type Expected = BTreeMap<String, BTreeMap<String, String>>;

fn folder(stage: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/stages").join(stage)
}

fn expected(stage: &str) -> Expected {
    let path = folder(stage).join("expected.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Whether the outcome is an expected one: the verdict, and among its causes the stated class.
fn is_as_expected(outcome: &ScenarioOutcome, wanted: &str) -> bool {
    let stated = |class: &str| outcome.causes.iter().any(|cause| cause.class == class);
    let (verdict, class) = wanted.split_once(' ').unwrap_or((wanted, ""));
    outcome.verdict.as_str() == verdict && (class.is_empty() || stated(class))
}

/// The verdict and the classes of its causes.
fn seen(outcome: &ScenarioOutcome) -> String {
    let classes: Vec<&str> = outcome.causes.iter().map(|cause| cause.class.as_str()).collect();
    format!("{} {}", outcome.verdict, classes.join(", "))
}

#[rstest]
#[case("01-single-pod")]
#[case("02-split")]
#[case("03-anti-affinity")]
#[case("04-readiness")]
#[case("05-prestop")]
#[case("06-autoscaling")]
#[case("07-shared-volume")]
#[case("08-ingress")]
fn a_stage_gets_its_verdicts(#[case] stage: &str) {
    let n_seeds = support::number_from_env("SEATRIAL_STAGE_SEEDS", N_SEEDS);
    let run = support::run(&folder(stage), &[], 1, n_seeds);
    let expected = expected(stage);
    let mut surprises = Vec::new();
    for outcome in &run.scenarios {
        let wanted = expected.get(outcome.suite).and_then(|suite| suite.get(outcome.scenario));
        let wanted = wanted.map_or("nothing", String::as_str);
        if !is_as_expected(outcome, wanted) {
            surprises.push(format!(
                "{} seed {}: expected {wanted}, saw {}\n    {}",
                outcome.full_name(),
                outcome.seed,
                seen(outcome),
                outcome.message.replace('\n', "\n    ")
            ));
        }
    }
    let n_expected: usize = expected.values().map(BTreeMap::len).sum();
    let n_scenarios = run.scenarios.len() as u64 / n_seeds;
    assert_eq!(n_expected as u64, n_scenarios, "expected.toml names every scenario, and no other");
    let shown = surprises.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(surprises.is_empty(), "{} surprises:\n{shown}", surprises.len());
}

/// A stage differs from the one before it in the scenarios about the property it adds, and in no other.
#[rstest]
#[case("02-split", "03-anti-affinity", &["spread::busy_cluster"])]
#[case("03-anti-affinity", "04-readiness", &["readiness::no_early_traffic"])]
#[case("04-readiness", "05-prestop", &["rollout::no_failed_request", "spread::node_drained"])]
#[case("05-prestop", "06-autoscaling", &["autoscale::scales_out", "autoscale::scales_in", "autoscale::no_failed_request"])]
#[case("06-autoscaling", "07-shared-volume", &["persistence::uploads", "persistence::shared_uploads"])]
#[case("07-shared-volume", "08-ingress", &["https::redirect", "https::serves", "https::certificate", "https::every_host"])]
fn a_stage_flips_what_it_is_about(
    #[case] before: &str,
    #[case] after: &str,
    #[case] flipped: &[&str],
) {
    let passes = |stage: &str| -> Vec<String> {
        let suites = expected(stage);
        let passed = suites.iter().flat_map(|(suite, scenarios)| {
            let passed = scenarios.iter().filter(|(_, verdict)| *verdict == "passed");
            passed.map(move |(scenario, _)| format!("{suite}::{scenario}"))
        });
        passed.collect()
    };
    let (before, after) = (passes(before), passes(after));
    let mut new: Vec<&str> =
        after.iter().filter(|name| !before.contains(name)).map(String::as_str).collect();
    new.sort_unstable();
    let mut flipped = flipped.to_vec();
    flipped.sort_unstable();
    assert_eq!(new, flipped);
    let lost: Vec<&String> = before.iter().filter(|name| !after.contains(name)).collect();
    assert!(lost.is_empty(), "{lost:?} passed before");
}
