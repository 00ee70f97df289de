//! Fuzzing: random and mutated input to the manifest loader and to the API verbs ends in an answer,
//! never in a panic. `SEATRIAL_FUZZ_CASES` sets how many cases each test runs.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config;
use seatrial::base::SimTime;
use seatrial::k8s::Profile;
use seatrial::sim::api::rest::Served;
use seatrial::sim::{ClusterSpec, World};
use seatrial::stack::Stack;
use serde_json::{Value, json};

/// Cases of each test unless the environment says otherwise.
const CASES_DEFAULT: u32 = 2_000;
/// Virtual time after the requests of a case, so that controllers meet what was written.
const SETTLE: SimTime = SimTime::from_micros(3_000_000);

fn config() -> Config {
    let cases = std::env::var("SEATRIAL_FUZZ_CASES").ok().and_then(|text| text.parse().ok());
    let cases = cases.unwrap_or(CASES_DEFAULT);
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// Manifests that mutations start from: each kind that is validated.
const SEEDS: &[&str] = &[
    include_str!("../manifests/wordpress/20-storage.yaml"),
    include_str!("../manifests/wordpress/30-mysql.yaml"),
    include_str!("../manifests/wordpress/40-wordpress.yaml"),
    include_str!("../manifests/wordpress/50-ingress.yaml"),
];

/// Pieces that mutations put in.
const PIECES: &[&str] = &[
    "",
    " ",
    "\n",
    "\t",
    "-",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: *a\n",
    "---\n",
    "|\n",
    ">\n",
    "'",
    "\"",
    "#",
    "!!str ",
    "!!binary ",
    "? ",
    "null",
    "~",
    "yes",
    "0644",
    "-1",
    "1e999",
    "99999999999999999999",
    "25%",
    "-5%",
    "1.5Gi",
    "\u{0}",
    "\u{feff}",
    "é",
    "\r\n",
    "List",
    "items:\n",
];

#[derive(Clone, Debug)]
struct Edit {
    at: prop::sample::Index,
    removed: usize,
    piece: &'static str,
}

fn edit() -> impl Strategy<Value = Edit> {
    (any::<prop::sample::Index>(), 0..12usize, select(PIECES))
        .prop_map(|(at, removed, piece)| Edit { at, removed, piece })
}

fn mutated(seed: &str, edits: &[Edit]) -> String {
    let mut text: Vec<char> = seed.chars().collect();
    for edit in edits {
        let at = edit.at.index(text.len() + 1);
        let end = (at + edit.removed).min(text.len());
        text.splice(at..end, edit.piece.chars());
    }
    text.into_iter().collect()
}

/// Values of every JSON type, of the sizes that arithmetic trips over.
fn odd_value() -> impl Strategy<Value = Value> {
    select(vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(i32::MAX),
        json!(i32::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("100%"),
        json!("99999999999%"),
        json!("-1Gi"),
        json!("9E"),
        json!("9e99"),
        json!("2026-01-01T00:00:00Z"),
        json!([]),
        json!({}),
        json!([null]),
        json!({"a": {"b": []}}),
    ])
}

/// Replaces the value that `choose` picks among all values of `value`.
fn replace(value: &mut Value, choose: prop::sample::Index, with: Value) {
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(count).sum(),
            Value::Object(map) => map.values().map(count).sum(),
            _ => 0,
        }
    }
    fn put(value: &mut Value, left: &mut usize, with: &Value) -> bool {
        if *left == 0 {
            value.clone_from(with);
            return true;
        }
        *left -= 1;
        match value {
            Value::Array(items) => items.iter_mut().any(|item| put(item, left, with)),
            Value::Object(map) => map.values_mut().any(|item| put(item, left, with)),
            _ => false,
        }
    }
    let mut left = choose.index(count(value));
    put(value, &mut left, &with);
}

/// The objects of the seeds, as the loader reads them.
fn objects() -> Vec<(String, String, String, Value)> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/wordpress");
    let stack = Stack::load(&path, &Profile::NEWEST).expect("the reference stack");
    let plural = |kind: &str| match kind {
        "Ingress" => "ingresses".to_owned(),
        "StorageClass" => "storageclasses".to_owned(),
        other => format!("{}s", other.to_lowercase()),
    };
    let parts = stack.objects().iter().map(|each| {
        let root = match each.api_version.as_str() {
            "v1" => "/api/v1".to_owned(),
            other => format!("/apis/{other}"),
        };
        let namespace = match each.object_ref.namespace.as_str() {
            "" => String::new(),
            _ => "/namespaces/default".to_owned(),
        };
        let collection = format!("{root}{namespace}/{}", plural(&each.object_ref.kind));
        let mut value = each.value.clone();
        if !namespace.is_empty() {
            value["metadata"]["namespace"] = json!("default");
        }
        let item = format!("{collection}/{}", each.object_ref.name);
        (each.object_ref.kind.clone(), collection, item, value)
    });
    parts.collect()
}

fn send(world: &mut World, method: &str, uri: &str, content_type: &str, body: &Value) -> u16 {
    let request = http::Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", content_type)
        .body(Bytes::from(body.to_string()));
    // What is no URI never leaves a client.
    let Ok(request) = request else { return 0 };
    match world.serve(&request) {
        Served::Response(response) => response.status().as_u16(),
        Served::Watch(id) => {
            world.close_watch(id);
            200
        }
    }
}

const SUBRESOURCES: &[&str] = &["", "/status", "/scale", "/eviction", "/binding", "/log", "/nope"];
const QUERIES: &[&str] = &[
    "",
    "?dryRun=All",
    "?fieldManager=a&force=true",
    "?fieldManager=b",
    "?limit=1&continue=zzz",
    "?labelSelector=a%20in%20(b",
    "?fieldSelector=spec.nodeName%3D",
    "?watch=true&resourceVersion=999999",
    "?gracePeriodSeconds=-9223372036854775808",
    "?propagationPolicy=Foreground",
    "?fieldValidation=Strict",
];
const TYPES: &[&str] = &[
    "application/json",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "text/plain",
    "",
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_loader_survives_mutated_manifests(
        seed in select(SEEDS),
        edits in prop::collection::vec(edit(), 1..8),
        profile in select(vec!["1.20", "1.25", "1.37"]),
    ) {
        let profile: Profile = profile.parse().expect("a minor");
        if let Ok(stack) = Stack::load_text("mutated.yaml", &mutated(seed, &edits), &profile) {
            stack.unmodelled();
            for manifest in stack.objects() {
                stack.locate(&manifest.object_ref, "spec.template.spec.containers[0].image");
            }
        }
    }

    #[test]
    fn the_loader_survives_any_text(text in "\\PC{0,200}", tail in "[-:{}\\[\\]&*!|>'\"%@# \n\ta-c]{0,80}") {
        let _ = Stack::load_text("any.yaml", &format!("{text}\n{tail}"), &Profile::NEWEST);
    }

    #[test]
    fn the_loader_survives_odd_values(
        pick in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 1..4),
    ) {
        let objects = OBJECTS.with(Clone::clone);
        let mut value = pick.get(&objects).3.clone();
        for (at, with) in changes {
            replace(&mut value, at, with);
        }
        let _ = Stack::load_text("odd.json", &value.to_string(), &Profile::NEWEST);
    }

    #[test]
    fn the_api_survives_odd_requests(
        pick in any::<prop::sample::Index>(),
        requests in prop::collection::vec(
            (
                select(vec!["GET", "POST", "PUT", "PATCH", "DELETE"]),
                any::<bool>(),
                select(SUBRESOURCES),
                select(QUERIES),
                select(TYPES),
                prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 0..3),
            ),
            1..6,
        ),
    ) {
        let objects = OBJECTS.with(Clone::clone);
        let (_, collection, item, value) = pick.get(&objects).clone();
        let mut world = World::new(&ClusterSpec::new(Profile::NEWEST, 1), 1);
        let created = send(&mut world, "POST", &collection, "application/json", &value);
        prop_assert_eq!(created, 201, "{}", collection);
        for (method, on_item, subresource, query, content_type, changes) in requests {
            let mut body = value.clone();
            for (at, with) in changes {
                replace(&mut body, at, with);
            }
            let path = if on_item { format!("{item}{subresource}") } else { collection.clone() };
            let code = send(&mut world, method, &format!("{path}{query}"), content_type, &body);
            prop_assert!(code == 0 || (200..600).contains(&code));
        }
        let until = SimTime::from_micros(world.now().as_micros() + SETTLE.as_micros());
        world.run_until(until);
    }
}

thread_local! {
    static OBJECTS: Vec<(String, String, String, Value)> = objects();
}
