//! The text a person reads: the engine and why, a line per scenario, the failures, a summary.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::observe::{Cause, RunOutcome, ScenarioOutcome, Verdict};

/// Writes the text of a run piece by piece.
#[derive(Debug)]
pub struct Text {
    n_seeds: u64,
    suite: &'static str,
    flags: String,
    /// Scenario by what was said of it.
    told: BTreeMap<String, String>,
}

impl Text {
    /// A writer for a run over `n_seeds` seeds.
    pub fn new(n_seeds: u64) -> Self {
        Text { n_seeds, suite: "", flags: String::new(), told: BTreeMap::new() }
    }

    /// With the flags that the command to see a scenario again needs besides, each after a space.
    #[must_use]
    pub fn with_flags(self, flags: String) -> Self {
        Text { flags, ..self }
    }

    /// The line or block of a scenario: all its trials, one a seed, at least one.
    pub fn scenario(&mut self, trials: &[ScenarioOutcome]) -> String {
        let Some(first) = trials.first() else { return String::new() };
        let mut text = String::new();
        if first.suite != self.suite {
            self.suite = first.suite;
            let _ = writeln!(text, "{}", first.suite);
        }
        let worst = trials.iter().map(|t| t.verdict).max().unwrap_or(first.verdict);
        let virtual_ms: u64 = trials.iter().map(|t| t.virtual_ms).sum();
        let wall_ms: u64 = trials.iter().map(|t| t.wall_ms).sum();
        let mut line = format!("  {:<12} {:<20}", worst.as_str(), first.scenario);
        if first.is_simulated() {
            let _ = write!(line, " {:>9} virtual", duration_text(virtual_ms));
        }
        let _ = write!(line, " {:>9} wall", duration_text(wall_ms));
        if self.n_seeds > 1 {
            let n_same = trials.iter().filter(|t| t.verdict == worst).count();
            let _ = write!(line, "   {n_same} of {} seeds", trials.len());
        }
        let _ = writeln!(text, "{}", line.trim_end());
        if worst != Verdict::Passed
            && let Some(trial) = trials.iter().find(|t| t.verdict == worst)
        {
            let said = said_of(trial);
            match self.told.get(&said) {
                Some(first) => _ = writeln!(text, "      the same as {first}"),
                None => text.push_str(&said),
            }
            if said.lines().count() > 1 {
                self.told.entry(said).or_insert_with(|| trial.full_name());
            }
            text.push_str(&evidence_of(trial));
            text.push_str(&self.again(trial));
        }
        text
    }

    /// The last line: counts and time.
    pub fn summary(run: &RunOutcome) -> String {
        let mut text = String::from("\n");
        let verdicts = [
            Verdict::Passed,
            Verdict::Failed,
            Verdict::Unknown,
            Verdict::Inconclusive,
            Verdict::Errored,
            Verdict::Ignored,
        ];
        let counts: Vec<String> = verdicts
            .into_iter()
            .map(|verdict| (verdict, run.count(verdict)))
            .filter(|&(verdict, count)| count > 0 || verdict == Verdict::Passed)
            .map(|(verdict, count)| format!("{count} {verdict}"))
            .collect();
        let _ = writeln!(
            text,
            "{}: {} in {}{}",
            run.verdict(),
            counts.join(", "),
            duration_text(run.wall_ms),
            cluster_time(run)
        );
        text
    }

    /// The command to see it again; nothing if it was not tried.
    fn again(&self, trial: &ScenarioOutcome) -> String {
        let is_untried = trial.verdict == Verdict::Unknown && !trial.is_simulated();
        if is_untried || trial.verdict == Verdict::Ignored {
            return String::new();
        }
        let seed = match (self.n_seeds, trial.is_simulated()) {
            // Whatever asked for more seeds may still be there.
            (2.., _) => format!(" --seed {} --seeds 1", trial.seed),
            (_, true) => format!(" --seed {}", trial.seed),
            (_, false) => String::new(),
        };
        let name = trial.full_name();
        format!("      again: seatrial run --suite {name}{seed}{}\n", self.flags)
    }
}

/// Message and causes.
fn said_of(trial: &ScenarioOutcome) -> String {
    let mut text = String::new();
    for line in trial.message.lines() {
        let _ = writeln!(text, "      {line}");
    }
    for cause in &trial.causes {
        text.push_str(&cause_text(cause));
    }
    text
}

fn evidence_of(trial: &ScenarioOutcome) -> String {
    let lines = trial.diagnosis.iter().flat_map(|block| block.lines());
    lines.map(|line| format!("      | {line}\n")).collect()
}

/// The time that passed in the simulated clusters, next to the time it took.
fn cluster_time(run: &RunOutcome) -> String {
    if !run.scenarios.iter().any(ScenarioOutcome::is_simulated) {
        return String::new();
    }
    let ratio = run.virtual_ms() / run.wall_ms.max(1);
    format!(" ({} of cluster time, {ratio} times real time)", duration_text(run.virtual_ms()))
}

fn cause_text(cause: &Cause) -> String {
    let mut text = format!("      cause: {} ({}x)", cause.class, cause.count);
    if let Some(object) = &cause.object {
        let _ = write!(text, " {object}");
    }
    if let Some(at_ms) = cause.at_ms {
        let _ = write!(text, ", first at {}", duration_text(at_ms));
    }
    text.push('\n');
    if let Some(fix) = &cause.fix {
        let _ = writeln!(text, "      fix: {}:{} {}", fix.file, fix.line, fix.path);
        let _ = writeln!(text, "           {}", fix.advice);
    }
    text
}

/// A duration as people write it: `12 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration_text(millis: u64) -> String {
    let seconds = millis / 1000;
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{}.{} s", seconds, millis % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(scenario: &'static str, artifacts: &str) -> ScenarioOutcome {
        ScenarioOutcome {
            suite: "https",
            scenario,
            seed: 1,
            verdict: Verdict::Failed,
            message: "expected: a\nseen: b".into(),
            causes: Vec::new(),
            error_class: None,
            requests: None,
            wall_ms: 1,
            virtual_ms: 0,
            trace_hash: None,
            diagnosis: vec![format!("artifacts: {artifacts}")],
        }
    }

    #[test]
    fn what_is_told_again_is_not_but_its_evidence() {
        let mut text = Text::new(1);
        text.scenario(&[failed("redirect", "x")]);
        assert_eq!(
            text.scenario(&[failed("serves", "y")]),
            "  failed       serves                    1 ms wall\n      the same as https::redirect\n      \
             | artifacts: y\n      again: seatrial run --suite https::serves\n"
        );
    }

    #[test]
    fn durations_carry_a_unit() {
        let texts: Vec<String> =
            [7, 4_250, 200_000, 7_500_000].into_iter().map(duration_text).collect();
        assert_eq!(texts, ["7 ms", "4.2 s", "3 min 20 s", "2 h 5 min"]);
    }
}
