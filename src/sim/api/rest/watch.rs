//! WATCH: a lagged, ordered stream of lines per client
//! (`apiserver/pkg/storage/cacher/cacher.go`, `endpoints/handlers/watch.go`; semantics 1.4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};

use super::answer::{Subject, api_version, failure_json, object_json};
use super::call::Call;
use super::list::{check_not_older, invalid_options};
use super::selector::Selection;
use crate::base::{SimTime, Streams, millis, secs};
use crate::sim::api::{Api, Change, ChangeType, Kind, Obj, Status};
use crate::sim::context::Cx;
use crate::sim::event::{Event, Subscriber};
use crate::sim::queue::Queue;
use crate::sim::world::Output;

/// Write to watch event at a client: 1 to 20 ms on a small healthy cluster (semantics 0.2).
const LAG: (Duration, Duration) = (millis(1), millis(20));
/// Bookmarks come about every minute (`cacher.go:defaultBookmarkFrequency`).
const BOOKMARK_PERIOD: Duration = secs(60);
/// A last bookmark comes this long before the end (`cacher.go:bookmarkBudget`).
const LAST_BOOKMARK: Duration = secs(2);
/// Default lifetime: uniform between these (`--min-request-timeout`, `get.go:ListResource`).
const LIFETIME: (Duration, Duration) = (secs(1_800), secs(3_600));
/// Longest lifetime that is honoured, so that no client asks for an endless watch.
const LIFETIME_MAX_SECONDS: u64 = 365 * 24 * 3_600;
/// Serialised objects kept for other watches of the same kind.
const CACHE_MAX: usize = 256;

/// What is due at an open watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestEvent {
    /// A bookmark.
    Bookmark(u64),
    /// The watch has lived long enough.
    Expire(u64),
}

/// The open watches of clients outside.
#[derive(Debug, Default)]
pub struct Watches {
    open: BTreeMap<u64, Watch>,
    by_kind: BTreeMap<Kind, Vec<u64>>,
    last_id: u64,
    lines: Vec<Output>,
    /// Objects by revision and version, as bytes.
    cache: BTreeMap<(u64, Arc<str>), Bytes>,
}

#[derive(Debug)]
struct Watch {
    kind: Kind,
    version: Arc<str>,
    namespace: Option<String>,
    selection: Selection,
    /// Revision of the last event, or of the start.
    seen: u64,
    last_due: SimTime,
    expires: SimTime,
}

impl Watch {
    /// What a change looks like through the selector: type, and whether the state before it is shown
    /// (`cacher.go:convertToWatchEvent`).
    fn event_of(&self, change: &Change) -> Option<(&'static str, bool)> {
        let object = &change.object;
        if self.namespace.as_deref().is_some_and(|space| space != object.namespace()) {
            return None;
        }
        let is_selected = self.selection.matches(object);
        let was_selected = change.previous.as_ref().is_some_and(|old| self.selection.matches(old));
        match (change.change_type, was_selected, is_selected) {
            (ChangeType::Added, _, true) => Some(("ADDED", false)),
            (ChangeType::Modified, true, true) => Some(("MODIFIED", false)),
            (ChangeType::Modified, false, true) => Some(("ADDED", false)),
            (ChangeType::Modified, true, false) => Some(("DELETED", true)),
            (ChangeType::Deleted, _, true) => Some(("DELETED", false)),
            (ChangeType::Deleted, true, false) => Some(("DELETED", true)),
            _ => None,
        }
    }
}

impl Watches {
    /// Schedules `change` for the watches it concerns.
    pub fn publish(&mut self, change: &Arc<Change>, queue: &mut Queue, rng: &mut Streams) {
        let Some(ids) = self.by_kind.get(&change.object.kind()) else { return };
        for &id in ids {
            let Some(watch) = self.open.get_mut(&id) else { continue };
            if change.revision <= watch.seen || watch.event_of(change).is_none() {
                continue;
            }
            let due = change.at + rng.between("client-watch-lag", LAG.0, LAG.1);
            watch.last_due = watch.last_due.max(due);
            let event = Event::Deliver(Subscriber::Client(id), Arc::clone(change));
            queue.at(watch.last_due, event);
        }
    }

    /// A change arrives at the watch `id`.
    pub fn on_change(&mut self, id: u64, change: &Change, cx: &Cx<'_>) {
        let Some(watch) = self.open.get_mut(&id) else { return };
        watch.seen = watch.seen.max(change.revision);
        if let Some(line) = line_of(watch, change, cx.api, &mut self.cache) {
            self.lines.push(Output::WatchLine(id, line));
        }
    }

    /// Something is due at a watch.
    pub fn on_event(&mut self, event: RestEvent, cx: &mut Cx<'_>) {
        match event {
            RestEvent::Bookmark(id) => {
                let Some(watch) = self.open.get(&id) else { return };
                // Nothing later than `seen` may be promised while deliveries are on their way.
                let is_idle = watch.last_due <= cx.now;
                let revision = if is_idle { cx.api.revision() } else { watch.seen };
                let line = bookmark(cx.api, watch, revision, false);
                let next = next_bookmark(cx.now, watch.expires);
                self.lines.push(Output::WatchLine(id, line));
                if let Some(next) = next {
                    cx.queue.at(next, Event::Rest(RestEvent::Bookmark(id)));
                }
            }
            RestEvent::Expire(id) => self.end(id),
        }
    }

    /// Moves finished lines to `outputs`.
    pub fn take_lines(&mut self, outputs: &mut Vec<Output>) {
        outputs.append(&mut self.lines);
    }

    /// Drops a watch.
    pub fn close(&mut self, id: u64) {
        if let Some(watch) = self.open.remove(&id)
            && let Some(ids) = self.by_kind.get_mut(&watch.kind)
        {
            ids.retain(|other| *other != id);
        }
    }

    fn end(&mut self, id: u64) {
        if self.open.contains_key(&id) {
            self.close(id);
            self.lines.push(Output::WatchClosed(id));
        }
    }

    /// Opens a watch; its first lines are ready at once.
    pub(super) fn open(&mut self, cx: &mut Cx<'_>, call: &Call<'_>) -> Result<u64, Status> {
        let start = Start::of(cx.api, call)?;
        let mut selection = call.selection()?;
        if let Some(name) = &call.name {
            selection.only_name(name);
        }
        self.last_id += 1;
        let id = self.last_id;
        let lifetime = match call.query.number("timeoutSeconds") {
            Some(seconds) if seconds > 0 => secs(seconds.min(LIFETIME_MAX_SECONDS)),
            _ => cx.rng.between("watch-lifetime", LIFETIME.0, LIFETIME.1),
        };
        let watch = Watch {
            kind: call.kind,
            version: Arc::from(call.version.as_str()),
            namespace: call.namespace.clone(),
            selection,
            seen: cx.api.revision(),
            last_due: cx.now,
            expires: cx.now + lifetime,
        };
        match self.first_lines(cx.api, &watch, &start) {
            Some(lines) => {
                self.lines.extend(lines.into_iter().map(|line| Output::WatchLine(id, line)));
            }
            None => {
                let line = too_old(cx.api, call, &start);
                self.lines.push(Output::WatchLine(id, line));
                self.lines.push(Output::WatchClosed(id));
                return Ok(id);
            }
        }
        cx.queue.at(watch.expires, Event::Rest(RestEvent::Expire(id)));
        if call.query.flag("allowWatchBookmarks")
            && let Some(next) = next_bookmark(cx.now, watch.expires)
        {
            cx.queue.at(next, Event::Rest(RestEvent::Bookmark(id)));
        }
        self.by_kind.entry(watch.kind).or_default().push(id);
        self.open.insert(id, watch);
        Ok(id)
    }

    /// The state, or the changes since the revision asked for; `None` when those are gone.
    fn first_lines(&mut self, api: &Api, watch: &Watch, start: &Start) -> Option<Vec<Bytes>> {
        if let Start::After(revision) = start {
            let changes = api.changes_since(*revision)?;
            let changes = changes.filter(|c| c.object.kind() == watch.kind);
            return Some(changes.filter_map(|c| line_of(watch, c, api, &mut self.cache)).collect());
        }
        let objects = api.stored().objects(watch.kind, watch.namespace.as_deref());
        let mut lines: Vec<Bytes> = objects
            .filter(|object| watch.selection.matches(object))
            .map(|object| {
                let revision = revision_of(object);
                let bytes = object_bytes(api, object, revision, &watch.version, &mut self.cache);
                line("ADDED", &bytes)
            })
            .collect();
        if matches!(start, Start::StateAndBookmark) {
            lines.push(bookmark(api, watch, api.revision(), true));
        }
        Some(lines)
    }
}

/// Where a watch starts.
enum Start {
    /// With an ADDED for everything there is.
    State,
    /// The same, then a bookmark (`sendInitialEvents=true`).
    StateAndBookmark,
    /// After a revision.
    After(u64),
}

impl Start {
    fn of(api: &Api, call: &Call<'_>) -> Result<Start, Status> {
        let version = call.query.get("resourceVersion");
        let rule = call.query.get("resourceVersionMatch");
        // WatchList: on in 1.32, off again in 1.33, on from 1.34.
        let knows_streaming = api.profile.minor() == 32 || api.profile.at_least(34);
        if knows_streaming && call.query.has("sendInitialEvents") {
            if rule != Some("NotOlderThan") {
                let detail = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                return Err(invalid_options("resourceVersionMatch", "FieldValueForbidden", detail));
            }
            check_not_older(api, version)?;
            return Ok(if call.query.flag("sendInitialEvents") {
                Start::StateAndBookmark
            } else {
                Start::After(version.and_then(|v| v.parse().ok()).unwrap_or(api.revision()))
            });
        }
        if rule.is_some() {
            let detail = "Forbidden: resourceVersionMatch is forbidden for watch";
            return Err(invalid_options("resourceVersionMatch", "FieldValueForbidden", detail));
        }
        match version {
            None | Some("0") => Ok(Start::State),
            Some(version) => {
                check_not_older(api, Some(version))?;
                Ok(Start::After(version.parse().unwrap_or(0)))
            }
        }
    }
}

fn next_bookmark(now: SimTime, expires: SimTime) -> Option<SimTime> {
    let left = expires.since(now);
    if left <= LAST_BOOKMARK {
        return None;
    }
    Some(now + BOOKMARK_PERIOD.min(left - LAST_BOOKMARK))
}

fn line_of(
    watch: &Watch,
    change: &Change,
    api: &Api,
    cache: &mut BTreeMap<(u64, Arc<str>), Bytes>,
) -> Option<Bytes> {
    let (event, shows_previous) = watch.event_of(change)?;
    if let Some(previous) = change.previous.as_ref().filter(|_| shows_previous) {
        let mut object = previous.clone();
        object.meta_mut().resource_version = Some(change.revision.to_string());
        let bytes = to_bytes(&object_json(api, &object, &watch.version));
        return Some(line(event, &bytes));
    }
    let bytes = object_bytes(api, &change.object, change.revision, &watch.version, cache);
    Some(line(event, &bytes))
}

fn object_bytes(
    api: &Api,
    object: &Obj,
    revision: u64,
    version: &Arc<str>,
    cache: &mut BTreeMap<(u64, Arc<str>), Bytes>,
) -> Bytes {
    let key = (revision, Arc::clone(version));
    if let Some(bytes) = cache.get(&key) {
        return bytes.clone();
    }
    let is_stored_version = api.registry.resource(object.kind()).version == **version;
    let direct = if is_stored_version { object.to_vec() } else { None };
    let bytes = direct.unwrap_or_else(|| to_bytes(&object_json(api, object, version)));
    let bytes = Bytes::from(bytes);
    cache.insert(key, bytes.clone());
    if cache.len() > CACHE_MAX {
        cache.pop_first();
    }
    bytes
}

fn to_bytes(value: &Value) -> Vec<u8> {
    // A Value always serialises: its keys are strings.
    serde_json::to_vec(value).unwrap_or_default()
}

fn line(event: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + 40);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(event.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}

fn bookmark(api: &Api, watch: &Watch, revision: u64, ends_initial: bool) -> Bytes {
    let resource = api.registry.resource(watch.kind);
    let mut metadata =
        json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
    if ends_initial {
        metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    let object = json!({
        "kind": resource.kind,
        "apiVersion": api_version(&resource.group, &watch.version),
        "metadata": metadata,
    });
    line("BOOKMARK", &to_bytes(&object))
}

/// The one line of a watch that starts before the changes kept (`cacher.go:newErrWatcher`).
fn too_old(api: &Api, call: &Call<'_>, start: &Start) -> Bytes {
    let Start::After(wanted) = start else { return Bytes::new() };
    let oldest = api.revision();
    let message = format!("too old resource version: {wanted} ({oldest})");
    let status = Status::new(410, "Expired", message);
    let subject = Subject::new(&call.resource, None);
    line("ERROR", &to_bytes(&failure_json(&status, &subject)))
}

fn revision_of(object: &Obj) -> u64 {
    object.meta().resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}
