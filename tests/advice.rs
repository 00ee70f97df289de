//! Causes of common mistakes: the line to change is the one that is wrong, and the advice is not one that
//! is followed already.

mod support;

use rstest::rstest;
use seatrial::observe::{Cause, Verdict};
use support::judged;

const SERVICE: &str = r"---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 80}]}
";
const WEB: &str = r"---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.27
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 5}
        lifecycle: {preStop: {exec: {command: [sleep, '20']}}}
";
const INGRESS: &str = r"---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {example.com/a: b}}
spec:
  ingressClassName: nginx
  rules:
  - host: web.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
";
const AUTOSCALER: &str = r"---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: webb}
  minReplicas: 3
  maxReplicas: 6
";
const CLAIM: &str = r"---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: d}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";

/// The stack behind a node port, with `field` in the pods' spec.
fn with_spec(field: &str) -> String {
    format!("{SERVICE}{}", WEB.replace("    spec:\n", &format!("    spec:\n      {field}\n")))
}

/// The stack behind a node port, with `field` in the container.
fn with_container(field: &str) -> String {
    format!("{SERVICE}{WEB}        {field}\n")
}

fn with_ingress(ingress: &str) -> String {
    format!("{}{WEB}{ingress}", SERVICE.replace("type: NodePort, ", ""))
}

/// Class, kind of the object, and field of each cause.
fn told(causes: &[Cause]) -> Vec<(String, String, String)> {
    let told = causes.iter().map(|cause| {
        let kind = cause.object.as_ref().map(|object| object.kind.clone()).unwrap_or_default();
        let path = cause.fix.as_ref().map(|fix| fix.path.clone()).unwrap_or_default();
        (cause.class.clone(), kind, path)
    });
    told.collect()
}

const REQUIRED: &str = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
                        [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}";
const PREFERRED: &str = "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: \
                         [{weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/hostname, \
                         labelSelector: {matchLabels: {app: web}}}}]}}";
const CONSTRAINT: &str = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, \
                          whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]";
const ENV: &str = "env: [{name: P, valueFrom: {secretKeyRef: {name: db, key: p}}}]";

#[rstest]
#[case::target_port(
    &format!("{}{WEB}", SERVICE.replace("targetPort: 80", "targetPort: 8080")),
    "rollout::rollback", "not-served Service spec.ports[0].targetPort")]
#[case::target_port_behind_an_ingress(
    &with_ingress(INGRESS).replace("targetPort: 80", "targetPort: 8080"),
    "rollout::rollback", "not-served Service spec.ports[0].targetPort")]
#[case::selector(
    &format!("{}{WEB}", SERVICE.replace("app: web", "app: wob")),
    "rollout::rollback", "not-served Service spec.selector")]
#[case::port_of_an_ingress(
    &with_ingress(&INGRESS.replace("number: 80", "number: 8080")),
    "rollout::rollback", "not-served Ingress spec.rules[0].http.paths[0].backend.service.port.number")]
#[case::service_of_an_ingress(
    &with_ingress(&INGRESS.replace("service: {name: web", "service: {name: webb")),
    "rollout::rollback", "not-served Ingress spec.rules[0].http.paths[0].backend.service.name")]
#[case::target_of_an_autoscaler(
    &format!("{SERVICE}{WEB}{AUTOSCALER}"),
    "autoscale::scales_out", "no-autoscaler HorizontalPodAutoscaler spec.scaleTargetRef.name")]
#[case::anti_affinity(
    &with_spec(REQUIRED), "spread::after_rollout",
    "never-ready Deployment spec.template.spec.affinity.podAntiAffinity.\
     requiredDuringSchedulingIgnoredDuringExecution")]
#[case::constraint(
    &with_spec(CONSTRAINT), "spread::after_rollout",
    "never-ready Deployment spec.template.spec.topologySpreadConstraints[0]")]
#[case::host_port(
    &with_container("ports: [{containerPort: 80, hostPort: 8080}]"), "spread::after_rollout",
    "never-ready Deployment spec.template.spec.containers[0].ports[0].hostPort")]
#[case::large_request(
    &with_container("resources: {requests: {cpu: 5}}"), "spread::after_rollout",
    "never-ready Deployment spec.template.spec.containers[0].resources.requests.cpu")]
#[case::missing_secret(
    &with_container(ENV), "spread::distinct_nodes",
    "never-ready Deployment spec.template.spec.containers[0].env[0].valueFrom.secretKeyRef")]
#[case::no_surge_in_a_stateful_set(
    &format!("{SERVICE}{}", WEB.replace("Deployment", "StatefulSet").replace("replicas: 3", "serviceName: web\n  replicas: 3")),
    "rollout::ready_capacity", "capacity-dip StatefulSet spec.replicas")]
#[case::liveness(
    &with_ingress(&format!("        livenessProbe: {{httpGet: {{path: /, port: 8080}}}}\n{INGRESS}")), "readiness::hung_replica",
    "killed-by-probe Pod spec.template.spec.containers[0].livenessProbe")]
#[case::shared_volume(
    &format!("{}{CLAIM}", with_spec(&format!("{PREFERRED}\n      volumes: [{{name: d, persistentVolumeClaim: {{claimName: d}}}}]"))),
    "spread::distinct_nodes", "replicas-share-a-node PersistentVolumeClaim spec.accessModes")]
fn a_mistake_is_pointed_at(#[case] yaml: &str, #[case] scenario: &str, #[case] wanted: &str) {
    let outcome = judged(yaml, scenario);
    assert_eq!(outcome.verdict, Verdict::Failed, "{}", outcome.message);
    let told = told(&outcome.causes);
    let [(class, kind, path), ..] = &told[..] else { panic!("{told:?}: {}", outcome.message) };
    assert_eq!(format!("{class} {kind} {path}"), wanted, "{}", outcome.message);
    assert!(!outcome.message.contains("the database"), "it has none: {}", outcome.message);
}

#[rstest]
#[case::node_port(&format!("{SERVICE}{WEB}"))]
#[case::ingress(&with_ingress(INGRESS))]
fn an_outage_by_recreate_is_mended_by_another_strategy(#[case] yaml: &str) {
    let yaml = yaml.replace("replicas: 3", "replicas: 3\n  strategy: {type: Recreate}");
    for scenario in ["rollout::no_failed_request", "rollout::rollback", "readiness::gate"] {
        let outcome = judged(&yaml, scenario);
        assert_eq!(outcome.verdict, Verdict::Failed, "{scenario}: {}", outcome.message);
        let wanted = ["no-endpoint", "Deployment", "spec.strategy"].map(str::to_owned);
        assert_eq!(told(&outcome.causes), [wanted.into()], "{scenario}");
    }
}

#[test]
fn a_drain_is_not_blocked_by_a_budget_where_pods_find_no_other_place() {
    let volume = "volumes: [{name: d, persistentVolumeClaim: {claimName: d}}]";
    let budget = "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\n\
                  spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}\n";
    let outcome = judged(&format!("{}{CLAIM}{budget}", with_spec(volume)), "spread::node_drained");
    let [cause] = &outcome.causes[..] else { panic!("{}", outcome.message) };
    assert_eq!(cause.class, "never-ready", "{}", outcome.message);
    let path = &cause.fix.as_ref().expect("a place to mend it").path;
    assert_eq!(path, "spec.template.spec.volumes[0].persistentVolumeClaim");
}

#[test]
fn what_spreads_already_is_not_advised_again() {
    let outcome = judged(&with_spec(PREFERRED), "spread::busy_cluster");
    if outcome.verdict == Verdict::Failed {
        let fix = outcome.causes[0].fix.as_ref().expect("a place to mend it");
        assert!(fix.path.contains("preferredDuring"), "{}", fix.path);
        assert!(!fix.advice.contains("add podAntiAffinity"), "{}", fix.advice);
    }
}

#[test]
fn what_blocks_pods_is_told_once_and_in_words() {
    let outcome = judged(&with_container(ENV), "spread::distinct_nodes");
    assert!(outcome.message.contains("secret \"db\" not found"), "{}", outcome.message);
    assert!(!outcome.message.contains('{'), "no raw status: {}", outcome.message);
    assert!(outcome.diagnosis.is_empty(), "{:?}", outcome.diagnosis);
    let blocked = outcome.message.lines().filter(|line| line.starts_with("blocked: "));
    assert_eq!(blocked.count(), 1, "three pods wait for the same: {}", outcome.message);
}

#[test]
fn a_host_that_leads_to_its_own_https_is_judged_there() {
    let forced = INGRESS
        .replace("example.com/a: b", "nginx.ingress.kubernetes.io/force-ssl-redirect: 'true'");
    let other = "  - host: api.example.com\n    http: {paths: [{path: /, pathType: Prefix, backend: \
                 {service: {name: web, port: {number: 80}}}}]}\n";
    let tls = "  tls: [{hosts: [api.example.com], secretName: tls}]\n";
    for ingress in [forced.clone(), format!("{INGRESS}{other}{tls}")] {
        for scenario in ["readiness::gate", "https::redirect", "https::serves"] {
            let outcome = judged(&with_ingress(&ingress), scenario);
            assert_eq!(outcome.verdict, Verdict::Passed, "{scenario}: {}", outcome.message);
        }
    }
    let outcome = judged(&with_ingress(&forced), "https::certificate");
    assert_eq!(outcome.verdict, Verdict::Failed, "{}", outcome.message);
    let fix = outcome.causes[0].fix.as_ref().expect("a place to mend it");
    assert!(fix.advice.starts_with("list the host under spec.tls"), "{}", fix.advice);
}

#[test]
fn what_helps_against_plain_http_is_advised() {
    let outcome = judged(&with_ingress(INGRESS), "https::redirect");
    let fix = outcome.causes[0].fix.as_ref().expect("a place to mend it");
    assert!(fix.advice.contains("force-ssl-redirect"), "{}", fix.advice);
}
