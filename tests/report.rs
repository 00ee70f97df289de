//! Reports of a real run: the JSON holds to the published schema, the JUnit can be read back.

mod support;

use quick_xml::Reader;
use quick_xml::events::Event;
use seatrial::observe::RunOutcome;
use seatrial::report;

fn runs() -> Vec<RunOutcome> {
    let stage = support::reference().join("../stages/02-split");
    vec![
        support::run(&support::reference(), &["https", "spread::distinct_nodes"], 1, 2),
        support::run(&stage, &["https", "rollout::no_failed_request"], 1, 1),
    ]
}

#[test]
fn json_holds_to_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(report::SCHEMA).expect("it is JSON");
    let validator = jsonschema::validator_for(&schema).expect("it is a schema");
    for run in runs() {
        let json = report::report_json(&run);
        let errors: Vec<String> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{json:#}");
        assert!(json["trace_hash"].is_string());
    }
    let broken = serde_json::json!({"schema": "seatrial.report/1", "verdict": "fine"});
    assert!(!validator.is_valid(&broken), "the schema refuses what is no report");
}

#[test]
fn junit_counts_what_was_run() {
    for run in runs() {
        let xml = report::junit_xml(&run);
        let mut reader = Reader::from_str(&xml);
        let (mut n_cases, mut n_failures) = (0, 0);
        loop {
            match reader.read_event().expect("it is XML") {
                Event::Start(tag) | Event::Empty(tag) => match tag.name().as_ref() {
                    b"testcase" => n_cases += 1,
                    b"failure" | b"error" => n_failures += 1,
                    _ => {}
                },
                Event::Eof => break,
                _ => {}
            }
        }
        let failed =
            run.scenarios.iter().filter(|s| s.verdict > seatrial::observe::Verdict::Passed);
        assert_eq!((n_cases, n_failures), (run.scenarios.len(), failed.count()));
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_an_environment_error() {
    let run = support::run(&support::reference(), &["https::redirect"], 1, 1);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = report::write(&run, &file.path().join("below")).expect_err("a file is no folder");
    assert_eq!(error.class(), seatrial::base::ErrorClass::Environment);
    assert!(error.to_string().contains("--report"), "{error}");
}
