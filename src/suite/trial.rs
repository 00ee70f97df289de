//! A trial: one scenario on one cluster at one seed, and what it has seen so far.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Api, Client, ResourceExt as _};
use serde::Deserialize as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::base::ObjectRef;
use crate::engine::Engine;
use crate::k8s::matches_selector;
use crate::load::{Record, Served, Transport};
use crate::observe::{Moment, Requests, Timeline, What};
use crate::stack::Stack;
use crate::wait::Observer;

use super::http::Door;
use super::kills::Kills;
use super::pace::Pace;
use super::phase::Phase;
use super::stop::Stop;
use super::target::StackTarget;

/// What a scenario works with.
pub struct Trial {
    engine: Arc<dyn Engine>,
    client: Client,
    transport: Arc<dyn Transport>,
    stack: Arc<Stack>,
    target: StackTarget,
    started: Instant,
    phase: watch::Sender<Phase>,
    entry: OnceCell<Entry>,
    /// Pods of the front's namespace, once they are watched.
    pub(super) pods: RefCell<Option<Rc<Observer<Pod>>>>,
    pub(super) records: RefCell<Vec<Record>>,
    pub(super) kills: RefCell<Kills>,
    /// The losses of nodes that the trial has brought about.
    pub(super) lost_nodes: RefCell<Vec<Moment>>,
    cleanups: RefCell<Vec<LocalBoxFuture<'static, Result<(), Stop>>>>,
    counter: Cell<u64>,
    touched: Cell<bool>,
    pub(super) pace: Pace,
    /// How the front page was answered when a load first asked for it.
    pub(super) page: Cell<Option<Served>>,
}

/// Room for the numbers of one trial on a cluster that is shared by several.
const NUMBERS_PER_TRIAL: u64 = 1 << 20;

/// How the stack is reached, found once it is up.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub door: Door,
    /// A path that is answered with 200 at little cost.
    pub cheap_path: String,
    /// The path of a page that the program makes anew each time, as far as one is known.
    pub page_path: String,
}

impl Trial {
    /// A trial of `stack` on `engine`, starting now. On a cluster shared with other trials `nth`
    /// counts those before.
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        stack: Arc<Stack>,
        target: StackTarget,
        phase: watch::Sender<Phase>,
        nth: Option<u64>,
    ) -> Self {
        Trial {
            client: engine.client(),
            transport: engine.transport(),
            engine,
            stack,
            target,
            started: Instant::now(),
            phase,
            entry: OnceCell::new(),
            pods: RefCell::new(None),
            records: RefCell::new(Vec::new()),
            kills: RefCell::default(),
            lost_nodes: RefCell::default(),
            cleanups: RefCell::new(Vec::new()),
            // What one trial has named, the next must not name again.
            counter: Cell::new(nth.unwrap_or(0).wrapping_mul(NUMBERS_PER_TRIAL)),
            touched: Cell::new(false),
            pace: Pace::default(),
            page: Cell::new(None),
        }
    }

    /// The cluster.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// The control plane.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The data plane.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// The stack's manifests.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// What the stack is made of.
    pub fn target(&self) -> &StackTarget {
        &self.target
    }

    /// When the trial started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Milliseconds since the trial started.
    pub fn now_ms(&self) -> u64 {
        self.ms(Instant::now())
    }

    /// `at` in milliseconds since the trial started.
    pub fn ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// Tells the runner that the next phase begins.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// A number that no other caller gets in any trial on this cluster.
    pub fn unique(&self) -> u64 {
        let n = self.counter.get() + 1;
        self.counter.set(n);
        n
    }

    /// Remembers something to take back; run last-in first-out when the trial ends.
    pub fn defer(&self, undo: impl Future<Output = Result<(), Stop>> + 'static) {
        self.touch();
        self.cleanups.borrow_mut().push(Box::pin(undo));
    }

    /// Notes that something is done to the cluster.
    pub(super) fn touch(&self) {
        self.touched.set(true);
    }

    /// Whether anything was done to the cluster.
    pub(super) fn is_touched(&self) -> bool {
        self.touched.get()
    }

    /// A handle on the cluster that outlives the story.
    pub(super) fn engine_handle(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    /// Takes the next thing to take back.
    pub(super) fn next_cleanup(&self) -> Option<LocalBoxFuture<'static, Result<(), Stop>>> {
        self.cleanups.borrow_mut().pop()
    }

    pub(super) fn set_entry(&self, entry: Entry) {
        // Setup finds the entry once; a second find means the same stack.
        let _ = self.entry.set(entry);
    }

    /// The way in.
    ///
    /// # Errors
    /// Setup has not found one.
    pub fn door(&self) -> Result<&Door, String> {
        self.entry.get().map(|entry| &entry.door).ok_or_else(|| "no way in is known yet".into())
    }

    /// A path that is answered with 200 at little cost, as a static file is.
    pub fn cheap_path(&self) -> &str {
        self.entry.get().map_or("/", |entry| &entry.cheap_path)
    }

    /// The path of a page: the front page where that is answered with 200.
    pub fn page_path(&self) -> &str {
        self.entry.get().map_or("/", |entry| &entry.page_path)
    }

    /// The API of pods in the front's namespace.
    pub fn pods_api(&self) -> Api<Pod> {
        Api::namespaced(self.client(), &self.target.front.workload.namespace)
    }

    /// What happened to pods and nodes so far.
    pub fn timeline(&self) -> Timeline {
        self.timeline_of(|_| true)
    }

    /// What happened to pods of the front and to nodes so far: what requests depend on.
    pub fn front_timeline(&self) -> Timeline {
        self.timeline_of(self.is_of_front())
    }

    /// Tells pods of the front from others, as far as its manifest does.
    pub(super) fn is_of_front(&self) -> impl Fn(&Pod) -> bool + use<> {
        let manifest = self.stack.manifest(&self.target.front.workload.reference());
        let selector = manifest.and_then(|manifest| manifest.value.pointer("/spec/selector"));
        let selector = selector.and_then(|it| LabelSelector::deserialize(it).ok());
        move |pod| selector.as_ref().is_none_or(|it| matches_selector(it, pod.labels()))
    }

    fn timeline_of(&self, is_wanted: impl Fn(&Pod) -> bool) -> Timeline {
        let mut moments = Vec::new();
        let mut others = BTreeSet::new();
        if let Some(pods) = &*self.pods.borrow() {
            let mut last: Option<BTreeMap<ObjectRef, Arc<Pod>>> = None;
            pods.replay(|at, state| {
                let at_ms = self.ms(at);
                let state: BTreeMap<ObjectRef, Arc<Pod>> = state
                    .iter()
                    .filter(|(reference, pod)| {
                        let wanted = is_wanted(pod);
                        if !wanted {
                            others.insert((*reference).clone());
                        }
                        wanted
                    })
                    .map(|(reference, pod)| (reference.clone(), Arc::clone(pod)))
                    .collect();
                match &last {
                    None => {
                        state.values().for_each(|pod| moments.extend(Timeline::found(at_ms, pod)))
                    }
                    Some(last) => moments.extend(changes(at_ms, last, &state)),
                }
                last = Some(state);
            });
        }
        // Facts count from the start of the cluster, moments from that of the trial.
        let epoch = self.engine.epoch().unwrap_or(self.started);
        let earlier_ms = self.started.saturating_duration_since(epoch).as_millis();
        let earlier_ms = u64::try_from(earlier_ms).unwrap_or(u64::MAX);
        let facts = self.engine.facts();
        // Where the engine knows no facts, the trial knows what it did itself.
        let is_told = facts.iter().any(|fact| What::Fact(fact.what.clone()) == What::node_lost());
        if !is_told {
            moments.extend(self.lost_nodes.borrow().iter().cloned());
        }
        let facts = facts.into_iter();
        moments.extend(facts.filter(|fact| !others.contains(&fact.object)).filter_map(|fact| {
            Some(Moment {
                at_ms: fact.at_ms.checked_sub(earlier_ms)?,
                what: What::Fact(fact.what),
                object: fact.object,
            })
        }));
        Timeline::new(moments)
    }

    /// The requests of all loads so far.
    pub fn requests(&self) -> Option<Requests> {
        let records = self.records.borrow();
        (!records.is_empty()).then(|| Requests::from(&crate::load::Stats::of(&*records)))
    }
}

/// What happened between two states of the pods.
fn changes(
    at_ms: u64,
    old: &BTreeMap<ObjectRef, Arc<Pod>>,
    new: &BTreeMap<ObjectRef, Arc<Pod>>,
) -> Vec<Moment> {
    let mut moments = Vec::new();
    for (reference, pod) in new {
        let before = old.get(reference);
        if before.is_none_or(|before| !Arc::ptr_eq(before, pod)) {
            let before = before.map(|before| &**before);
            moments.extend(Timeline::pod_moments(at_ms, before, Some(pod)));
        }
    }
    for (_, pod) in old.iter().filter(|(reference, _)| !new.contains_key(*reference)) {
        moments.extend(Timeline::pod_moments(at_ms, Some(pod), None));
    }
    moments
}
