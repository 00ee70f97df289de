//! What a trial knows where the engine knows no more than a real one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tower::BoxError;

use super::*;
use crate::engine::sim::{self, ClusterSpec, SimEngine};
use crate::engine::{Capability, Engine, Fact, FrontDoor, NodeLifecycle};
use crate::k8s::Profile;
use crate::load::{Failure, Outcome, Record, Transport};
use crate::observe::{Moment, Verdict, What};
use crate::stack::Stack;
use crate::suite::discover::discover;
use crate::suite::{Phase, workers};

/// The simulator without its facts, and with an API that may be away.
struct Plain {
    sim: Arc<SimEngine>,
    is_away: Arc<AtomicBool>,
}

impl Engine for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn kubernetes(&self) -> String {
        self.sim.kubernetes()
    }

    fn capabilities(&self) -> &[Capability] {
        self.sim.capabilities()
    }

    fn client(&self) -> Client {
        let (client, is_away) = (self.sim.client(), Arc::clone(&self.is_away));
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (client, is_away) = (client.clone(), Arc::clone(&is_away));
            async move {
                if is_away.load(Ordering::Relaxed) {
                    return Err(BoxError::from("connection refused"));
                }
                Ok::<_, BoxError>(client.send(request).await?)
            }
        });
        Client::new(service, "default")
    }

    fn transport(&self) -> Arc<dyn Transport> {
        self.sim.transport()
    }

    fn front_door(&self) -> FrontDoor {
        self.sim.front_door()
    }

    fn nodes(&self) -> Option<&dyn NodeLifecycle> {
        self.sim.nodes()
    }

    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }
}

/// Runs `body` with a trial on an engine made of a simulated one.
fn with_trial<T>(
    engine: impl FnOnce(Arc<SimEngine>) -> Arc<dyn Engine>,
    body: impl AsyncFnOnce(Trial) -> T,
) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/wordpress");
    let stack = Stack::load(&folder, &Profile::NEWEST).unwrap_or_else(|error| panic!("{error}"));
    let stack = Arc::new(stack);
    let objects: Vec<_> =
        stack.objects().iter().map(|each| (each.object_ref.clone(), &each.value)).collect();
    let target = discover(&objects).unwrap_or_else(|_| panic!("a front"));
    let spec = ClusterSpec::new(Profile::NEWEST, 3);
    let run = sim::run(&spec, 1, async |sim| {
        let (phase, _phases) = watch::channel(Phase::Act);
        body(Trial::new(engine(sim), Arc::clone(&stack), target, phase, None)).await
    });
    run.expect("the runtime starts").value
}

fn plain(sim: Arc<SimEngine>, is_away: &Arc<AtomicBool>) -> Arc<dyn Engine> {
    Arc::new(Plain { sim, is_away: Arc::clone(is_away) })
}

#[test]
fn what_was_not_seen_makes_a_claim_inconclusive() {
    let is_away = Arc::new(AtomicBool::new(false));
    with_trial(
        |sim| plain(sim, &is_away),
        async |trial| {
            let scope = Scope::all(trial.pods_api());
            let observer = trial.observe(scope).await.expect("it answers");
            let seen = async || trial.seen_by(&observer, "nothing happens").await;
            assert!(seen().await.is_ok());
            is_away.store(true, Ordering::Relaxed);
            let stop = seen().await.expect_err("nobody knows");
            assert_eq!(stop.verdict, Verdict::Inconclusive, "{}", stop.message);
            assert!(stop.message.contains("was interrupted"), "{}", stop.message);
        },
    );
}

#[test]
fn a_node_that_the_trial_stops_is_lost_on_every_engine() {
    let is_away = Arc::new(AtomicBool::new(false));
    let lost = async |trial: Trial| {
        let nodes = workers(&trial).await.expect("nodes");
        let name = nodes[0].metadata.name.clone().expect("a name");
        trial.stop_node(&name).await.expect("it stops");
        let timeline = trial.timeline();
        let lost = timeline.moments().iter().filter(|moment| moment.what == What::node_lost());
        (name, lost.cloned().collect::<Vec<Moment>>())
    };
    for (name, moments) in
        [with_trial(|sim| sim as _, lost), with_trial(|sim| plain(sim, &is_away), lost)]
    {
        let [moment] = &moments[..] else { panic!("{moments:?}") };
        assert_eq!(moment.object.name, name);
    }
}

#[test]
fn what_this_machine_could_not_send_makes_a_claim_inconclusive() {
    with_trial(
        |sim| sim as _,
        async |trial| {
            let record = |outcome| {
                let (planned, started) = (Instant::now(), Instant::now());
                Record {
                    source: "GET",
                    planned,
                    started,
                    finished: started,
                    outcome,
                    backend: None,
                }
            };
            let mut records = vec![record(Outcome::Answered(200)); 200];
            assert!(trial.no_failures(&records, "a test").is_ok());
            records.push(record(Outcome::Failed(Failure::NotSent("no files left".into()))));
            let stop = trial.no_failures(&records, "a test").expect_err("not as planned");
            assert_eq!(stop.verdict, Verdict::Inconclusive, "{}", stop.message);
            assert!(
                stop.message.ends_with("but 1 were not sent: no files left"),
                "{}",
                stop.message
            );
            records.push(record(Outcome::Failed(Failure::Refused)));
            let stop = trial.no_failures(&records, "a test").expect_err("one failed");
            let causes: Vec<_> = stop.causes.iter().map(|cause| cause.count).collect();
            assert_eq!((stop.verdict, causes), (Verdict::Failed, vec![1]), "{}", stop.message);
        },
    );
}
