//! The one waiting loop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::base::millis;

use super::board::Doing;
use super::chain::blocking_chain;
use super::condition::Condition;
use super::deadline::Deadline;
use super::error::WaitError;
use super::watched::{Change, Object, RELIST_PERIOD, Scope, Watched};

/// Pause between two tries of something that only an attempt can tell.
const TRY_PERIOD: Duration = millis(500);
/// Longest text of an object's status in an error.
const STATUS_CHARS: usize = 600;

/// Waits until the objects of `scope` meet `condition`; checks at once, on every watch event and
/// on every re-list. Returns the objects that met it.
///
/// # Errors
/// What was unmet at the deadline, and who blocks it.
pub async fn until<K: Object>(
    scope: &Scope<K>,
    condition: &Condition<K>,
    deadline: Deadline,
) -> Result<Vec<Arc<K>>, WaitError> {
    let api_error = |error: kube::Error| WaitError::api(condition.name(), &error);
    let doing = Doing::begin(|| condition.name().to_owned());
    let expires = Instant::now() + deadline.within;
    let mut watched = Watched::start(scope.clone()).await.map_err(api_error)?;
    let mut relist_at = Instant::now() + RELIST_PERIOD;
    let mut last_change = None;
    loop {
        let objects = watched.objects();
        let Err(unmet) = condition.check(&objects) else { return Ok(objects) };
        doing.detail(|| unmet.clone());
        tokio::select! {
            biased;
            () = sleep_until(expires) => {
                let seen = Unmet { unmet, objects, last_change };
                return Err(timed_out(scope, condition, deadline, seen).await);
            }
            change = watched.next() => {
                if let Some(text) = describe_change(&change.map_err(api_error)?) {
                    last_change = Some((text, Instant::now()));
                }
            }
            () = sleep_until(relist_at) => {
                watched.relist().await.map_err(api_error)?;
                relist_at = Instant::now() + RELIST_PERIOD;
            }
        }
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
                last_object: None,
                last_change: None,
                chain: Vec::new(),
            });
        }
        tokio::time::sleep(TRY_PERIOD).await;
    }
}

struct Unmet<K> {
    unmet: String,
    objects: Vec<Arc<K>>,
    last_change: Option<(String, Instant)>,
}

async fn timed_out<K: Object>(
    scope: &Scope<K>,
    condition: &Condition<K>,
    deadline: Deadline,
    seen: Unmet<K>,
) -> WaitError {
    let chain = match scope.api().namespace() {
        Some(namespace) => blocking_chain(&scope.api().clone().into_client(), namespace).await,
        None => Vec::new(),
    };
    let now = Instant::now();
    WaitError {
        expected: condition.name().to_owned(),
        unmet: seen.unmet,
        deadline: Some(deadline),
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

/// The object and its status, shortened.
fn describe_object<K: Object>(object: &K) -> String {
    let status = serde_json::to_value(object)
        .ok()
        .and_then(|value| value.get("status").map(ToString::to_string))
        .unwrap_or_else(|| "no status".to_owned());
    let shortened: String = status.chars().take(STATUS_CHARS).collect();
    let more = if shortened.len() < status.len() { "..." } else { "" };
    format!("{} {shortened}{more}", object.reference())
}
