//! Events as clients record them: correlated, counted, limited, never relied upon
//! (`client-go/tools/record/events_cache.go`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, Namespace, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::object::{Kind, Obj, Typed};
use super::store::{Api, ChangeType};
use crate::base::{SimTime, secs};

/// Events of one source about one object before the spam filter acts (`defaultSpamBurst`).
const SPAM_BURST: u32 = 25;
/// The filter lets one more pass after this time (`defaultSpamQPS`).
const SPAM_REFILL: Duration = secs(300);
/// Different messages for one reason before they are combined (`defaultAggregateMaxEvents`).
const SIMILAR_MAX: usize = 10;
/// Similar events further apart than this are not combined (`defaultAggregateIntervalInSeconds`).
const SIMILAR_WINDOW: Duration = secs(600);
/// Sources and objects remembered (`maxLruCacheEntries`).
const REMEMBERED_MAX: usize = 4096;

/// What a component has to say about an object.
#[derive(Clone, Debug)]
pub struct Note {
    source: &'static str,
    warning: bool,
    reason: &'static str,
    message: String,
}

impl Note {
    /// An event of type `Normal` from the component `source`.
    pub fn normal(source: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Note { source, warning: false, reason, message: message.into() }
    }

    /// An event of type `Warning` from the component `source`.
    pub fn warning(source: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Note { source, warning: true, reason, message: message.into() }
    }
}

/// What the recorders remember, to count and limit.
#[derive(Debug, Default)]
pub struct Correlator {
    remembered: BTreeMap<(String, &'static str), History>,
    order: VecDeque<(String, &'static str)>,
    n_recorded: u64,
}

/// The events of one source about one object.
#[derive(Debug)]
struct History {
    tokens: u32,
    refilled: SimTime,
    groups: Vec<Group>,
}

/// Events of one reason.
#[derive(Debug)]
struct Group {
    reason: &'static str,
    warning: bool,
    last: SimTime,
    /// Message and name of the event object that carries it.
    messages: Vec<(String, String)>,
    combined: Option<String>,
}

/// Records an event about `involved`: a new object, or a higher count of one that says the same.
pub fn record<T: Typed>(api: &mut Api, involved: &T, note: Note) {
    record_about(api, T::KIND, involved.meta(), note);
}

/// Records an event about the object of `kind` with metadata `meta`.
pub fn record_about(api: &mut Api, kind: Kind, meta: &ObjectMeta, note: Note) {
    let namespace = meta.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let terminating = |space: &Arc<Namespace>| space.metadata.deletion_timestamp.is_some();
    if api.get::<Namespace>("", &namespace).is_some_and(terminating) {
        return;
    }
    let now = api.now;
    let uid = meta.uid.clone().unwrap_or_default();
    let history = api.events.history((uid, note.source), now);
    let decision = history.correlate(&note, now);
    if !history.admit(now) {
        return;
    }
    match decision {
        Decision::Count { event, message } => {
            let stored = api.object(Kind::EVENT, &namespace, &event).cloned();
            if let Some(Obj::Event(old)) = stored {
                let mut counted = Event::clone(&old);
                counted.count = Some(counted.count.unwrap_or(1) + 1);
                counted.last_timestamp = Some(Time(now.timestamp()));
                counted.message = Some(message);
                let object = Event::wrap(Arc::new(counted));
                api.commit(ChangeType::Modified, object, Some(Obj::Event(old)));
            }
        }
        Decision::New { message, combined } => {
            create(api, kind, meta, &namespace, Note { message, ..note }, combined);
        }
    }
}

fn create(
    api: &mut Api,
    kind: Kind,
    meta: &ObjectMeta,
    namespace: &str,
    note: Note,
    combined: bool,
) {
    let now = api.now;
    api.events.n_recorded += 1;
    let involved_name = meta.name.as_deref().unwrap_or("");
    // recorder.go:makeEvent names it after the nanosecond; the counter stands for the last digits.
    let nanos = now.micro_timestamp().as_microsecond() * 1000;
    let name = format!("{involved_name}.{:x}", nanos.unsigned_abs() + api.events.n_recorded % 1000);
    let history = api.events.history((meta.uid.clone().unwrap_or_default(), note.source), now);
    history.remember(&note, &name, combined);
    let uid = api.streams().uuid("event-uid");
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            uid: Some(uid),
            creation_timestamp: Some(Time(now.timestamp())),
            ..ObjectMeta::default()
        },
        involved_object: reference(api, kind, meta),
        reason: Some(note.reason.to_owned()),
        message: Some(note.message),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        source: Some(EventSource { component: Some(note.source.to_owned()), host: None }),
        reporting_component: Some(note.source.to_owned()),
        first_timestamp: Some(Time(now.timestamp())),
        last_timestamp: Some(Time(now.timestamp())),
        count: Some(1),
        ..Event::default()
    };
    api.commit(ChangeType::Added, Event::wrap(Arc::new(event)), None);
}

fn reference(api: &Api, kind: Kind, meta: &ObjectMeta) -> ObjectReference {
    let resource = api.registry.resource(kind);
    let api_version = if resource.group.is_empty() {
        resource.version.clone()
    } else {
        format!("{}/{}", resource.group, resource.version)
    };
    ObjectReference {
        api_version: Some(api_version),
        kind: Some(resource.kind.clone()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

enum Decision {
    Count { event: String, message: String },
    New { message: String, combined: bool },
}

impl Correlator {
    /// The history of a source and an object; the oldest is forgotten when there are too many.
    fn history(&mut self, key: (String, &'static str), now: SimTime) -> &mut History {
        if !self.remembered.contains_key(&key) {
            if self.order.len() == REMEMBERED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.remembered.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        self.remembered.entry(key).or_insert_with(|| History {
            tokens: SPAM_BURST,
            refilled: now,
            groups: Vec::new(),
        })
    }
}

impl History {
    /// Whether the spam filter lets one more event pass (`EventSourceObjectSpamFilter.Filter`).
    fn admit(&mut self, now: SimTime) -> bool {
        let n_refills = now.since(self.refilled).as_secs() / SPAM_REFILL.as_secs();
        if n_refills > 0 {
            let earned = u32::try_from(n_refills).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(SPAM_BURST);
            self.refilled += SPAM_REFILL * earned;
        }
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }

    /// Counts, combines or starts anew (`EventAggregate`, `eventObserve`).
    fn correlate(&mut self, note: &Note, now: SimTime) -> Decision {
        let same = |g: &&mut Group| g.reason == note.reason && g.warning == note.warning;
        let Some(group) = self.groups.iter_mut().find(same) else {
            self.groups.push(Group {
                reason: note.reason,
                warning: note.warning,
                last: now,
                messages: Vec::new(),
                combined: None,
            });
            return Decision::New { message: note.message.clone(), combined: false };
        };
        if now.since(group.last) > SIMILAR_WINDOW {
            group.messages.clear();
            group.combined = None;
        }
        group.last = now;
        if let Some((_, event)) = group.messages.iter().find(|(text, _)| *text == note.message) {
            return Decision::Count { event: event.clone(), message: note.message.clone() };
        }
        if group.messages.len() < SIMILAR_MAX - 1 {
            return Decision::New { message: note.message.clone(), combined: false };
        }
        let message = format!("(combined from similar events): {}", note.message);
        match &group.combined {
            Some(event) => Decision::Count { event: event.clone(), message },
            None => Decision::New { message, combined: true },
        }
    }

    fn remember(&mut self, note: &Note, event: &str, combined: bool) {
        let same = |g: &&mut Group| g.reason == note.reason && g.warning == note.warning;
        if let Some(group) = self.groups.iter_mut().find(same) {
            if combined {
                group.combined = Some(event.to_owned());
            } else {
                group.messages.push((note.message.clone(), event.to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;
    use crate::sim::profile::Profile;

    fn pod() -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web-1".into());
        pod.metadata.namespace = Some("shop".into());
        pod.metadata.uid = Some("u1".into());
        pod
    }

    #[test]
    fn the_same_words_raise_the_count() {
        let mut api = Api::new(Profile::NEWEST, 1);
        for _ in 0..3 {
            record(&mut api, &pod(), Note::warning("kubelet", "Unhealthy", "probe failed"));
        }
        let events: Vec<_> = api.list::<Event>().collect();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].count, Some(3));
        assert_eq!(events[0].involved_object.kind.as_deref(), Some("Pod"));
    }

    #[test]
    fn many_similar_events_are_combined_and_then_dropped() {
        let mut api = Api::new(Profile::NEWEST, 1);
        for n in 0..100 {
            record(&mut api, &pod(), Note::normal("rs", "SuccessfulCreate", format!("pod {n}")));
        }
        let events: Vec<_> = api.list::<Event>().collect();
        assert_eq!(events.len(), 10);
        let counts: i32 = events.iter().filter_map(|e| e.count).sum();
        assert_eq!(counts, 25, "the spam filter passes 25");
    }
}
