//! What the simulated cluster cannot tell for the user's own: programs that no model knows, custom
//! resources, doors and Ingresses of others, and what only that cluster has. The verdict is `unknown`.

mod support;

use rstest::rstest;
use seatrial::engine::sim::GenericApp;
use seatrial::observe::Verdict::{self, Failed, Ignored, Passed, Unknown};

/// The verdict and the message of `scenario` on `yaml`.
fn judged(yaml: &str, scenario: &str) -> (Verdict, String) {
    let outcome = support::judged(yaml, scenario);
    (outcome.verdict, outcome.message)
}

/// Three replicas of nginx behind a node port.
const NGINX: &str = "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80}]}
---
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
";

/// Asserts that `scenario` is not judged on `yaml`, and that it says so with `told`.
#[track_caller]
fn assert_unknown(yaml: &str, scenario: &str, told: &str) {
    let (verdict, message) = judged(yaml, scenario);
    assert_eq!(verdict, Unknown, "{scenario}: {message}");
    assert!(message.contains(told), "{scenario}: {message}");
}

#[rstest]
#[case("spread::distinct_nodes")]
#[case("rollout::ready_capacity")]
fn a_program_that_may_end_at_once_is_not_taken_to_run(#[case] scenario: &str) {
    assert_eq!(judged(NGINX, scenario).0, Passed);
    let ends = NGINX.replace("nginx:1.27", "alpine:3.20");
    let told = "alpine:3.20 (container web of Deployment default/web, ";
    assert_unknown(&ends, scenario, told);
    assert_unknown(&ends, scenario, "stack.yaml:17)");
    assert_unknown(&ends, scenario, "[[app]]\nimage = \"alpine\"");
    // One that need not be asked, beside one that is known.
    let beside = format!("{NGINX}      - {{name: agent, image: 'example.com/agent:1'}}\n");
    assert_unknown(&beside, scenario, "example.com/agent:1 (container agent of ");
}

/// What the manifests tell by themselves holds whatever the programs do, unless something else may act.
#[rstest]
#[case("spread::distinct_nodes", "asks for 1")]
#[case("https::redirect", "the stack has none")]
#[case("autoscale::scales_out", "HorizontalPodAutoscaler")]
fn what_manifests_lack_is_judged_without_a_program(#[case] scenario: &str, #[case] told: &str) {
    let single = NGINX.replace("replicas: 3", "replicas: 1").replace("nginx:1.27", "alpine:3.20");
    let (verdict, message) = judged(&single, scenario);
    assert_eq!(verdict, Failed, "{message}");
    assert!(message.contains(told), "{message}");
    assert_unknown(&single, "rollout::no_failed_request", "[[app]]");
    assert_eq!(judged(&format!("{single}{ISOLATION}"), scenario), (Failed, message));
    assert_unknown(&format!("{single}{DENY_ALL}"), scenario, "[[app]]");
    let elsewhere = NGINX
        .replace("replicas: 3", "replicas: 1")
        .replace("    spec:\n", "    spec:\n      nodeSelector: {disk: ssd}\n");
    assert_eq!(judged(&elsewhere, scenario).0, Failed);
    assert_unknown(&elsewhere, "rollout::no_failed_request", "nodeSelector");
}

/// What a namespace of the Pod Security Standard `restricted` asks for, and a read-only root besides.
const HARDENED: &str = "      securityContext: {runAsNonRoot: true, fsGroup: 1000}
      containers:
      - name: web
        securityContext:
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
          readOnlyRootFilesystem: true
        image: example.com/team/web:1
        workingDir: /srv
        volumeMounts: [{name: tmp, mountPath: /tmp}]
";
const SCRATCH: &str = "      volumes: [{name: tmp, emptyDir: {medium: Memory, sizeLimit: 64Mi}}]\n";

#[test]
fn a_program_that_needs_no_privileges_can_be_denied_them() {
    let usual = "      containers:\n      - name: web\n        image: nginx:1.27\n";
    let denied = NGINX.replace(usual, HARDENED).replace("port: 80}", "port: 80, targetPort: 8080}");
    let with = |more: &str| format!("{denied}{more}{SCRATCH}");
    let denied = with("");
    let scenario = "rollout::ready_capacity";
    assert_unknown(&denied, scenario, "memory_mib = 64\nunprivileged = true");
    let rooted = NGINX.replace("nginx:1.27", "a/b\n        securityContext: {runAsUser: 0}");
    assert!(!judged(&rooted, scenario).1.contains("unprivileged"));
    let single = denied.replace("replicas: 3", "replicas: 1");
    assert_eq!(judged(&single, "spread::distinct_nodes").0, Failed);
    let judged = |yaml: &str, unprivileged: bool| {
        let mut request = support::request_for(yaml, &[scenario]);
        request.apps.push(GenericApp { unprivileged, ..support::app("web") });
        support::outcome(&request)
    };
    let unsaid = judged(&denied, false);
    assert_eq!(unsaid.verdict, Unknown, "{}", unsaid.message);
    for told in ["securityContext.runAsNonRoot", "drop[0]", "readOnlyRoot", "are `unprivileged`"] {
        assert!(unsaid.message.contains(told), "{}", unsaid.message);
    }
    let said = judged(&denied, true);
    assert_eq!(said.verdict, Passed, "{}", said.message);
    // Another program of the pod is denied the same.
    let beside = judged(&with("      - {name: agent, image: 'nginx:1.27'}\n"), true);
    assert_eq!(beside.verdict, Unknown, "{}", beside.message);
}

const STORE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: store}
spec: {selector: {app: store}, ports: [{name: postgres, port: 5432}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  serviceName: store
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec:
      containers:
      - name: postgres
        image: postgres:16.4
        ports: [{containerPort: 5432}]
        readinessProbe: {exec: {command: [/usr/bin/pg_isready, -U, app]}}
        livenessProbe: {exec: {command: [sh, -c, exec pg_isready -U app]}}
";

#[test]
fn a_database_with_exec_probes_can_be_described() {
    let image = "example.com/team/web:1\n        env: [{name: DATABASE_HOST, value: store}]";
    let front =
        NGINX.replace("nginx:1.27", image).replace("port: 80}", "port: 80, targetPort: 8080}");
    let yaml = format!("{front}{STORE}");
    let scenario = "rollout::ready_capacity";
    for told in [
        "[[app]]\nimage = \"example.com/team/web\"\nport = 8080\n",
        "memory_mib = 64\n[[app]]\nimage = \"postgres\"\nport = 5432\n",
        "memory_mib = 64\nshell = true\nprobes = [\"pg_isready\"]",
    ] {
        assert_unknown(&yaml, scenario, told);
    }
    let judged = |probes: &[&str]| {
        let mut request = support::request_for(&yaml, &[scenario]);
        let probes = probes.iter().map(|each| (*each).to_owned()).collect();
        let image = "postgres".to_owned();
        request.apps.extend([
            support::app("web"),
            GenericApp { image, port: 5432, probes, ..support::app("store") },
        ]);
        support::outcome(&request)
    };
    let unsaid = judged(&[]);
    assert_eq!(unsaid.verdict, Unknown, "{}", unsaid.message);
    assert!(unsaid.message.contains("among its `probes`"), "{}", unsaid.message);
    let said = judged(&["pg_isready"]);
    assert_eq!(said.verdict, Passed, "{}", said.message);
}

const BYSTANDER: &str = "---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec:
      securityContext: {runAsUser: 1000}
      initContainers:
      - {name: check, image: 'busybox:1.36', command: [sh, -c, 'for i in 1 2; do wget web; done']}
      containers:
      - {name: cart, image: 'example.com/cart:1', readinessProbe: {grpc: {port: 7070}}}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {type: ClusterIP, selector: {app: cart}, ports: [{name: grpc, port: 7070}]}
";
const BACKUP: &str = "---
apiVersion: batch/v1
kind: CronJob
metadata: {name: backup}
spec:
  schedule: '0 3 * * *'
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: backup, image: 'example.com/backup:1'}]
";
const BUDGET: &str = "---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: cart}
spec: {minAvailable: 1, selector: {matchLabels: {app: cart}}}
";

/// Whether a workload starts that nothing depends on decides nothing.
#[test]
fn a_bystander_may_be_what_no_model_knows() {
    let scenario = "rollout::ready_capacity";
    let with = |bystander: &str| format!("{NGINX}{bystander}");
    let (verdict, message) = judged(&with(BYSTANDER), scenario);
    assert_eq!(verdict, Passed, "{message}");
    let failed = support::judged(&with(BYSTANDER), "spread::busy_cluster");
    assert_eq!(failed.verdict, Failed, "{}", failed.message);
    assert!(!failed.diagnosis.join("\n").contains("cart"), "{:?}", failed.diagnosis);
    let told = "of Deployment default/cart (start)";
    assert_unknown(&with(&BYSTANDER.replace("ClusterIP", "NodePort")), scenario, told);
    assert_unknown(&with(&format!("{BYSTANDER}{BUDGET}")), scenario, told);
    let wait = "[sh, -c, 'until nc -z cart 7070; do sleep 1; done']";
    let wait = format!("{{name: wait, image: 'busybox:1.36', command: {wait}}}");
    let wait = format!("    spec:\n      initContainers: [{wait}]\n      containers:\n");
    assert_eq!(judged(&with(BACKUP), scenario).0, Passed);
    // It takes room on every node, and nothing else.
    let agent = with(&BYSTANDER.replace("kind: Deployment", "kind: DaemonSet"));
    assert_eq!(judged(&agent, scenario).0, Passed);
    assert_unknown(&agent, "spread::distinct_nodes", "the whole kind of DaemonSet default/cart");
    let waiting = with(BYSTANDER).replacen("    spec:\n      containers:\n", &wait, 1);
    assert_unknown(&waiting, scenario, told);
}

const DENY_ALL: &str = "---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: deny-all}
spec: {endpointSelector: {}, ingressDeny: [{fromEntities: [all]}]}
";
const ISOLATION: &str = "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-all}
spec: {podSelector: {}}
";
const MONITOR: &str = "---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, endpoints: [{port: http}]}
";

#[rstest]
#[case("spread::distinct_nodes")]
#[case("readiness::gate")]
fn a_custom_resource_may_change_what_is_judged_unless_it_only_observes(#[case] scenario: &str) {
    let told = "stack.yaml:19: the whole kind of CiliumNetworkPolicy default/deny-all ";
    assert_unknown(&format!("{NGINX}{DENY_ALL}"), scenario, told);
    let watched = judged(&format!("{NGINX}{MONITOR}"), scenario);
    assert_eq!(watched, judged(NGINX, scenario));
}

const ROUTE: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
";
const INGRESS_ROUTE: &str = "---
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: web}
spec:
  routes: [{match: 'Host(`web.example.com`)', kind: Rule, services: [{name: web, port: 80}]}]
";

#[rstest]
#[case(ROUTE, "stack.yaml:19: HTTPRoute default/web names Service default/web")]
#[case(INGRESS_ROUTE, "stack.yaml:19: IngressRoute default/web names Service default/web")]
fn a_custom_resource_may_be_the_front_door(#[case] route: &str, #[case] told: &str) {
    let closed = NGINX.replace("type: NodePort, ", "");
    for scenario in ["spread::distinct_nodes", "https::serves"] {
        assert_unknown(&format!("{closed}{route}"), scenario, told);
        for other in ["", MONITOR] {
            assert_eq!(judged(&format!("{closed}{other}"), scenario).0, Failed);
        }
    }
}

const INGRESS: &str = "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
spec:
  ingressClassName: nginx
  rules:
  - host: web.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
";
const CLASS: &str = "---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: CLASS}
spec: {controller: k8s.io/ingress-nginx}
";

/// [`INGRESS`] as another object, of the class `alb`, for another host.
fn ingress_of_alb() -> String {
    let other = INGRESS.replace("name: web\nspec", "name: alb\nspec");
    other.replace("web.example.com", "alb.example.com").replace("Name: nginx", "Name: alb")
}

#[test]
fn an_ingress_of_another_class_is_not_judged() {
    let closed = NGINX.replace("type: NodePort, ", "");
    let spec = "stack.yaml:24: spec.ingressClassName of Ingress default/web is alb";
    let old =
        "stack.yaml:23: metadata.annotations.kubernetes.io/ingress.class of Ingress default/web";
    let annotated = INGRESS.replace("  ingressClassName: nginx\n", "").replace(
        "name: web\nspec",
        "name: web\n  annotations: {kubernetes.io/ingress.class: alb}\nspec",
    );
    let classed = INGRESS.replace("Name: nginx", "Name: alb");
    // A node port beside it is not how users come in.
    for stack in [&closed, NGINX] {
        for scenario in ["readiness::gate", "https::serves"] {
            assert_unknown(&format!("{stack}{classed}"), scenario, spec);
            assert_unknown(&format!("{stack}{annotated}"), scenario, old);
        }
        assert_eq!(judged(&format!("{stack}{classed}"), "spread::distinct_nodes").0, Passed);
    }
}

#[test]
fn an_ingress_of_nginx_counts_beside_others() {
    let closed = NGINX.replace("type: NodePort, ", "");
    let tls = INGRESS.replace("  rules:", "  tls: [{hosts: [web.example.com]}]\n  rules:");
    let both = format!("{closed}{}{tls}", ingress_of_alb());
    for scenario in ["https::serves", "https::redirect"] {
        assert_eq!(judged(&both, scenario).0, Passed, "{scenario}");
    }
    let renamed = tls.replace("Name: nginx", "Name: internal");
    let named = format!("{closed}{renamed}{}", CLASS.replace("CLASS", "internal"));
    assert_eq!(judged(&named, "https::serves").0, Passed);
    assert_eq!(judged(&format!("{closed}{renamed}"), "https::serves").0, Unknown);
    let classless = tls.replace("  ingressClassName: nginx\n", "");
    assert_eq!(judged(&format!("{closed}{classless}"), "https::serves").0, Passed);
}

/// [`NGINX`] with `field` in its pods.
fn pods_with(field: &str) -> String {
    NGINX.replace("    spec:\n", &format!("    spec:\n      {field}\n"))
}

const ZONES: &str = "topologySpreadConstraints: [{maxSkew: 1, whenUnsatisfiable: DoNotSchedule, \
                     topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: web}}}]";
const ON_SSD: &str = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
                      {nodeSelectorTerms: [{matchExpressions: [{key: disktype, operator: Exists}]}]}}}";

#[rstest]
#[case::label(
    "nodeSelector: {disktype: ssd}",
    "nodeSelector of Deployment default/web asks for labels"
)]
#[case::arch("nodeSelector: {kubernetes.io/arch: arm64}", "nodeSelector of Deployment default/web")]
#[case::affinity(ON_SSD, "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution of ")]
#[case::zones(ZONES, "is about topology.kubernetes.io/zone")]
#[case::node("nodeName: node-7", "names node-7")]
fn a_node_that_only_the_own_cluster_has_is_not_missed(#[case] field: &str, #[case] told: &str) {
    assert_unknown(&pods_with(field), "spread::distinct_nodes", told);
    assert_unknown(&pods_with(field), "spread::distinct_nodes", "stack.yaml:15: ");
}

#[rstest]
#[case("limits: {nvidia.com/gpu: 1}", "resources.limits.nvidia.com/gpu of ")]
#[case("requests: {cpu: 12}", "asks for 12, which no node has")]
fn a_resource_that_only_the_own_cluster_has_is_not_missed(#[case] field: &str, #[case] told: &str) {
    let yaml = format!("{NGINX}        resources: {{{field}}}\n");
    assert_unknown(&yaml, "spread::distinct_nodes", told);
}

const CLAIM: &str = "---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {storageClassName: gp3, accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
";
const STORAGE_CLASS: &str = "---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: gp3}
provisioner: ebs.csi.aws.com
";

#[test]
fn a_volume_that_only_the_own_cluster_makes_is_not_missed() {
    let claimed = pods_with("volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]");
    let claimed = format!("{claimed}{CLAIM}");
    let told =
        "stack.yaml:23: spec.storageClassName of PersistentVolumeClaim default/data names gp3";
    assert_unknown(&claimed, "spread::distinct_nodes", told);
    let told = "stack.yaml:28: provisioner of StorageClass gp3 is ebs.csi.aws.com";
    assert_unknown(&format!("{claimed}{STORAGE_CLASS}"), "spread::distinct_nodes", told);
    // local-path makes no volume for several nodes, and says so on a real cluster too.
    let standard = claimed.replace("storageClassName: gp3", "storageClassName: standard");
    assert_eq!(judged(&standard, "spread::distinct_nodes").0, Failed);
}

const ENDPOINTS: &str = "---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {ports: [{port: 3306}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: db}
subsets: [{addresses: [{ip: 10.9.8.7}], ports: [{port: 3306}]}]
";

#[test]
fn a_mistyped_database_in_a_namespace_of_the_stack_fails() {
    let image = "wordpress:6.8-apache\n        env: [{name: WORDPRESS_DB_HOST, value: mysqll}]";
    let yaml =
        NGINX.replace("nginx:1.27", image).replace("{name: web}", "{name: web, namespace: shop}");
    let scenario = "rollout::no_failed_request";
    assert_unknown(&yaml, scenario, "names mysqll, which is no Service of the stack");
    let made = format!("{yaml}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n");
    let (verdict, message) = judged(&made, scenario);
    assert_eq!(verdict, Failed, "{message}");
}

#[rstest]
#[case::name("mydb.abc.eu-west-1.rds.amazonaws.com", "", "which is no Service of the stack")]
#[case::address("10.9.8.7:3306", "", "names 10.9.8.7")]
#[case::endpoints("db", ENDPOINTS, "the whole kind of Endpoints default/db")]
fn a_database_elsewhere_is_not_missed(#[case] host: &str, #[case] more: &str, #[case] told: &str) {
    let env = format!(
        "wordpress:6.8-apache\n        env: [{{name: WORDPRESS_DB_HOST, value: '{host}'}}]"
    );
    let yaml = format!("{}{more}", NGINX.replace("nginx:1.27", &env));
    assert_unknown(&yaml, "rollout::no_failed_request", told);
    if more.is_empty() {
        // No cluster lets us delete its pods.
        assert_eq!(judged(&yaml, "persistence::posts").0, Ignored);
        // Nothing asks it for a page.
        assert_eq!(judged(&yaml, "spread::distinct_nodes").0, Passed);
    }
}
