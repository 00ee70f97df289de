//! Coverage: which fields the simulator acts on. A field is modelled, inert (no verdict depends on
//! it) or unmodelled; an unmodelled field makes the scenarios that depend on it `unknown`.

mod pods;
mod rows;
#[cfg(test)]
mod tests;

use serde_json::Value;

use Coverage::{Inert, Unmodelled};
use pods::{AS_USUAL, CREATED, POD};
use rows::{INGRESS_ANNOTATIONS, META, rows, whole_kind};

/// Where pods run.
pub const SCHEDULING: &str = "scheduling";
/// How pods start, get ready and stop.
pub const LIFECYCLE: &str = "lifecycle";
/// Which pod gets which request, and what it answers.
pub const TRAFFIC: &str = "traffic";
/// How many replicas there are.
pub const SCALING: &str = "scaling";
/// Where data lives.
pub const STORAGE: &str = "storage";
/// Certificates and redirects.
pub const TLS: &str = "tls";

/// Whether the object's own pods start and go on: it matters to whatever depends on those pods, and to
/// nothing else.
pub const START: &str = "start";
const OWN: &[&str] = &[START];

/// What nobody has looked at may matter to anything.
const ALL: &[&str] = &[SCHEDULING, LIFECYCLE, TRAFFIC, SCALING, STORAGE, TLS];

/// What the simulator does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// The simulator acts on it.
    Modelled,
    /// It changes no verdict.
    Inert,
    /// It may change a verdict about these aspects, and the simulator does not act on it.
    Unmodelled(&'static [&'static str]),
}

/// A path and everything below it, unless a longer row says otherwise. A list is `name[]`.
type Row = (&'static str, Coverage);

/// What the simulator does with a kind that has no rows of its own, whatever its objects say.
pub fn of_kind(group: &str, kind: &str) -> Option<Coverage> {
    rows(group, kind).is_none().then(|| whole_kind(group, kind))
}

/// What the simulator does with `value` at `path` (lists as `name[]`) of a kind with rows, and the
/// row that says so: the field itself, or the part above it that is unmodelled as a whole.
pub fn of<'p>(group: &str, kind: &str, path: &'p str, value: &Value) -> (&'p str, Coverage) {
    let Some((rows, has_template)) = rows(group, kind) else {
        return ("", whole_kind(group, kind));
    };
    if kind == "Ingress"
        && let Some(key) = path.strip_prefix("metadata.annotations.")
    {
        let listed = INGRESS_ANNOTATIONS.iter().find(|(each, _)| *each == key);
        let nginx = key.starts_with("nginx.ingress.kubernetes.io/");
        let other = if nginx { Unmodelled(&[TRAFFIC, TLS]) } else { Inert };
        return (path, listed.map_or(other, |(_, coverage)| *coverage));
    }
    let in_pod = if kind == "Pod" { Some(path) } else { path.strip_prefix("spec.template.") };
    if let Some(rest) = in_pod.filter(|_| has_template || kind == "Pod")
        && let Some((length, coverage)) = in_pod_spec(rest, value)
    {
        return (&path[..path.len() - rest.len() + length], coverage);
    }
    let found = longest(rows, path).or_else(|| longest(META, path));
    let (row, coverage) = found.unwrap_or((path, Unmodelled(ALL)));
    // Only metrics that no simulated cluster serves bring a workload to zero and back.
    if row == "spec.minReplicas" && is_one_of(value, &["0"]) {
        return (row, Unmodelled(ALL));
    }
    let usual: &[&str] = match row {
        "spec.hostPath.type" => CREATED,
        "metadata.labels.pod-security.kubernetes.io/enforce" => &["privileged"],
        _ => &[],
    };
    let coverage = if is_one_of(value, usual) { Inert } else { coverage };
    (&path[..row.len()], coverage)
}

/// The length of the row of a pod's `path`, and what it says. Init containers are containers.
fn in_pod_spec(path: &str, value: &Value) -> Option<(usize, Coverage)> {
    let own = longest(POD, path).map(|(row, coverage)| (row, row.len(), coverage));
    let as_main = path.strip_prefix("spec.initContainers").and_then(|rest| {
        let main = format!("spec.containers{rest}");
        let (row, coverage) = longest(POD, &main)?;
        Some((row, row.len() + path.len() - main.len(), coverage))
    });
    let (row, length, coverage) = own.or(as_main)?;
    let usual = AS_USUAL.iter().find(|(each, _)| *each == row).map_or(&[][..], |(_, usual)| usual);
    let as_usual = length == path.len() && is_one_of(value, usual);
    Some((length, if as_usual { Inert } else { coverage }))
}

fn is_one_of(value: &Value, usual: &[&str]) -> bool {
    match value {
        Value::String(text) => usual.contains(&text.as_str()),
        Value::Number(number) => usual.contains(&number.to_string().as_str()),
        _ => false,
    }
}

/// The longest row that is `path` or above it.
fn longest(rows: &[Row], path: &str) -> Option<Row> {
    let covers = |row: &&Row| {
        path.strip_prefix(row.0).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    rows.iter().filter(covers).max_by_key(|row| row.0.len()).copied()
}
