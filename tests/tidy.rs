//! Tests about the code: layers, determinism bans, sizes, docs, orphan files. Each rule is also
//! fed a planted violation, so that a rule that cannot fire fails here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;

/// The layer table: which rooms a room may use. Imports go down only.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("k8s", &["base"]),
    ("sim", &["k8s", "base"]),
    ("wait", &["k8s", "base"]),
    ("load", &["base"]),
    ("stack", &["wait", "k8s", "base"]),
    ("observe", &["load", "k8s", "base"]),
    ("engine", &["sim", "load", "wait", "k8s", "base"]),
    ("report", &["observe", "wait", "base"]),
    ("addons", &["stack", "wait", "k8s", "base"]),
    ("suite", &["addons", "engine", "sim", "stack", "observe", "load", "wait", "k8s", "base"]),
    ("suites", &["suite", "stack", "observe", "load", "wait", "k8s", "base"]),
    ("cli", &["suites", "suite", "stack", "report", "engine", "observe", "wait", "base"]),
];

/// A file longer than this holds more than one idea.
const FILE_LINES_MAX: usize = 600;

/// What `src/sim` must not name, because it would make a run depend on something beside its seed.
const SIM_BANS: &[&str] = &[
    "tokio::",
    "kube::",
    "HashMap",
    "HashSet",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "std::thread",
    "std::net",
    "std::fs",
    "std::env",
    "rand::rng()",
];

/// Texts that belong to no product: unfinished work.
const UNFINISHED: &[&str] = &["todo!(", "unimplemented!(", "TODO", "FIXME", "XXX"];

#[test]
fn imports_go_down_only() {
    assert_clean(sources().iter().flat_map(|(path, text)| layer_violations(path, text)));
}

#[test]
fn the_simulator_names_nothing_that_breaks_determinism() {
    assert_clean(sources().iter().flat_map(|(path, text)| determinism_violations(path, text)));
}

#[test]
fn files_hold_one_idea() {
    assert_clean(sources().iter().flat_map(|(path, text)| size_violations(path, text)));
}

#[test]
fn rooms_say_what_they_are() {
    assert_clean(sources().iter().flat_map(|(path, text)| doc_violations(path, text)));
}

#[test]
fn no_file_is_left_out_of_the_build() {
    let sources = sources();
    assert_clean(sources.keys().flat_map(|path| orphan_violations(path, &sources)));
}

#[test]
fn nothing_is_unfinished() {
    assert_clean(sources().iter().flat_map(|(path, text)| unfinished_violations(path, text)));
}

#[rstest]
#[case::upward_use("src/load/plan.rs", "use crate::sim::World;\n", layer_violations as Rule)]
#[case::upward_path("src/base/seed.rs", "fn f() { crate::k8s::milli(q) }\n", layer_violations)]
#[case::suite_names_engine(
    "suites/spread/mod.rs",
    "use crate::engine::Engine;\n",
    layer_violations
)]
#[case::grouped_use("src/k8s/mod.rs", "use crate::{base::Error, load::Load};\n", layer_violations)]
#[case::tokio_in_sim("src/sim/world.rs", "tokio::spawn(f);\n", determinism_violations)]
#[case::hash_order("src/sim/net/mod.rs", "let m = HashMap::new();\n", determinism_violations)]
#[case::no_doc("src/sim/net/dns.rs", "use std::fmt;\n", doc_violations)]
#[case::short_room_doc("src/wait/mod.rs", "//! Wait: waits.\n\nmod until;\n", doc_violations)]
#[case::unfinished("src/cli/run.rs", "fn f() { todo!() }\n", unfinished_violations)]
fn a_planted_violation_is_found(#[case] path: &str, #[case] text: &str, #[case] rule: Rule) {
    assert!(!rule(Path::new(path), text).is_empty(), "{path} was found clean");
}

#[test]
fn a_planted_long_file_and_orphan_are_found() {
    let long = "fn f() {}\n".repeat(FILE_LINES_MAX + 1);
    assert!(!size_violations(Path::new("src/sim/world.rs"), &long).is_empty());
    let sources = BTreeMap::from([
        (PathBuf::from("src/lib.rs"), "pub mod base;\n".to_owned()),
        (PathBuf::from("src/base/mod.rs"), "mod time;\n".to_owned()),
        (PathBuf::from("src/base/lost.rs"), String::new()),
    ]);
    assert!(!orphan_violations(Path::new("src/base/lost.rs"), &sources).is_empty());
}

type Rule = fn(&Path, &str) -> Vec<String>;

fn assert_clean(problems: impl Iterator<Item = String>) {
    let problems: Vec<String> = problems.collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// All Rust files of the library and the suites, by path from the package root.
fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    let mut folders = vec![root.join("src"), root.join("suites")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("the file is readable");
                let relative = path.strip_prefix(root).expect("it is below the root").to_owned();
                files.insert(relative, text);
            }
        }
    }
    assert!(files.len() > 50, "the sources were found");
    files
}

/// The room a file belongs to: `src/<room>/...` or `suites`.
fn room(path: &Path) -> Option<String> {
    let mut parts = path.iter().filter_map(|part| part.to_str());
    match (parts.next()?, parts.next()?) {
        ("suites", _) => Some("suites".into()),
        ("src", file) if file.ends_with(".rs") => None,
        ("src", room) => Some(room.into()),
        _ => None,
    }
}

fn layer_violations(path: &Path, text: &str) -> Vec<String> {
    let Some(room) = room(path) else { return Vec::new() };
    if path.file_name().is_some_and(|name| name == "tests.rs") {
        // A room's tests may use what its users use.
        return Vec::new();
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{}: room `{room}` is not in the layer table", path.display())];
    };
    let rooms: Vec<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    let mut problems = Vec::new();
    for (idx, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        for used in crate_paths(code) {
            let known = rooms.contains(&used.as_str());
            if known && used != room && !allowed.contains(&used.as_str()) {
                let line = idx + 1;
                problems.push(format!("{}:{line}: `{room}` may not use `{used}`", path.display()));
            }
        }
    }
    problems
}

/// The first path segments after `crate::` in a line, groups included.
fn crate_paths(code: &str) -> Vec<String> {
    let segment = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => group.split([',', '{']).map(segment).collect::<Vec<_>>(),
            None => vec![segment(rest)],
        })
        .collect()
}

fn determinism_violations(path: &Path, text: &str) -> Vec<String> {
    if !path.starts_with("src/sim") {
        return Vec::new();
    }
    let code = text.lines().map(|line| line.split("//").next().unwrap_or(""));
    code.enumerate()
        .flat_map(|(idx, line)| {
            SIM_BANS
                .iter()
                .filter(move |ban| line.contains(**ban))
                .map(move |ban| format!("{}:{}: `{ban}`", path.display(), idx + 1))
        })
        .collect()
}

fn size_violations(path: &Path, text: &str) -> Vec<String> {
    let n_lines = text.lines().count();
    if n_lines > FILE_LINES_MAX {
        return vec![format!("{}: {n_lines} lines, at most {FILE_LINES_MAX}", path.display())];
    }
    Vec::new()
}

fn doc_violations(path: &Path, text: &str) -> Vec<String> {
    let n_doc = text.lines().take_while(|line| line.starts_with("//!")).count();
    let is_crate_root = path == Path::new("src/lib.rs");
    let is_room = room(path).is_some_and(|room| path == Path::new("src").join(room).join("mod.rs"));
    let wanted = if is_room { 5 } else { 1 };
    if n_doc < wanted && !is_crate_root {
        return vec![format!("{}: {n_doc} lines of module doc, not {wanted}", path.display())];
    }
    Vec::new()
}

fn orphan_violations(path: &Path, sources: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
    let folder = path.parent().unwrap_or(Path::new(""));
    if path == Path::new("src/lib.rs") || path == Path::new("src/main.rs") {
        return Vec::new();
    }
    if path == Path::new("suites/mod.rs") {
        return Vec::new();
    }
    let (name, parent) = if name == "mod" {
        let module = folder.file_name().and_then(|n| n.to_str()).unwrap_or("");
        (module, folder.parent().unwrap_or(Path::new("")))
    } else {
        (name, folder)
    };
    let stem_file = parent.with_extension("rs");
    let declares = [parent.join("mod.rs"), parent.join("lib.rs"), stem_file]
        .iter()
        .filter_map(|file| sources.get(file))
        .any(|text| text.lines().any(|line| line.trim_end().ends_with(&format!("mod {name};"))));
    if declares { Vec::new() } else { vec![format!("{}: no `mod {name};`", path.display())] }
}

fn unfinished_violations(path: &Path, text: &str) -> Vec<String> {
    text.lines()
        .enumerate()
        .flat_map(|(idx, line)| {
            UNFINISHED
                .iter()
                .filter(move |mark| line.contains(**mark))
                .map(move |mark| format!("{}:{}: `{mark}`", path.display(), idx + 1))
        })
        .collect()
}
