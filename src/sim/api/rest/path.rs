//! Request paths and queries (`apiserver/pkg/endpoints/request/requestinfo.go`).

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/version`.
    Version,
    /// `/healthz`, `/livez`, `/readyz` and what is below.
    Health,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(String),
    /// `/api/v1`, `/apis/<group>/<version>`.
    Resources(String, String),
    /// A resource, an object or a subresource.
    Object(ObjectPath),
    /// Nothing the server knows.
    Unknown,
}

/// The path of a resource, an object or a subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ObjectPath {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

/// Subresources of namespaces; anything else below a namespace is a resource in it
/// (`requestinfo.go:namespaceSubresources`).
const NAMESPACE_SUBRESOURCES: &[&str] = &["status", "finalize"];

/// Reads a path.
pub(super) fn parse(path: &str) -> Route {
    let parts: Vec<String> =
        path.split('/').filter(|part| !part.is_empty()).map(|p| decode(p, false)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["version"] => Route::Version,
        ["healthz" | "livez" | "readyz", ..] => Route::Health,
        ["api"] => Route::CoreVersions,
        ["apis"] => Route::Groups,
        ["api", version] => Route::Resources(String::new(), (*version).into()),
        ["apis", group] => Route::Group((*group).into()),
        ["apis", group, version] => Route::Resources((*group).into(), (*version).into()),
        ["api", version, rest @ ..] => object("", version, rest),
        ["apis", group, version, rest @ ..] => object(group, version, rest),
        _ => Route::Unknown,
    }
}

fn object(group: &str, version: &str, rest: &[&str]) -> Route {
    let (namespace, rest) = match rest {
        ["namespaces", _] => (None, rest),
        ["namespaces", _, sub] if NAMESPACE_SUBRESOURCES.contains(sub) => (None, rest),
        ["namespaces", namespace, rest @ ..] => (Some(*namespace), rest),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(name), None),
        [plural, name, sub] => (plural, Some(name), Some(sub)),
        _ => return Route::Unknown,
    };
    let owned = |part: Option<&&str>| part.map(|part| (*part).to_owned());
    Route::Object(ObjectPath {
        group: group.into(),
        version: version.into(),
        plural: (*plural).into(),
        namespace: namespace.map(str::to_owned),
        name: owned(name),
        subresource: owned(subresource),
    })
}

/// The query of a request, decoded.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URI after `?`.
    pub(super) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Query(pairs.collect())
    }

    /// The value of `key`; `None` when it is absent or empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(k, _)| k == key)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether `key` is given with any value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    /// Whether `key` is true, as Go's query conversion reads it (`?watch` and `?watch=1` are).
    pub(super) fn flag(&self, key: &str) -> bool {
        self.has(key) && !matches!(self.get(key), Some("false" | "0" | "False" | "f" | "F"))
    }

    /// The value of `key` as a number.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }
}

/// Percent-decodes; `+` is a space in queries only.
fn decode(text: &str, is_query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = after;
            }
            (b'+', _) if is_query => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources_objects_and_subresources() {
        let Route::Object(path) = parse("/apis/apps/v1/namespaces/shop/deployments/web/scale")
        else {
            panic!("not an object path");
        };
        assert_eq!((path.group.as_str(), path.version.as_str()), ("apps", "v1"));
        assert_eq!(path.namespace.as_deref(), Some("shop"));
        assert_eq!(path.name.as_deref(), Some("web"));
        assert_eq!(path.subresource.as_deref(), Some("scale"));
        assert_eq!(parse("/apis/apps/v1"), Route::Resources("apps".into(), "v1".into()));
        assert_eq!(parse("/nonsense"), Route::Unknown);
    }

    #[test]
    fn a_namespace_is_an_object_and_its_finalize_a_subresource() {
        let Route::Object(path) = parse("/api/v1/namespaces/shop") else { panic!() };
        assert_eq!((path.plural.as_str(), path.name.as_deref()), ("namespaces", Some("shop")));
        let Route::Object(path) = parse("/api/v1/namespaces/shop/finalize") else { panic!() };
        assert_eq!(path.subresource.as_deref(), Some("finalize"));
        let Route::Object(path) = parse("/api/v1/namespaces/shop/pods") else { panic!() };
        assert_eq!((path.plural.as_str(), path.namespace.as_deref()), ("pods", Some("shop")));
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%20in%20(b%2Cc)&watch=1&x=%zz&dryRun=");
        assert_eq!(query.get("labelSelector"), Some("a in (b,c)"));
        assert!(query.flag("watch"));
        assert_eq!(query.get("x"), Some("%zz"));
        assert!(query.has("dryRun") && query.get("dryRun").is_none());
    }
}
