//! A list kept current by a watch.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, sleep_until};

use crate::base::{ObjectRef, secs};

use super::sight::Sight;

/// A watch can lose events without a word; everything is listed again this often.
pub(super) const RELIST_PERIOD: Duration = secs(30);
/// Pause before what failed for a passing reason is tried again; the least time between two watches.
pub(super) const RETRY: Duration = secs(1);
/// Tries of the first list before the error is handed on.
const MAX_TRIES: usize = 5;

/// What the kinds have in common that can be waited for.
pub trait Object:
    kube::Resource<DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its reference.
    fn reference(&self) -> ObjectRef {
        let meta = self.meta();
        ObjectRef::new(
            Self::kind(&()),
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        )
    }
}

impl<K> Object for K where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// Which objects to look at.
#[derive(Clone, Debug)]
pub struct Scope<K> {
    api: Api<K>,
    labels: Option<String>,
    fields: Option<String>,
}

impl<K: Object> Scope<K> {
    /// All objects behind `api`.
    pub fn all(api: Api<K>) -> Self {
        Scope { api, labels: None, fields: None }
    }

    /// The object called `name`.
    pub fn named(api: Api<K>, name: &str) -> Self {
        Scope { api, labels: None, fields: Some(format!("metadata.name={name}")) }
    }

    /// The objects that match a label selector.
    pub fn labelled(api: Api<K>, selector: impl Into<String>) -> Self {
        Scope { api, labels: Some(selector.into()), fields: None }
    }

    /// The API it reads.
    pub fn api(&self) -> &Api<K> {
        &self.api
    }

    fn list_params(&self) -> ListParams {
        ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..ListParams::default()
        }
    }

    fn watch_params(&self) -> WatchParams {
        WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            ..WatchParams::default()
        }
    }

    /// The objects now, ordered by namespace and name.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn list(&self) -> Result<Vec<Arc<K>>, kube::Error> {
        let list = self.api.list(&self.list_params()).await?;
        let mut objects: Vec<_> = list.items.into_iter().map(Arc::new).collect();
        objects.sort_by_cached_key(|object| key(&**object));
        Ok(objects)
    }
}

/// What a watch has told.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// The object is new or has changed.
    Applied(Arc<K>),
    /// The object is gone; its last state.
    Deleted(Arc<K>),
    /// Everything was listed (again): all objects; changes before may have gone unseen.
    Listed(Vec<Arc<K>>),
}

type Key = (String, String);

fn key<K: Object>(object: &K) -> Key {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// The objects of a scope, kept current.
pub struct Watched<K> {
    scope: Scope<K>,
    objects: BTreeMap<Key, Arc<K>>,
    version: String,
    stream: Option<BoxStream<'static, Result<WatchEvent<K>, kube::Error>>>,
    /// When a watch was asked for last.
    asked: Option<Instant>,
    sight: Sight,
}

impl<K: Object> Watched<K> {
    /// Nothing is known yet, and nothing asked.
    pub fn new(scope: Scope<K>) -> Self {
        Watched {
            scope,
            objects: BTreeMap::new(),
            version: String::new(),
            stream: None,
            asked: None,
            sight: Sight::default(),
        }
    }

    /// Lists the scope; the watch continues from there.
    ///
    /// # Errors
    /// What the API answered, after several tries where trying again can help.
    pub async fn start(scope: Scope<K>) -> Result<Self, kube::Error> {
        let mut watched = Watched::new(scope);
        for _ in 1..MAX_TRIES {
            match watched.relist().await {
                Ok(()) => return Ok(watched),
                Err(error) if is_passing(&error) => sleep(RETRY).await,
                Err(error) => return Err(error),
            }
        }
        watched.relist().await.map(|()| watched)
    }

    /// The objects as last seen, ordered by namespace and name.
    pub fn objects(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    /// When it saw nothing.
    pub(super) fn sight(&self) -> Sight {
        self.sight.clone()
    }

    /// Whether it sees nothing now.
    pub(super) fn is_blind(&self) -> bool {
        self.sight.is_lost()
    }

    /// Since when the API has not answered, if it is long.
    pub(super) fn blind_for(&self) -> Option<Duration> {
        self.sight.gap()
    }

    /// Lists everything again.
    ///
    /// # Errors
    /// What the API answered.
    pub async fn relist(&mut self) -> Result<(), kube::Error> {
        self.sight.lose();
        let list = match self.scope.api.list(&self.scope.list_params()).await {
            Ok(list) => list,
            Err(error) => {
                // A watch that is open still may be so at this end alone; the next is resumed from here.
                self.stream = None;
                return Err(error);
            }
        };
        self.sight.regain();
        self.stream = None;
        self.version = list.metadata.resource_version.unwrap_or_default();
        self.objects =
            list.items.into_iter().map(|object| (key(&object), Arc::new(object))).collect();
        Ok(())
    }

    /// Waits for the next change and takes it over. Safe to drop half-way, and to call again after an
    /// error.
    ///
    /// # Errors
    /// What the API answered when the watch could not be resumed.
    pub async fn next(&mut self) -> Result<Change<K>, kube::Error> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    self.sight.lose();
                    // One that is refused or ends at once would be asked for without a pause.
                    if let Some(asked) = self.asked {
                        sleep_until(asked + RETRY).await;
                    }
                    self.asked = Some(Instant::now());
                    let params = self.scope.watch_params();
                    match self.scope.api.watch(&params, &self.version).await {
                        Ok(stream) => {
                            self.sight.regain();
                            self.stream.insert(stream.boxed())
                        }
                        Err(_) => {
                            self.relist().await?;
                            return Ok(Change::Listed(self.objects()));
                        }
                    }
                }
            };
            match stream.next().await {
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    return Ok(Change::Applied(self.take_over(object)));
                }
                Some(Ok(WatchEvent::Deleted(object))) => {
                    self.note_version(&object);
                    self.objects.remove(&key(&object));
                    return Ok(Change::Deleted(Arc::new(object)));
                }
                Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                    self.version = bookmark.metadata.resource_version;
                }
                // The server closes watches after a while, and connections break: resumed from the
                // version seen last, the next one tells what happened meanwhile. A list would not.
                None | Some(Err(kube::Error::ReadEvents(_))) => self.stream = None,
                Some(Ok(WatchEvent::Error(_)) | Err(_)) => {
                    self.sight.lose();
                    self.stream = None;
                    self.relist().await?;
                    return Ok(Change::Listed(self.objects()));
                }
            }
        }
    }

    fn take_over(&mut self, object: K) -> Arc<K> {
        self.note_version(&object);
        let object = Arc::new(object);
        self.objects.insert(key(&*object), Arc::clone(&object));
        object
    }

    fn note_version(&mut self, object: &K) {
        if let Some(version) = &object.meta().resource_version {
            self.version.clone_from(version);
        }
    }
}

/// Whether trying again may help: the server is busy or briefly away.
pub(super) fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || status.code >= 500 || status.code == 410,
        kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}
