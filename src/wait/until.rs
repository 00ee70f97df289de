//! The one waiting loop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};

use crate::base::{millis, secs};

use super::board::Doing;
use super::chain::blocking_chain;
use super::condition::Condition;
use super::deadline::Deadline;
use super::error::{WaitError, api_failed};
use super::watched::{Change, Object, RELIST_PERIOD, RETRY, Scope, Watched, is_passing};

/// Pause between two tries of something that only an attempt can tell.
const TRY_PERIOD: Duration = millis(500);
/// Why a condition is unmet is asked for this long.
pub const EXPLAIN_LIMIT: Duration = secs(10);
/// Longest text of an object's status in an error.
const STATUS_CHARS: usize = 600;

/// Waits until the objects of `scope` meet `condition`; checks at once, on every watch event and
/// on every re-list. Returns the objects that met it.
///
/// # Errors
/// What was unmet at the deadline, and who blocks it; or why the API cannot be read, at once if it is for
/// good, and at the deadline if it may pass.
pub async fn until<K: Object>(
    scope: &Scope<K>,
    condition: &Condition<K>,
    deadline: Deadline,
) -> Result<Vec<Arc<K>>, WaitError> {
    let doing = Doing::begin(|| condition.name().to_owned());
    let expires = Instant::now() + deadline.within;
    let mut watched = Watched::new(scope.clone());
    let mut relist_at = Instant::now();
    let mut seen = Seen { unmet: None, objects: Vec::new(), last_change: None, trouble: None };
    loop {
        let is_listed = seen.unmet.is_some();
        let news = async {
            if is_listed {
                tokio::select! {
                    biased;
                    change = watched.next() => return change,
                    () = sleep_until(relist_at) => {}
                }
            }
            watched.relist().await?;
            relist_at = Instant::now() + RELIST_PERIOD;
            Ok(Change::Listed(watched.objects()))
        };
        let news = tokio::select! {
            biased;
            () = sleep_until(expires) => {
                seen.note_silence(&watched);
                return Err(timed_out(scope, condition, deadline, seen).await);
            }
            news = news => news,
        };
        match news {
            Ok(change) => {
                if let Some(text) = describe_change(&change) {
                    seen.last_change = Some((text, Instant::now()));
                }
                seen.trouble = None;
            }
            Err(error) if is_passing(&error) => {
                doing.detail(|| api_failed(&error));
                seen.trouble = Some(api_failed(&error));
                sleep_until(expires.min(Instant::now() + RETRY)).await;
                continue;
            }
            Err(error) => return Err(WaitError::api(condition.name(), &error)),
        }
        seen.objects = watched.objects();
        let Err(unmet) = condition.check(&seen.objects) else { return Ok(seen.objects) };
        doing.detail(|| unmet.clone());
        seen.unmet = Some(unmet);
    }
}

/// Tries until `attempt` gives a value: for what no object shows, as in "the front page answers".
/// `Err` of an attempt says what was seen instead.
///
/// # Errors
/// What the last attempt saw.
pub async fn until_ok<T, F>(
    expected: &str,
    deadline: Deadline,
    mut attempt: impl FnMut() -> F,
) -> Result<T, WaitError>
where
    F: Future<Output = Result<T, String>>,
{
    let doing = Doing::begin(|| expected.to_owned());
    let expires = Instant::now() + deadline.within;
    loop {
        let unmet = match attempt().await {
            Ok(value) => return Ok(value),
            Err(unmet) => unmet,
        };
        doing.detail(|| unmet.clone());
        if Instant::now() + TRY_PERIOD > expires {
            return Err(WaitError {
                expected: expected.to_owned(),
                unmet,
                deadline: Some(deadline),
                trouble: None,
                last_object: None,
                last_change: None,
                chain: Vec::new(),
            });
        }
        tokio::time::sleep(TRY_PERIOD).await;
    }
}

struct Seen<K> {
    /// What is unmet, once anything was listed.
    unmet: Option<String>,
    objects: Vec<Arc<K>>,
    last_change: Option<(String, Instant)>,
    /// What kept the API from being read when it was last tried.
    trouble: Option<String>,
}

impl<K: Object> Seen<K> {
    /// The end: an API that is silent is trouble; what went wrong before it was seen again is none.
    fn note_silence(&mut self, watched: &Watched<K>) {
        if !watched.is_blind() {
            self.trouble = None;
        }
        let silence = || match watched.blind_for() {
            Some(silent) => Some(format!("the API did not answer for {} s", silent.as_secs())),
            None => self.unmet.is_none().then(|| "the API did not answer in time".to_owned()),
        };
        self.trouble = self.trouble.take().or_else(silence);
    }
}

async fn timed_out<K: Object>(
    scope: &Scope<K>,
    condition: &Condition<K>,
    deadline: Deadline,
    seen: Seen<K>,
) -> WaitError {
    let now = Instant::now();
    let explained = async {
        match scope.api().namespace() {
            Some(namespace) => blocking_chain(&scope.api().clone().into_client(), namespace).await,
            None => Vec::new(),
        }
    };
    let chain = timeout(EXPLAIN_LIMIT, explained).await;
    let chain = chain.unwrap_or_else(|_| vec!["the API did not tell in time".to_owned()]);
    WaitError {
        expected: condition.name().to_owned(),
        unmet: seen.unmet.unwrap_or_else(|| "nothing of it".to_owned()),
        deadline: Some(deadline),
        trouble: seen.trouble,
        last_object: seen.objects.last().map(|object| describe_object(&**object)),
        last_change: seen.last_change.map(|(text, at)| (text, now - at)),
        chain,
    }
}

fn describe_change<K: Object>(change: &Change<K>) -> Option<String> {
    match change {
        Change::Applied(object) => {
            let version = object.meta().resource_version.as_deref().unwrap_or("?");
            Some(format!("{} (version {version})", object.reference()))
        }
        Change::Deleted(object) => Some(format!("{} was removed", object.reference())),
        Change::Listed(_) => None,
    }
}

/// A status as people read it: what is counted or named, and each condition with why it is not true.
fn in_words(status: &Value) -> String {
    let Value::Object(fields) = status else { return status.to_string() };
    let plain = fields.iter().filter_map(|(name, value)| match value {
        Value::String(text) => Some(format!("{name} {text}")),
        Value::Number(_) | Value::Bool(_) => Some(format!("{name} {value}")),
        _ => None,
    });
    let conditions = fields.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let conditions = conditions.map(|condition| {
        let text = |field: &str| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        match text("status") {
            "True" => text("type").to_owned(),
            _ => format!("not {} ({}: {})", text("type"), text("reason"), text("message")),
        }
    });
    plain.chain(conditions).collect::<Vec<_>>().join(", ")
}

/// The object and its status, shortened.
fn describe_object<K: Object>(object: &K) -> String {
    let status = serde_json::to_value(object)
        .ok()
        .and_then(|value| value.get("status").map(in_words))
        .unwrap_or_else(|| "no status".to_owned());
    let shortened: String = status.chars().take(STATUS_CHARS).collect();
    let more = if shortened.len() < status.len() { "..." } else { "" };
    format!("{}: {shortened}{more}", object.reference())
}
