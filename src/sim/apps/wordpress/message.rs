//! Requests as PHP sees them, and responses as Apache sends them.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, HeaderName, LOCATION, SERVER};
use http::{HeaderValue, Request, Response, StatusCode};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");
/// `KeepAliveTimeout 5`, `MaxKeepAliveRequests 100` (Debian's apache2.conf).
const KEPT: HeaderValue = HeaderValue::from_static("timeout=5, max=100");
const APACHE: HeaderValue = HeaderValue::from_static("Apache/2.4.66 (Debian)");
const PHP: HeaderValue = HeaderValue::from_static("PHP/8.3.28");

/// A response of PHP with this content type.
pub(super) fn php(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = plain(status, content_type, body);
    response.headers_mut().insert(POWERED_BY, PHP);
    response
}

/// A response of Apache itself.
pub(super) fn plain(
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(SERVER, APACHE);
    headers.insert(KEEP_ALIVE, KEPT);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A page.
pub(super) fn html(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    php(status, "text/html; charset=UTF-8", body.into())
}

/// A REST answer.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Bytes> {
    php(status, "application/json; charset=UTF-8", Bytes::from(value.to_string()))
}

/// 302 to `to`.
pub(super) fn redirect(to: &str) -> Response<Bytes> {
    let mut response = html(StatusCode::FOUND, Bytes::new());
    if let Ok(location) = HeaderValue::try_from(to) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// `https` behind a proxy that says so (`wp-config-docker.php` looks at X-Forwarded-Proto).
pub(super) fn scheme(request: &Request<Bytes>) -> &'static str {
    let proto = request.headers().get("x-forwarded-proto").map(HeaderValue::as_bytes);
    if proto.is_some_and(|proto| proto.starts_with(b"https")) { "https" } else { "http" }
}

/// The host the client asked for, with its port.
pub(super) fn host(request: &Request<Bytes>) -> &str {
    request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost")
}

/// The address of the client, as mod_remoteip takes it from the proxy in front.
pub(super) fn client_ip(request: &Request<Bytes>) -> &str {
    let forwarded = request.headers().get("x-forwarded-for");
    forwarded.and_then(|ip| ip.to_str().ok()).unwrap_or("10.244.0.1")
}

/// The cookie called `name`.
pub(super) fn cookie(request: &Request<Bytes>, name: &str) -> Option<String> {
    let headers = request.headers().get_all(COOKIE).into_iter();
    let pairs = headers.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| decode(value))
}

/// A parameter of the query string.
pub(super) fn query_value(request: &Request<Bytes>, name: &str) -> Option<String> {
    form_value(request.uri().query()?.as_bytes(), name)
}

/// A field of a form (`application/x-www-form-urlencoded`).
pub(super) fn form_value(form: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(form).ok()?;
    let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(key, _)| decode(key) == name).map(|(_, value)| decode(value))
}

/// Percent-decodes; a malformed escape stays as it is.
pub(super) fn decode(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut idx = 0;
    while let Some(&byte) = bytes.get(idx) {
        let escaped = bytes.get(idx + 1..idx + 3).filter(|_| byte == b'%');
        let value = escaped
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        idx += if value.is_some() { 3 } else { 1 };
        decoded.push(value.unwrap_or(if byte == b'+' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Text made safe for HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
