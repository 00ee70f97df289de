//! Field errors and field paths (`apimachinery/pkg/util/validation/field`).

use std::fmt;

/// One refused field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// `FieldValueRequired`, `FieldValueInvalid`, ...
    pub reason: &'static str,
    /// Dotted path of the field.
    pub field: String,
    /// The message without the path.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A path that costs nothing until it is shown: most objects have no errors.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Segment<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// A top-level field.
    pub const fn root(field: &'a str) -> Self {
        Path { parent: None, segment: Segment::Field(field) }
    }

    /// A field below this one; may be dotted.
    pub const fn field(&'a self, field: &'a str) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Field(field) }
    }

    /// An element of this list.
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Index(index) }
    }

    /// An entry of this map.
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.segment {
            Segment::Field(field) if self.parent.is_some() => write!(f, ".{field}"),
            Segment::Field(field) => f.write_str(field),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// The refused fields of one object, in the order they were met.
#[derive(Clone, Debug, Default)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The refused fields.
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// The field must be set.
    pub fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.push("FieldValueRequired", path, with_detail("Required value", detail));
    }

    /// The field's value, in Go syntax, is refused.
    pub fn invalid(&mut self, path: &Path<'_>, value: impl fmt::Display, detail: &str) {
        let message = with_detail(&format!("Invalid value: {value}"), detail);
        self.push("FieldValueInvalid", path, message);
    }

    /// The field's value is none of the supported ones.
    pub fn not_supported(&mut self, path: &Path<'_>, value: &str, supported: &[&str]) {
        let quoted: Vec<String> = supported.iter().map(|each| format!("{each:?}")).collect();
        let list = quoted.join(", ");
        let message = format!("Unsupported value: {value:?}: supported values: {list}");
        self.push("FieldValueNotSupported", path, message);
    }

    /// The value occurs twice where it may occur once.
    pub fn duplicate(&mut self, path: &Path<'_>, value: impl fmt::Display) {
        self.push("FieldValueDuplicate", path, format!("Duplicate value: {value}"));
    }

    /// The field may not be set like this here.
    pub fn forbidden(&mut self, path: &Path<'_>, detail: &str) {
        self.push("FieldValueForbidden", path, with_detail("Forbidden", detail));
    }

    /// The value refers to nothing.
    pub fn not_found(&mut self, path: &Path<'_>, value: impl fmt::Display) {
        self.push("FieldValueNotFound", path, format!("Not found: {value}"));
    }

    /// The value is too long.
    pub fn too_long(&mut self, path: &Path<'_>, bytes_max: usize) {
        let message = format!("Too long: must have at most {bytes_max} bytes");
        self.push("FieldValueTooLong", path, message);
    }

    fn push(&mut self, reason: &'static str, path: &Path<'_>, message: String) {
        self.0.push(FieldError { reason, field: path.to_string(), message });
    }

    /// Checks that a number is not negative.
    pub fn non_negative(&mut self, path: &Path<'_>, value: Option<i64>) {
        if let Some(value) = value.filter(|&value| value < 0) {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }

    /// Checks a port number.
    pub fn port(&mut self, path: &Path<'_>, port: i32) {
        if !(1..=65_535).contains(&port) {
            self.invalid(path, port, super::text::PORT_RANGE);
        }
    }

    /// Records a text refused for each of `reasons`.
    pub fn refused(&mut self, path: &Path<'_>, value: &str, reasons: Vec<String>) {
        for why in reasons {
            self.invalid(path, format!("{value:?}"), &why);
        }
    }

    /// Checks a text against the supported ones; an absent text passes.
    pub fn one_of(&mut self, path: &Path<'_>, value: Option<&str>, supported: &[&str]) {
        if let Some(value) = value
            && !supported.contains(&value)
        {
            self.not_supported(path, value, supported);
        }
    }
}

fn with_detail(message: &str, detail: &str) -> String {
    if detail.is_empty() { message.to_owned() } else { format!("{message}: {detail}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_kubernetes_writes_them() {
        let (spec, ports) = (Path::root("spec"), "ports");
        let list = spec.field(ports);
        let first = list.index(0);
        assert_eq!(first.field("name").to_string(), "spec.ports[0].name");
        assert_eq!(Path::root("data").key("a.b").to_string(), "data[a.b]");
    }
}
