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
    let request = support::request_for(&yaml, &["https::serves"]);
    let run = seatrial::suite::run(&request, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    (run.scenarios[0].verdict, run.scenarios[0].message.clone())
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
    let run = seatrial::suite::run(&request, &mut |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let (verdict, message) = (run.scenarios[0].verdict, &run.scenarios[0].message);
    assert_eq!(verdict, expected, "{message}");
    let told =
        "sleep 5 in example.com/team/web:1 (say in seatrial.toml whether its image has a `shell`)";
    assert_eq!(message.contains(told), expected == Unknown, "{message}");
}
