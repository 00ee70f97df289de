//! What scenarios act on is what users reach: verdicts and causes of stacks where another workload or
//! container could be mistaken for it.

mod support;

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use kube::Api;
use kube::api::PostParams;
use seatrial::engine::sim::GenericApp;
use seatrial::observe::{ScenarioOutcome, Verdict};
use seatrial::suite::{self, Claim, Data, RunRequest, Scenario, Start, Stop, Suite, Trial};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Two replicas of NAME that listen on 8080, behind a Service of the name.
const PROGRAM: &str = r"---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - name: NAME
        image: example.com/team/NAME:1
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 2}
        lifecycle: {preStop: {exec: {command: [sleep, '10']}}}
---
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: default}
spec:
  selector: {app: NAME}
  ports: [{port: 80, targetPort: 8080}]
";

const PRE_STOP: &str = "        lifecycle: {preStop: {exec: {command: [sleep, '10']}}}\n";

fn program(name: &str) -> String {
    PROGRAM.replace("NAME", name)
}

/// An Ingress with rules of (host, path, Service); hosts may be empty.
fn ingress(rules: &[(&str, &str, &str)]) -> String {
    let head = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\n\
                metadata: {name: shop, namespace: default}\nspec:\n  ingressClassName: nginx\n  rules:\n";
    let rules = rules.iter().map(|(host, path, to)| {
        let host = if host.is_empty() { String::new() } else { format!("host: {host}, ") };
        let backend = format!("{{service: {{name: {to}, port: {{number: 80}}}}}}");
        format!(
            "  - {{{host}http: {{paths: [{{path: {path}, pathType: Prefix, backend: {backend}}}]}}}}\n"
        )
    });
    std::iter::once(head.to_owned()).chain(rules).collect()
}

fn app(name: &str, statuses: &[(&str, u16)]) -> GenericApp {
    let statuses = statuses.iter().map(|(path, status)| ((*path).to_owned(), *status));
    GenericApp { statuses: statuses.collect(), ..support::app(name) }
}

fn judged(yaml: &str, scenario: &str, apps: Vec<GenericApp>) -> ScenarioOutcome {
    let request = RunRequest { apps, ..support::request_for(yaml, &[scenario]) };
    suite::run(&request, &mut |_| {}).expect("it runs").scenarios.remove(0)
}

fn stage(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/stages").join(name);
    fs::read_to_string(path.join("stack.yaml")).expect("the stage")
}

#[test]
fn load_and_rollout_meet_the_program_that_serves_the_front_page() {
    let rules = [("shop.example.com", "/api", "api"), ("shop.example.com", "/", "web")];
    let hasty = program("web").replace(PRE_STOP, "");
    let stack = format!("{}{hasty}{}", program("api"), ingress(&rules));
    let outcome =
        judged(&stack, "rollout::no_failed_request", vec![app("api", &[]), app("web", &[])]);
    assert_eq!(outcome.verdict, Verdict::Failed, "{}", outcome.message);
    let cause = outcome.causes.first().expect("a cause");
    assert_eq!(cause.class, "termination-race");
    let fix = cause.fix.as_ref().expect("a place to mend it");
    let at = stack.lines().position(|line| line.contains("name: web,")).expect("the Deployment");
    assert!(fix.line > at, "line {} is of another program", fix.line);
}

#[test]
fn host_and_front_come_from_one_rule() {
    let rules = [("", "/", "web"), ("api.example.com", "/", "api")];
    let hasty = program("api").replace(PRE_STOP, "");
    let stack = format!("{}{hasty}{}", program("web"), ingress(&rules));
    let outcome =
        judged(&stack, "rollout::no_failed_request", vec![app("api", &[]), app("web", &[])]);
    assert_eq!(outcome.verdict, Verdict::Failed, "{}", outcome.message);
}

#[test]
fn an_ingress_without_a_host_is_a_way_in() {
    let stack = format!("{}{}", program("web"), ingress(&[("", "/", "web")]));
    let outcome = judged(&stack, "rollout::no_failed_request", vec![app("web", &[])]);
    assert_eq!(outcome.verdict, Verdict::Passed, "{}", outcome.message);
}

#[test]
fn an_app_below_a_path_is_asked_for_there() {
    let stack = format!("{}{}", program("web"), ingress(&[("shop.example.com", "/shop", "web")]));
    let outcome = judged(&stack, "rollout::no_failed_request", vec![app("web", &[])]);
    assert_eq!(outcome.verdict, Verdict::Passed, "{}", outcome.message);
}

#[test]
fn an_app_without_a_known_page_is_not_judged_and_its_answer_is_told() {
    let stack = format!("{}{}", program("web"), ingress(&[("shop.example.com", "/", "web")]));
    let outcome = judged(&stack, "readiness::hung_replica", vec![app("web", &[("/", 401)])]);
    assert_eq!(outcome.verdict, Verdict::Inconclusive, "{}", outcome.message);
    assert!(outcome.message.contains("GET /: 401"), "{}", outcome.message);
    // The probe's path is one that answers.
    let probed = stack.replace("tcpSocket: {port", "httpGet: {path: /health, port");
    let apps = vec![app("web", &[("/", 401), ("/health", 200)])];
    let outcome = judged(&probed, "rollout::no_failed_request", apps);
    assert_eq!(outcome.verdict, Verdict::Passed, "{}", outcome.message);
}

#[test]
fn a_cause_points_at_the_container_that_serves() {
    let sidecar = "      - {name: agent, image: 'busybox:1.36', command: [sleep, '9999'], \
                   ports: [{containerPort: 9113}]}\n      - name: web\n";
    let hasty = program("web").replace(PRE_STOP, "").replace("      - name: web\n", sidecar);
    let stack = format!("{hasty}{}", ingress(&[("shop.example.com", "/", "web")]));
    let outcome = judged(&stack, "rollout::no_failed_request", vec![app("web", &[])]);
    let causes = outcome.causes.iter();
    let race = causes.clone().find(|cause| cause.class == "termination-race");
    let fix = race.and_then(|cause| cause.fix.as_ref());
    let fix = fix.unwrap_or_else(|| panic!("{}: {:?}", outcome.message, outcome.causes));
    assert_eq!(fix.path, "spec.template.spec.containers[1].lifecycle.preStop");
}

#[test]
fn lost_posts_are_blamed_on_the_container_that_keeps_them() {
    let outcome = judged(&stage("01-single-pod"), "persistence::posts", Vec::new());
    let [cause] = &outcome.causes[..] else { panic!("{:?}", outcome.causes) };
    let fix = cause.fix.as_ref().expect("a place to mend it");
    assert_eq!(cause.class, "data-in-container");
    assert_eq!(fix.path, "spec.template.spec.containers[1].volumeMounts");
}

/// A cache that WordPress is told of before its database.
const CACHE: &str = "            - name: WORDPRESS_REDIS_HOST
              value: cache
            - name: WORDPRESS_DB_HOST
";
const CACHES: &str = r"---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cache, namespace: kube-example}
spec:
  selector: {matchLabels: {app: cache}}
  template:
    metadata: {labels: {app: cache}}
    spec:
      containers: [{name: cache, image: 'nginx:1.27', ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: cache, namespace: kube-example}
spec:
  selector: {app: cache}
  ports: [{port: 80}]
";

#[test]
fn a_cache_is_not_taken_for_the_database() {
    let told = stage("02-split").replace("            - name: WORDPRESS_DB_HOST\n", CACHE);
    let outcome = judged(&format!("{told}{CACHES}"), "persistence::posts", Vec::new());
    assert_eq!(outcome.verdict, Verdict::Failed, "{}", outcome.message);
    let object = outcome.causes.first().and_then(|cause| cause.object.as_ref());
    assert_eq!(object.map(|object| &*object.name), Some("wordpress-mysql"));
}

#[test]
fn a_service_of_the_database_that_selects_nothing_is_pointed_at() {
    let stack = stage("04-readiness").replacen("    tier: mysql\n", "    tier: mysqll\n", 1);
    let outcome = judged(&stack, "rollout::rollback", Vec::new());
    assert_eq!(outcome.verdict, Verdict::Failed, "{}", outcome.message);
    let [cause] = &outcome.causes[..] else { panic!("{:?}", outcome.causes) };
    let fix = cause.fix.as_ref().expect("a place to mend it");
    let object = cause.object.as_ref().map(|object| &*object.name);
    assert_eq!((object, fix.path.as_str()), (Some("wordpress-mysql"), "spec.selector"));
    assert!(fix.advice.contains("tier=mysql"), "{}", fix.advice);
}

#[test]
fn no_database_is_no_proof() {
    let literal = "value: wordpress-mysql:3306";
    let secret = "valueFrom: {secretKeyRef: {name: elsewhere, key: host}}";
    let stack = stage("02-split").replace(literal, secret);
    for scenario in ["persistence::posts", "persistence::ledger"] {
        let outcome = judged(&stack, scenario, Vec::new());
        assert_eq!(outcome.verdict, Verdict::Ignored, "{}", outcome.message);
        assert!(outcome.message.contains("Secret elsewhere"), "{}", outcome.message);
    }
}

#[test]
fn nothing_is_installed_in_a_database_that_may_be_somebody_elses() {
    // An address tells nobody whose database it is.
    let stack = stage("04-readiness")
        .replace("value: wordpress-mysql:3306", "value: 10.96.77.7:3306")
        .replacen("spec:\n  selector:", "spec:\n  clusterIP: 10.96.77.7\n  selector:", 1);
    let outcome = judged(&stack, "rollout::no_failed_request", Vec::new());
    assert_eq!(outcome.verdict, Verdict::Inconclusive, "{}", outcome.message);
    let why = "not known as the stack's own: WORDPRESS_DB_HOST of Deployment kube-example/wordpress \
               names 10.96.77.7, which is no Service of the stack";
    assert!(outcome.message.contains(why), "{}", outcome.message);
    // What a Service of the stack selects is of the stack, whatever made it.
    let stack = stage("04-readiness").replacen("kind: Deployment", "kind: ReplicaSet", 1);
    let outcome = judged(&stack, "rollout::ready_capacity", Vec::new());
    assert_eq!(outcome.verdict, Verdict::Passed, "{}", outcome.message);
}

/// What an operator would make a database for.
const CLUSTER: &str = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: cluster, namespace: kube-example}
";

/// As an operator does, makes the Service `made` for the ConfigMap of [`CLUSTER`].
const OPERATES: Scenario = Scenario {
    name: "operates",
    claim: "a test",
    needs: &[],
    aspects: &[],
    start: Start::Serving,
    prepare: Some(|trial| {
        Box::pin(async {
            let namespace = json!({"metadata": {"name": "kube-example"}});
            make::<Namespace>(Api::all(trial.client()), namespace).await?;
            let maps = Api::<ConfigMap>::namespaced(trial.client(), "kube-example");
            let cluster = make(maps, json!({"metadata": {"name": "cluster"}})).await?;
            let owner = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "name": "cluster", "uid": cluster.metadata.uid,
            });
            let service = json!({
                "metadata": {"name": "made", "ownerReferences": [owner]},
                "spec": {"selector": {"tier": "mysql"}, "ports": [{"port": 3306}]},
            });
            let services = Api::<Service>::namespaced(trial.client(), "kube-example");
            make(services, service).await?;
            Ok(String::new())
        })
    }),
    run: |_| Box::pin(async { Ok(String::new()) }),
};
static OPERATORS: &[Suite] =
    &[Suite { name: "operators", charter: "tests", scenarios: &[OPERATES] }];

async fn make<K>(api: Api<K>, object: Value) -> Result<K, Stop>
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let object = serde_json::from_value(object).expect("it is one");
    Ok(api.create(&PostParams::default(), &object).await?)
}

#[test]
fn a_database_made_for_an_object_of_the_stack_is_the_stacks() {
    let stack = stage("04-readiness").replace("value: wordpress-mysql:3306", "value: made:3306");
    let verdict = |stack: &str| {
        let request = RunRequest { suites: OPERATORS, ..support::request_for(stack, &[]) };
        suite::run(&request, &mut |_| {}).expect("it runs").scenarios.remove(0)
    };
    let made = verdict(&format!("{stack}{CLUSTER}"));
    assert_eq!(made.verdict, Verdict::Passed, "{}", made.message);
    // The only difference: the stack does not have the object that it was made for.
    let foreign = verdict(&stack);
    assert_eq!(foreign.verdict, Verdict::Inconclusive, "{}", foreign.message);
}

const fn loses(name: &'static str, run: Claim) -> Scenario {
    Scenario { name, run, start: Start::Empty, prepare: None, ..OPERATES }
}

static LOSSES: &[Suite] = &[Suite {
    name: "losses",
    charter: "tests",
    scenarios: &[
        loses("missing", |trial| Box::pin(async { Err(loss(trial, Data::Uploads, 404)) })),
        loses("refused", |trial| Box::pin(async { Err(loss(trial, Data::Uploads, 403)) })),
        loses("tables", |trial| Box::pin(async { Err(loss(trial, Data::Tables, 403)) })),
    ],
}];

fn loss(trial: &Trial, data: Data, status: u16) -> Stop {
    let target = trial.target();
    let keeper = match data {
        Data::Uploads => &target.front.workload,
        Data::Tables => target.database.as_ref().expect("a database"),
    };
    trial.data_loss(keeper, data, "it is read back", &format!("GET /x: {status}"))
}

#[test]
fn what_may_not_be_read_is_not_called_lost() {
    let request =
        RunRequest { suites: LOSSES, ..support::request(&support::reference(), &[], 1, 1) };
    let outcome = suite::run(&request, &mut |_| {}).expect("it runs");
    let causes = outcome.scenarios.iter().map(|scenario| scenario.causes[0].class.as_str());
    assert_eq!(causes.collect::<Vec<_>>(), ["data-lost", "data-forbidden", "data-lost"]);
}

/// A custom resource for the Secret SECRET.
const CERTIFICATE: &str = "---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: shop, namespace: default}
spec: {secretName: SECRET, dnsNames: [shop.example.com], issuerRef: {name: ca}}
";

#[test]
fn a_custom_resource_without_its_definition_hides_nothing_but_what_it_may_make() {
    let web = program("web") + &ingress(&[("shop.example.com", "/", "web")]);
    let web = web + "  tls: [{hosts: [shop.example.com], secretName: shop-tls}]\n";
    for (secret, scenario, verdict, hint) in [
        ("shop-tls", "https::redirect", Verdict::Passed, ""),
        ("shop-tls", "spread::distinct_nodes", Verdict::Passed, ""),
        ("shop-tls", "https::certificate", Verdict::Unknown, "for Certificate default/shop, "),
        ("other", "https::certificate", Verdict::Failed, "the controller's own"),
    ] {
        let stack = web.clone() + &CERTIFICATE.replace("SECRET", secret);
        let outcome = judged(&stack, scenario, vec![app("web", &[])]);
        assert_eq!(outcome.verdict, verdict, "{scenario}: {}", outcome.message);
        assert!(outcome.message.contains(hint), "{scenario}: {}", outcome.message);
    }
}

#[test]
fn a_certificate_that_an_annotation_asks_for_is_not_judged() {
    let ingress = ingress(&[("shop.example.com", "/", "web")]);
    let tls = "  tls: [{hosts: [shop.example.com], secretName: shop-tls}]\n";
    for (annotation, verdict) in [
        ("cert-manager.io/cluster-issuer", Verdict::Unknown),
        ("example.com/owner", Verdict::Failed),
    ] {
        let annotated = ingress.replace(
            "namespace: default}\nspec",
            &format!("namespace: default, annotations: {{{annotation}: ca}}}}\nspec"),
        );
        let stack = program("web") + &annotated + tls;
        let outcome = judged(&stack, "https::certificate", vec![app("web", &[])]);
        assert_eq!(outcome.verdict, verdict, "{annotation}: {}", outcome.message);
    }
}

#[test]
fn pods_that_wait_for_what_a_custom_resource_may_make_are_not_judged() {
    let secret = "envFrom: [{secretRef: {name: shop-tls}}]";
    let image = "image: example.com/team/web:1\n";
    let waits = program("web").replace(image, &format!("{image}        {secret}\n"));
    let stack = waits + &ingress(&[("shop.example.com", "/", "web")]);
    for (made, verdict) in [("shop-tls", Verdict::Unknown), ("other", Verdict::Failed)] {
        let stack = stack.clone() + &CERTIFICATE.replace("SECRET", made);
        let outcome = judged(&stack, "spread::distinct_nodes", vec![app("web", &[])]);
        assert_eq!(outcome.verdict, verdict, "{}", outcome.message);
    }
}

#[test]
fn all_versions_of_a_custom_kind_without_its_definition_are_served() {
    let other = CERTIFICATE.replace("v1", "v1alpha2").replace("name: shop", "name: other");
    let web = program("web") + &ingress(&[("shop.example.com", "/", "web")]);
    let outcome = judged(&(web + CERTIFICATE + &other), "https::serves", vec![app("web", &[])]);
    assert_eq!(outcome.verdict, Verdict::Passed, "{}", outcome.message);
}

#[test]
fn a_definition_in_the_stack_is_the_stacks_own_business() {
    let definition = "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
                      metadata: {name: certificates.cert-manager.io}\nspec:\n  \
                      group: cert-manager.io\n  scope: Namespaced\n  \
                      names: {kind: Certificate, plural: certificates}\n  \
                      versions: [{name: v1, served: true, storage: true, \
                      schema: {openAPIV3Schema: {type: object}}}]\n";
    let kinds = |yaml: &str| support::request_for(yaml, &[]).stack.custom_kinds().len();
    assert_eq!((kinds(CERTIFICATE), kinds(&(definition.to_owned() + CERTIFICATE))), (1, 0));
}
