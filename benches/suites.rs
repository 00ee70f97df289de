//! Measures the six suites on the reference stack: one seed, and a hundred, beside the cluster time
//! covered and the peak memory. The wanted figures stand in the table; being slow is no failure,
//! machines differ.
#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::path::Path;
use std::sync::Arc;

use seatrial::engine::sim::Profile;
use seatrial::observe::Verdict;
use seatrial::stack::Stack;
use seatrial::suite::{self, EngineChoice, RunRequest};
use seatrial::suites;

/// Seeds, and the wall time wanted on two cores, in seconds.
const ROUNDS: [(u64, u64); 2] = [(1, 5), (100, 60)];
/// Peak memory wanted, in MB.
const MEMORY_MB_MAX: u64 = 500;

fn main() {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/wordpress");
    let profile = Profile::NEWEST;
    let stack = Stack::load(&manifests, &profile).expect("the reference stack is valid");
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut request = RunRequest {
        engine: EngineChoice::Sim,
        engine_reason: "a bench".into(),
        profile,
        manifests: manifests.display().to_string(),
        stack: Arc::new(stack),
        suites: suites::all(),
        selection: Vec::new(),
        seed: 1,
        n_seeds: 1,
        jobs,
        apps: Vec::new(),
    };
    println!("six suites on manifests/wordpress, {jobs} at once");
    println!(
        "{:>5} {:>9} {:>8} {:>9} {:>10} {:>15} {:>8} {:>9}",
        "seeds",
        "scenarios",
        "wall s",
        "wanted s",
        "cluster s",
        "times real time",
        "peak MB",
        "wanted MB"
    );
    for (n_seeds, wanted_s) in ROUNDS {
        request.n_seeds = n_seeds;
        let run = suite::run(&request, &mut |_| {}).expect("the suites run");
        assert_eq!(run.verdict(), Verdict::Passed, "a time of a broken run means nothing");
        println!(
            "{n_seeds:>5} {:>9} {:>8.2} {:>9} {:>10} {:>15} {:>8} {:>9}",
            run.scenarios.len(),
            run.wall_ms as f64 / 1e3,
            format!("<= {wanted_s}"),
            run.virtual_ms() / 1000,
            run.virtual_ms() / run.wall_ms.max(1),
            peak_memory_mb().map_or_else(|| "?".into(), |mb| mb.to_string()),
            format!("< {MEMORY_MB_MAX}"),
        );
    }
}

/// The largest resident set of this process so far, where the kernel tells it.
fn peak_memory_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kb| kb / 1024)
}
