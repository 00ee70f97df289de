//! Which server and location a request meets, and what nginx answers by itself.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, Response, StatusCode, Uri};

use super::config::{Location, PathType, Server, Servers};

/// HSTS on every HTTPS response (`config/config.go:NewDefault`).
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");

impl Servers {
    /// The server for a host: the exact name, then a wildcard over one label, then `_`.
    pub(in super::super) fn server(&self, host: &str) -> Option<&Arc<Server>> {
        self.named(host).or_else(|| self.by_host.get("_"))
    }

    /// The server that carries the name of a host.
    pub(in super::super) fn named(&self, host: &str) -> Option<&Arc<Server>> {
        self.by_host.get(host).or_else(|| {
            let (_, parent) = host.split_once('.')?;
            self.by_host.get(&format!("*.{parent}"))
        })
    }
}

impl Server {
    /// The location of a path: an exact match, then the longest prefix
    /// (`template/template.go`: a Prefix path is an exact and a slash-terminated location).
    pub(in super::super) fn location(&self, path: &str) -> Option<&Location> {
        let exact = self
            .locations
            .iter()
            .find(|location| location.path_type == PathType::Exact && location.path == path);
        exact.or_else(|| {
            let prefixes = self.locations.iter().filter(|location| location.covers(path));
            // Of equal length, a Prefix path's own exact location is met before a plain prefix.
            prefixes.max_by_key(|l| (l.path.len(), l.path_type == PathType::Prefix))
        })
    }
}

impl Location {
    fn covers(&self, path: &str) -> bool {
        match self.path_type {
            PathType::Exact => false,
            PathType::ImplementationSpecific => path.starts_with(&self.path),
            PathType::Prefix => {
                let stem = self.path.trim_end_matches('/');
                path.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

/// Host of a request without its port, in lower case.
pub(in super::super) fn host_of(request: &http::Request<Bytes>) -> String {
    let header = request.headers().get(http::header::HOST).and_then(|value| value.to_str().ok());
    let host = header.or_else(|| request.uri().host()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.to_ascii_lowercase()
}

/// The page nginx itself answers with.
pub(in super::super) fn page(status: StatusCode) -> Response<Bytes> {
    let title = match status.as_u16() {
        408 => "408 Request Time-out",
        413 => "413 Request Entity Too Large",
        502 => "502 Bad Gateway",
        503 => "503 Service Temporarily Unavailable",
        504 => "504 Gateway Time-out",
        308 => "308 Permanent Redirect",
        404 => "404 Not Found",
        _ => "400 The plain HTTP request was sent to HTTPS port",
    };
    let body = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
         <center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

/// The redirect to HTTPS: 308, host, path and query kept, but one trailing slash of the URI dropped
/// (`rootfs/etc/nginx/lua/lua_ingress.lua`).
pub(in super::super) fn https_redirect(host: &str, uri: &Uri, keep_slash: bool) -> Response<Bytes> {
    let path = uri.path_and_query().map_or("/", |pq| pq.as_str());
    let path = if keep_slash { path } else { path.strip_suffix('/').unwrap_or(path) };
    let mut response = page(StatusCode::PERMANENT_REDIRECT);
    if let Ok(location) = HeaderValue::try_from(format!("https://{host}{path}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Adds what nginx adds to each response over TLS.
pub(in super::super) fn add_hsts(response: &mut Response<Bytes>) {
    response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HSTS);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(path: &str, path_type: PathType) -> Location {
        let upstream = Some(Arc::from(format!("{path} {path_type:?}")));
        Location { path: path.into(), path_type, upstream, settings: Arc::default() }
    }

    #[test]
    fn exact_beats_prefix_and_the_longest_prefix_wins() {
        let server = Server {
            locations: vec![
                location("/", PathType::Prefix),
                location("/app", PathType::Prefix),
                location("/app/x", PathType::Exact),
                location("/raw", PathType::ImplementationSpecific),
            ],
            has_tls: false,
        };
        let met = |path: &str| server.location(path).map(|l| (l.path.as_str(), l.path_type));
        assert_eq!(met("/app/x"), Some(("/app/x", PathType::Exact)));
        assert_eq!(met("/app/x/"), Some(("/app", PathType::Prefix)));
        assert_eq!(met("/application"), Some(("/", PathType::Prefix)), "segments, not strings");
        assert_eq!(met("/rawhide"), Some(("/raw", PathType::ImplementationSpecific)));
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let mut servers = Servers::default();
        for host in ["_", "*.example.com", "a.example.com"] {
            servers.by_host.insert(host.into(), Arc::new(Server::default()));
        }
        assert!(servers.named("b.example.com").is_some());
        assert!(servers.named("c.b.example.com").is_none());
        assert!(servers.named("example.com").is_none());
        assert!(servers.server("elsewhere.org").is_some());
    }

    #[test]
    fn the_redirect_keeps_host_path_and_query_and_drops_one_slash() {
        let to = |uri: &str, keep| {
            let response = https_redirect("h", &uri.parse().expect("a URI"), keep);
            assert_eq!(response.status(), 308);
            response.headers()[LOCATION].to_str().expect("text").to_owned()
        };
        assert_eq!(to("/a?b=c", false), "https://h/a?b=c");
        assert_eq!(to("/a/", false), "https://h/a");
        assert_eq!(to("/", false), "https://h");
        assert_eq!(to("/a/", true), "https://h/a/");
    }
}
