//! Sees every event of a scope, for claims that must hold at each of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::base::ObjectRef;

use super::watched::{Change, Object, Scope, Watched};

/// One event and when it was seen.
#[derive(Clone, Debug)]
pub struct Sighting<K> {
    /// When the observer learned of it.
    pub at: Instant,
    /// What it learned.
    pub change: Change<K>,
}

/// Watches a scope in the background. Dropping it ends the watch.
#[derive(Debug)]
pub struct Observer<K> {
    task: JoinHandle<()>,
    sightings: Arc<Mutex<Vec<Sighting<K>>>>,
}

impl<K: Object> Observer<K> {
    /// Starts watching; the objects that exist already are its first sightings.
    ///
    /// # Errors
    /// What the API answered to the first list.
    pub async fn start(scope: Scope<K>) -> Result<Self, kube::Error> {
        let mut watched = Watched::start(scope).await?;
        let first = Sighting { at: Instant::now(), change: Change::Listed(watched.objects()) };
        let sightings = Arc::new(Mutex::new(vec![first]));
        let shared = Arc::clone(&sightings);
        let task = tokio::spawn(async move {
            while let Ok(change) = watched.next().await {
                let sighting = Sighting { at: Instant::now(), change };
                shared.lock().unwrap_or_else(PoisonError::into_inner).push(sighting);
            }
        });
        Ok(Observer { task, sightings })
    }

    /// What was seen so far, in order.
    pub fn sightings(&self) -> Vec<Sighting<K>> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Plays the events back: `each` gets every state of the scope, in order, with its time.
    pub fn replay(&self, mut each: impl FnMut(Instant, &BTreeMap<ObjectRef, Arc<K>>)) {
        let mut state = BTreeMap::new();
        for sighting in self.sightings() {
            match sighting.change {
                Change::Applied(object) => {
                    state.insert(object.reference(), object);
                }
                Change::Deleted(object) => {
                    state.remove(&object.reference());
                }
                Change::Listed(objects) => {
                    state =
                        objects.into_iter().map(|object| (object.reference(), object)).collect();
                }
            }
            each(sighting.at, &state);
        }
    }

    /// Every object ever seen, in its last state.
    pub fn ever_seen(&self) -> BTreeMap<ObjectRef, Arc<K>> {
        let mut seen = BTreeMap::new();
        for sighting in self.sightings() {
            let objects = match sighting.change {
                Change::Applied(object) | Change::Deleted(object) => vec![object],
                Change::Listed(objects) => objects,
            };
            seen.extend(objects.into_iter().map(|object| (object.reference(), object)));
        }
        seen
    }
}

impl<K> Drop for Observer<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
