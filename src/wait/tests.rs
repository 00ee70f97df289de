//! Conditions over hand-made objects; the loop and the observer against an API that fails.

mod api;
mod observing;
mod waiting;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;
use crate::base::secs;

fn deployment(status: serde_json::Value) -> Vec<Arc<Deployment>> {
    let value = json!({
        "metadata": {"name": "web", "generation": 2},
        "spec": {"replicas": 3, "selector": {}, "template": {}},
        "status": status,
    });
    vec![Arc::new(serde_json::from_value(value).expect("a Deployment"))]
}

#[test]
fn a_rollout_is_complete_only_without_old_replicas() {
    let condition = deployment_rolled_out();
    let unseen = json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3,
        "availableReplicas": 3});
    assert!(condition.check(&deployment(unseen)).is_err_and(|unmet| unmet.contains("not seen")));
    let old = json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3,
        "availableReplicas": 4});
    assert_eq!(condition.check(&deployment(old)), Err("1 old replicas are left".into()));
    let done = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3,
        "availableReplicas": 3});
    assert!(condition.check(&deployment(done)).is_ok());
}

/// A pod of this phase, whose Ready condition is `ready`.
fn pod(phase: &str, ready: bool, ending: bool) -> Arc<Pod> {
    let status = if ready { "True" } else { "False" };
    let mut value = json!({
        "metadata": {"name": "web"},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": status}]},
    });
    if ending {
        value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    Arc::new(serde_json::from_value(value).expect("a Pod"))
}

#[test]
fn a_pod_that_was_evicted_is_no_replica() {
    let mut pods = vec![pod("Running", true, false), pod("Failed", false, false)];
    assert!(pods_ready().check(&pods).is_ok());
    assert!(exactly_n_pods_ready(1).check(&pods).is_ok());
    pods[0] = pod("Succeeded", false, false);
    assert_eq!(pods_ready().check(&pods), Err("0 of 0 are Ready".into()));
}

#[test]
fn exactly_so_many_pods_are_neither_more_nor_less_nor_some_that_end() {
    let (up, down) = (pod("Running", true, false), pod("Pending", false, false));
    let two = exactly_n_pods_ready(2);
    assert!(two.check(&[up.clone(), up.clone()]).is_ok());
    for pods in [
        vec![up.clone()],
        vec![up.clone(), down],
        vec![up.clone(), up.clone(), up.clone()],
        vec![up.clone(), up, pod("Running", true, true)],
    ] {
        assert!(two.check(&pods).is_err_and(|unmet| unmet.starts_with("there are ")), "{pods:?}");
    }
}

#[test]
fn combined_conditions_name_every_unmet_part() {
    let first = Condition::<Pod>::new("a", |_| Err("no a".into()));
    let second = Condition::<Pod>::new("b", |_| Err("no b".into()));
    let both = first.clone().and(second.clone());
    assert_eq!((both.name(), both.check(&[])), ("a and b", Err("no a; no b".into())));
    assert_eq!(first.or(second).check(&[]), Err("neither: no a; nor: no b".into()));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_never_succeeds_tells_what_it_saw() {
    let deadline = Deadline::new(secs(5), "a test");
    let error = until_ok::<(), _>("an answer", deadline, || async { Err("silence".into()) })
        .await
        .expect_err("it never succeeds");
    assert_eq!(error.to_string(), "expected: an answer within 5 s (a test)\nseen: silence");
}
