//! The runner and its phases, on the simulator, with stories made for the purpose.

mod support;

use std::sync::Mutex;

use seatrial::engine::sim::GenericApp;
use seatrial::load::ArrivalPlan;
use seatrial::observe::{RunOutcome, Verdict, What};
use seatrial::suite::{Claim, Lane, Phase, RunRequest, Scenario, Start, Stop, Suite, run};
use seatrial::suites;
use seatrial::wait;
use serde_json::json;

/// A front of two replicas of an image without a built-in model.
const PLAIN: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: example.com/team/web:1
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 2}
        lifecycle: {preStop: {exec: {command: [sleep, '10']}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
";

static LOG: Mutex<Vec<&str>> = Mutex::new(Vec::new());

fn note(what: &'static str) {
    LOG.lock().expect("no test panics with the lock").push(what);
}

const fn story(name: &'static str, run: Claim) -> Scenario {
    let (claim, needs, aspects) = ("a test", &[] as &[_], &[] as &[_]);
    Scenario { name, claim, needs, aspects, start: Start::Empty, prepare: None, run }
}

static STORIES: &[Scenario] = &[
    story("panics", |_| Box::pin(async { panic!("on purpose") })),
    story("hangs", |trial| {
        Box::pin(async {
            trial.enter(Phase::Act);
            std::future::pending().await
        })
    }),
    story("tidies_up", |trial| {
        Box::pin(async {
            trial.defer(async {
                note("first");
                Ok(())
            });
            trial.defer(async {
                note("second");
                Ok(())
            });
            Err(Stop::failed("a", "b"))
        })
    }),
    story("takes_back_in_vain", |trial| {
        Box::pin(async {
            trial.defer(async { Err(Stop::errored("it is stuck")) });
            Ok("fine".to_owned())
        })
    }),
];
static SUITES: &[Suite] = &[Suite { name: "stories", charter: "tests", scenarios: STORIES }];

fn request(yaml: &str, suites: &'static [Suite], selection: &[&str]) -> RunRequest {
    RunRequest { suites, ..support::request_for(yaml, selection) }
}

fn plain_app() -> GenericApp {
    support::app("web")
}

fn verdicts(run: &RunOutcome) -> Vec<(String, Verdict)> {
    run.scenarios.iter().map(|s| (s.full_name(), s.verdict)).collect()
}

#[test]
fn a_story_that_panics_or_hangs_ends_only_itself() {
    let mut order = Vec::new();
    let mut request = request(PLAIN, SUITES, &[]);
    request.apps.push(plain_app());
    let outcome = run(&request, &mut |s| order.push(s.scenario)).expect("it runs");
    assert_eq!(order, ["panics", "hangs", "tidies_up", "takes_back_in_vain"]);
    let [panics, hangs, tidies_up, in_vain] = &outcome.scenarios[..] else { panic!("four") };
    assert_eq!(panics.verdict, Verdict::Errored);
    assert!(panics.message.contains("on purpose"), "{}", panics.message);
    assert_eq!(hangs.verdict, Verdict::Errored);
    assert!(hangs.message.starts_with("the act phase took longer"), "{}", hangs.message);
    assert_eq!(tidies_up.verdict, Verdict::Failed);
    assert_eq!(*LOG.lock().expect("free"), ["second", "first"]);
    assert_eq!(in_vain.verdict, Verdict::Errored);
    assert!(in_vain.message.contains("cleanup failed: it is stuck"), "{}", in_vain.message);
}

#[test]
fn a_program_without_a_model_is_unknown_and_the_message_says_what_to_write() {
    let ports =
        "        ports: [{name: metrics, containerPort: 9113}, {name: web, containerPort: 3000}]";
    let declared = PLAIN
        .replace("web:1\n", &format!("web:1\n{ports}\n"))
        .replace("targetPort: 8080", "targetPort: web");
    let numbered = PLAIN.replace("targetPort: 8080", "targetPort: 3001");
    for (yaml, port) in [(PLAIN, 8080), (&declared, 3000), (&numbered, 3001)] {
        let request = request(yaml, suites::all(), &["readiness::gate", "rollout::rollback"]);
        let outcome = run(&request, &mut |_| {}).expect("it runs");
        assert!(verdicts(&outcome).iter().all(|(_, verdict)| *verdict == Verdict::Unknown));
        let message = &outcome.scenarios[0].message;
        let app = format!("[[app]]\nimage = \"example.com/team/web\"\nport = {port}\n");
        assert!(message.contains(&app), "{message}");
        // Its preStop hook is a sleep.
        assert!(message.ends_with("memory_mib = 64\nshell = true"), "{message}");
    }
}

#[test]
fn an_init_container_that_may_never_end_is_unknown() {
    let init = "    spec:\n      initContainers: [{name: migrate, image: example.com/migrate:1}]\n";
    let yaml = PLAIN.replace("    spec:\n", init);
    let mut request = request(&yaml, suites::all(), &["spread::distinct_nodes"]);
    request.apps.push(plain_app());
    let outcome = run(&request, &mut |_| {}).expect("it runs");
    let [spread] = &outcome.scenarios[..] else { panic!("one") };
    assert_eq!(spread.verdict, Verdict::Unknown, "{}", spread.message);
    assert!(spread.message.contains("example.com/migrate:1"), "{}", spread.message);
}

#[test]
fn a_configured_program_is_proved_like_any_other() {
    let wanted = ["readiness::gate", "rollout", "persistence::uploads"];
    let mut request = request(PLAIN, suites::all(), &wanted);
    request.apps.push(plain_app());
    let outcome = run(&request, &mut |_| {}).expect("it runs");
    for scenario in &outcome.scenarios {
        let wanted =
            if scenario.suite == "persistence" { Verdict::Ignored } else { Verdict::Passed };
        assert_eq!(scenario.verdict, wanted, "{}: {}", scenario.full_name(), scenario.message);
    }
}

#[test]
fn a_field_the_simulator_does_not_act_on_is_named_with_its_line() {
    let yaml = PLAIN.replace("NodePort\n", "NodePort\n  trafficDistribution: PreferClose\n");
    let mut request = request(&yaml, suites::all(), &["spread::distinct_nodes", "readiness::gate"]);
    request.apps.push(plain_app());
    let outcome = run(&request, &mut |_| {}).expect("it runs");
    let [spread, gate] = &outcome.scenarios[..] else { panic!("two") };
    assert_ne!(spread.verdict, Verdict::Unknown, "{}", spread.message);
    assert_eq!(gate.verdict, Verdict::Unknown, "{}", gate.message);
    let line = "stack.yaml:22: spec.trafficDistribution of Service default/web";
    assert!(gate.message.contains(line), "{}", gate.message);
}

/// Something that is no server beside the server of [`PLAIN`].
const SIDECAR: &str = "      containers:
      - {name: side, image: 'busybox:1', command: [sleep, inf]}
";

#[test]
fn the_log_of_the_container_that_serves_tells_what_reached_a_pod() {
    let gate = |yaml: &str| {
        let mut request = request(yaml, suites::all(), &["readiness::gate"]);
        request.apps.push(plain_app());
        run(&request, &mut |_| {}).expect("it runs").scenarios.remove(0)
    };
    let yaml = PLAIN.replace("      containers:\n", SIDECAR);
    let told = gate(&yaml.replace("web:1\n", "web:1\n        ports: [{containerPort: 8080}]\n"));
    assert_eq!(told.verdict, Verdict::Passed, "{}", told.message);
    // Without the port nobody knows which container serves, and the first one logs nothing.
    let silent = gate(&yaml);
    assert_eq!(silent.verdict, Verdict::Inconclusive, "{}", silent.message);
    assert!(silent.message.contains("the program logs no requests"), "{}", silent.message);
}

/// Makes the image of the version that lacks its files known to the cluster.
const WITHOUT_FILES: &str = r"---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other, namespace: default}
spec:
  replicas: 0
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec:
      containers: [{name: other, image: 'example.com/team/empty:1'}]
";

static ROLLS: &[Suite] =
    &[Suite { name: "rolls", charter: "tests", scenarios: &[LOSES_ITS_FILES] }];
const LOSES_ITS_FILES: Scenario = Scenario {
    start: Start::Serving,
    ..story("loses_its_files", |trial| {
        Box::pin(async {
            let front = &trial.target().front.workload;
            let lanes = vec![Lane::Fresh(ArrivalPlan::constant(20.0))];
            let load = trial.start_load(lanes).await?;
            let web = json!([{"name": "web", "image": "example.com/team/empty:1"}]);
            let patch = json!({"spec": {"template": {"spec": {"containers": web}}}});
            trial.patch(front, patch).await?;
            trial.rolled_out(front, wait::ROLLOUT).await?;
            let records = trial.stop_load(load).await;
            trial.no_failures(&records, "a rollout")
        })
    })
};

#[test]
fn a_page_that_is_there_no_more_is_a_failed_request() {
    let mut request = request(&format!("{PLAIN}{WITHOUT_FILES}"), ROLLS, &[]);
    request.apps.push(plain_app());
    request.apps.push(GenericApp {
        image: "example.com/team/empty".into(),
        statuses: [("/".to_owned(), 404)].into(),
        ..plain_app()
    });
    let outcome = run(&request, &mut |_| {}).expect("it runs").scenarios.remove(0);
    assert_eq!(outcome.verdict, Verdict::Failed, "{}", outcome.message);
    assert!(outcome.message.contains("404 x"), "{}", outcome.message);
    let classes: Vec<&str> = outcome.causes.iter().map(|cause| cause.class.as_str()).collect();
    assert_eq!(classes, ["early-traffic"], "its pods have just become ready");
    let requests = outcome.requests.expect("there was a load");
    assert!(requests.failed > 0 && requests.by_class["404"] == requests.failed, "{requests:?}");
}

/// A database that users do not reach.
const BESIDE: &str = r"---
apiVersion: apps/v1
kind: Deployment
metadata: {name: beside, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: beside}}
  template:
    metadata: {labels: {app: beside}}
    spec:
      containers: [{name: beside, image: 'example.com/team/web:1'}]
";

static WATCHES: &[Suite] =
    &[Suite { name: "watches", charter: "tests", scenarios: &[TELLS_PODS_APART] }];
const TELLS_PODS_APART: Scenario = Scenario {
    start: Start::Serving,
    ..story("tells_pods_apart", |trial| {
        Box::pin(async {
            trial.watch_pods().await?;
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            let named = |timeline: seatrial::observe::Timeline| {
                let moments = timeline.moments().iter();
                moments.filter(|moment| moment.what == What::Found).count()
            };
            let counts = (named(trial.timeline()), named(trial.front_timeline()));
            let wanted = (3, 2);
            if counts == wanted {
                return Ok("the front's alone".to_owned());
            }
            Err(Stop::failed(format!("{wanted:?}"), format!("{counts:?}")))
        })
    })
};

#[test]
fn requests_are_explained_by_pods_of_the_front_alone() {
    let mut request = request(&format!("{PLAIN}{BESIDE}"), WATCHES, &[]);
    request.apps.push(plain_app());
    let outcome = run(&request, &mut |_| {}).expect("it runs").scenarios.remove(0);
    assert_eq!(outcome.verdict, Verdict::Passed, "{}", outcome.message);
}

/// Spares no pod of [`PLAIN`].
const TIGHT_BUDGET: &str = r"---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: default}
spec:
  minAvailable: 2
  selector: {matchLabels: {app: web}}
";

#[test]
fn a_budget_that_spares_no_pod_blocks_a_drain_and_is_pointed_at() {
    let drained = |yaml: &str| {
        let mut request = request(yaml, suites::all(), &["spread::node_drained"]);
        request.apps.push(plain_app());
        run(&request, &mut |_| {}).expect("it runs").scenarios.remove(0)
    };
    let free = drained(PLAIN);
    assert_eq!(free.verdict, Verdict::Passed, "{}", free.message);
    let blocked = drained(&format!("{PLAIN}{TIGHT_BUDGET}"));
    assert_eq!(blocked.verdict, Verdict::Failed, "{}", blocked.message);
    let reason = "The disruption budget web needs 2 healthy pods and has 2 currently";
    assert!(blocked.message.contains(reason), "{}", blocked.message);
    let [cause] = &blocked.causes[..] else { panic!("{:?}", blocked.causes) };
    let fix = cause.fix.as_ref().expect("a place to mend it");
    // Counted from zero, which is the number of the line above, `spec:`, counted from one.
    let mut lines = PLAIN.lines().chain(TIGHT_BUDGET.lines());
    let spec = lines.position(|line| line.contains("minAvailable"));
    assert_eq!((cause.class.as_str(), Some(fix.line)), ("drain-blocked", spec));

    let loose = TIGHT_BUDGET.replace("minAvailable: 2", "maxUnavailable: 1");
    let second = loose.replace("name: web,", "name: again,");
    let blocked = drained(&format!("{PLAIN}{loose}{second}"));
    assert_eq!(blocked.verdict, Verdict::Failed, "{}", blocked.message);
    assert!(blocked.message.contains("more than one PodDisruptionBudget"), "{}", blocked.message);
    let [cause] = &blocked.causes[..] else { panic!("{:?}", blocked.causes) };
    assert!(cause.object.as_ref().is_some_and(|object| &*object.name == "again"), "{cause:?}");
}

#[test]
fn a_namespace_that_nobody_makes_is_asked_for() {
    let yaml = PLAIN.replace("namespace: default", "namespace: shop");
    let mut request = request(&yaml, suites::all(), &["spread::distinct_nodes"]);
    request.apps.push(plain_app());
    let outcome = run(&request, &mut |_| {}).expect("it runs").scenarios.remove(0);
    let told = "namespaces \"shop\" not found; add a Namespace of this name to the manifests";
    assert!(outcome.message.ends_with(told), "{}", outcome.message);
}
