//! Attribution: each failed request gets a cause class and an object, by the first rule that fits.
//!
//! | rule | what is known | class |
//! |---|---|---|
//! | state | the transport knows the pod's state | by that state |
//! | deleted | a pod was marked for deletion shortly before | termination-race |
//! | young | a pod was created or became ready shortly before, or is ready and refuses | early-traffic |
//! | lost | a node was lost and not yet dropped | node-lost |
//! | status | 503 without a pod; a pod's own 5xx | no-endpoint; app-error |
//! | slow | no answer in time, 504, or no connection to a known pod | too-slow |

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::base::ObjectRef;
use crate::load::{Backend, BackendState, Failure, Outcome, Record};

use super::class::CauseClass;
use super::timeline::{Timeline, What};

/// A pod may be sent requests this long after its deletion: preStop of 30 s at most, ingress sync
/// of 4.3 s, and the drain of what was accepted.
const DELETED_HAZARD_MS: u64 = 45_000;
/// A pod that became an endpoint this recently may not listen yet.
const YOUNG_HAZARD_MS: u64 = 10_000;
/// While it refuses connections and is Ready, it may be so for this long, on a slow machine.
const SLOW_START_HAZARD_MS: u64 = 60_000;
/// A change of a pod is seen by watchers within this time.
const WATCH_LAG_MS: u64 = 1_000;
/// Requests may go to a lost node this long (grace 50 s, monitor period 5 s, propagation).
const NODE_HAZARD_MS: u64 = 60_000;
/// A cut within this time of the kill was caused by it.
const KILL_NEAR_MS: u64 = 250;

/// Failures with one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributed {
    /// The cause.
    pub class: CauseClass,
    /// How many requests failed for it.
    pub count: u64,
    /// The object concerned in the first of them.
    pub object: Option<ObjectRef>,
    /// When the first of them failed, in milliseconds from the start of the trial.
    pub at_ms: u64,
}

/// Names the cause of every failed request in `records`, in the order of `CauseClass`: that of a
/// pod's life, from its start to its end.
pub fn attribute(records: &[Record], start: Instant, timeline: &Timeline) -> Vec<Attributed> {
    let mut causes: BTreeMap<CauseClass, Attributed> = BTreeMap::new();
    for record in records.iter().filter(|record| !record.outcome.is_ok()) {
        let sent_ms = millis_since(record.started, start);
        let failed_ms = millis_since(record.finished, start);
        let backend = record.backend.as_ref();
        let (class, object) = cause_of(&record.outcome, backend, sent_ms, failed_ms, timeline);
        causes
            .entry(class)
            .or_insert(Attributed { class, count: 0, object, at_ms: failed_ms })
            .count += 1;
    }
    causes.into_values().collect()
}

/// Milliseconds from `start` to `at`.
fn millis_since(at: Instant, start: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(start).as_millis()).unwrap_or(u64::MAX)
}

fn cause_of(
    outcome: &Outcome,
    backend: Option<&Backend>,
    sent_ms: u64,
    failed_ms: u64,
    timeline: &Timeline,
) -> (CauseClass, Option<ObjectRef>) {
    if let Some(backend) = backend
        && let Some(class) = by_state(backend, outcome, failed_ms, timeline)
    {
        return (class, Some(backend.object.clone()));
    }
    if let Some(backend) = backend {
        let class = match outcome {
            // A full accept queue lets nobody connect.
            Outcome::ServerError(504)
            | Outcome::Failed(Failure::ResponseTimeout | Failure::ConnectTimeout) => {
                Some(CauseClass::TooSlow)
            }
            Outcome::ServerError(_) => Some(CauseClass::AppError),
            _ => None,
        };
        if let Some(class) = class {
            return (class, Some(backend.object.clone()));
        }
    }
    if let Some((class, object)) = by_hazard(outcome, sent_ms, failed_ms, timeline) {
        return (class, Some(object));
    }
    let class = match outcome {
        Outcome::ServerError(503) | Outcome::Failed(Failure::Refused) => CauseClass::NoEndpoint,
        Outcome::ServerError(500) => CauseClass::AppError,
        Outcome::ServerError(504) | Outcome::Failed(Failure::ResponseTimeout) => {
            CauseClass::TooSlow
        }
        _ => CauseClass::Unattributed,
    };
    (class, None)
}

/// By the state in which the request met the pod; `None` where the state explains nothing.
fn by_state(
    backend: &Backend,
    outcome: &Outcome,
    failed_ms: u64,
    timeline: &Timeline,
) -> Option<CauseClass> {
    match backend.state {
        BackendState::NotListening => Some(CauseClass::EarlyTraffic),
        BackendState::Terminating => {
            let refused = matches!(outcome, Outcome::Failed(Failure::Refused));
            let killed = !refused && fact_near(timeline, "Killed", backend, failed_ms);
            Some(if killed { CauseClass::CutInFlight } else { CauseClass::TerminationRace })
        }
        BackendState::Crashed => {
            let oom = fact_near(timeline, "OomKilled", backend, failed_ms);
            Some(if oom { CauseClass::OutOfMemory } else { CauseClass::Crashed })
        }
        BackendState::NodeLost => Some(CauseClass::NodeLost),
        // It was serving when the request met it, and the answer never came back.
        BackendState::Serving => match outcome {
            Outcome::Failed(Failure::Reset) | Outcome::ServerError(502) => {
                if fact_near(timeline, "OomKilled", backend, failed_ms) {
                    Some(CauseClass::OutOfMemory)
                } else if fact_near(timeline, "Killed", backend, failed_ms) {
                    Some(CauseClass::CutInFlight)
                } else {
                    deleted_before(timeline, &backend.object, failed_ms)
                        .then_some(CauseClass::TerminationRace)
                }
            }
            _ => None,
        },
    }
}

fn fact_near(timeline: &Timeline, fact: &str, backend: &Backend, at_ms: u64) -> bool {
    let near = timeline.between(at_ms.saturating_sub(KILL_NEAR_MS), at_ms + KILL_NEAR_MS);
    near.iter().any(|moment| {
        moment.object == backend.object && matches!(&moment.what, What::Fact(name) if name == fact)
    })
}

fn deleted_before(timeline: &Timeline, object: &ObjectRef, at_ms: u64) -> bool {
    let before = timeline.between(at_ms.saturating_sub(DELETED_HAZARD_MS), at_ms);
    before.iter().any(|moment| moment.object == *object && moment.what == What::Deleted)
}

/// Whether the pod is Ready at `at_ms`, as far as watchers know.
fn is_ready(timeline: &Timeline, object: &ObjectRef, at_ms: u64) -> bool {
    let before = timeline.between(0, at_ms);
    let told = before.iter().rev().filter(|moment| moment.object == *object);
    let mut told = told.filter(|m| matches!(m.what, What::Ready | What::NotReady | What::Gone));
    told.next().is_some_and(|moment| moment.what == What::Ready)
}

fn ready_by(timeline: &Timeline, object: &ObjectRef, at_ms: u64) -> bool {
    let before = timeline.between(0, at_ms);
    before.iter().any(|moment| moment.object == *object && moment.what == What::Ready)
}

/// By what was going on: the youngest hazard that covers the request.
fn by_hazard(
    outcome: &Outcome,
    sent_ms: u64,
    failed_ms: u64,
    timeline: &Timeline,
) -> Option<(CauseClass, ObjectRef)> {
    let refused = *outcome == Outcome::Failed(Failure::Refused);
    let from = sent_ms.saturating_sub(NODE_HAZARD_MS.max(SLOW_START_HAZARD_MS));
    timeline.between(from, failed_ms).iter().rev().find_map(|moment| {
        let age = sent_ms.saturating_sub(moment.at_ms);
        let class = match &moment.what {
            What::Ready if age <= YOUNG_HAZARD_MS => CauseClass::EarlyTraffic,
            What::Ready
                if refused
                    && age <= SLOW_START_HAZARD_MS
                    && is_ready(timeline, &moment.object, failed_ms) =>
            {
                CauseClass::EarlyTraffic
            }
            // Traffic reaches ready pods alone; the watch may tell of it a little later.
            What::Created
                if age <= YOUNG_HAZARD_MS
                    && ready_by(timeline, &moment.object, failed_ms + WATCH_LAG_MS) =>
            {
                CauseClass::EarlyTraffic
            }
            What::Deleted if age <= DELETED_HAZARD_MS => CauseClass::TerminationRace,
            What::Fact(name) if name == "NodeLost" && age <= NODE_HAZARD_MS => CauseClass::NodeLost,
            _ => return None,
        };
        Some((class, moment.object.clone()))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::timeline::Moment;
    use super::*;

    fn pod(name: &str) -> ObjectRef {
        ObjectRef::new("Pod", "web", name)
    }

    fn record(start: Instant, at_ms: u64, outcome: Outcome, state: Option<BackendState>) -> Record {
        let at = start + Duration::from_millis(at_ms);
        let backend = state.map(|state| Backend { object: pod("a"), state });
        Record { source: "GET", planned: at, started: at, finished: at, outcome, backend }
    }

    fn moment(at_ms: u64, what: What) -> Moment {
        Moment { at_ms, what, object: pod("a") }
    }

    #[tokio::test(start_paused = true)]
    async fn the_state_of_the_pod_decides_where_it_is_known() {
        let start = Instant::now();
        let refused = || Outcome::Failed(Failure::Refused);
        let records = [
            record(start, 10, refused(), Some(BackendState::NotListening)),
            record(start, 20, refused(), Some(BackendState::NotListening)),
            record(start, 30, refused(), Some(BackendState::Terminating)),
            record(start, 40, Outcome::Answered(200), Some(BackendState::Serving)),
        ];
        let causes = attribute(&records, start, &Timeline::default());
        let classes: Vec<_> = causes.iter().map(|cause| (cause.class, cause.count)).collect();
        assert_eq!(classes, [(CauseClass::EarlyTraffic, 2), (CauseClass::TerminationRace, 1)]);
        assert_eq!((causes[0].at_ms, causes[0].object.clone()), (10, Some(pod("a"))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_at_the_end_of_the_grace_is_told_from_a_race() {
        let start = Instant::now();
        let cut = || Outcome::Failed(Failure::Reset);
        let records = [
            record(start, 30_000, cut(), Some(BackendState::Terminating)),
            record(start, 5_000, cut(), Some(BackendState::Terminating)),
        ];
        let timeline = Timeline::new(vec![moment(30_010, What::Fact("Killed".into()))]);
        let mut classes: Vec<_> =
            attribute(&records, start, &timeline).iter().map(|cause| cause.class).collect();
        classes.sort();
        assert_eq!(classes, [CauseClass::TerminationRace, CauseClass::CutInFlight]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ready_pod_that_refuses_is_early_and_where_none_is_ready_there_is_no_endpoint() {
        let start = Instant::now();
        let refused = || Outcome::Failed(Failure::Refused);
        let class = |at_ms: u64, what: Option<What>| {
            let mut moments = vec![moment(0, What::Created), moment(1_000, What::Ready)];
            moments.extend(what.map(|what| moment(20_000, what)));
            let records = [record(start, at_ms, refused(), None)];
            attribute(&records, start, &Timeline::new(moments))[0].class
        };
        assert_eq!(class(30_000, None), CauseClass::EarlyTraffic, "it starts slowly");
        assert_eq!(class(30_000, Some(What::NotReady)), CauseClass::NoEndpoint);
        assert_eq!(class(90_000, None), CauseClass::NoEndpoint, "not by its start any more");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_state_the_youngest_hazard_decides() {
        let start = Instant::now();
        let bad_gateway = || Outcome::ServerError(502);
        let timeline =
            Timeline::new(vec![moment(20_000, What::Ready), moment(1_000, What::Deleted)]);
        let class = |at_ms| {
            attribute(&[record(start, at_ms, bad_gateway(), None)], start, &timeline)[0].class
        };
        assert_eq!(class(3_000), CauseClass::TerminationRace);
        // A pod that was made for another that ends, and is not ready yet, gets nothing.
        let replaced = |ready_ms| {
            let b = |at_ms, what| Moment { object: pod("b"), ..moment(at_ms, what) };
            let moments = vec![
                moment(1_000, What::Deleted),
                b(1_010, What::Created),
                b(ready_ms, What::Ready),
            ];
            let records = [record(start, 1_200, bad_gateway(), None)];
            attribute(&records, start, &Timeline::new(moments))[0].class
        };
        assert_eq!(replaced(9_000), CauseClass::TerminationRace);
        assert_eq!(replaced(1_100), CauseClass::EarlyTraffic);
        assert_eq!(class(21_000), CauseClass::EarlyTraffic);
        assert_eq!(class(90_000), CauseClass::Unattributed);
    }
}
