//! Which certificate a host presents, and whether it is the one the stack names.

use std::fmt;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use x509_parser::prelude::{FromDer as _, GeneralName, Pem, X509Certificate};

use crate::observe::CauseClass;
use crate::suite::{IngressHost, Stop, Trial};

use super::hosts;

/// Common name of ingress-nginx' own certificate (`internal/net/ssl:getFakeHostSSLCert`).
const FALLBACK_NAME: &str = "Kubernetes Ingress Controller Fake Certificate";

/// Judges that the certificate presented for `host` covers it and is the Secret's.
///
/// # Errors
/// It is the controller's own, covers other names, or is another one than the Secret's.
pub async fn judge(trial: &Trial, host: &IngressHost) -> Result<String, Stop> {
    let door = trial.secure_door(host);
    let expected = format!("the stack's certificate for {}", door.host);
    let reply = hosts::get(trial, &door, hosts::page(trial, host)).await?;
    let leaf = reply.tls.and_then(|tls| tls.chain.first().cloned());
    let broken = |class: CauseClass, seen: String| {
        trial.failed_at(class, &host.ingress, "spec.tls", &expected, seen)
    };
    let Some(leaf) = leaf else {
        return Err(broken(CauseClass::WrongCertificate, "no certificate was presented".into()));
    };
    let names = Names::of(&leaf).map_err(|seen| broken(CauseClass::WrongCertificate, seen))?;
    if names.common.iter().any(|name| name == FALLBACK_NAME) {
        let seen = format!("the controller's own: {FALLBACK_NAME}");
        let stop = broken(CauseClass::FallbackCertificate, seen);
        return Err(match &host.secret {
            None => stop.advising(
                "list the host under spec.tls, with a Secret whose certificate covers it",
            ),
            Some(name) if name.is_empty() => stop
                .advising("name a Secret under spec.tls, with a certificate that covers the host"),
            Some(_) => stop,
        });
    }
    if !names.cover(&door.host) {
        return Err(broken(CauseClass::WrongCertificate, names.to_string()));
    }
    let Some(secret) = host.secret.as_deref().filter(|name| !name.is_empty()) else {
        return Err(broken(CauseClass::WrongCertificate, "spec.tls names no Secret".into()));
    };
    let secrets: Api<Secret> = Api::namespaced(trial.client(), &host.ingress.namespace);
    let stored = secrets.get(secret).await?.data.unwrap_or_default();
    let stored = stored.get("tls.crt").map(|bytes| bytes.0.clone()).unwrap_or_default();
    if first_der(&stored).as_deref() != Some(leaf.as_ref()) {
        let seen = format!("another one than in Secret {secret}");
        return Err(broken(CauseClass::WrongCertificate, seen));
    }
    Ok(format!("{} presents the certificate of Secret {secret}", door.host))
}

/// The names in a certificate.
struct Names {
    /// Common names of its subject, which clients do not look at.
    common: Vec<String>,
    /// DNS names it is for.
    dns: Vec<String>,
}

impl Names {
    fn of(der: &Bytes) -> Result<Self, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| format!("a malformed one: {error}"))?;
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let mut names = Names { common: common.map(str::to_owned).collect(), dns: Vec::new() };
        if let Ok(Some(extension)) = certificate.subject_alternative_name() {
            names.dns.extend(extension.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            }));
        }
        Ok(names)
    }

    /// Whether a client that asked for `host` accepts them (RFC 9525, section 6.3: common names do
    /// not count).
    fn cover(&self, host: &str) -> bool {
        self.dns.iter().any(|name| covers(name, host))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dns.is_empty() {
            true => write!(
                f,
                "one without a DNS name, and clients look at nothing else; its common name is {}",
                self.common.join(", ")
            ),
            false => write!(f, "one for {}", self.dns.join(", ")),
        }
    }
}

/// The first certificate of a PEM file.
fn first_der(pem: &[u8]) -> Option<Vec<u8>> {
    Pem::iter_from_buffer(pem).next()?.ok().map(|pem| pem.contents)
}

/// Whether a certificate's name covers `host` (RFC 6125: a wildcard is one whole label).
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => {
            host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => name.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_dns_name(&["shop.example"], true, "one for shop.example")]
    #[case::another(&["www.example"], false, "one for www.example")]
    #[case::a_common_name_alone(&[], false, "one without a DNS name, and clients look at nothing \
                                             else; its common name is shop.example")]
    fn dns_names_count_and_common_names_do_not(
        #[case] dns: &[&str],
        #[case] covers: bool,
        #[case] words: &str,
    ) {
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let names = Names { common: own(&["shop.example"]), dns: own(dns) };
        assert_eq!((names.cover("shop.example"), names.to_string().as_str()), (covers, words));
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("*.example.com", "www.example.com"));
        assert!(!covers("*.example.com", "a.b.example.com"));
        assert!(!covers("*.example.com", "example.com"));
        assert!(covers("Example.com", "example.com"));
    }
}
