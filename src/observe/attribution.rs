//! Attribution: each failed request gets a cause class and an object, by the first rule that fits.
//!
//! | rule | what is known | class |
//! |---|---|---|
//! | status | a status that was not there before | early-traffic of a young pod, else app-error |
//! | state | the transport knows the pod's state | by that state |
//! | memory | a container was killed for its memory about then | out-of-memory |
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
use super::timeline::{Moment, Timeline, What};

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
/// The kubelet tells of a container that ended within this time: it looks every second, and a
/// kubelet before 1.22 writes statuses every ten (`pkg/kubelet/status/status_manager.go`).
const END_TOLD_MS: u64 = 12_000;

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
    if matches!(outcome, Outcome::Unexpected(_)) {
        // Somebody listens: a program that is not through with its start, or one that errs.
        let object = backend.map(|backend| backend.object.clone());
        let recent = timeline.between(sent_ms.saturating_sub(YOUNG_HAZARD_MS), failed_ms);
        let young = recent.iter().rev().find(|moment| {
            moment.what == What::Ready && object.as_ref().is_none_or(|it| *it == moment.object)
        });
        return match young {
            Some(ready) => (CauseClass::EarlyTraffic, Some(ready.object.clone())),
            None => (CauseClass::AppError, object),
        };
    }
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
    let was_cut = matches!(
        outcome,
        Outcome::ServerError(502) | Outcome::Failed(Failure::Reset | Failure::Refused)
    );
    if was_cut && let Some(object) = out_of_memory(failed_ms, timeline) {
        return (CauseClass::OutOfMemory, Some(object));
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
    let refused = matches!(outcome, Outcome::Failed(Failure::Refused));
    let was_cut = matches!(outcome, Outcome::Failed(Failure::Reset) | Outcome::ServerError(502));
    let near = |fact| !refused && fact_near(timeline, fact, backend, failed_ms);
    match backend.state {
        BackendState::NotListening => Some(CauseClass::EarlyTraffic),
        BackendState::NodeLost => Some(CauseClass::NodeLost),
        BackendState::Crashed if ended_for_memory(timeline, backend, failed_ms) => {
            Some(CauseClass::OutOfMemory)
        }
        BackendState::Crashed => Some(CauseClass::Crashed),
        _ if was_cut && near("OomKilled") => Some(CauseClass::OutOfMemory),
        BackendState::Terminating if near("Killed") => Some(CauseClass::CutInFlight),
        BackendState::Terminating => Some(CauseClass::TerminationRace),
        // It was serving when the request met it, and the answer never came back.
        BackendState::Serving if was_cut && near("Killed") => Some(CauseClass::CutInFlight),
        BackendState::Serving => (was_cut && deleted_before(timeline, &backend.object, failed_ms))
            .then_some(CauseClass::TerminationRace),
    }
}

/// Whether memory was why the pod's program ended last, as known at `at_ms`.
fn ended_for_memory(timeline: &Timeline, backend: &Backend, at_ms: u64) -> bool {
    let told = timeline.between(0, at_ms + KILL_NEAR_MS).iter();
    let mut told = told.rev().filter(|moment| moment.object == backend.object);
    let is = |moment: &Moment, fact: &str| matches!(&moment.what, What::Fact(it) if it == fact);
    let Some(end) = told.by_ref().find(|moment| is(moment, "Exited")) else { return false };
    // The kill and the end it brings are one moment.
    told.take_while(|m| m.at_ms == end.at_ms).any(|m| is(m, "OomKilled"))
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

/// The pod that lost a container for its memory when a request failed at `failed_ms`, as the API
/// tells a little later.
fn out_of_memory(failed_ms: u64, timeline: &Timeline) -> Option<ObjectRef> {
    let near = timeline.between(failed_ms.saturating_sub(KILL_NEAR_MS), failed_ms + END_TOLD_MS);
    let end = near.iter().find(|moment| moment.what == What::OutOfMemory)?;
    Some(end.object.clone())
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
    async fn a_wrong_status_is_of_a_start_or_of_the_program() {
        let start = Instant::now();
        let class = |at_ms, state| {
            let records = [record(start, at_ms, Outcome::Unexpected(404), state)];
            // An old pod ends as soon as the new one is ready, and is not why the file is missing.
            let moments = vec![
                moment(20_000, What::Ready),
                Moment { object: pod("b"), ..moment(20_010, What::Deleted) },
            ];
            attribute(&records, start, &Timeline::new(moments))[0].class
        };
        assert_eq!(class(21_000, None), CauseClass::EarlyTraffic);
        assert_eq!(class(21_000, Some(BackendState::Serving)), CauseClass::EarlyTraffic);
        assert_eq!(class(19_000, None), CauseClass::AppError);
        assert_eq!(class(40_000, Some(BackendState::Serving)), CauseClass::AppError);
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
    #[tokio::test(start_paused = true)]
    async fn a_cut_before_a_container_is_told_to_be_out_of_memory_is_its_doing() {
        let start = Instant::now();
        // A pod deleted meanwhile explains it less well.
        let timeline =
            Timeline::new(vec![moment(1_000, What::Deleted), moment(9_000, What::OutOfMemory)]);
        let class = |at_ms, failure| {
            let records = [record(start, at_ms, Outcome::Failed(failure), None)];
            attribute(&records, start, &timeline)[0].class
        };
        assert_eq!(class(7_500, Failure::Reset), CauseClass::OutOfMemory);
        assert_eq!(class(8_500, Failure::Refused), CauseClass::OutOfMemory);
        assert_eq!(class(8_500, Failure::ResponseTimeout), CauseClass::TerminationRace);
        assert_eq!(class(20_000, Failure::Reset), CauseClass::TerminationRace);
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_ended_for_its_memory_has_not_crashed() {
        let start = Instant::now();
        let fact = |at_ms, what: &str| moment(at_ms, What::Fact(what.into()));
        let timeline = Timeline::new(vec![
            fact(1_000, "OomKilled"),
            fact(5_000, "OomKilled"),
            fact(5_000, "Exited"),
            fact(9_000, "Exited"),
        ]);
        let class = |at_ms, state, failure| {
            let records = [record(start, at_ms, Outcome::Failed(failure), Some(state))];
            attribute(&records, start, &timeline)[0].class
        };
        let (crashed, ends) = (BackendState::Crashed, BackendState::Terminating);
        assert_eq!(class(5_010, crashed, Failure::Reset), CauseClass::OutOfMemory);
        assert_eq!(class(7_000, crashed, Failure::Refused), CauseClass::OutOfMemory);
        assert_eq!(class(9_500, crashed, Failure::Refused), CauseClass::Crashed);
        // One program of the pod is killed while the others serve to their end.
        assert_eq!(class(1_010, ends, Failure::Reset), CauseClass::OutOfMemory);
        assert_eq!(class(1_010, ends, Failure::Refused), CauseClass::TerminationRace);
    }
}
