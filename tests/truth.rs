//! The reference stack with one line changed: where a real cluster would fail it, or the model cannot
//! tell, the verdict is `failed` or `unknown`; it is `passed` where the change means nothing.

mod support;

use std::fs;

use rstest::rstest;
use seatrial::engine::sim::GenericApp;
use seatrial::observe::Verdict::{self, Failed, Passed, Unknown};

const WORDPRESS: &str = "image: wordpress:6.8.3-php8.3-apache";
const MYSQL: &str = "image: mysql:8.4";

/// The verdict of `https::serves` on the reference stack with `from` replaced by `to`.
fn verdict(from: &str, to: &str) -> (Verdict, String) {
    let mut found = 0;
    let mut yaml = String::new();
    let files = fs::read_dir(support::reference()).expect("the reference stack");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    for path in paths {
        let text = fs::read_to_string(&path).expect("text");
        found += text.matches(from).count();
        yaml.push_str(&format!("---\n{}\n", text.replace(from, to)));
    }
    assert_eq!(found, 1, "{from}");
    let outcome = support::judged(&yaml, "https::serves");
    (outcome.verdict, outcome.message)
}

/// `line` and a further field of the same container.
fn with(line: &str, field: &str) -> String {
    format!("{line}\n          {field}")
}

#[rstest]
#[case::nothing_is_copied(WORDPRESS, r#"command: ["apache2-foreground"]"#, Failed)]
#[case::entrypoint_with_nothing_to_run(WORDPRESS, r#"command: ["docker-entrypoint.sh"]"#, Failed)]
#[case::as_the_image_has_it(WORDPRESS, r#"args: ["apache2-foreground"]"#, Passed)]
#[case::unknown_program(WORDPRESS, r#"command: ["supervisord"]"#, Unknown)]
#[case::start_script(WORDPRESS, r#"command: ["sh", "/scripts/start.sh"]"#, Unknown)]
#[case::dropped(WORDPRESS, "securityContext: {capabilities: {drop: [ALL]}}", Unknown)]
#[case::raw_packets(WORDPRESS, "securityContext: {capabilities: {drop: [NET_RAW]}}", Passed)]
#[case::unprepared_database(MYSQL, r#"command: ["mysqld"]"#, Unknown)]
fn a_container_runs_what_its_command_says(
    #[case] image: &str,
    #[case] field: &str,
    #[case] expected: Verdict,
) {
    let (verdict, message) = verdict(image, &with(image, field));
    assert_eq!(verdict, expected, "{message}");
}

#[rstest]
#[case::disk_that_is_not_empty("              subPath: mysql\n", "", Failed)]
#[case::program_of_another_publisher(WORDPRESS, "image: bitnami/wordpress:6.8.3", Unknown)]
#[case::broken_settings("define('DISALLOW_FILE_MODS', true);", "define('WP_HOME'", Unknown)]
#[case::another_character_set("character-set-server=utf8mb4", "character-set-server=utf9", Unknown)]
#[case::cron_as_a_probe("/wp-includes/images/blank.gif", "/wp-cron.php", Unknown)]
fn what_the_program_finds_decides(#[case] from: &str, #[case] to: &str, #[case] expected: Verdict) {
    let (verdict, message) = verdict(from, to);
    assert_eq!(verdict, expected, "{message}");
}

const HOOK: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
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
        image: example.com/team/web:1
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
        lifecycle: {preStop: {exec: {command: [sleep, "5"]}}}
"#;

#[rstest]
#[case::not_said(None, Unknown)]
#[case::distroless(Some(false), Failed)]
#[case::has_one(Some(true), Passed)]
fn a_hook_needs_a_shell_in_the_image(#[case] has_shell: Option<bool>, #[case] expected: Verdict) {
    let mut request = support::request_for(HOOK, &["rollout::no_failed_request"]);
    request.apps.push(GenericApp { has_shell, ..support::app("web") });
    let outcome = support::outcome(&request);
    let (verdict, message) = (outcome.verdict, outcome.message);
    assert_eq!(verdict, expected, "{message}");
    let told =
        "sleep 5 in example.com/team/web:1 (say in seatrial.toml whether its image has a `shell`)";
    assert_eq!(message.contains(told), expected == Unknown, "{message}");
}

/// Three replicas of nginx with readiness and a pause before they stop.
const NGINX: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 60
      volumes: [{name: settings, configMap: {name: settings}}]
      initContainers: [{name: init, image: "busybox:1.36", command: [sh, -c, "true"]}]
      containers:
      - name: web
        image: nginx:1.27
        command: [nginx, -g, "daemon off;"]
        readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 5}
        lifecycle: {preStop: {exec: {command: [/bin/sh, -c, "sleep 20"]}}}
        volumeMounts: [{name: settings, mountPath: /config}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {nginx.conf: "events {}"}
"#;

/// The verdict of `scenario` on [`NGINX`] with `from` replaced by `to`, its message and the line of
/// its cause.
fn of_nginx(scenario: &str, from: &str, to: &str) -> (Verdict, String, Option<String>) {
    assert_eq!(NGINX.matches(from).count(), 1, "{from}");
    let yaml = NGINX.replace(from, to);
    let found = support::judged(&yaml, scenario);
    let fix = found.causes.first().and_then(|cause| cause.fix.as_ref());
    let line = fix.and_then(|fix| yaml.lines().nth(fix.line - 1));
    (found.verdict, found.message, line.map(|line| line.trim().to_owned()))
}

const PAUSE: &str = r#""sleep 20""#;
const SERVES: &str = "daemon off;";

#[rstest]
#[case::quits_after_the_pause(PAUSE, r#""sleep 20; nginx -s quit""#, Passed)]
#[case::quits_at_once(PAUSE, r#""nginx -s quit; sleep 20""#, Failed)]
#[case::stops_without_draining(PAUSE, r#""sleep 20; nginx -s stop""#, Unknown)]
#[case::quits_if_a_file_is_there(PAUSE, r#""sleep 20; test -f /tmp/x && nginx -s quit""#, Unknown)]
#[case::settings_of_its_own("[nginx, -g", "[nginx, -c, /config/nginx.conf, -g", Unknown)]
#[case::more_directives(SERVES, "daemon off; worker_processes 1;", Unknown)]
fn a_server_stops_when_its_hook_says_so(
    #[case] from: &str,
    #[case] to: &str,
    #[case] expected: Verdict,
) {
    let (verdict, message, _) = of_nginx("rollout::no_failed_request", from, to);
    assert_eq!(verdict, expected, "{message}");
}

#[rstest]
#[case::of_the_cluster_itself("until nc -z kube-dns.kube-system 53; do sleep 1; done", Unknown)]
#[case::behind_the_api(
    "while true; do nc -z kubernetes.default 443 && break; sleep 1; done",
    Unknown
)]
#[case::looks_a_name_up("until nslookup web; do sleep 2; done", Unknown)]
#[case::nobody_listens("until nc -z nobody 80; do echo waiting; sleep 2; done", Failed)]
#[case::waits_for_itself("until nc -z web 80; do sleep 2; done", Failed)]
#[case::ends_in_time("for i in 1 2 3; do sleep 1; done", Unknown)]
#[case::never_ends("while true; do sleep 60; done", Failed)]
#[case::file_of_the_volume("ls /config/nginx.conf", Unknown)]
#[case::folder_that_is_made("mkdir -p /tmp/work && ls /tmp/work && chmod 700 /tmp/work", Passed)]
#[case::folder_that_is_not_made("ls /tmp/work", Failed)]
fn an_init_container_ends_when_its_script_does(#[case] script: &str, #[case] expected: Verdict) {
    let (from, to) = (r#""true""#, format!("{script:?}"));
    let (verdict, message, _) = of_nginx("rollout::no_failed_request", from, &to);
    assert_eq!(verdict, expected, "{message}");
}

#[rstest]
#[case::two_tags("nginx:alpine:1.27")]
#[case::upper_case("Nginx:1.27")]
fn an_image_without_a_valid_name_never_runs(#[case] image: &str) {
    let (verdict, message, line) =
        of_nginx("rollout::no_failed_request", "nginx:1.27", &format!("{image:?}"));
    assert_eq!(verdict, Failed, "{message}");
    assert!(message.contains("InvalidImageName"), "{message}");
    assert_eq!(line, Some(format!("image: {image:?}")));
}

#[test]
fn an_endless_pipe_of_answers_is_not_followed() {
    let script = r#"[sh, -c, "while true; do echo hi | nc -l -p 80; done"]"#;
    let from = "[nginx, -g, \"daemon off;\"]";
    let (verdict, message, _) = of_nginx("rollout::no_failed_request", from, script);
    assert_eq!(verdict, Unknown, "{message}");
}

/// Two Deployments, of which the first waits for the second.
#[rstest]
#[case::that_is_there("store 80", Passed)]
#[case::on_another_port("store 81", Failed)]
fn a_front_can_wait_for_what_it_needs(#[case] whom: &str, #[case] expected: Verdict) {
    let store = "{name: store}\nspec: {selector: {app: store}, ports: [{name: http, port: 80}]}";
    let workload = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: store}
spec:
  selector: {matchLabels: {app: store}}
  template:
    metadata: {labels: {app: store}}
    spec: {containers: [{name: store, image: "nginx:1.27"}]}"#;
    let wait = format!("\"until nc -z {whom}; do sleep 1; done\"");
    let yaml = NGINX.replace(r#""true""#, &wait);
    let yaml =
        format!("{yaml}---\napiVersion: v1\nkind: Service\nmetadata: {store}\n---{workload}\n");
    let found = support::judged(&yaml, "rollout::no_failed_request");
    assert_eq!(found.verdict, expected, "{}", found.message);
}
