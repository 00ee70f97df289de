//! The nginx configuration that Ingresses ask for: servers, locations and their settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressServiceBackend, IngressTLS,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::endpoints::Key;
use crate::base::secs;
use crate::k8s::annotation_flag;

/// What the annotations of ingress-nginx begin with.
const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// The annotations whose effect is modelled; any other below `nginx.ingress.kubernetes.io/` is not.
pub const MODELLED_ANNOTATIONS: &[&str] = &[
    "nginx.ingress.kubernetes.io/ssl-redirect",
    "nginx.ingress.kubernetes.io/force-ssl-redirect",
    "nginx.ingress.kubernetes.io/preserve-trailing-slash",
    "nginx.ingress.kubernetes.io/proxy-body-size",
    "nginx.ingress.kubernetes.io/proxy-connect-timeout",
    "nginx.ingress.kubernetes.io/proxy-read-timeout",
    "nginx.ingress.kubernetes.io/proxy-send-timeout",
    "nginx.ingress.kubernetes.io/proxy-next-upstream",
    "nginx.ingress.kubernetes.io/proxy-next-upstream-tries",
    "nginx.ingress.kubernetes.io/service-upstream",
];

/// What `proxy-next-upstream` may say.
const CONDITIONS: &[&str] = &[
    "error",
    "timeout",
    "invalid_header",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "http_403",
    "http_404",
    "http_429",
    "non_idempotent",
    "off",
];

/// Settings of one location; the defaults are those of `config/config.go:NewDefault`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Settings {
    pub ssl_redirect: bool,
    pub force_ssl_redirect: bool,
    pub preserve_trailing_slash: bool,
    /// Largest request body; 0 is no limit.
    pub body_size: u64,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    pub retries: Retries,
    /// Requests go to the cluster address instead of the endpoints.
    pub service_upstream: bool,
}

/// When another upstream is tried (`proxy_next_upstream`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Retries {
    pub on_error: bool,
    pub on_timeout: bool,
    pub non_idempotent: bool,
    /// Statuses that count as a failure (`http_502`).
    pub on_status: Vec<u16>,
    /// Attempts in all; 0 is as many as there are peers.
    pub tries: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            ssl_redirect: true,
            force_ssl_redirect: false,
            preserve_trailing_slash: false,
            body_size: 1 << 20,
            connect_timeout: secs(5),
            read_timeout: secs(60),
            retries: Retries {
                on_error: true,
                on_timeout: true,
                non_idempotent: false,
                on_status: Vec::new(),
                tries: 3,
            },
            service_upstream: false,
        }
    }
}

/// How a path of a location matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum PathType {
    /// The whole path.
    Exact,
    /// Whole segments.
    Prefix,
    /// nginx's plain string prefix.
    ImplementationSpecific,
}

/// One location of a server.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Location {
    pub path: String,
    pub path_type: PathType,
    /// Name of the upstream; `None` is the built-in backend that answers 404.
    pub upstream: Option<Arc<str>>,
    pub settings: Arc<Settings>,
}

/// One server: a host and its locations.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Server {
    pub locations: Vec<Location>,
    /// Whether an Ingress of the host has a `tls` section: it switches the redirect on, even if the
    /// Secret is missing.
    pub has_tls: bool,
}

/// What forces a reload when it changes; upstream addresses and certificates do not
/// (`pkg/util/ingress/ingress.go:IsDynamicConfigurationEnough`).
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Servers {
    pub by_host: BTreeMap<String, Arc<Server>>,
}

/// Where the addresses of an upstream come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpstreamSource {
    pub service: Key,
    /// How the Ingress names the port of the Service.
    pub port: IntOrString,
    pub service_upstream: bool,
}

/// The whole configuration before addresses and certificates are looked up.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub servers: Servers,
    pub upstreams: BTreeMap<Arc<str>, UpstreamSource>,
    /// Secrets (namespace, name) by host: the first that covers the host is presented.
    pub secrets: BTreeMap<String, Vec<Key>>,
}

impl Wanted {
    /// The configuration for `ingresses`, the oldest first: the oldest wins a path that several claim.
    pub(super) fn build<'a>(ingresses: impl Iterator<Item = &'a Ingress>) -> Wanted {
        let mut wanted = Wanted::default();
        let mut servers: BTreeMap<String, Server> = BTreeMap::new();
        servers.entry("_".into()).or_default();
        for ingress in ingresses {
            wanted.add(ingress, &mut servers);
        }
        wanted.servers.by_host =
            servers.into_iter().map(|(host, server)| (host, Arc::new(server))).collect();
        wanted
    }

    fn add(&mut self, ingress: &Ingress, servers: &mut BTreeMap<String, Server>) {
        let Some(spec) = &ingress.spec else {
            return;
        };
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or("");
        let settings = Arc::new(settings(ingress));
        let fallback = spec.default_backend.as_ref();
        for rule in spec.rules.iter().flatten() {
            let host = rule.host.as_deref().filter(|h| !h.is_empty()).unwrap_or("_");
            let server = servers.entry(host.to_owned()).or_default();
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let upstream = self.upstream(namespace, &path.backend, &settings);
                add_location(server, location(path, upstream, &settings));
            }
            if let Some(backend) = fallback {
                let upstream = self.upstream(namespace, backend, &settings);
                add_location(server, root(upstream, &settings));
            }
        }
        if let (Some(backend), true) = (fallback, spec.rules.iter().flatten().next().is_none()) {
            let upstream = self.upstream(namespace, backend, &settings);
            add_location(servers.entry("_".into()).or_default(), root(upstream, &settings));
        }
        let tls = spec.tls.as_deref().unwrap_or(&[]);
        for host in spec.rules.iter().flatten().filter_map(|rule| rule.host.as_ref()) {
            if let Some(server) = servers.get_mut(host).filter(|_| !tls.is_empty()) {
                server.has_tls = true;
                self.secrets.entry(host.clone()).or_insert_with(|| secrets(host, namespace, tls));
            }
        }
    }

    fn upstream(
        &mut self,
        namespace: &str,
        backend: &IngressBackend,
        settings: &Settings,
    ) -> Option<Arc<str>> {
        let IngressServiceBackend { name, port } = backend.service.as_ref()?;
        let port = port.as_ref()?;
        let port = match (&port.name, port.number) {
            (Some(name), _) if !name.is_empty() => IntOrString::String(name.clone()),
            (_, Some(number)) => IntOrString::Int(number),
            _ => return None,
        };
        let shown = match &port {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(name) => name.clone(),
        };
        let upstream: Arc<str> = format!("{namespace}-{name}-{shown}").into();
        let source = UpstreamSource {
            service: (Arc::from(namespace), Arc::from(name.as_str())),
            port,
            service_upstream: settings.service_upstream,
        };
        self.upstreams.entry(Arc::clone(&upstream)).or_insert(source);
        Some(upstream)
    }
}

/// The Secret of the section that names `host`; without one, those of all sections, whose
/// certificates may name it (`internal/ingress/controller/controller.go:extractTLSSecretName`).
fn secrets(host: &str, namespace: &str, tls: &[IngressTLS]) -> Vec<Key> {
    let names = |section: &&IngressTLS| {
        section.hosts.iter().flatten().any(|each| each.eq_ignore_ascii_case(host))
    };
    let naming = tls.iter().find(names);
    let sections = naming.map_or(tls, std::slice::from_ref);
    let named = sections.iter().filter_map(|section| section.secret_name.as_deref());
    named
        .filter(|name| !name.is_empty())
        .map(|name| (Arc::from(namespace), Arc::from(name)))
        .collect()
}

fn location(
    path: &HTTPIngressPath,
    upstream: Option<Arc<str>>,
    settings: &Arc<Settings>,
) -> Location {
    let path_type = match path.path_type.as_str() {
        "Exact" => PathType::Exact,
        "Prefix" => PathType::Prefix,
        _ => PathType::ImplementationSpecific,
    };
    let text = path.path.as_deref().filter(|text| !text.is_empty()).unwrap_or("/");
    Location { path: text.to_owned(), path_type, upstream, settings: Arc::clone(settings) }
}

fn root(upstream: Option<Arc<str>>, settings: &Arc<Settings>) -> Location {
    let (path, path_type) = ("/".to_owned(), PathType::Prefix);
    Location { path, path_type, upstream, settings: Arc::clone(settings) }
}

fn add_location(server: &mut Server, location: Location) {
    let taken = server
        .locations
        .iter()
        .any(|other| other.path == location.path && other.path_type == location.path_type);
    if !taken {
        server.locations.push(location);
    }
}

/// Reads the annotations; a value that does not parse leaves the default (`annotations/parser`).
pub(super) fn settings(ingress: &Ingress) -> Settings {
    let annotations = ingress.metadata.annotations.as_ref();
    let text = |name: &str| annotations.and_then(|a| a.get(&format!("{PREFIX}{name}")));
    let flag =
        |name: &str, default: bool| text(name).and_then(|t| annotation_flag(t)).unwrap_or(default);
    // `parser.ValidateInt`: a unit is an error.
    let seconds = |name: &str, default: Duration| {
        text(name).and_then(|t| t.parse().ok()).map_or(default, secs)
    };
    let mut settings = Settings::default();
    settings.ssl_redirect = flag("ssl-redirect", settings.ssl_redirect);
    settings.force_ssl_redirect = flag("force-ssl-redirect", settings.force_ssl_redirect);
    settings.preserve_trailing_slash =
        flag("preserve-trailing-slash", settings.preserve_trailing_slash);
    settings.service_upstream = flag("service-upstream", settings.service_upstream);
    settings.connect_timeout = seconds("proxy-connect-timeout", settings.connect_timeout);
    settings.read_timeout = seconds("proxy-read-timeout", settings.read_timeout);
    if let Some(size) = text("proxy-body-size").and_then(|t| nginx_size(t)) {
        settings.body_size = size;
    }
    let conditions = text("proxy-next-upstream").map(|t| t.split_whitespace().collect::<Vec<_>>());
    // `proxy/main.go:validUpstreamAnnotation`.
    let is_valid = |words: &Vec<&str>| words.iter().all(|word| CONDITIONS.contains(word));
    if let Some(words) = conditions.filter(|words| !words.is_empty() && is_valid(words)) {
        settings.retries.on_error = words.contains(&"error");
        settings.retries.on_timeout = words.contains(&"timeout");
        settings.retries.non_idempotent = words.contains(&"non_idempotent");
        let statuses = words.iter().filter_map(|word| word.strip_prefix("http_")?.parse().ok());
        settings.retries.on_status = statuses.collect();
    }
    if let Some(tries) = text("proxy-next-upstream-tries").and_then(|t| t.parse().ok()) {
        settings.retries.tries = tries;
    }
    settings
}

/// A size as nginx reads it: `8m`, `512k`, `1g`, plain bytes.
fn nginx_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, factor) = match text.char_indices().last()? {
        (idx, 'k' | 'K') => (&text[..idx], 1 << 10),
        (idx, 'm' | 'M') => (&text[..idx], 1 << 20),
        (idx, 'g' | 'G') => (&text[..idx], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// The certificate a host presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Certificate {
    /// The chain, leaf first, in DER.
    pub chain: Vec<Bytes>,
    /// Whether it is the controller's own.
    pub fallback: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(name: &str, value: &str) -> Settings {
        let mut ingress = Ingress::default();
        let annotations = [(format!("{PREFIX}{name}"), value.to_owned())];
        ingress.metadata.annotations = Some(annotations.into());
        settings(&ingress)
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        for (value, expected) in [
            ("False", false),
            ("0", false),
            ("f", false),
            ("no", true),
            ("fALSE", true),
            ("", true),
        ] {
            assert_eq!(annotated("ssl-redirect", value).ssl_redirect, expected, "{value}");
        }
        assert!(annotated("force-ssl-redirect", "T").force_ssl_redirect);
        assert!(!annotated("force-ssl-redirect", "yes").force_ssl_redirect);
    }

    #[test]
    fn values_that_do_not_parse_leave_the_default() {
        assert_eq!(annotated("proxy-read-timeout", "5").read_timeout, secs(5));
        assert_eq!(annotated("proxy-read-timeout", "5s").read_timeout, secs(60));
        let default = Settings::default();
        assert_eq!(annotated("proxy-next-upstream", "http_599 error"), default);
        assert_eq!(annotated("proxy-next-upstream", "error,timeout"), default);
        assert!(!annotated("proxy-next-upstream", "off").retries.on_error);
    }

    #[test]
    fn sizes_are_read_as_nginx_reads_them() {
        assert_eq!(nginx_size("8m"), Some(8 << 20));
        assert_eq!(nginx_size("512k"), Some(512 << 10));
        assert_eq!(nginx_size("0"), Some(0));
        assert_eq!(nginx_size("8 pounds"), None);
        assert_eq!(nginx_size("99999999999999999999g"), None);
    }
}
