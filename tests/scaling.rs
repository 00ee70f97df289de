//! Stacks whose autoscaler and manifest differ, or whose autoscaler has settings of its own: how many
//! replicas scenarios begin with, and what can be judged. On the simulator.

mod support;

use std::fs;

use rstest::rstest;
use seatrial::base::millis;
use seatrial::engine::sim::GenericApp;
use seatrial::observe::{ScenarioOutcome, Verdict};
use seatrial::suite;

/// A front of an image without a built-in model, with an autoscaler.
struct Front {
    /// `spec.replicas: 3` or nothing.
    replicas: &'static str,
    min: u32,
    max: u32,
    /// `behavior.scaleDown`, as a flow mapping.
    scale_down: &'static str,
    /// More fields of the pod's spec, as flow mappings on lines of their own.
    pod: &'static str,
}

const FRONT: Front = Front { replicas: "", min: 3, max: 6, scale_down: "{}", pod: "" };

impl Front {
    fn yaml(&self) -> String {
        let Front { replicas, min, max, scale_down, pod } = self;
        let pod: String = pod.lines().map(|line| format!("      {line}\n")).collect();
        format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
{pod}      containers:
      - name: web
        image: example.com/team/web:1
        resources: {{requests: {{cpu: 100m}}}}
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 2}}
        lifecycle: {{preStop: {{exec: {{command: [sleep, '10']}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: web, namespace: default}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}
  minReplicas: {min}
  maxReplicas: {max}
  behavior: {{scaleDown: {scale_down}}}
  metrics:
  - type: Resource
    resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}
"
        )
    }

    /// What comes of it when each request costs so much CPU.
    fn run(&self, cpu_ms: u64, selection: &[&str]) -> Vec<ScenarioOutcome> {
        run(&self.yaml(), cpu_ms, selection)
    }
}

fn run(yaml: &str, cpu_ms: u64, selection: &[&str]) -> Vec<ScenarioOutcome> {
    let mut request = support::request_for(yaml, selection);
    request.apps.push(GenericApp { cpu_per_request: millis(cpu_ms), ..support::app("web") });
    suite::run(&request, &mut |_| {}).unwrap_or_else(|error| panic!("{error}")).scenarios
}

/// The reference stack with another `stabilizationWindowSeconds` and what goes beside it, and whose
/// replicas take so long to get ready.
fn reference(scale_down: &str, ready_s: u64, selection: &[&str]) -> Vec<ScenarioOutcome> {
    let mut yaml = String::new();
    let mut files: Vec<_> = fs::read_dir(support::reference())
        .expect("the reference stack")
        .map(|file| file.expect("an entry").path())
        .collect();
    files.sort();
    for file in files {
        yaml += &fs::read_to_string(file).expect("a manifest");
        yaml += "\n---\n";
    }
    let behavior = "    scaleDown:\n      # A replica";
    assert!(yaml.contains(behavior) && yaml.contains("stabilizationWindowSeconds: 120"));
    let yaml = yaml
        .replace("      stabilizationWindowSeconds: 120\n", "")
        .replace(behavior, &format!("    scaleDown: {scale_down}\n      # A replica"))
        .replace("initialDelaySeconds: 5\n", &format!("initialDelaySeconds: {ready_s}\n"));
    run(&yaml, 1, selection)
}

/// That all have this verdict, and the messages.
#[track_caller]
fn all(outcomes: &[ScenarioOutcome], verdict: Verdict) -> Vec<&str> {
    for outcome in outcomes {
        let (name, seen) = (outcome.full_name(), outcome.verdict);
        assert_eq!(seen, verdict, "{name}: {}", outcome.message);
    }
    outcomes.iter().map(|outcome| outcome.message.as_str()).collect()
}

#[rstest]
#[case("")]
#[case("replicas: 1")]
fn scenarios_begin_when_the_autoscaler_has_raised_the_replicas_to_its_minimum(
    #[case] replicas: &'static str,
) {
    let front = Front { replicas, ..FRONT };
    let outcomes = front.run(1, &["spread::distinct_nodes", "rollout::ready_capacity"]);
    let messages = all(&outcomes, Verdict::Passed);
    assert_eq!(messages[0], "3 replicas on 3 of 3 workers after the first start");
    assert!(messages[1].ends_with("(wish 3)"), "{}", messages[1]);
}

#[test]
fn replicas_beyond_the_minimum_do_not_go_in_the_middle_of_a_scenario() {
    let now = "{stabilizationWindowSeconds: 0}";
    let front = Front { replicas: "replicas: 4", min: 2, scale_down: now, ..FRONT };
    let wanted = ["rollout::ready_capacity", "readiness::broken_rollout", "spread::node_lost"];
    let outcomes = front.run(1, &wanted);
    let messages = all(&outcomes, Verdict::Passed);
    assert!(messages.iter().any(|message| message.ends_with("(wish 2)")), "{messages:?}");
}

#[test]
fn an_autoscaler_that_keeps_one_replica_is_pointed_at_whatever_the_manifest_says() {
    let front = Front { replicas: "replicas: 3", min: 1, ..FRONT };
    let outcomes = front.run(1, &["spread::distinct_nodes"]);
    let messages = all(&outcomes, Verdict::Failed);
    let keeps = "HorizontalPodAutoscaler default/web keeps 1 without load";
    assert!(messages[0].contains(keeps), "{}", messages[0]);
    let fix = outcomes[0].causes[0].fix.as_ref().expect("a place to mend it");
    assert_eq!(fix.path, "spec.minReplicas");
}

#[test]
fn the_surge_is_a_share_of_the_autoscalers_minimum() {
    let front = Front { replicas: "replicas: 3", min: 4, max: 8, ..FRONT };
    let outcomes = front.run(1, &["readiness::broken_rollout"]);
    let messages = all(&outcomes, Verdict::Passed);
    assert!(messages[0].starts_with("stopped at 2 new pods with 3 ready"), "{}", messages[0]);
}

#[test]
fn an_autoscaler_that_cannot_scale_proves_nothing() {
    let front = Front { replicas: "replicas: 3", max: 3, ..FRONT };
    let outcomes = front.run(1, &["autoscale", "readiness::no_early_traffic"]);
    assert_eq!(outcomes.len(), 4);
    for message in all(&outcomes, Verdict::Ignored) {
        assert!(message.ends_with("its minReplicas is maxReplicas"), "{message}");
    }
}

#[test]
fn a_manifest_that_asks_for_the_maximum_leaves_something_to_scale() {
    let front = Front { replicas: "replicas: 6", ..FRONT };
    let outcomes = front.run(20, &["autoscale::scales_out", "readiness::no_early_traffic"]);
    let messages = all(&outcomes, Verdict::Passed);
    assert!(messages.iter().any(|message| message.ends_with("a scale-up to 5 replicas")));
}

#[rstest]
#[case::no_window_and_slow_pods("{stabilizationWindowSeconds: 0}", 60)]
#[case::one_by_one(
    "{stabilizationWindowSeconds: 60, policies: [{type: Pods, value: 1, periodSeconds: 300}]}",
    5
)]
#[case::a_long_window("{stabilizationWindowSeconds: 2700}", 5)]
fn autoscalers_may_have_a_behavior_of_their_own(#[case] scale_down: &str, #[case] ready_s: u64) {
    let outcomes = reference(scale_down, ready_s, &["autoscale"]);
    assert_eq!(outcomes.len(), 3);
    all(&outcomes, Verdict::Passed);
}

#[test]
fn replicas_that_the_load_itself_holds_prove_nothing() {
    let front = Front { replicas: "replicas: 3", ..FRONT };
    let outcomes = front.run(20, &["autoscale::no_failed_request"]);
    all(&outcomes, Verdict::Inconclusive);
}

#[rstest]
#[case::an_hour("{stabilizationWindowSeconds: 3600}", "more than an hour")]
#[case::disabled("{selectPolicy: Disabled}", "selectPolicy is Disabled")]
fn nobody_waits_for_replicas_that_hardly_ever_go(
    #[case] scale_down: &'static str,
    #[case] why: &str,
) {
    let front = Front { replicas: "replicas: 3", scale_down, ..FRONT };
    let wanted = ["autoscale::scales_in", "autoscale::no_failed_request"];
    for message in all(&front.run(1, &wanted), Verdict::Ignored) {
        assert!(message.contains(why), "{message}");
    }
    all(&front.run(20, &["autoscale::scales_out"]), Verdict::Passed);
}

/// Labels of the simulator's workers: two of three, and one of three.
#[rstest]
#[case::two_workers("[seatrial-worker, seatrial-worker2]", Verdict::Passed)]
#[case::one_worker("[seatrial-worker]", Verdict::Failed)]
fn workers_that_the_front_may_not_use_do_not_count(#[case] names: &str, #[case] verdict: Verdict) {
    let pod = format!(
        "affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: \
         {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, \
         values: {names}}}]}}]}}}}}}"
    );
    let front = Front { replicas: "replicas: 3", pod: pod.leak(), ..FRONT };
    all(&front.run(1, &["spread::distinct_nodes"]), verdict);
}

#[test]
fn an_image_that_is_never_pulled_is_refused_all_the_same() {
    let yaml = FRONT.yaml().replace("web:1\n", "web:1\n        imagePullPolicy: Never\n");
    assert!(yaml.contains("Never"));
    all(&run(&yaml, 1, &["rollout::rollback"]), Verdict::Passed);
}

#[test]
fn a_program_that_takes_hardly_any_cpu_is_not_failed_for_the_load() {
    let scales = ["autoscale::scales_out"];
    all(&FRONT.run(1, &scales), Verdict::Passed);
    let outcomes = FRONT.run(0, &scales);
    let messages = all(&outcomes, Verdict::Inconclusive);
    assert!(
        messages[0].contains("keep up with 2400 pages a second, the most there is"),
        "{messages:?}"
    );
}

/// A program that takes 30 requests a second a replica is no fault; one that drops what it has begun is.
#[rstest]
#[case::finishes(true, Verdict::Passed)]
#[case::drops(false, Verdict::Failed)]
fn a_slow_front_is_sent_what_it_can_serve(#[case] drains: bool, #[case] expected: Verdict) {
    let yaml = FRONT.yaml().replace("requests: {cpu: 100m}", "limits: {cpu: 500m}");
    let yaml = match drains {
        true => yaml,
        false => yaml.replace("lifecycle: ", "# lifecycle: "),
    };
    let mut request = support::request_for(&yaml, &["rollout::no_failed_request"]);
    let cpu_per_request = millis(15);
    request.apps.push(GenericApp { cpu_per_request, drains, ..support::app("web") });
    let outcome = support::outcome(&request);
    assert_eq!(outcome.verdict, expected, "{}", outcome.message);
    assert!(outcome.causes.iter().all(|cause| cause.class != "too-slow"), "{:?}", outcome.causes);
}
