//! Determinism: the same seed gives the same trace, byte for byte; another seed gives another.

mod support;

use std::collections::BTreeMap;

use seatrial::observe::RunOutcome;

fn hashes(run: &RunOutcome) -> BTreeMap<String, String> {
    let hash = |s: &seatrial::observe::ScenarioOutcome| s.trace_hash.clone().unwrap_or_default();
    run.scenarios.iter().map(|s| (s.full_name(), hash(s))).collect()
}

#[test]
fn every_scenario_twice_leaves_the_same_trace() {
    let first = support::run(&support::reference(), &[], 1, 1);
    let second = support::run(&support::reference(), &[], 1, 1);
    assert_eq!(hashes(&first), hashes(&second));
    let messages = |run: &RunOutcome| -> Vec<(String, String)> {
        run.scenarios.iter().map(|s| (s.full_name(), s.message.clone())).collect()
    };
    assert_eq!(messages(&first), messages(&second));
    assert!(hashes(&first).values().all(|hash| hash.len() == 64), "every trial leaves a trace");
}

#[test]
fn another_seed_leaves_another_trace() {
    let first = hashes(&support::run(&support::reference(), &[], 1, 1));
    let second = hashes(&support::run(&support::reference(), &[], 2, 1));
    for (name, hash) in &first {
        assert_ne!(Some(hash), second.get(name), "{name}");
    }
}

#[test]
fn the_number_of_jobs_does_not_show() {
    let mut request = support::request(&support::reference(), &["spread", "https"], 3, 2);
    request.jobs = 1;
    let one = seatrial::suite::run(&request, &mut |_| {}).expect("it runs");
    request.jobs = 8;
    let eight = seatrial::suite::run(&request, &mut |_| {}).expect("it runs");
    assert_eq!(hashes(&one), hashes(&eight));
}
