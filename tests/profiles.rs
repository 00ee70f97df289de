//! The reference stack on old minors, written in the versions they serve: it passes there as well, but
//! for what those minors do otherwise.

mod support;

use std::fs;
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

/// On 1.20 preferred anti-affinity weighs no more than the busy workers' soft taints, and the system's
/// spreading scores no node without a zone (semantics 4.4): the emptiest node takes all replicas.
const OUTWEIGHED: &[&str] = &["spread::busy_cluster"];

#[rstest]
#[case("1.20", OUTWEIGHED)]
#[case("1.22", &[])]
#[case("1.25", &[])]
#[case("1.30", &[])]
fn the_reference_stack_passes_on_old_minors(#[case] minor: &str, #[case] fails: &[&str]) {
    let profile: Profile = minor.parse().expect("a minor");
    let folder = rewritten(profile);
    let stack = Stack::load(folder.path(), &profile).unwrap_or_else(|error| panic!("{error}"));
    let n_seeds = support::number_from_env("SEATRIAL_PROFILE_SEEDS", 1);
    let mut request = support::request(&support::reference(), &[], 1, n_seeds);
    (request.profile, request.stack) = (profile, Arc::new(stack));
    let run = suite::run(&request, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let wanted = |name: &str| match fails.contains(&name) {
        true => Verdict::Failed,
        false => Verdict::Passed,
    };
    let others: Vec<String> = (run.scenarios.iter())
        .filter(|outcome| outcome.verdict != wanted(&outcome.full_name()))
        .map(|o| format!("{} seed {}: {} {}", o.full_name(), o.seed, o.verdict, o.message))
        .collect();
    assert!(others.is_empty(), "{}", others.join("\n"));
}
