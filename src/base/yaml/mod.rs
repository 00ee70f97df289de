//! YAML to a tree that keeps the line of every value. One pass gives values and positions, so that
//! they cannot disagree; aliases and merge keys are resolved, duplicate keys refused, as kubectl does.

mod scalar;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StructureStyle};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Places in a text where tabs indent: for each the text is read once more.
const N_SPACED_MAX: usize = 100;

/// Values in one file: an alias of an alias of an alias grows without bound.
const NODES_MAX: usize = 500_000;
/// Levels of nesting; Kubernetes has fewer than 30.
const DEPTH_MAX: usize = 100;

/// A value and the line it is written at.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub data: Data,
    /// The line, counted from one.
    pub line: usize,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Data {
    /// Text, a number, a boolean or null.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A map, as it is ordered in the text.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The line of the key.
    pub line: usize,
    /// The value.
    pub node: Node,
    /// Whether it came in through a merge key, so that a written one replaces it.
    merged: bool,
}

/// Why a text is no YAML.
#[derive(Debug)]
pub struct YamlError {
    /// Where, counted from one.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl Node {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The entry called `key`, if this is a map that has one.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The value as JSON.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Scalar(value) => value.clone(),
            Data::List(items) => items.iter().map(Node::to_json).collect(),
            Data::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect(),
            ),
        }
    }

    /// The line of the value at `path`, or of the nearest value above it.
    pub fn line_of(&self, path: &str) -> usize {
        let mut node = self;
        let mut line = self.line;
        let mut rest = path;
        while !rest.is_empty() {
            let step = match rest.strip_prefix('[') {
                Some(indexed) => match indexed.split_once(']') {
                    Some((index, after)) => {
                        rest = after.strip_prefix('.').unwrap_or(after);
                        node.item(index)
                    }
                    None => return line,
                },
                None => node.longest_key(rest).map(|(entry, after)| {
                    rest = after;
                    (entry.line, &entry.node)
                }),
            };
            let Some((found, next)) = step else { return line };
            (line, node) = (found, next);
        }
        line
    }

    fn item(&self, index: &str) -> Option<(usize, &Node)> {
        match &self.data {
            Data::List(items) => {
                index.parse::<usize>().ok().and_then(|n| items.get(n)).map(|n| (n.line, n))
            }
            // Maps are indexed by key in messages: `data[tls.crt]`.
            Data::Map(_) => self.entry(index).map(|entry| (entry.line, &entry.node)),
            Data::Scalar(_) => None,
        }
    }

    /// The entry whose key begins `path` (keys may hold dots), and the path below it.
    fn longest_key<'p>(&self, path: &'p str) -> Option<(&Entry, &'p str)> {
        let Data::Map(entries) = &self.data else { return None };
        let fits = |entry: &&Entry| {
            path.strip_prefix(entry.key.as_str())
                .is_some_and(|after| after.is_empty() || after.starts_with(['.', '[']))
        };
        let entry = entries.iter().filter(fits).max_by_key(|entry| entry.key.len())?;
        let after = &path[entry.key.len()..];
        Some((entry, after.strip_prefix('.').unwrap_or(after)))
    }
}

/// The documents of a text, and the error that ended them, if one did. Objects of JSON may follow one
/// another without a mark between them, and tabs may indent flow collections, as kubectl takes them.
pub fn documents(text: &str) -> (Vec<Node>, Option<YamlError>) {
    let mut text = Cow::Borrowed(text);
    let (mut spaced, mut n_spaced) = (BTreeSet::new(), 0);
    loop {
        let (documents, error) = read(&text, &spaced);
        let tabs = error.iter().filter(|error| error.message == tab_error(0).message);
        // A line that is already spaced has no tab left.
        let lines: Vec<usize> = tabs.flat_map(|error| tab_lines(&text, error.line)).collect();
        if lines.is_empty() || n_spaced == N_SPACED_MAX {
            return (documents, error);
        }
        n_spaced += 1;
        spaced.extend(lines);
        text = Cow::Owned(with_spaces(&text, &spaced));
    }
}

/// The lines that begin with tabs, from `first` on.
fn tab_lines(text: &str, first: usize) -> impl Iterator<Item = usize> {
    let with_tab = |line: &str| line.trim_start_matches(' ').starts_with('\t');
    let n_lines = text.lines().skip(first - 1).take_while(|line| with_tab(line)).count();
    first..first + n_lines
}

/// `text` with blanks for the tabs that `lines` begin with.
fn with_spaces(text: &str, lines: &BTreeSet<usize>) -> String {
    let spaced = |(idx, line): (usize, &str)| {
        let rest = line.trim_start_matches([' ', '\t']);
        if lines.contains(&(idx + 1)) {
            " ".repeat(line.len() - rest.len()) + rest
        } else {
            line.to_owned()
        }
    };
    text.split_inclusive('\n').enumerate().map(spaced).collect()
}

/// Reads `text`, in which the lines `spaced` have blanks for tabs.
fn read(text: &str, spaced: &BTreeSet<usize>) -> (Vec<Node>, Option<YamlError>) {
    let mut builder = Builder { spaced: spaced.clone(), ..Builder::default() };
    for part in json_objects(text).unwrap_or_else(|| vec![text]) {
        for event in Parser::new_from_str(part) {
            let done = match event {
                Ok((event, span)) => builder.event(event, &span),
                Err(error) => Err(builder.scan_error(&error)),
            };
            if let Err(error) = done {
                return (builder.documents, Some(error));
            }
        }
        builder.lines_before += part.matches('\n').count();
    }
    (builder.documents, None)
}

/// The parts of a text that is nothing but several objects of JSON.
fn json_objects(text: &str) -> Option<Vec<&str>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut parts = Vec::new();
    let mut begin = 0;
    while let Some(object) = objects.next() {
        object.ok()?;
        let end = objects.byte_offset();
        parts.push(&text[begin..end]);
        begin = end;
    }
    Some(parts)
}

/// A list or map not yet at its end.
#[derive(Debug)]
enum Open {
    List { items: Vec<Node>, line: usize, anchor: usize },
    Map { entries: Vec<Entry>, key: Option<(String, usize, bool)>, line: usize, anchor: usize },
}

#[derive(Debug, Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    n_nodes: usize,
    /// Lines of the text before the part that is read.
    lines_before: usize,
    /// Lines that begin with tabs.
    spaced: BTreeSet<usize>,
    /// What is open around the outermost flow collection, if there is one.
    n_around_flow: Option<usize>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), YamlError> {
        let line = self.lines_before + span.start.line();
        if event.is_node() && self.is_indented_by_tab(line) {
            return Err(tab_error(line));
        }
        if let Event::SequenceStart(StructureStyle::Flow, ..)
        | Event::MappingStart(StructureStyle::Flow, ..) = event
        {
            self.n_around_flow.get_or_insert(self.open.len());
        }
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let forced = tag.as_ref().is_some_and(|tag| tag.suffix() == "str");
                let plain = style == ScalarStyle::Plain && !forced;
                let is_merge = plain && text == "<<";
                let value =
                    if plain { scalar::resolve(&text) } else { Value::String(text.into_owned()) };
                let node = Node { data: Data::Scalar(value), line };
                self.add(node, anchor, is_merge)?;
            }
            Event::SequenceStart(_, anchor, _) => {
                self.deeper(line)?;
                self.open.push(Open::List { items: Vec::new(), line, anchor });
            }
            Event::MappingStart(_, anchor, _) => {
                self.deeper(line)?;
                self.open.push(Open::Map { entries: Vec::new(), key: None, line, anchor });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (node, anchor) = match self.open.pop() {
                    Some(Open::List { items, line, anchor }) => {
                        (Node { data: Data::List(items), line }, anchor)
                    }
                    Some(Open::Map { entries, line, anchor, .. }) => {
                        (Node { data: Data::Map(entries), line }, anchor)
                    }
                    None => return Err(YamlError { line, message: "broken YAML".to_owned() }),
                };
                self.n_around_flow = self.n_around_flow.filter(|&n| n < self.open.len());
                self.add(node, anchor, false)?;
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    let message = "broken YAML: an alias within its own anchor".to_owned();
                    return Err(YamlError { line, message });
                };
                self.n_nodes += size;
                self.add(node, 0, false)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a tab indents what is now read, outside of flow collections.
    fn is_indented_by_tab(&self, line: usize) -> bool {
        self.n_around_flow.is_none() && self.spaced.contains(&line)
    }

    fn scan_error(&self, error: &ScanError) -> YamlError {
        let line = self.lines_before + error.marker().line();
        if error.kind() == &ErrorKind::TabInBlockIndentation || self.is_indented_by_tab(line) {
            return tab_error(line);
        }
        YamlError { line, message: format!("broken YAML: {}", error.info()) }
    }

    fn deeper(&self, line: usize) -> Result<(), YamlError> {
        if self.open.len() < DEPTH_MAX {
            return Ok(());
        }
        let message = format!("nested deeper than {DEPTH_MAX} levels");
        Err(YamlError { line, message })
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, node: Node, anchor: usize, is_merge: bool) -> Result<(), YamlError> {
        self.n_nodes += 1;
        if self.n_nodes > NODES_MAX {
            let message = format!("more than {NODES_MAX} values; do aliases multiply?");
            return Err(YamlError { line: node.line, message });
        }
        if anchor > 0 {
            let sized = (node.clone(), size(&node));
            self.n_nodes += sized.1;
            self.anchors.insert(anchor, sized);
        }
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                None => *key = Some(key_of(&node, is_merge)?),
                Some((_, line, true)) => merge(entries, node, line)?,
                Some((name, line, false)) => insert(entries, name, line, node)?,
            },
        }
        Ok(())
    }
}

/// Tabs indent nothing but what is in flow collections.
fn tab_error(line: usize) -> YamlError {
    YamlError { line, message: format!("broken YAML: {}", ErrorKind::TabInBlockIndentation) }
}

fn size(node: &Node) -> usize {
    match &node.data {
        Data::Scalar(_) => 1,
        Data::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Data::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.node)).sum::<usize>(),
    }
}

/// A key as text, its line, and whether it is the merge key.
fn key_of(node: &Node, is_merge: bool) -> Result<(String, usize, bool), YamlError> {
    let text = match &node.data {
        Data::Scalar(Value::String(text)) => text.clone(),
        Data::Scalar(Value::Null) => "null".to_owned(),
        Data::Scalar(other) => other.to_string(),
        _ => {
            let message = "a key must be a scalar".to_owned();
            return Err(YamlError { line: node.line, message });
        }
    };
    Ok((text, node.line, is_merge))
}

fn insert(entries: &mut Vec<Entry>, key: String, line: usize, node: Node) -> Result<(), YamlError> {
    if let Some(entry) = entries.iter_mut().find(|entry| entry.key == key) {
        if !entry.merged {
            let message = format!("duplicate key `{key}`, first at line {}", entry.line);
            return Err(YamlError { line, message });
        }
        *entry = Entry { key, line, node, merged: false };
        return Ok(());
    }
    entries.push(Entry { key, line, node, merged: false });
    Ok(())
}

/// `<<: *base` or `<<: [*a, *b]`: of several the first wins, and what is written wins over what was
/// written or merged before it (go-yaml v2, `decode.go`: `merge`).
fn merge(entries: &mut Vec<Entry>, node: Node, line: usize) -> Result<(), YamlError> {
    let sources = match node.data {
        Data::List(items) => items,
        _ => vec![node],
    };
    for source in sources.into_iter().rev() {
        let Data::Map(given) = source.data else {
            let message = "`<<` takes a map or a list of maps".to_owned();
            return Err(YamlError { line, message });
        };
        for entry in given {
            let entry = Entry { merged: true, ..entry };
            match entries.iter_mut().find(|known| known.key == entry.key) {
                Some(known) => *known = entry,
                None => entries.push(entry),
            }
        }
    }
    Ok(())
}
