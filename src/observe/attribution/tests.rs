//! Attribution of single requests to what a timeline says.

use std::time::Duration;

use super::*;

fn pod(name: &str) -> ObjectRef {
    ObjectRef::new("Pod", "web", name)
}

fn record(start: Instant, at_ms: u64, outcome: Outcome, state: Option<BackendState>) -> Record {
    let at = start + Duration::from_millis(at_ms);
    let backend = state.map(|state| Backend { object: pod("a"), state });
    Record { source: "GET", planned: at, started: at, finished: at, outcome, backend }
}

fn moment(at_ms: u64, what: What) -> Moment {
    Moment { at_ms, what, object: pod("a") }
}

#[tokio::test(start_paused = true)]
async fn the_state_of_the_pod_decides_where_it_is_known() {
    let start = Instant::now();
    let refused = || Outcome::Failed(Failure::Refused);
    let records = [
        record(start, 10, refused(), Some(BackendState::NotListening)),
        record(start, 20, refused(), Some(BackendState::NotListening)),
        record(start, 30, refused(), Some(BackendState::Terminating)),
        record(start, 40, Outcome::Answered(200), Some(BackendState::Serving)),
    ];
    let causes = attribute(&records, start, &Timeline::default(), &[]);
    let classes: Vec<_> = causes.iter().map(|cause| (cause.class, cause.count)).collect();
    assert_eq!(classes, [(CauseClass::EarlyTraffic, 2), (CauseClass::TerminationRace, 1)]);
    assert_eq!((causes[0].at_ms, causes[0].object.clone()), (10, Some(pod("a"))));
}

#[tokio::test(start_paused = true)]
async fn a_cut_at_the_end_of_the_grace_is_told_from_a_race() {
    let start = Instant::now();
    let cut = || Outcome::Failed(Failure::Reset);
    let records = [
        record(start, 30_000, cut(), Some(BackendState::Terminating)),
        record(start, 5_000, cut(), Some(BackendState::Terminating)),
    ];
    let timeline = Timeline::new(vec![moment(30_010, What::Fact("Killed".into()))]);
    let mut classes: Vec<_> =
        attribute(&records, start, &timeline, &[]).iter().map(|cause| cause.class).collect();
    classes.sort();
    assert_eq!(classes, [CauseClass::TerminationRace, CauseClass::CutInFlight]);
}

#[tokio::test(start_paused = true)]
async fn a_ready_pod_that_refuses_is_early_and_where_none_is_ready_there_is_no_endpoint() {
    let start = Instant::now();
    let refused = || Outcome::Failed(Failure::Refused);
    let class = |at_ms: u64, what: Option<What>| {
        let mut moments = vec![moment(0, What::Created), moment(1_000, What::Ready)];
        moments.extend(what.map(|what| moment(20_000, what)));
        let records = [record(start, at_ms, refused(), None)];
        attribute(&records, start, &Timeline::new(moments), &[])[0].class
    };
    assert_eq!(class(30_000, None), CauseClass::EarlyTraffic, "it starts slowly");
    assert_eq!(class(30_000, Some(What::NotReady)), CauseClass::NoEndpoint);
    assert_eq!(class(90_000, None), CauseClass::NoEndpoint, "not by its start any more");
}

#[tokio::test(start_paused = true)]
async fn without_a_state_the_youngest_hazard_decides() {
    let start = Instant::now();
    let bad_gateway = || Outcome::ServerError(502);
    let timeline = Timeline::new(vec![moment(20_000, What::Ready), moment(1_000, What::Deleted)]);
    let class = |at_ms| {
        attribute(&[record(start, at_ms, bad_gateway(), None)], start, &timeline, &[])[0].class
    };
    assert_eq!(class(3_000), CauseClass::TerminationRace);
    // A pod that was made for another that ends, and is not ready yet, gets nothing.
    let replaced = |ready_ms| {
        let b = |at_ms, what| Moment { object: pod("b"), ..moment(at_ms, what) };
        let moments =
            vec![moment(1_000, What::Deleted), b(1_010, What::Created), b(ready_ms, What::Ready)];
        let records = [record(start, 1_200, bad_gateway(), None)];
        attribute(&records, start, &Timeline::new(moments), &[])[0].class
    };
    assert_eq!(replaced(9_000), CauseClass::TerminationRace);
    assert_eq!(replaced(1_100), CauseClass::EarlyTraffic);
    assert_eq!(class(21_000), CauseClass::EarlyTraffic);
    assert_eq!(class(90_000), CauseClass::Unattributed);
}
#[tokio::test(start_paused = true)]
async fn a_cut_before_a_container_is_told_to_be_out_of_memory_is_its_doing() {
    let start = Instant::now();
    // A pod deleted meanwhile explains it less well.
    let timeline =
        Timeline::new(vec![moment(1_000, What::Deleted), moment(9_000, What::OutOfMemory)]);
    let class = |at_ms, failure| {
        let records = [record(start, at_ms, Outcome::Failed(failure), None)];
        attribute(&records, start, &timeline, &[])[0].class
    };
    assert_eq!(class(7_500, Failure::Reset), CauseClass::OutOfMemory);
    assert_eq!(class(8_500, Failure::Refused), CauseClass::OutOfMemory);
    assert_eq!(class(8_500, Failure::ResponseTimeout), CauseClass::TooSlow);
    assert_eq!(class(20_000, Failure::Reset), CauseClass::TerminationRace);
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ended_for_its_memory_has_not_crashed() {
    let start = Instant::now();
    let fact = |at_ms, what: &str| moment(at_ms, What::Fact(what.into()));
    let timeline = Timeline::new(vec![
        fact(1_000, "OomKilled"),
        fact(5_000, "OomKilled"),
        fact(5_000, "Exited"),
        fact(9_000, "Exited"),
    ]);
    let class = |at_ms, state, failure| {
        let records = [record(start, at_ms, Outcome::Failed(failure), Some(state))];
        attribute(&records, start, &timeline, &[])[0].class
    };
    let (crashed, ends) = (BackendState::Crashed, BackendState::Terminating);
    assert_eq!(class(5_010, crashed, Failure::Reset), CauseClass::OutOfMemory);
    assert_eq!(class(7_000, crashed, Failure::Refused), CauseClass::OutOfMemory);
    assert_eq!(class(9_500, crashed, Failure::Refused), CauseClass::Crashed);
    // One program of the pod is killed while the others serve to their end.
    assert_eq!(class(1_010, ends, Failure::Reset), CauseClass::OutOfMemory);
    assert_eq!(class(1_010, ends, Failure::Refused), CauseClass::TerminationRace);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_serves_there_is_no_endpoint_whoever_was_deleted() {
    let start = Instant::now();
    let b = |at_ms, what| Moment { object: pod("b"), ..moment(at_ms, what) };
    let class = |moments: Vec<Moment>, at_ms| {
        let records = [record(start, at_ms, Outcome::ServerError(503), None)];
        attribute(&records, start, &Timeline::new(moments), &[])[0].class
    };
    let recreated = || vec![moment(0, What::Found), moment(20_000, What::Deleted)];
    assert_eq!(class(recreated(), 22_000), CauseClass::NoEndpoint);
    let replaced = || [recreated(), vec![b(19_000, What::Ready)]].concat();
    assert_eq!(class(replaced(), 22_000), CauseClass::TerminationRace);
    // A proxy takes a while to take in the new one.
    let late = || [recreated(), vec![b(30_000, What::Ready)]].concat();
    assert_eq!(class(late(), 33_000), CauseClass::NoEndpoint);
    assert_eq!(class(vec![moment(0, What::Found)], 1_000), CauseClass::NoEndpoint, "no rule");
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_race_only_where_a_pod_had_vanished() {
    let start = Instant::now();
    let class = |gone_ms, at_ms| {
        let timed_out = Outcome::Failed(Failure::ResponseTimeout);
        let timeline = Timeline::new(vec![
            moment(1_000, What::Ready),
            moment(5_000, What::Deleted),
            moment(gone_ms, What::Gone),
        ]);
        attribute(&[record(start, at_ms, timed_out, None)], start, &timeline, &[])[0].class
    };
    assert_eq!(class(6_500, 7_000), CauseClass::TerminationRace);
    assert_eq!(class(27_000, 7_000), CauseClass::TooSlow, "it serves through its preStop");
    assert_eq!(class(27_000, 28_000), CauseClass::TooSlow, "the proxies had dropped it");
    assert_eq!(class(27_000, 2_000), CauseClass::TooSlow, "not for its youth either");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_there_before_is_not_young() {
    let start = Instant::now();
    let class = |what| {
        let records = [record(start, 4_000, Outcome::Failed(Failure::Refused), None)];
        attribute(&records, start, &Timeline::new(vec![moment(3_000, what)]), &[])[0].class
    };
    assert_eq!(class(What::Ready), CauseClass::EarlyTraffic);
    assert_eq!(class(What::Found), CauseClass::NoEndpoint);
}

#[tokio::test(start_paused = true)]
async fn processes_killed_for_memory_explain_as_many_cuts() {
    let start = Instant::now();
    let cut = |at_ms| record(start, at_ms, Outcome::ServerError(502), None);
    let timeline = Timeline::new(vec![moment(1_000, What::Deleted)]);
    let class_of = |records: &[Record], from_ms, to_ms| {
        let kill = Kill { pod: pod("b"), from_ms, to_ms };
        attribute(records, start, &timeline, &[kill])[0].class
    };
    let class = |records: &[Record]| class_of(records, 8_500, 10_000);
    assert_eq!(class(&[cut(9_000)]), CauseClass::OutOfMemory);
    assert_eq!(class(&[cut(9_000), cut(9_500)]), CauseClass::TerminationRace);
    let refused = record(start, 9_000, Outcome::Failed(Failure::Refused), None);
    assert_eq!(class(&[refused]), CauseClass::TerminationRace, "nobody was there to be killed");
    // The kill may have been before what is judged, or after it.
    assert_eq!(class_of(&[cut(9_000)], 1_000, 10_000), CauseClass::TerminationRace);
    assert_eq!(class_of(&[cut(9_000)], 8_500, 30_000), CauseClass::TerminationRace);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_status_is_of_a_start_or_of_the_program() {
    let start = Instant::now();
    let class_of = |at_ms, outcome, state| {
        let records = [record(start, at_ms, outcome, state)];
        // An old pod ends as soon as the new one is ready, and is not why the file is missing.
        let moments = vec![
            moment(20_000, What::Ready),
            Moment { object: pod("b"), ..moment(20_010, What::Deleted) },
        ];
        attribute(&records, start, &Timeline::new(moments), &[])[0].class
    };
    for outcome in [Outcome::Unexpected(404), Outcome::ServerError(500)] {
        let class = |at_ms, state| class_of(at_ms, outcome.clone(), state);
        assert_eq!(class(21_000, None), CauseClass::EarlyTraffic);
        assert_eq!(class(21_000, Some(BackendState::Serving)), CauseClass::EarlyTraffic);
        assert_eq!(class(10_000, None), CauseClass::AppError);
        assert_eq!(class(31_000, None), CauseClass::AppError, "not of the pod that ends");
        assert_eq!(class(40_000, Some(BackendState::Serving)), CauseClass::AppError);
        assert_eq!(class(40_000, Some(BackendState::Terminating)), CauseClass::AppError);
    }
    let proxy_s = Outcome::ServerError(502);
    assert_eq!(class_of(31_000, proxy_s, None), CauseClass::TerminationRace);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_became_ready_after_the_sending_did_not_get_the_request() {
    let start = Instant::now();
    let class = |outcome: &Outcome, ready_ms| {
        let mut cut = record(start, 10_000, outcome.clone(), None);
        cut.finished += Duration::from_secs(8);
        let moments = vec![
            Moment { object: pod("b"), ..moment(5_000, What::Deleted) },
            moment(9_500, What::Created),
            moment(ready_ms, What::Ready),
        ];
        attribute(&[cut], start, &Timeline::new(moments), &[])[0].class
    };
    let bad_gateway = Outcome::ServerError(502);
    assert_eq!(class(&bad_gateway, 9_900), CauseClass::EarlyTraffic);
    assert_eq!(class(&bad_gateway, 10_900), CauseClass::EarlyTraffic, "watchers lag");
    assert_eq!(class(&bad_gateway, 15_000), CauseClass::TerminationRace);
    assert_eq!(class(&Outcome::Unexpected(404), 10_900), CauseClass::EarlyTraffic);
    assert_eq!(class(&Outcome::Unexpected(404), 15_000), CauseClass::AppError);
}

#[tokio::test(start_paused = true)]
async fn silence_after_the_loss_of_a_node_is_its_doing() {
    let start = Instant::now();
    let class = |at_ms, outcome: &Outcome| {
        let mut silent = record(start, at_ms, outcome.clone(), None);
        silent.finished += Duration::from_secs(10);
        let node = ObjectRef::new("Node", "", "worker");
        let lost = Moment { object: node, ..moment(20_000, What::node_lost()) };
        let moments = vec![moment(15_000, What::Ready), lost];
        attribute(&[silent], start, &Timeline::new(moments), &[])[0].class
    };
    for failure in [Failure::ResponseTimeout, Failure::ConnectTimeout] {
        assert_eq!(class(25_000, &Outcome::Failed(failure)), CauseClass::NodeLost);
    }
    let timed_out = Outcome::ServerError(504);
    assert_eq!(class(25_000, &timed_out), CauseClass::NodeLost);
    assert_eq!(class(19_000, &timed_out), CauseClass::NodeLost, "it was under way");
    assert_eq!(class(9_000, &timed_out), CauseClass::TooSlow, "it had its answer by then");
    assert_eq!(class(90_000, &timed_out), CauseClass::TooSlow, "the proxies had dropped it");
}
