//! Stacks on old minors, written in the versions they serve: the reference stack passes there as well.

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rstest::rstest;
use seatrial::k8s::Profile;
use seatrial::observe::Verdict;
use seatrial::stack::Stack;
use seatrial::suite;

/// The versions that older minors serve, from the newer one: (first minor with the newer, newer, older).
const OLDER: [(u8, &str, &str); 2] = [
    (23, "apiVersion: autoscaling/v2\n", "apiVersion: autoscaling/v2beta2\n"),
    (21, "apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n"),
];

/// The reference stack as it is written for `profile`.
fn rewritten(profile: Profile) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in fs::read_dir(support::reference()).expect("the reference stack") {
        let file = file.expect("an entry").path();
        let mut text = fs::read_to_string(&file).expect("a manifest");
        for (_, newer, older) in OLDER.iter().filter(|(minor, ..)| !profile.at_least(*minor)) {
            text = text.replace(newer, older);
        }
        let name = file.file_name().expect("a file");
        fs::write(folder.path().join(name), text).expect("a written manifest");
    }
    folder
}

#[rstest]
#[case("1.20")]
#[case("1.22")]
#[case("1.25")]
#[case("1.30")]
fn the_reference_stack_passes_on_old_minors(#[case] minor: &str) {
    let profile: Profile = minor.parse().expect("a minor");
    let folder = rewritten(profile);
    let stack = Stack::load(folder.path(), &profile).unwrap_or_else(|error| panic!("{error}"));
    let n_seeds = support::number_from_env("SEATRIAL_PROFILE_SEEDS", 1);
    let mut request = support::request(&support::reference(), &[], 1, n_seeds);
    (request.profile, request.stack) = (profile, Arc::new(stack));
    let run = suite::run(&request, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let others: Vec<String> = (run.scenarios.iter())
        .filter(|outcome| outcome.verdict != Verdict::Passed)
        .map(|o| format!("{} seed {}: {} {}", o.full_name(), o.seed, o.verdict, o.message))
        .collect();
    assert!(others.is_empty(), "{}", others.join("\n"));
}

/// Replicas that are to be kept apart by policy: on 1.20 nothing else spreads them over nodes without a
/// zone, before 1.23 a policy counts half as much as later.
#[rstest]
#[case("1.20")]
#[case("1.22")]
#[case("1.25")]
fn a_busy_cluster_tells_a_policy_from_luck_on_old_minors(#[case] minor: &str) {
    let stages = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/stages");
    for (stage, verdict) in [("02-split", Verdict::Failed), ("03-anti-affinity", Verdict::Passed)] {
        let mut request = support::request(&stages.join(stage), &["spread::busy_cluster"], 1, 3);
        request.profile = minor.parse().expect("a minor");
        let run = suite::run(&request, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
        let verdicts: Vec<_> = run.scenarios.iter().map(|outcome| outcome.verdict).collect();
        assert_eq!(verdicts, [verdict; 3], "{stage}");
    }
}

/// A limit that Apache keeps to until a page is asked for: before 1.28 one of its processes is killed
/// and the container goes on, from then on the whole container is (semantics 5.4).
#[rstest]
#[case("1.27")]
#[case("1.37")]
fn a_memory_limit_that_is_too_low_is_pointed_at(#[case] minor: &str) {
    let profile: Profile = minor.parse().expect("a minor");
    let stage =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/stages/05-prestop/stack.yaml");
    let text = fs::read_to_string(stage).expect("the stage");
    let folder = tempfile::tempdir().expect("a folder");
    let tight = text.replace("memory: 100Mi", "memory: 64Mi");
    fs::write(folder.path().join("stack.yaml"), tight).expect("written");
    let mut request = support::request(folder.path(), &["rollout::no_failed_request"], 1, 1);
    request.profile = profile;
    let run = suite::run(&request, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let causes = &run.scenarios[0].causes;
    let classes: Vec<&str> = causes.iter().map(|cause| cause.class.as_str()).collect();
    assert_eq!(classes, ["out-of-memory"], "{}", run.scenarios[0].message);
    let fix = causes[0].fix.as_ref().expect("it is in the manifest");
    assert!(fix.path.ends_with("resources.limits.memory"), "{}", fix.path);
}
