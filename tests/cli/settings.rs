//! Settings: flag, environment, file; and what is wrong with them.

use rstest::rstest;

use super::{STACK, machine, seatrial, stderr, stdout};

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
