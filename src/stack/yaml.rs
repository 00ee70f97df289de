//! YAML documents with the line of every field.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};
use serde::Deserialize as _;
use serde_json::Value;

/// Lines by field path (`spec.containers[0].image`); the root's path is empty.
pub(super) type Lines = BTreeMap<String, usize>;

/// One document that is not empty.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) value: Value,
    pub(super) lines: Lines,
}

/// What keeps a text from being YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) line: usize,
    pub(super) message: String,
}

/// The documents of `text`; anchors and merge keys are resolved, empty documents left out.
///
/// # Errors
/// The first place that is not YAML.
pub(super) fn documents(text: &str) -> Result<Vec<Document>, Broken> {
    let mut values = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let mut value = serde_yaml::Value::deserialize(document).map_err(|e| broken(&e))?;
        value.apply_merge().map_err(|e| broken(&e))?;
        let value = serde_json::to_value(value).map_err(|error| Broken {
            line: 1,
            message: format!("a key is not a string ({error})"),
        })?;
        if !value.is_null() {
            values.push(value);
        }
    }
    let mut lines = positions(text)?.into_iter();
    Ok(values
        .into_iter()
        .map(|value| Document { value, lines: lines.next().unwrap_or_default() })
        .collect())
}

fn broken(error: &serde_yaml::Error) -> Broken {
    let line = error.location().map_or(1, |location| location.line().max(1));
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
    Broken { line, message }
}

/// Where the walk is: in a mapping, before or after a key, or in a sequence.
enum Frame {
    Mapping { path: String, key: Option<String> },
    Sequence { path: String, idx: usize },
}

/// The lines of all documents that are not empty.
fn positions(text: &str) -> Result<Vec<Lines>, Broken> {
    let mut documents = Vec::new();
    let mut lines = Lines::new();
    let mut frames: Vec<Frame> = Vec::new();
    let mut empty = true;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Broken {
            line: error.marker().line().max(1),
            message: error.info().to_owned(),
        })?;
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) => {
                lines = Lines::new();
                empty = true;
            }
            Event::DocumentEnd if !empty => documents.push(std::mem::take(&mut lines)),
            Event::Scalar(text, style, ..) => {
                if let Some(Frame::Mapping { path, key: key @ None }) = frames.last_mut() {
                    lines.insert(join(path, &text), line);
                    *key = Some(text.into_owned());
                    continue;
                }
                let plain_null = style == saphyr_parser::ScalarStyle::Plain
                    && matches!(text.as_ref(), "" | "~" | "null");
                empty &= frames.is_empty() && plain_null;
                enter(&mut frames, &mut lines, line);
            }
            Event::Alias(_) => {
                empty = false;
                enter(&mut frames, &mut lines, line);
            }
            Event::MappingStart(..) => {
                empty = false;
                let path = enter(&mut frames, &mut lines, line);
                frames.push(Frame::Mapping { path, key: None });
            }
            Event::SequenceStart(..) => {
                empty = false;
                let path = enter(&mut frames, &mut lines, line);
                frames.push(Frame::Sequence { path, idx: 0 });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                frames.pop();
            }
            _ => {}
        }
    }
    Ok(documents)
}

/// The path of the value that begins here, booked in its parent; a key's own line stands.
fn enter(frames: &mut [Frame], lines: &mut Lines, line: usize) -> String {
    let path = match frames.last_mut() {
        None => String::new(),
        Some(Frame::Mapping { path, key }) => join(path, &key.take().unwrap_or_default()),
        Some(Frame::Sequence { path, idx }) => {
            *idx += 1;
            format!("{path}[{}]", *idx - 1)
        }
    };
    lines.entry(path.clone()).or_insert(line);
    path
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_line() {
        let text =
            "# head\n---\na: 1\nb:\n  - c: x\n    d: y\n  - e\n---\n---\nf: &g {h: 1}\ni: *g\n";
        let documents = documents(text).expect("it is YAML");
        assert_eq!(documents.len(), 2);
        let first = &documents[0].lines;
        let line = |path: &str| first.get(path).copied();
        assert_eq!(
            [line("a"), line("b"), line("b[0].c"), line("b[0].d"), line("b[1]")],
            [Some(3), Some(4), Some(5), Some(6), Some(7)]
        );
        assert_eq!(documents[1].value["i"]["h"], 1);
        assert_eq!(documents[1].lines.get("i"), Some(&11));
    }

    #[test]
    fn broken_text_names_its_line() {
        let error = documents("a: 1\nb: [1, 2\n").expect_err("it is broken");
        assert!(error.line >= 2, "{error:?}");
    }
}
