//! Provision without a cluster: what is left when bringing one up does not come to its end.

use std::path::PathBuf;

use super::*;
use crate::engine::host::Thing;
use crate::engine::host::signals::Interrupt;
use crate::engine::host::testing::FakeTools;

/// A workshop whose engine has nothing, and a lease with one file that exists.
struct Scene {
    tools: FakeTools,
    workshop: Workshop,
    lease: Lease,
    file: PathBuf,
}

impl Scene {
    fn new(signals: Option<Signals>) -> Self {
        let tools = FakeTools::new();
        let paths = Paths::below(&tools.folder().join("home"));
        let lease = Lease::take(&paths.leases(), "run-1", "run").expect("taken");
        let file = paths.cluster("st-1");
        lease.will_make(Thing::Path { path: file.clone() }).expect("written");
        std::fs::create_dir_all(&file).expect("made");
        let programs = tools.programs();
        let workshop = Workshop { paths, programs, signals, tell: Arc::new(|_| ()) };
        Scene { tools, workshop, lease, file }
    }

    fn assert_nothing_left(&self) {
        assert!(!self.file.exists());
        let leases = std::fs::read_dir(self.workshop.paths.leases()).expect("readable");
        assert_eq!(leases.count(), 0, "in {}", self.tools.folder().display());
    }
}

#[tokio::test]
async fn a_panic_while_a_cluster_is_brought_up_leaves_nothing() {
    let place = Scene::new(None);
    let making = async { if place.file.exists() { panic!("a bug") } else { Ok(()) } };
    let ended = AssertUnwindSafe(or_nothing(&place.workshop, &place.lease, making));
    ended.catch_unwind().await.expect_err("the panic goes on");
    place.assert_nothing_left();
}

#[tokio::test]
async fn a_signal_before_anything_is_made_ends_the_wait() {
    let (signals, hand) = Signals::by_hand();
    let place = Scene::new(Some(signals));
    let waiting = async {
        hand.interrupt(Interrupt::Term);
        std::future::pending::<()>().await
    };
    let error = unless_interrupted(&place.workshop, waiting).await.expect_err("interrupted");
    assert!(error.to_string().contains("nothing was made"), "{error}");
    unless_interrupted(&place.workshop, async {}).await.expect_err("it is over");
    unless_interrupted(&Scene::new(None).workshop, async {}).await.expect("nobody asks for an end");
}

#[tokio::test]
async fn a_signal_while_a_cluster_is_brought_up_leaves_nothing() {
    let (signals, hand) = Signals::by_hand();
    let place = Scene::new(Some(signals));
    let making = async {
        hand.interrupt(Interrupt::Int);
        std::future::pending::<Result<(), Error>>().await
    };
    let error = or_nothing(&place.workshop, &place.lease, making).await.expect_err("interrupted");
    assert!(error.to_string().contains("interrupted"), "{error}");
    place.assert_nothing_left();
}

#[tokio::test]
async fn what_came_up_stays() {
    let place = Scene::new(None);
    or_nothing(&place.workshop, &place.lease, async { Ok(()) }).await.expect("it came up");
    assert!(place.file.exists());
}
