//! Attribution: each failed request gets a cause class and an object, by the first rule that fits.
//!
//! | rule | what is known | class |
//! |---|---|---|
//! | status | a status that was not there before, or a 5xx that no proxy gives | early-traffic of a young pod, else app-error |
//! | state | the transport knows the pod's state | by that state |
//! | memory | a container, or a process in it, was killed for its memory about then | out-of-memory |
//! | nobody | 503, and about then no pod served | no-endpoint |
//! | deleted | a pod was marked for deletion shortly before, and was gone in time to be the cause | termination-race |
//! | young | a pod was created or became ready shortly before, or is ready and refuses at once | early-traffic |
//! | lost | a node was lost and not yet dropped | node-lost |
//! | status | 503 without a pod; one of a pod's own | no-endpoint; app-error |
//! | slow | no answer in time, 504, or no connection to a known pod | too-slow |

use std::collections::{BTreeMap, BTreeSet};

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
/// Proxies have dropped a pod this long after its deletion, and taken in another (ingress sync of
/// 4.3 s, kube-proxy within a second or two).
const PROXY_LAG_MS: u64 = 10_000;
/// A cut within this time of the kill was caused by it.
const KILL_NEAR_MS: u64 = 250;
/// The kubelet tells of a container that ended within this time: it looks every second, and a
/// kubelet before 1.22 writes statuses every ten (`pkg/kubelet/status/status_manager.go`).
const END_TOLD_MS: u64 = 12_000;

/// What is told of a load lies this far beyond it: asking takes a while.
const ASKED_WITHIN_MS: u64 = 2_000;

/// A process that was killed for memory while its container went on, as far as somebody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Its pod.
    pub pod: ObjectRef,
    /// It happened after this, in milliseconds from the start of the trial.
    pub from_ms: u64,
    /// And before this.
    pub to_ms: u64,
}

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
///
/// `kills` are known by number, and roughly by time: those that happened while `records` were made explain
/// what was cut if that is no more than them, for each has cut a request at least.
pub fn attribute(
    records: &[Record],
    start: Instant,
    timeline: &Timeline,
    kills: &[Kill],
) -> Vec<Attributed> {
    let mut causes: BTreeMap<CauseClass, Attributed> = BTreeMap::new();
    let is_cut = |record: &&Record| record.backend.is_none() && was_cut(&record.outcome);
    let n_cut = records.iter().filter(is_cut).count();
    let first_ms = records.iter().map(|record| millis_since(record.planned, start)).min();
    let last_ms = records.iter().map(|record| millis_since(record.finished, start)).max();
    let meanwhile = |kill: &&Kill| {
        first_ms.is_some_and(|first| first <= kill.from_ms + ASKED_WITHIN_MS)
            && last_ms.is_some_and(|last| kill.to_ms <= last + ASKED_WITHIN_MS)
    };
    let n_kills = kills.iter().filter(meanwhile).count();
    let kill = kills.iter().find(meanwhile).filter(|_| n_cut <= n_kills);
    let is_failed = |it: &&Record| !it.outcome.is_ok() && it.outcome.not_sent().is_none();
    for record in records.iter().filter(is_failed) {
        let sent_ms = millis_since(record.started, start);
        let failed_ms = millis_since(record.finished, start);
        let backend = record.backend.as_ref();
        let (class, object) = match kill {
            Some(kill) if is_cut(&record) => (CauseClass::OutOfMemory, Some(kill.pod.clone())),
            _ => cause_of(&record.outcome, backend, sent_ms, failed_ms, timeline),
        };
        causes
            .entry(class)
            .or_insert(Attributed { class, count: 0, object, at_ms: failed_ms })
            .count += 1;
    }
    causes.into_values().collect()
}

/// Whether a connection was cut while the answer was due, at the pod or behind the proxy.
fn was_cut(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(Failure::Reset) | Outcome::ServerError(502))
}

/// Whether only the program behind the proxies can have answered so: nginx answers 502, 503 or 504 for an
/// upstream that failed (`ngx_http_upstream.c:ngx_http_upstream_next`).
fn is_of_the_program(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Unexpected(_) => true,
        Outcome::ServerError(status) => !matches!(status, 502..=504),
        Outcome::Answered(_) | Outcome::Failed(_) => false,
    }
}

/// When watchers have been told of what was so at `at_ms`.
fn told_ms(at_ms: u64) -> u64 {
    at_ms + WATCH_LAG_MS
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
    if is_of_the_program(outcome) {
        // Somebody listens: a program that is not through with its start, or one that errs.
        let object = backend.map(|backend| backend.object.clone());
        let recent = timeline
            .between(sent_ms.saturating_sub(YOUNG_HAZARD_MS), failed_ms.min(told_ms(sent_ms)));
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
    let refused = *outcome == Outcome::Failed(Failure::Refused);
    if (refused || was_cut(outcome))
        && let Some(object) = out_of_memory(failed_ms, timeline)
    {
        return (CauseClass::OutOfMemory, Some(object));
    }
    if *outcome == Outcome::ServerError(503) && nobody_served(sent_ms, failed_ms, timeline) {
        return (CauseClass::NoEndpoint, None);
    }
    if let Some((class, object)) = by_hazard(outcome, sent_ms, failed_ms, timeline) {
        return (class, Some(object));
    }
    let class = match outcome {
        Outcome::ServerError(503) | Outcome::Failed(Failure::Refused) => CauseClass::NoEndpoint,
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
    let was_cut = was_cut(outcome);
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
    let mut told = told.filter(|m| is_of_readiness(&m.what));
    told.next().is_some_and(|moment| moment.what != What::NotReady && moment.what != What::Gone)
}

fn ready_by(timeline: &Timeline, object: &ObjectRef, at_ms: u64) -> bool {
    let before = timeline.between(0, at_ms);
    before
        .iter()
        .any(|moment| moment.object == *object && matches!(moment.what, What::Found | What::Ready))
}

fn is_of_readiness(what: &What) -> bool {
    matches!(what, What::Found | What::Ready | What::NotReady | What::Gone)
}

/// Whether `record` failed while nobody served, because all pods that did were being deleted.
pub fn all_were_deleted(record: &Record, start: Instant, timeline: &Timeline) -> bool {
    let (sent, failed) =
        (millis_since(record.started, start), millis_since(record.finished, start));
    let is_failed = !record.outcome.is_ok() && record.outcome.not_sent().is_none();
    is_failed
        && !is_of_the_program(&record.outcome)
        && emptied_by(sent, failed, timeline) == Some(&What::Deleted)
}

fn nobody_served(sent_ms: u64, failed_ms: u64, timeline: &Timeline) -> bool {
    emptied_by(sent_ms, failed_ms, timeline).is_some()
}

/// What left no pod Ready and not being deleted at some time between `PROXY_LAG_MS` before `sent_ms` and
/// `failed_ms`, as far as watchers know.
fn emptied_by(sent_ms: u64, failed_ms: u64, timeline: &Timeline) -> Option<&What> {
    let from = sent_ms.saturating_sub(PROXY_LAG_MS);
    let mut serving = BTreeSet::new();
    let told = timeline.between(0, failed_ms).iter();
    let mut told = told.filter(|m| is_of_readiness(&m.what) || m.what == What::Deleted).peekable();
    let mut last = None;
    while let Some(moment) = told.next() {
        let changed = match moment.what {
            What::Found | What::Ready => serving.insert(&moment.object),
            _ => serving.remove(&moment.object),
        };
        // What becomes of a pod that did not serve any more took nothing away.
        if changed || last.is_none() {
            last = Some(&moment.what);
        }
        let until = told.peek().map_or(u64::MAX, |next| next.at_ms);
        if serving.is_empty() && until > moment.at_ms.max(from) {
            return last;
        }
    }
    None
}

/// Whether the pod that was deleted at `deleted_ms` stopped serving before the proxies had dropped it,
/// and a request of `sent_ms` fell in between: then it went to an address where nobody was.
fn vanished(object: &ObjectRef, deleted_ms: u64, sent_ms: u64, timeline: &Timeline) -> bool {
    let after = timeline.between(deleted_ms, deleted_ms + PROXY_LAG_MS);
    let mut ends = after.iter().filter(|moment| moment.object == *object);
    let end = ends.find(|moment| matches!(moment.what, What::NotReady | What::Gone));
    end.is_some_and(|end| {
        (end.at_ms.saturating_sub(WATCH_LAG_MS)..=deleted_ms + PROXY_LAG_MS).contains(&sent_ms)
    })
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
    // Who does not listen yet refuses at once; silence is that of an address where nobody is any more.
    let was_silent =
        matches!(outcome, Outcome::ServerError(504) | Outcome::Failed(Failure::ResponseTimeout));
    let from = sent_ms.saturating_sub(NODE_HAZARD_MS.max(SLOW_START_HAZARD_MS));
    timeline.between(from, failed_ms).iter().rev().find_map(|moment| {
        let age = sent_ms.saturating_sub(moment.at_ms);
        // A pod that was not there yet when the request was sent did not get it.
        let is_later = moment.at_ms > told_ms(sent_ms);
        let class = match &moment.what {
            What::Ready | What::Created if was_silent || is_later => return None,
            What::Deleted if was_silent => {
                let gone = vanished(&moment.object, moment.at_ms, sent_ms, timeline);
                return gone.then(|| (CauseClass::TerminationRace, moment.object.clone()));
            }
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
                    && ready_by(timeline, &moment.object, told_ms(sent_ms)) =>
            {
                CauseClass::EarlyTraffic
            }
            What::Deleted if age <= DELETED_HAZARD_MS => CauseClass::TerminationRace,
            what if *what == What::node_lost() && age <= NODE_HAZARD_MS => CauseClass::NodeLost,
            _ => return None,
        };
        Some((class, moment.object.clone()))
    })
}

#[cfg(test)]
mod tests;
