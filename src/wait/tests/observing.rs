//! What an observer sees of an API that is away for a while, and what it knows it did not see.

use k8s_openapi::api::core::v1::Pod;
use tokio::time::sleep;

use super::api::{FakeApi, Mood};
use crate::base::{millis, secs};
use crate::wait::{Observer, Trust};

/// Names of the pods in the last state that was seen.
fn seen(observer: &Observer<Pod>) -> Vec<String> {
    let mut names = Vec::new();
    observer.replay(|_, state| names = state.keys().map(|pod| pod.name.clone()).collect());
    names
}

async fn observe(api: &FakeApi, trust: Trust) -> Observer<Pod> {
    api.put("a");
    let observer = Observer::start(api.pods(), trust).await.expect("it answers");
    sleep(secs(1)).await;
    observer
}

#[tokio::test(start_paused = true)]
async fn an_api_that_was_away_is_seen_again_and_the_time_between_is_a_gap() {
    let api = FakeApi::default();
    let observer = observe(&api, Trust::Checked).await;
    api.set(Mood::Refuses);
    api.put("b");
    sleep(secs(2)).await;
    assert_eq!(observer.interrupted(observer.started()), None, "so far it is short");
    sleep(secs(18)).await;
    assert!(observer.interrupted(observer.started()).is_some(), "it goes on");
    api.set(Mood::Answers);
    sleep(secs(3)).await;
    assert_eq!(seen(&observer), ["a", "b"]);
    let gap = observer.interrupted(observer.started()).expect("twenty seconds");
    assert!((20..23).contains(&gap.as_secs()), "{gap:?}");
    assert_eq!(observer.interrupted(tokio::time::Instant::now()), None, "what is later is seen");
    api.put("c");
    sleep(millis(10)).await;
    assert_eq!(seen(&observer), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_closed_and_opened_again_leaves_no_gap() {
    let api = FakeApi::default();
    let observer = observe(&api, Trust::Checked).await;
    for name in ["b", "c"] {
        api.close_watches();
        sleep(secs(40)).await;
        api.put(name);
        observer.confirm().await;
    }
    api.remove("b");
    observer.confirm().await;
    assert_eq!(seen(&observer), ["a", "c"]);
    assert_eq!(observer.interrupted(observer.started()), None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_silent_is_found_out() {
    for change in [|api: &FakeApi| api.put("b"), |api: &FakeApi| api.remove("a")] {
        let api = FakeApi::default();
        let observer = observe(&api, Trust::Checked).await;
        api.deafen();
        change(&api);
        sleep(secs(5)).await;
        assert_eq!((seen(&observer).len(), observer.interrupted(observer.started())), (1, None));
        observer.confirm().await;
        assert!(observer.interrupted(observer.started()).is_some());
        sleep(secs(30)).await;
        assert_ne!(seen(&observer), ["a"], "everything is listed again");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_confirmed_was_not_seen() {
    let api = FakeApi::default();
    let observer = observe(&api, Trust::Checked).await;
    api.set(Mood::Silent);
    observer.confirm().await;
    assert!(observer.interrupted(observer.started()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_tells_all_is_not_checked() {
    let api = FakeApi::default();
    let observer = observe(&api, Trust::Full).await;
    sleep(secs(100)).await;
    observer.confirm().await;
    assert_eq!((api.n_lists(), observer.interrupted(observer.started())), (1, None));
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_a_connection_was_dead_is_told_once_it_breaks() {
    let api = FakeApi::default();
    let observer = observe(&api, Trust::Checked).await;
    api.deafen();
    api.put("b");
    api.remove("b");
    sleep(secs(20)).await;
    api.reset_watches();
    sleep(secs(2)).await;
    let ever: Vec<_> = observer.ever_seen().into_keys().map(|pod| pod.name).collect();
    assert_eq!(ever, ["a", "b"]);
    assert_eq!(observer.interrupted(observer.started()), None);
}

#[tokio::test(start_paused = true)]
async fn what_only_a_list_shows_was_missed_since_the_watch_was_last_found_to_work() {
    for happens in [true, false] {
        let api = FakeApi::default();
        let observer = observe(&api, Trust::Checked).await;
        api.deafen();
        if happens {
            api.put("b");
        }
        sleep(secs(20)).await;
        api.forget();
        sleep(secs(2)).await;
        assert_eq!(seen(&observer).contains(&"b".to_owned()), happens);
        let gap = observer.interrupted(observer.started());
        assert_eq!(gap.map(|gap| gap.as_secs()), happens.then_some(21));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_observed_begins_with_the_first_list_however_late_it_came() {
    let api = FakeApi::default();
    api.set(Mood::Refuses);
    let late = async {
        sleep(millis(3500)).await;
        api.set(Mood::Answers);
    };
    let (observer, ()) = tokio::join!(Observer::start(api.pods(), Trust::Checked), late);
    let observer = observer.expect("it answers at last");
    assert_eq!(observer.interrupted(observer.started()), None);
}

#[tokio::test(start_paused = true)]
async fn lists_that_show_nothing_new_are_not_kept() {
    let api = FakeApi::default();
    api.set(Mood::ForbidsWatches);
    let observer = observe(&api, Trust::Checked).await;
    sleep(secs(20)).await;
    assert_eq!(observer.sightings().len(), 1);
    assert_eq!(observer.interrupted(observer.started()), None);
    api.put("b");
    sleep(secs(2)).await;
    assert_eq!(seen(&observer), ["a", "b"]);
    assert!(observer.interrupted(observer.started()).is_some(), "who knows what b did");
}
