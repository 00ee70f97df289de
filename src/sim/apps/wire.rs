//! The exchange between WordPress and its database: fields separated by an unused control character.

use bytes::Bytes;

/// Separates fields; it is removed from any text that carries it.
const SEPARATOR: char = '\u{1f}';

/// Joins fields to a message.
pub(super) fn join(fields: &[&str]) -> String {
    let mut text = String::with_capacity(fields.iter().map(|field| field.len() + 1).sum());
    for (idx, field) in fields.iter().enumerate() {
        if idx > 0 {
            text.push(SEPARATOR);
        }
        text.extend(field.chars().filter(|c| *c != SEPARATOR));
    }
    text
}

/// The fields of a message.
pub(super) fn split(message: &[u8]) -> Vec<&str> {
    std::str::from_utf8(message).map_or_else(|_| Vec::new(), |text| text.split(SEPARATOR).collect())
}

/// Joins fields to the bytes of a message.
pub(super) fn message(fields: &[&str]) -> Bytes {
    Bytes::from(join(fields))
}
