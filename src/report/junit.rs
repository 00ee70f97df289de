//! `junit.xml`: a test suite per suite, a test case per trial.

use std::collections::BTreeMap;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::observe::{RunOutcome, ScenarioOutcome, Verdict};

/// The report of a run as JUnit XML.
pub fn junit_xml(run: &RunOutcome) -> String {
    let mut report = Report::new("seatrial");
    report.set_time(Duration::from_millis(run.wall_ms));
    let mut suites: BTreeMap<usize, TestSuite> = BTreeMap::new();
    let mut names: Vec<&str> = Vec::new();
    for scenario in &run.scenarios {
        let idx = names.iter().position(|name| *name == scenario.suite).unwrap_or_else(|| {
            names.push(scenario.suite);
            names.len() - 1
        });
        let suite = suites.entry(idx).or_insert_with(|| TestSuite::new(scenario.suite));
        suite.add_test_case(test_case(run, scenario));
    }
    report.add_test_suites(suites.into_values());
    report.to_string().unwrap_or_default()
}

fn test_case(run: &RunOutcome, scenario: &ScenarioOutcome) -> TestCase {
    let name = if run.n_seeds > 1 {
        format!("{} [seed {}]", scenario.scenario, scenario.seed)
    } else {
        scenario.scenario.to_owned()
    };
    let status = match scenario.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Ignored => TestCaseStatus::skipped(),
        Verdict::Errored => TestCaseStatus::non_success(NonSuccessKind::Error),
        _ => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("{}.{}", run.engine, scenario.suite));
    case.set_time(Duration::from_millis(scenario.wall_ms));
    if scenario.verdict != Verdict::Passed {
        let first = scenario.message.lines().next().unwrap_or_default();
        case.status.set_type(scenario.verdict.as_str());
        case.status.set_message(first);
        case.status.set_description(&scenario.message);
    }
    case
}
