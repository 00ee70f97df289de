//! The program as a user meets it: help, exit codes, messages, reports.

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
      containers: [{name: web, image: 'example.com/web:1'}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAMESPACE}
spec: {type: NodePort, selector: {app: web}, SPEC}
";

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
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let manifest = STACK.replace("NAMESPACE", namespace).replace("SPEC", spec);
    std::fs::write(path("stack.yaml"), manifest).expect("it is writable");
    let mut command = machine();
    command.args(["run", "--engine", "sim", "--suite", "spread::distinct_nodes"]);
    command.args(["--manifests", &path("stack.yaml"), "--report", &path("report")]);
    let output = command.output().expect("it starts");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(2), "{text}{}", stderr(&output));
    let refused = format!("stack.yaml:11: Service {namespace}/web: refused: ");
    assert!(text.contains(&refused) && text.contains(reason), "{text}");
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

#[rstest]
#[case::file("seeds = 2", None, &[])]
#[case::variable("", Some(("SEATRIAL_SEEDS", "2")), &[])]
#[case::flag("", None, &["--seeds", "2"])]
fn what_failed_at_one_of_several_seeds_is_seen_again_alone(
    #[case] file: &str,
    #[case] variable: Option<(&str, &str)>,
    #[case] typed: &[&str],
) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("c.toml");
    std::fs::write(&config, file).expect("it is writable");
    let mut command = machine();
    command.args(["run", "--engine=sim", "--suite=https::redirect"]).args(typed).envs(variable);
    command.args(["--manifests", "manifests/stages/04-readiness", "--config"]).arg(&config);
    let output = command.arg("--report").arg(folder.path()).output().expect("it starts");
    let text = stdout(&output);
    assert!(text.contains("2 of 2 seeds"), "{text}{}", stderr(&output));
    let again = "again: seatrial run --suite https::redirect --seed 1 --seeds 1 --engine=sim";
    assert!(text.contains(again), "{text}");
    assert_eq!(text.matches("--seeds").count(), 1, "{text}");
}

#[test]
fn settings_come_from_flag_before_environment_before_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("seatrial.toml");
    std::fs::write(&config, "suite = [\"https::redirect\"]\nseed = 5\nkubernetes = \"1.30\"\n")
        .expect("it is writable");
    let config = config.to_str().expect("it is UTF-8");
    let report = folder.path().join("report");
    let mut command = machine();
    command.env("SEATRIAL_SEED", "6");
    command.env("SEATRIAL_KUBERNETES", "1.31").args(["run", "--config", config]);
    command.args(["--kubernetes", "1.32", "--report"]).arg(&report);
    let output = command.output().expect("it starts");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains("Kubernetes 1.32, seed 6"), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn the_file_beside_the_manifests_is_read_however_they_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("it is writable");
    };
    let stack = STACK.replace("NAMESPACE", "default").replace("SPEC", "ports: [{port: 80}]");
    for (path, seed) in [("manifests/wordpress", 8), ("other", 9)] {
        write(&format!("{path}/stack.yaml"), &stack);
        write(&format!("{path}/seatrial.toml"), &format!("seed = {seed}\n"));
    }
    let headline = |named: Option<(&str, &str)>, typed: &[&str]| {
        let mut command = machine();
        command.args(["run", "--engine", "sim", "--suite", "spread::distinct_nodes"]).args(typed);
        let output = command.envs(named).current_dir(folder.path()).output().expect("it starts");
        stdout(&output).lines().next().unwrap_or_default().to_owned()
    };
    let default = "seed 8, manifests/wordpress";
    assert!(headline(None, &["--manifests", "manifests/wordpress"]).ends_with(default));
    assert!(headline(None, &[]).ends_with(default), "{}", headline(None, &[]));
    let variable = Some(("SEATRIAL_MANIFESTS", "other"));
    assert!(headline(variable, &[]).ends_with("seed 9, other"));
    write("seatrial.toml", "seed = 7\n");
    assert!(headline(None, &[]).ends_with(default), "as where the path is typed");
    write("seatrial.toml", "seed = 7\nmanifests = \"other\"\n");
    assert!(headline(None, &[]).ends_with("seed 7, other"), "it is about other manifests");
}

#[rstest]
#[case::unknown("seds = 2", 2, "seds: unknown field `seds`")]
#[case::no_number("seed = \"one\"", 2, "seed: invalid type")]
#[case::seeds("seeds = 0", 2, "seeds: 0 is not between 1 and 1000000")]
#[case::workers("workers = 0", 2, "workers: 0 is not between 1 and 20")]
#[case::minor(
    "kubernetes = \"1.19\"",
    2,
    "kubernetes: Kubernetes `1.19` is not modelled; choose 1.20 to"
)]
#[case::images("images = \"nope\"", 2, "images: nope is no folder")]
#[case::engine(
    "engine = \"foo\"",
    2,
    "engine: unknown variant `foo`, expected one of `auto`, `sim`"
)]
#[case::keep("keep = true", 2, "keep: ")]
#[case::manifests("manifests = \"nope\"", 2, "manifests: nope: no such file")]
#[case::report("report = \"Cargo.toml/x\"", 2, "report: no report can be written to Cargo.toml/x")]
#[case::suite("suite = [\"rolout\"]", 4, "suite: no suite or scenario is called `rolout`")]
#[case::jobs("jobs = 0", 2, "jobs: 0 is too few")]
#[case::context("context = \"\"", 2, "context: is empty; leave it out or name one")]
#[case::node_image("node_image = \"\"", 2, "node_image: is empty; leave it out or name one")]
#[case::no_report("report = \"\"", 2, "report: is empty; leave it out or name one")]
#[case::topology("topology = \"nope\"", 2, "topology: cannot read nope: ")]
#[case::syntax("seed 1", 2, "")]
#[case::no_value("seed = ", 2, "seed: ")]
fn a_mistake_in_the_settings_file_names_its_line(
    #[case] line: &str,
    #[case] code: i32,
    #[case] hint: &str,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("c.toml");
    std::fs::write(&config, format!("# mine\n\n{line}\n")).expect("it is writable");
    let config = config.to_str().expect("it is UTF-8");
    // Flags that overrule the file do not hide what is wrong in it.
    let overruled =
        ["--seeds=1", "--workers=1", "--kubernetes=1.30", "--engine=sim", "--keep=never"];
    let key = line.split(' ').next().unwrap_or_default();
    let overruled = overruled.iter().filter(|flag| flag.starts_with(&format!("--{key}=")));
    for flags in std::iter::once(vec!["--engine=sim"]).chain(overruled.map(|flag| vec![*flag])) {
        let output = seatrial(&[&["run", "--config", config], &flags[..]].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(&format!("{config}:3: {hint}")), "{text}");
    }
}

#[rstest]
#[case("SEATRIAL_SEEDS", "0", "SEATRIAL_SEEDS: 0 is not between")]
#[case("SEATRIAL_SEED", "one", "SEATRIAL_SEED: `one`: invalid digit")]
#[case("SEATRIAL_ENGINE", "foo", "SEATRIAL_ENGINE: `foo`: choose auto, sim, kind, kubeconfig")]
#[case("SEATRIAL_ENGINE", "kubeconfig", "SEATRIAL_ENGINE: kubeconfig needs --context NAME")]
#[case("SEATRIAL_KUBERNETES", "1.19", "SEATRIAL_KUBERNETES: Kubernetes `1.19` is not modelled")]
#[case("SEATRIAL_IMAGES", "nope", "SEATRIAL_IMAGES: nope is no folder")]
#[case("SEATRIAL_CONFIG", "nope", "SEATRIAL_CONFIG: cannot read nope: ")]
#[case("SEATRIAL_MANIFESTS", "nope", "SEATRIAL_MANIFESTS: nope: no such file")]
#[case("SEATRIAL_REPORT", "Cargo.toml/x", "SEATRIAL_REPORT: no report can be written")]
#[case("SEATRIAL_JOBS", "0", "SEATRIAL_JOBS: 0 is too few")]
#[case("SEATRIAL_REUSE", "flase", "SEATRIAL_REUSE: `flase`: choose true, false")]
#[case(
    "SEATRIAL_INSTALL_ADDONS",
    "banana",
    "SEATRIAL_INSTALL_ADDONS: `banana`: choose true, false"
)]
#[case("SEATRIAL_TOPOLOGY", "nope", "SEATRIAL_TOPOLOGY: cannot read nope: ")]
fn a_mistake_in_a_variable_names_it(
    #[case] variable: &str,
    #[case] value: &str,
    #[case] hint: &str,
) {
    let output = machine().env(variable, value).arg("run").output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(hint), "{text}");
}

#[rstest]
fn an_empty_variable_is_refused_by_its_name(
    #[values(
        "TOPOLOGY",
        "MANIFESTS",
        "REPORT",
        "CONFIG",
        "NODE_IMAGE",
        "CONTEXT",
        "SUITE",
        "SEED",
        "REUSE"
    )]
    name: &str,
) {
    let variable = format!("SEATRIAL_{name}");
    let output = machine().env(&variable, "").arg("run").output().expect("it starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(&format!("{variable}: is empty; leave it out or name one")), "{text}");
}

#[rstest]
#[case("suite = [\n  \"https\",\n  \"nope\",\n]\n")]
#[case("suite = [\n  # mine = yours\n  \"nope\",\n]\n")]
#[case("suite = [\n  \"https\", # mine\n  'nope=', # yours\n]\n")]
fn a_mistake_in_a_list_over_several_lines_names_line_and_key(#[case] file: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("c.toml");
    std::fs::write(&config, file).expect("it is writable");
    let path = config.to_str().expect("it is UTF-8");
    let text = stderr(&seatrial(&["run", "--engine=sim", "--config", path]));
    assert!(text.contains(&format!("{path}:3: suite: no suite or scenario")), "{text}");
}

#[test]
fn a_mistake_in_a_program_of_the_settings_file_names_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("c.toml");
    let path = config.to_str().expect("it is UTF-8");
    for (line, hint) in [
        ("cpu_per_request_ms = 70000", "cpu_per_request_ms: 70000 is not between 0 and 60000"),
        ("memory_mib = 9223372036854775807", "memory_mib: 9223372036854775807 is not between"),
        ("statuses = { \"/x\" = 99 }", "statuses: 99 is no HTTP status"),
    ] {
        let app = format!("[[app]]\nimage = \"web\"\nport = 80\n{line}\n");
        std::fs::write(&config, app).expect("it is writable");
        let output = seatrial(&["run", "--engine=sim", "--config", path]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(&format!("{path}:4: {hint}")), "{text}");
    }
}
