//! `report.json`, to the published schema.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::observe::{Cause, Requests, RunOutcome, ScenarioOutcome, Verdict};

/// The JSON schema of `report.json`.
pub const SCHEMA: &str = include_str!("report.schema.json");

/// Version of the format; it changes when a field changes its meaning or goes away.
const FORMAT: &str = "seatrial.report/1";

/// The report of a run.
pub fn report_json(run: &RunOutcome) -> Value {
    let mut report = json!({
        "schema": FORMAT,
        "run": { "seeds": run.n_seeds, "engine_reason": run.engine_reason },
        "engine": run.engine,
        "kubernetes": run.kubernetes,
        "seed": run.seed,
        "manifests": run.manifests,
        "verdict": run.verdict().as_str(),
        "wall_ms": run.wall_ms,
        "virtual_ms": run.virtual_ms(),
        "suites": suites(run),
    });
    if let (Some(hash), Value::Object(map)) = (trace_hash(run), &mut report) {
        map.insert("trace_hash".into(), hash.into());
    }
    report
}

/// One hash over the traces of all trials; `None` when the engine leaves no trace.
pub(super) fn trace_hash(run: &RunOutcome) -> Option<String> {
    let mut hasher = Sha256::new();
    let mut any = false;
    for scenario in &run.scenarios {
        if let Some(hash) = &scenario.trace_hash {
            any = true;
            hasher.update(format!("{} {} {hash}\n", scenario.full_name(), scenario.seed));
        }
    }
    any.then(|| {
        hasher.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    })
}

fn suites(run: &RunOutcome) -> Vec<Value> {
    let mut names: Vec<&str> = Vec::new();
    for scenario in &run.scenarios {
        if !names.contains(&scenario.suite) {
            names.push(scenario.suite);
        }
    }
    names
        .into_iter()
        .map(|name| {
            let trials: Vec<&ScenarioOutcome> =
                run.scenarios.iter().filter(|s| s.suite == name).collect();
            let verdict = trials.iter().map(|s| s.verdict).max().unwrap_or(Verdict::Ignored);
            json!({
                "name": name,
                "verdict": verdict.as_str(),
                "wall_ms": trials.iter().map(|s| s.wall_ms).sum::<u64>(),
                "scenarios": trials.iter().map(|s| scenario_json(s)).collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn scenario_json(scenario: &ScenarioOutcome) -> Value {
    let mut map = Map::new();
    map.insert("name".into(), scenario.scenario.into());
    map.insert("seed".into(), scenario.seed.into());
    map.insert("verdict".into(), scenario.verdict.as_str().into());
    map.insert("wall_ms".into(), scenario.wall_ms.into());
    map.insert("virtual_ms".into(), scenario.virtual_ms.into());
    map.insert("message".into(), scenario.message.as_str().into());
    map.insert("causes".into(), scenario.causes.iter().map(cause_json).collect());
    if let Some(requests) = &scenario.requests {
        map.insert("requests".into(), requests_json(requests));
    }
    if let Some(hash) = &scenario.trace_hash {
        map.insert("trace_hash".into(), hash.as_str().into());
    }
    if !scenario.diagnosis.is_empty() {
        map.insert("diagnosis".into(), scenario.diagnosis.clone().into());
    }
    Value::Object(map)
}

fn cause_json(cause: &Cause) -> Value {
    let mut map = Map::new();
    map.insert("class".into(), cause.class.as_str().into());
    map.insert("count".into(), cause.count.into());
    if let Some(object) = &cause.object {
        map.insert("object".into(), object.to_string().into());
    }
    if let Some(at_ms) = cause.at_ms {
        map.insert("at_ms".into(), at_ms.into());
    }
    if let Some(fix) = &cause.fix {
        let fix = json!({
            "file": fix.file, "line": fix.line, "path": fix.path, "advice": fix.advice,
        });
        map.insert("fix".into(), fix);
    }
    Value::Object(map)
}

fn requests_json(requests: &Requests) -> Value {
    json!({
        "planned": requests.planned,
        "sent": requests.sent,
        "ok": requests.ok,
        "failed": requests.failed,
        "by_class": requests.by_class,
        "latency_ms": {
            "p50": requests.p50_ms,
            "p90": requests.p90_ms,
            "p99": requests.p99_ms,
            "max": requests.max_ms,
        },
    })
}
