//! Syntax of names, labels, keys and ports (`apimachinery/pkg/util/validation/validation.go`). Each
//! check returns why the text is refused; an empty list means it is fine.

/// What ports must be.
pub const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";

const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
    characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
    '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case \
    alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character \
    (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD_SUBDOMAIN: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by \
    a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' \
    and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is \
    '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or \
    '-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
    'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED: &str = "a qualified name must consist of alphanumeric characters, '-', '_' or \
    '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
    '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an \
    optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric \
    characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
    'MyValue',  or 'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const DATA_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or \
    '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
    '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str = "a valid environment variable name must consist of alphabetic characters, \
    digits, '_', '-', or '.', and must not start with a digit (e.g. 'my.env-name',  or \
    'MY_ENV.NAME',  or 'MyEnvName1', regex used for validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')";

fn length(text: &str, max: usize) -> Option<String> {
    (text.len() > max).then(|| format!("must be no more than {max} characters"))
}

fn reasons(length: Option<String>, bad: bool, message: &str) -> Vec<String> {
    length.into_iter().chain(bad.then(|| message.to_owned())).collect()
}

/// Whether all of `text` is made of `middle` and both ends of `ends`.
fn shaped(text: &str, ends: impl Fn(u8) -> bool, middle: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => {
            ends(first) && ends(last) && bytes.iter().all(|&byte| middle(byte))
        }
        _ => false,
    }
}

fn lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label_shaped(text: &str) -> bool {
    shaped(text, lower_alphanumeric, |byte| lower_alphanumeric(byte) || byte == b'-')
}

/// Mixed case, as label keys and values are.
fn is_name_part(text: &str) -> bool {
    shaped(
        text,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
    )
}

/// `IsDNS1123Label`.
pub fn label_1123(text: &str) -> Vec<String> {
    reasons(length(text, 63), !is_label_shaped(text), LABEL_1123)
}

/// `IsDNS1123Subdomain`.
pub fn subdomain_1123(text: &str) -> Vec<String> {
    reasons(length(text, 253), !text.split('.').all(is_label_shaped), SUBDOMAIN_1123)
}

/// `IsWildcardDNS1123Subdomain`.
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    let rest = text.strip_prefix("*.");
    let bad = !rest.is_some_and(|rest| rest.split('.').all(is_label_shaped));
    reasons(length(text, 253), bad, WILDCARD_SUBDOMAIN)
}

/// `IsDNS1035Label`.
pub fn label_1035(text: &str) -> Vec<String> {
    let bad = !is_label_shaped(text) || !text.starts_with(|c: char| c.is_ascii_lowercase());
    reasons(length(text, 63), bad, LABEL_1035)
}

/// `IsQualifiedName`: label and annotation keys, resource and finalizer names.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((prefix, name)) if !name.contains('/') => {
            if prefix.is_empty() {
                found.push("prefix part must be non-empty".to_owned());
            } else {
                let why = subdomain_1123(prefix);
                found.extend(why.into_iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
        Some(_) => return vec![QUALIFIED.to_owned()],
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else if let Some(why) = length(name, 63) {
        found.push(format!("name part {why}"));
    }
    if !is_name_part(name) {
        found.push(QUALIFIED_PART.to_owned());
    }
    found
}

/// `IsValidLabelValue`.
pub fn label_value(text: &str) -> Vec<String> {
    reasons(length(text, 63), !text.is_empty() && !is_name_part(text), LABEL_VALUE)
}

/// `IsConfigMapKey`.
pub fn config_map_key(text: &str) -> Vec<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bad = text.is_empty() || !text.bytes().all(fits);
    let mut found = reasons(length(text, 253), bad, DATA_KEY);
    match text {
        "." => found.push("must not be '.'".to_owned()),
        ".." => found.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => found.push("must not start with '..'".to_owned()),
        _ => {}
    }
    found
}

/// `IsEnvVarName`; from 1.32 `IsRelaxedEnvVarName`.
pub fn env_name(text: &str, relaxed: bool) -> Vec<String> {
    if relaxed {
        let fits = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'=';
        let message = "a valid environment variable name must consist only of printable ASCII \
            characters other than '='";
        return reasons(None, text.is_empty() || !text.bytes().all(fits), message);
    }
    let starts =
        text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '.' | '_'));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let mut found = reasons(None, !starts || !text.bytes().all(fits), ENV_NAME);
    match text {
        "." => found.push("must not be '.'".to_owned()),
        ".." => found.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => found.push("must not start with '..'".to_owned()),
        _ => {}
    }
    found
}

/// `IsValidPortName`.
pub fn port_name(text: &str) -> Vec<String> {
    let mut found: Vec<String> = length(text, 15).into_iter().collect();
    if text.is_empty() || !text.bytes().all(|byte| lower_alphanumeric(byte) || byte == b'-') {
        let why = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
        found.push(why.to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        found.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        found.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        found.push("must not begin or end with a hyphen".to_owned());
    }
    found
}

/// `path.IsValidPathSegmentName`: names of RBAC objects.
pub fn path_segment(text: &str) -> Vec<String> {
    match text {
        "." | ".." => vec![format!("may not be '{text}'")],
        _ => ["/", "%"]
            .iter()
            .filter(|part| text.contains(**part))
            .map(|part| format!("may not contain '{part}'"))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(subdomain_1123("my-app.example").is_empty());
        assert!(subdomain_1123("My_App")[0].contains("RFC 1123 subdomain"));
        assert_eq!(subdomain_1123("a..b").len(), 1);
        assert!(label_1035("1st").first().is_some_and(|why| why.contains("DNS-1035")));
        assert_eq!(label_1123(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert!(wildcard_subdomain("*.example.com").is_empty());
        assert!(!wildcard_subdomain("*example.com").is_empty());
    }

    #[test]
    fn labels() {
        assert!(qualified_name("app.kubernetes.io/name").is_empty());
        assert!(qualified_name("A_b.c").is_empty());
        assert!(!qualified_name("a/b/c").is_empty());
        assert!(!qualified_name("/b").is_empty());
        assert!(label_value("").is_empty());
        assert!(!label_value("a b").is_empty());
        assert!(!label_value("-a").is_empty());
    }

    #[test]
    fn ports_and_environment() {
        assert!(port_name("http-2").is_empty());
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
        assert_eq!(port_name("a-very-long-port-name").len(), 1);
        assert!(env_name("MY.NAME", false).is_empty());
        assert!(!env_name("1ST", false).is_empty());
        assert!(env_name("1ST", true).is_empty());
        assert!(!env_name("A=B", true).is_empty());
    }
}
