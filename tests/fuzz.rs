//! Fuzzing: random and mutated input to the readers of manifests and topologies and to the API verbs
//! ends in an answer, never in a panic. `SEATRIAL_FUZZ_CASES` sets how many executions each of the
//! five tests makes: a loaded text or a sent request is one. Build with `--release` to make millions.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config;
use seatrial::base::{millis, secs};
use seatrial::engine::kind::Topology;
use seatrial::k8s::Profile;
use seatrial::sim::api::rest::Served;
use seatrial::sim::{ClusterSpec, World};
use seatrial::stack::Stack;
use serde_json::{Value, json};

/// Executions of each test unless the environment says otherwise.
const EXECUTIONS_DEFAULT: u32 = 2_000;
/// Requests to one cluster: booting it costs as much as some hundred of them.
const REQUESTS: std::ops::Range<usize> = 1..256;
/// Virtual time after the requests of a case, so that controllers meet what was written.
const SETTLE: Duration = secs(3);

/// A configuration of cases that make `mean` executions each.
fn config(mean: u32) -> Config {
    let wanted = std::env::var("SEATRIAL_FUZZ_CASES").ok().and_then(|text| text.parse().ok());
    let cases = wanted.unwrap_or(EXECUTIONS_DEFAULT).div_ceil(mean);
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// Manifests that mutations start from: each kind that is validated.
const SEEDS: &[&str] = &[
    include_str!("../manifests/wordpress/20-storage.yaml"),
    include_str!("../manifests/wordpress/30-mysql.yaml"),
    include_str!("../manifests/wordpress/40-wordpress.yaml"),
    include_str!("../manifests/wordpress/50-ingress.yaml"),
];

/// The same for kind's topologies.
const TOPOLOGY: &str = include_str!("../manifests/kind/cluster.yaml");

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

/// An object of the reference stack and where the API serves it.
#[derive(Clone, Debug)]
struct Target {
    collection: String,
    item: String,
    value: Value,
}

/// The objects of the reference stack, as the loader reads them.
fn targets() -> Vec<Target> {
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
        Target { collection, item, value }
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

const SUBRESOURCES: &[&str] =
    &["", "/status", "/scale", "/eviction", "/binding", "/log", "/finalize", "/nope"];
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
const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];
/// Milliseconds between two requests: mostly none.
const PAUSES: &[u64] = &[0, 0, 0, 0, 0, 0, 1, 20, 300];
const TYPES: &[&str] = &[
    "application/json",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "text/plain",
    "",
];

/// One request, and how long the cluster runs before it.
#[derive(Clone, Debug)]
struct Request {
    target: prop::sample::Index,
    method: &'static str,
    on_item: bool,
    subresource: &'static str,
    query: &'static str,
    content_type: &'static str,
    changes: Vec<(prop::sample::Index, Value)>,
    pause: Duration,
}

fn request() -> impl Strategy<Value = Request> {
    let place = (any::<prop::sample::Index>(), any::<bool>(), select(SUBRESOURCES));
    let form = (select(METHODS), select(QUERIES), select(TYPES), select(PAUSES));
    let changes = prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 0..3);
    (place, form, changes).prop_map(|(place, form, changes)| {
        let (target, on_item, subresource) = place;
        let (method, query, content_type, pause) = form;
        let pause = millis(pause);
        Request { target, method, on_item, subresource, query, content_type, changes, pause }
    })
}

impl Request {
    fn send(&self, world: &mut World, targets: &[Target]) -> u16 {
        let target = self.target.get(targets);
        let mut body = target.value.clone();
        for (at, with) in &self.changes {
            replace(&mut body, *at, with.clone());
        }
        let path = match self.on_item {
            true => format!("{}{}{}", target.item, self.subresource, self.query),
            false => format!("{}{}", target.collection, self.query),
        };
        if !self.pause.is_zero() {
            world.run_until(world.now() + self.pause);
        }
        send(world, self.method, &path, self.content_type, &body)
    }
}

proptest! {
    #![proptest_config(config(1))]

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
    fn topologies_survive_edits(edits in prop::collection::vec(edit(), 1..8)) {
        if let Ok(mut topology) = Topology::parse(&mutated(TOPOLOGY, &edits), "mutated.yaml") {
            topology.set_workers(2);
            topology.nodes("c");
            let _ = topology.fingerprint();
        }
    }

    #[test]
    fn the_loader_survives_odd_values(
        pick in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 1..4),
    ) {
        let mut value = TARGETS.with(|targets| pick.get(targets).value.clone());
        for (at, with) in changes {
            replace(&mut value, at, with);
        }
        let _ = Stack::load_text("odd.json", &value.to_string(), &Profile::NEWEST);
    }
}

proptest! {
    #![proptest_config(config(REQUESTS.end as u32 / 2))]

    #[test]
    fn the_api_survives_odd_requests(
        first in any::<prop::sample::Index>(),
        requests in prop::collection::vec(request(), REQUESTS),
        profile in select(vec!["1.20", "1.25", "1.37", "1.37"]),
    ) {
        let profile: Profile = profile.parse().expect("a minor");
        let mut world = World::new(&ClusterSpec::new(profile, 1), 1);
        TARGETS.with(|targets| {
            let Target { collection, value, .. } = first.get(targets);
            send(&mut world, "POST", collection, "application/json", value);
            for request in &requests {
                let code = request.send(&mut world, targets);
                prop_assert!(code == 0 || (200..600).contains(&code), "{code} {request:?}");
            }
            Ok(())
        })?;
        world.run_until(world.now() + SETTLE);
    }
}

thread_local! {
    static TARGETS: Vec<Target> = targets();
}
