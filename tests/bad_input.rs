//! Bad input: each folder of `tests/bad_input` holds manifests that must be refused, and the exact
//! message in `message.txt`. `UPDATE_GOLDEN=1` rewrites the messages; read the diff before keeping it.
//! Each file of `tests/good_input` looks wrong and must be accepted.

use std::fs;
use std::path::{Path, PathBuf};

use seatrial::base::ErrorClass;
use seatrial::k8s::Profile;
use seatrial::stack::Stack;

/// The least number of cases the corpus must have.
const CASES_MIN: usize = 60;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_input")
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus()).expect("the corpus");
    let mut cases: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

/// The minor that a case is for: the newest, unless its folder holds `kubernetes.txt`.
fn profile(case: &Path) -> Profile {
    match fs::read_to_string(case.join("kubernetes.txt")) {
        Ok(text) => text.trim().parse().expect("a Kubernetes minor"),
        Err(_) => Profile::NEWEST,
    }
}

#[test]
fn every_bad_input_gets_its_message() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= CASES_MIN, "only {} cases", cases.len());
    for case in &cases {
        let name = case.file_name().and_then(|name| name.to_str()).expect("a name");
        let manifests = case.join("stack");
        let message = match Stack::load(&manifests, &profile(case)) {
            Ok(_) => {
                wrong.push(format!("{name}: accepted"));
                continue;
            }
            Err(error) => {
                assert_eq!(error.class(), ErrorClass::Usage, "{name}");
                error.to_string().replace(&format!("{}/", case.display()), "") + "\n"
            }
        };
        let golden = case.join("message.txt");
        if update {
            fs::write(&golden, &message).expect("written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if message != expected {
            wrong.push(format!("{name}:\n--- expected\n{expected}--- found\n{message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_good_input_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good_input");
    let entries = fs::read_dir(folder).expect("the corpus");
    let files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(!files.is_empty());
    let refusals: Vec<String> = files
        .iter()
        .filter_map(|file| Stack::load(file, &Profile::NEWEST).err())
        .map(|error| error.to_string())
        .collect();
    assert!(refusals.is_empty(), "{}", refusals.join("\n"));
}

#[test]
fn an_absent_path_is_named() {
    let error = Stack::load(Path::new("no/such/folder"), &Profile::NEWEST).expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Usage);
    assert_eq!(error.to_string(), "no/such/folder: cannot be read: no such file or folder");
}

#[test]
fn the_stacks_of_this_repository_are_accepted_and_modelled() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let mut stacks = vec![root.join("wordpress")];
    let stages = fs::read_dir(root.join("stages")).expect("stages");
    stacks.extend(stages.map(|entry| entry.expect("an entry").path()));
    for stack in stacks.iter().filter(|path| path.is_dir()) {
        let loaded = Stack::load(stack, &Profile::NEWEST);
        let loaded = loaded.unwrap_or_else(|error| panic!("{}: {error}", stack.display()));
        assert!(!loaded.objects().is_empty());
        assert_eq!(loaded.unmodelled(), [], "{}", stack.display());
    }
}

#[test]
fn fields_are_located() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/wordpress");
    let stack = Stack::load(&root, &Profile::NEWEST).expect("the reference stack");
    let manifest = stack
        .objects()
        .iter()
        .find(|each| each.object_ref.kind == "Deployment")
        .expect("a Deployment");
    let text = fs::read_to_string(&manifest.file).expect("its file");
    let line = |path: &str| {
        let location = stack.locate(&manifest.object_ref, path).expect("located");
        text.lines().nth(location.line - 1).expect("a line").trim().to_owned()
    };
    assert!(line("spec.template.spec.containers[0].image").starts_with("image: "));
    assert!(line("spec.template.spec.containers[0].livenessProbe").starts_with("- name: "));
    assert_eq!(line("spec.strategy"), "strategy:");
    assert_eq!(line("spec.paused"), "spec:");
}
