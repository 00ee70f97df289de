//! Sees every event of a scope, for claims that must hold at each of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::base::{ObjectRef, millis, secs};

use super::sight::Sight;
use super::watched::{Change, Object, RELIST_PERIOD, RETRY, Scope, Watched};

/// A watch that works tells of what a list shows within this time.
const TOLD_WITHIN: Duration = secs(3);
/// Pause between two looks at what it has told.
const LOOK_PERIOD: Duration = millis(100);
/// An API that does not answer a list within this time does not answer.
const CONFIRM_LIMIT: Duration = secs(10);

/// One event and when it was seen.
#[derive(Clone, Debug)]
pub struct Sighting<K> {
    /// When the observer learned of it.
    pub at: Instant,
    /// What it learned.
    pub change: Change<K>,
}

/// Whether a watch can be taken at its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It may lose events without a word, or be open at one end alone: it is checked against lists.
    Checked,
    /// It tells of everything.
    Full,
}

/// Watches a scope in the background, whatever the API does meanwhile. Dropping it ends the watch.
#[derive(Debug)]
pub struct Observer<K> {
    task: JoinHandle<()>,
    started: Instant,
    trust: Trust,
    shared: Arc<Shared<K>>,
}

#[derive(Debug)]
struct Shared<K> {
    scope: Scope<K>,
    sight: Sight,
    sightings: Mutex<Vec<Sighting<K>>>,
    /// Up to here a list has shown nothing that the watch had not told of.
    confirmed: Mutex<Instant>,
}

impl<K: Object> Observer<K> {
    /// Starts watching; the objects that exist already are its first sightings.
    ///
    /// # Errors
    /// What the API answered to the first list.
    pub async fn start(scope: Scope<K>, trust: Trust) -> Result<Self, kube::Error> {
        let asked = Instant::now();
        let watched = Watched::start(scope.clone()).await?;
        // How long the first list took is no gap in what came after it.
        let started = Instant::now();
        let first = Sighting { at: started, change: Change::Listed(watched.objects()) };
        let shared = Arc::new(Shared {
            scope,
            sight: watched.sight(),
            sightings: Mutex::new(vec![first]),
            confirmed: Mutex::new(asked),
        });
        let task = tokio::spawn(observe(watched, Arc::clone(&shared), trust));
        Ok(Observer { task, started, trust, shared })
    }

    /// What was seen so far, in order.
    pub fn sightings(&self) -> Vec<Sighting<K>> {
        self.shared.sightings().clone()
    }

    /// When it began to watch: what there was then is its first sighting.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Makes sure that what there is by now has been seen; what has not is a gap.
    pub async fn confirm(&self) {
        if self.trust == Trust::Full {
            return;
        }
        let told = async {
            loop {
                match self.shared.has_told().await {
                    Ok(told) => return told,
                    Err(_) => sleep(RETRY).await,
                }
            }
        };
        if !timeout(CONFIRM_LIMIT, told).await.unwrap_or(false) {
            self.shared.missed();
        }
    }

    /// How long the last time was that ended after `from` and in which it did not see what went on.
    pub fn interrupted(&self, from: Instant) -> Option<Duration> {
        self.shared.sight.gap_after(from)
    }

    /// Plays the events back: `each` gets every state of the scope, in order, with its time.
    pub fn replay(&self, mut each: impl FnMut(Instant, &BTreeMap<ObjectRef, Arc<K>>)) {
        let mut state = BTreeMap::new();
        for sighting in self.sightings() {
            play(&mut state, &sighting.change);
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

/// Sees what happens until the task is ended.
async fn observe<K: Object>(mut watched: Watched<K>, shared: Arc<Shared<K>>, trust: Trust) {
    loop {
        let doubt = async {
            match trust {
                Trust::Full => std::future::pending().await,
                Trust::Checked => shared.until_something_is_missed().await,
            }
        };
        let mut doubt = std::pin::pin!(doubt);
        let missed = loop {
            tokio::select! {
                biased;
                change = watched.next() => match change {
                    Ok(Change::Listed(objects)) => shared.see_list(objects),
                    Ok(change) => shared.see(change),
                    Err(_) => break false,
                },
                () = &mut doubt => break true,
            }
        };
        if missed {
            shared.missed();
            if watched.relist().await.is_ok() {
                shared.see(Change::Listed(watched.objects()));
                continue;
            }
        }
        sleep(RETRY).await;
    }
}

impl<K: Object> Shared<K> {
    fn sightings(&self) -> MutexGuard<'_, Vec<Sighting<K>>> {
        self.sightings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn confirmed(&self) -> MutexGuard<'_, Instant> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, change: Change<K>) {
        self.sightings().push(Sighting { at: Instant::now(), change });
    }

    /// Takes over a list made because the watch could not go on; what it shows that was not told of is
    /// the end of what went unseen.
    fn see_list(&self, objects: Vec<Arc<K>>) {
        let (told, _) = self.told();
        let is_told = |object: &Arc<K>| {
            let known = told.get(&object.reference());
            known.is_some_and(|known| {
                known.meta().resource_version == object.meta().resource_version
            })
        };
        if objects.len() != told.len() || !objects.iter().all(is_told) {
            self.missed();
            self.see(Change::Listed(objects));
        }
    }

    fn missed(&self) {
        self.sight.missed(*self.confirmed());
    }

    /// Lists again and again; returns when a list shows what the watch does not tell of.
    async fn until_something_is_missed(&self) {
        loop {
            sleep(RELIST_PERIOD).await;
            // An API that does not answer shows nothing; the next list will.
            if let Ok(false) = self.has_told().await {
                return;
            }
        }
    }

    /// Whether the watch tells of all that a list shows.
    async fn has_told(&self) -> Result<bool, kube::Error> {
        let (at, (before, _)) = (Instant::now(), self.told());
        let listed = self.scope.list().await?;
        let told = async {
            while !covers(&self.told(), &before, &listed) {
                sleep(LOOK_PERIOD).await;
            }
        };
        let in_time = timeout(TOLD_WITHIN, told).await.is_ok();
        if in_time {
            *self.confirmed() = at;
        }
        Ok(in_time)
    }

    /// The objects as told, and the newest version of any.
    fn told(&self) -> (BTreeMap<ObjectRef, Arc<K>>, u64) {
        let (mut state, mut newest) = (BTreeMap::new(), 0);
        for sighting in self.sightings().iter() {
            play(&mut state, &sighting.change);
            let objects: &[Arc<K>] = match &sighting.change {
                Change::Applied(object) | Change::Deleted(object) => std::slice::from_ref(object),
                Change::Listed(objects) => objects,
            };
            newest = objects.iter().map(|object| version(&**object)).fold(newest, u64::max);
        }
        (state, newest)
    }
}

fn play<K: Object>(state: &mut BTreeMap<ObjectRef, Arc<K>>, change: &Change<K>) {
    match change {
        Change::Applied(object) => {
            state.insert(object.reference(), Arc::clone(object));
        }
        Change::Deleted(object) => {
            state.remove(&object.reference());
        }
        Change::Listed(objects) => {
            *state =
                objects.iter().map(|object| (object.reference(), Arc::clone(object))).collect();
        }
    }
}

/// Whether what was `told` is no older than `listed`; `before` was told when it was listed.
fn covers<K: Object>(
    (told, newest): &(BTreeMap<ObjectRef, Arc<K>>, u64),
    before: &BTreeMap<ObjectRef, Arc<K>>,
    listed: &[Arc<K>],
) -> bool {
    let knows = |object: &Arc<K>| {
        // One that is not there any more was told of if something later was.
        let known = told.get(&object.reference()).map_or(*newest, |known| version(&**known));
        known >= version(&**object)
    };
    let uid = |object: &Arc<K>| object.meta().uid.clone();
    let is_listed = |object: &Arc<K>| listed.iter().any(|other| uid(other) == uid(object));
    let mut gone = before.iter().filter(|(_, object)| !is_listed(object));
    listed.iter().all(knows)
        && gone.all(|(name, object)| told.get(name).is_none_or(|now| uid(now) != uid(object)))
}

/// Versions of one kind grow with every change.
fn version<K: Object>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}
