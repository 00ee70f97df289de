//! The README's commands are real: each one is a target, a flag or a file that exists.

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// The lines after `$ ` in console blocks.
fn commands() -> Vec<String> {
    let text = readme();
    text.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

#[test]
fn make_targets_of_the_readme_exist() {
    let targets: Vec<String> = commands()
        .iter()
        .filter_map(|command| command.strip_prefix("make "))
        .map(|rest| rest.split_whitespace().next().unwrap_or_default().to_owned())
        .collect();
    assert!(targets.contains(&"e2e".to_owned()) && targets.contains(&"test".to_owned()));
    for target in targets {
        let dry = Command::new("make").args(["-n", &target]).current_dir(root()).output();
        assert!(dry.expect("make is installed").status.success(), "make {target}");
    }
}

#[test]
fn arguments_of_the_readme_are_accepted() {
    let help = assert_cmd::Command::cargo_bin("seatrial")
        .expect("the program is built")
        .args(["run", "--help"])
        .output()
        .expect("it starts");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let text = readme();
    let flags: Vec<&str> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
        .filter(|word| word.starts_with("--") && !word.trim_matches('-').is_empty())
        .filter(|word| !["--release", "--test", "--list", "--help"].contains(word))
        .collect();
    assert!(flags.len() > 5);
    for flag in flags {
        assert!(help.contains(flag), "{flag} is not in `seatrial run --help`");
    }
}

#[test]
fn the_listing_of_trials_touches_nothing() {
    let mut cargo = assert_cmd::Command::new(env!("CARGO"));
    // What cargo tells tests of their package makes build scripts run again, and much be rebuilt.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_")) {
        if !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&name.as_str()) {
            cargo.env_remove(name);
        }
    }
    let listed = cargo
        .args(["test", "--quiet", "--test", "e2e", "--", "--list"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.status.success(), "{text}");
    assert!(text.contains("rollout::no_failed_request"), "{text}");
}

#[test]
fn links_of_the_readme_lead_to_files() {
    let text = readme();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http")) {
        assert!(root().join(link).exists(), "{link}");
    }
}
