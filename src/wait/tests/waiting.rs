//! What a wait makes of an API that is away, silent or closed to us.

use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, sleep};

use super::api::{FakeApi, Mood};
use crate::base::{millis, secs};
use crate::wait::{Condition, Deadline, WaitError, exists, until};

const MINUTE: Deadline = Deadline::new(secs(60), "a test");

/// Waits for a pod that never comes while the API turns to `mood` after ten seconds; how long that took.
async fn in_vain(mood: Mood, after_s: u64) -> (WaitError, u64) {
    let api = FakeApi::default();
    let began = Instant::now();
    let turn = async {
        sleep(secs(after_s)).await;
        api.set(mood);
        std::future::pending::<()>().await;
    };
    let scope = api.pods();
    let pod: Condition<Pod> = exists();
    tokio::select! {
        () = turn => unreachable!("it has no end"),
        waited = until(&scope, &pod, MINUTE) => {
            (waited.expect_err("there is none"), began.elapsed().as_secs())
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_that_comes_back_in_time_is_waited_for() {
    for mood in [Mood::Refuses, Mood::Silent] {
        let api = FakeApi::default();
        api.set(Mood::Refuses);
        let back = async {
            sleep(secs(20)).await;
            api.set(Mood::Answers);
            sleep(secs(10)).await;
            api.set(mood);
            api.put("a");
            sleep(secs(5)).await;
            api.set(Mood::Answers);
        };
        let (scope, pod) = (api.pods(), exists::<Pod>());
        let (waited, ()) = tokio::join!(until(&scope, &pod, MINUTE), back);
        assert_eq!(waited.map(|pods| pods.len()).map_err(|error| error.to_string()), Ok(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_its_deadline_whatever_the_api_does() {
    let (error, took_s) = in_vain(Mood::Answers, 10).await;
    assert!(error.is_timeout() && took_s == 60, "{error} after {took_s} s");
    assert!(error.to_string().contains("seen: there is no such object"), "{error}");
    for after_s in [0, 10] {
        let (error, took_s) = in_vain(Mood::Refuses, after_s).await;
        assert!(error.to_string().contains("at last: the API could not be read: "), "{error}");
        assert!(error.to_string().contains("connection refused"), "{error}");
        assert!(!error.is_timeout() && (60..=70).contains(&took_s), "{error} after {took_s} s");
    }
    for after_s in [0, 10] {
        let (error, took_s) = in_vain(Mood::Silent, after_s).await;
        assert!(error.to_string().contains("at last: the API did not answer for "), "{error}");
        assert!(!error.is_timeout(), "what was unmet is not known");
        assert!((60..=70).contains(&took_s), "{error} after {took_s} s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_that_forbids_ends_a_wait_at_once() {
    let (error, took_s) = in_vain(Mood::Forbids, 0).await;
    assert!(error.to_string().contains("not you") && !error.is_timeout(), "{error}");
    assert_eq!(took_s, 0);
}

#[tokio::test(start_paused = true)]
async fn a_trouble_that_has_passed_is_no_reason_for_a_wait_that_ends_unmet() {
    let api = FakeApi::default();
    let trouble = async {
        sleep(secs(5)).await;
        api.set(Mood::Refuses);
        sleep(millis(500)).await;
        api.set(Mood::Answers);
    };
    // It ends before anything is listed again.
    let deadline = Deadline::new(secs(20), "a test");
    let (scope, pod) = (api.pods(), exists::<Pod>());
    let (waited, ()) = tokio::join!(until(&scope, &pod, deadline), trouble);
    let error = waited.expect_err("there is none");
    assert!(error.is_timeout(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn watches_that_are_refused_or_end_at_once_are_asked_for_at_a_pace() {
    for mood in [Mood::ForbidsWatches, Mood::EndsWatches] {
        let api = FakeApi::default();
        api.set(mood);
        let (scope, pod) = (api.pods(), exists::<Pod>());
        let error = until(&scope, &pod, MINUTE).await.expect_err("there is none");
        assert!(error.is_timeout(), "{error}");
        let (n_lists, n_watches) = (api.n_lists(), api.n_watches());
        assert!(n_lists < 70 && (55..70).contains(&n_watches), "{n_lists}, {n_watches}");
    }
}
