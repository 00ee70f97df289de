//! The program as a user meets it: help, exit codes, messages, reports.

mod settings;

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use rstest::rstest;

/// A machine without container engine, settings or leases, whatever this one has.
fn machine() -> Command {
    let mut command = Command::cargo_bin("seatrial").expect("the program is built");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SEATRIAL_")) {
        command.env_remove(name);
    }
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty");
    command.env("PATH", &empty).env("KUBECONFIG", empty.join("kubeconfig"));
    command.env("XDG_STATE_HOME", empty.join("state")).env("XDG_CACHE_HOME", empty.join("cache"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn seatrial(arguments: &[&str]) -> Output {
    machine().args(arguments).output().expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Compares with `tests/golden/<name>`; `UPDATE_GOLDEN=1` rewrites it.
fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden is writable");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, text, "{}", path.display());
}

#[rstest]
#[case("help.txt", &["--help"])]
#[case("help-run.txt", &["run", "--help"])]
#[case("help-up.txt", &["up", "--help"])]
#[case("list.txt", &["list"])]
fn help_is_as_reviewed(#[case] golden: &str, #[case] arguments: &[&str]) {
    let output = seatrial(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_golden(golden, &stdout(&output));
}

#[rstest]
#[case::no_command(&[], 2, "Usage")]
#[case::unknown_flag(&["run", "--sede", "1"], 2, "--seed")]
#[case::no_seeds(&["run", "--seeds", "0"], 2, "--seeds: 0 is not between 1 and")]
#[case::no_jobs(&["run", "--jobs", "0"], 2, "--jobs: 0 is too few")]
#[case::bad_switch(&["run", "--reuse=flase"], 2, "'--reuse[=<BOOL>]'")]
#[case::empty_switch(&["run", "--install-addons="], 2, "--install-addons: is empty")]
#[case::no_topology(&["run", "--topology", "nope"], 2, "--topology: cannot read nope: ")]
#[case::bad_seed(&["run", "--seed", "one"], 2, "invalid value")]
#[case::bad_engine(&["run", "--engine", "docker"], 2, "kubeconfig")]
#[case::bad_minor(&["run", "--kubernetes", "1.12"], 2, "choose 1.20 to 1.37")]
#[case::no_manifests(&["run", "--manifests", "nowhere"], 2, "nowhere")]
#[case::no_config(&["run", "--config", "nowhere.toml"], 2, "nowhere.toml")]
#[case::unknown_suite(&["run", "--suite", "rolout"], 4, "rollout")]
#[case::unknown_scenario(&["run", "--suite", "spread::busy"], 4, "spread::busy_cluster")]
#[case::kind(&["run", "--engine", "kind"], 3, "docker")]
#[case::up(&["up"], 3, "docker")]
#[case::no_context(&["run", "--engine", "kubeconfig"], 2, "--context NAME")]
#[case::no_kubeconfig(&["run", "--engine", "kubeconfig", "--context", "x"], 3, "KUBECONFIG")]
#[case::no_workers(&["run", "--engine", "kind", "--workers", "0"], 2, "--workers: 0 is not between 1 and")]
#[case::no_images(&["run", "--engine", "kind", "--images", "nowhere"], 2, "--images: nowhere")]
#[case::no_cluster(&["down", "st-none"], 2, "no cluster `st-none`")]
#[case::report_is_a_file(&["run", "--suite", "https::redirect", "--report", "Cargo.toml/x"], 2, "--report")]
fn a_mistake_gets_its_exit_code_and_a_hint(
    #[case] arguments: &[&str],
    #[case] code: i32,
    #[case] hint: &str,
) {
    let output = seatrial(arguments);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(hint), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

/// A folder with nothing in it: the reference stack is not there to be the default.
#[rstest]
#[case::run(&["run"], 2, "--manifests PATH")]
#[case::dry_run(&["run", "--engine", "kind", "--dry-run"], 2, "--manifests PATH")]
#[case::up(&["up"], 2, "--manifests PATH")]
#[case::doctor(&["doctor"], 3, "no stack is named (--manifests PATH)")]
fn without_a_stack_there_is_a_hint(
    #[case] arguments: &[&str],
    #[case] code: i32,
    #[case] hint: &str,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = machine().current_dir(&folder).args(arguments).output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(hint), "{text}");
    // The doctor has looked at the machine all the same.
    assert_eq!(stdout(&output).contains("container engine"), arguments == ["doctor"], "{output:?}");
}

#[test]
fn what_is_wrong_with_several_scenarios_is_told_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = machine()
        .args(["run", "--suite", "https", "--manifests", "manifests/stages/02-split", "--report"])
        .arg(folder.path())
        .output()
        .expect("it starts");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.matches("cause: no-ingress").count(), 1, "{text}");
    assert_eq!(text.matches("the same as https::redirect").count(), 3, "{text}");
    assert!(text.contains("again: seatrial run --suite https::every_host"), "{text}");
}

#[test]
fn a_run_says_what_it_did_and_leaves_its_reports() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("it is UTF-8");
    let output = seatrial(&["run", "--suite", "https", "--seed", "7", "--report", path]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.starts_with("engine: sim ("), "{text}");
    for word in ["https", "redirect", "certificate", "every_host", "virtual", "4 passed"] {
        assert!(text.contains(word), "`{word}` in {text}");
    }
    let json = std::fs::read_to_string(folder.path().join("report.json")).expect("report.json");
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!((&json["seed"], &json["verdict"]), (&7.into(), &"passed".into()));
    assert!(folder.path().join("junit.xml").is_file());
}

#[test]
fn a_failure_says_why_and_where_to_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("it is UTF-8");
    let stage = "manifests/stages/04-readiness";
    let output = seatrial(&[
        "run",
        "--manifests",
        stage,
        "--suite",
        "rollout::no_failed_request",
        "--report",
        path,
    ]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", stderr(&output));
    for word in ["termination-race", "04-readiness/stack.yaml:", "preStop", "again: seatrial run"] {
        assert!(text.contains(word), "`{word}` in {text}");
    }
}

#[test]
fn the_verdict_is_said_though_its_report_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    // It can be opened, and takes nothing.
    std::os::unix::fs::symlink("/dev/full", folder.path().join("report.json")).expect("a link");
    let path = folder.path().to_str().expect("it is UTF-8");
    let output = seatrial(&["run", "--suite", "https::redirect", "--report", path]);
    let (text, error) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(3), "{text}{error}");
    assert!(text.contains("1 passed") && !text.contains("reports:"), "{text}");
    assert!(error.contains("report.json") && error.contains("--report"), "{error}");
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "mine").expect("it is writable");
    let path = folder.path().join("file/report");
    let path = path.to_str().expect("it is UTF-8");
    let output = seatrial(&["run", "--suite", "https::redirect", "--report", path]);
    assert_eq!((output.status.code(), &*stdout(&output)), (Some(2), ""), "{}", stderr(&output));
    assert!(stderr(&output).contains(path), "{}", stderr(&output));
}

#[test]
fn runs_of_the_same_second_leave_a_report_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/wordpress");
    let run = || {
        let mut run = machine();
        run.args(["run", "--engine", "sim", "--suite", "https::redirect", "--manifests"]);
        run.arg(&manifests).current_dir(folder.path()).output().expect("it starts")
    };
    std::thread::scope(|scope| {
        for run in [(); 4].map(|()| scope.spawn(run)) {
            assert!(run.join().expect("it ends").status.success());
        }
    });
    let reports = std::fs::read_dir(folder.path().join("target/seatrial")).expect("the reports");
    let reports = reports.map(|report| report.expect("an entry").path().join("report.json"));
    assert_eq!(reports.filter(|report| report.is_file()).count(), 4);
}

/// A stack in the namespace NAMESPACE, with SPEC in the Service of line 11.
const STACK: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: 'nginx:1.27'}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAMESPACE}
spec: {type: NodePort, selector: {app: web}, SPEC}
";

/// What a run on the simulator says of a stack that its cluster refuses.
fn refused(stack: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("stack.yaml"), stack).expect("it is writable");
    let mut command = machine();
    command.args(["run", "--engine", "sim", "--suite", "readiness::gate"]);
    command.args(["--manifests", &path("stack.yaml"), "--report", &path("report")]);
    let output = command.output().expect("it starts");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(2), "{text}{}", stderr(&output));
    text
}

#[rstest]
#[case::no_namespace("nowhere", "ports: [{port: 80}]", r#"namespaces "nowhere" not found"#)]
#[case::address(
    "default",
    "ports: [{port: 80}], clusterIP: 1.2.3.4",
    "failed to allocate IP 1.2.3.4"
)]
fn a_manifest_that_the_cluster_refuses_is_no_bug_of_ours(
    #[case] namespace: &str,
    #[case] spec: &str,
    #[case] reason: &str,
) {
    let text = refused(&STACK.replace("NAMESPACE", namespace).replace("SPEC", spec));
    let place = format!("stack.yaml:11: Service {namespace}/web: refused: ");
    assert!(text.contains(&place) && text.contains(reason), "{text}");
}

/// What ingress-nginx's webhook says (`controller.go:checkOverlap`).
#[test]
fn an_ingress_for_a_host_and_path_that_another_has_is_refused() {
    let backend = "backend: {service: {name: web, port: {number: 80}}}";
    let ingress = |name: &str| {
        format!(
            "---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}}}
spec:
  ingressClassName: nginx
  rules: [{{host: shop.test, http: {{paths: [{{path: /, pathType: Prefix, {backend}}}]}}}}]
"
        )
    };
    let stack = STACK.replace("NAMESPACE", "default").replace("SPEC", "ports: [{port: 80}]");
    let text = refused(&format!("{stack}{}{}", ingress("first"), ingress("second")));
    let message = "stack.yaml:23: Ingress default/second: refused: admission webhook \
                   \"validate.nginx.ingress.kubernetes.io\" denied the request: host \"shop.test\" \
                   and path \"/\" is already defined in ingress default/first";
    assert!(text.contains(message), "{text}");
}

#[test]
fn a_node_port_out_of_range_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join("stack.yaml");
    let spec = "ports: [{port: 80, nodePort: 80}]";
    let stack = STACK.replace("NAMESPACE", "default").replace("SPEC", spec);
    std::fs::write(&manifest, stack).expect("it is writable");
    let output = machine()
        .args(["run", "--engine", "sim", "--manifests"])
        .arg(&manifest)
        .output()
        .expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let refused = "stack.yaml:14: Service default/web: spec.ports[0].nodePort: Invalid value: 80";
    assert!(text.contains(refused), "{text}");
}

#[test]
fn arguments_need_not_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join(OsStr::from_bytes(b"a\xff.yaml"));
    let stack = STACK.replace("NAMESPACE", "default").replace("SPEC", "ports: [{port: 80}]");
    std::fs::write(&manifest, stack).expect("it is writable");
    let mut command = machine();
    command.args(["run", "--engine", "sim", "--suite", "spread::distinct_nodes", "--manifests"]);
    command.arg(&manifest).arg("--report").arg(folder.path().join(OsStr::from_bytes(b"r\xff")));
    let output = command.output().expect("it starts");
    let text = format!("{}{}", stdout(&output), stderr(&output));
    assert!(output.status.code().is_some_and(|code| code < 5), "{text}");
    assert!(text.contains("/a\u{fffd}.yaml") && !text.contains("panicked"), "{text}");
}
