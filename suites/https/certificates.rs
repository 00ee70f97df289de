//! Which certificate a host presents, and whether it is the one the stack names.

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
    let door = hosts::secure(trial, host);
    let expected = format!("the stack's certificate for {}", door.host);
    let reply = hosts::get(trial, &door, hosts::page(trial, host)).await?;
    let leaf = reply.tls.and_then(|tls| tls.chain.first().cloned());
    let broken = |class: CauseClass, seen: String| {
        trial.failed_at(class, &host.ingress, "spec.tls", &expected, seen)
    };
    let Some(leaf) = leaf else {
        return Err(broken(CauseClass::WrongCertificate, "no certificate was presented".into()));
    };
    let names = names_of(&leaf).map_err(|seen| broken(CauseClass::WrongCertificate, seen))?;
    if names.iter().any(|name| name == FALLBACK_NAME) {
        let seen = format!("the controller's own: {FALLBACK_NAME}");
        return Err(broken(CauseClass::FallbackCertificate, seen));
    }
    if !names.iter().any(|name| covers(name, &door.host)) {
        return Err(broken(CauseClass::WrongCertificate, format!("one for {}", names.join(", "))));
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

/// Common name and DNS names of a certificate.
fn names_of(der: &Bytes) -> Result<Vec<String>, String> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| format!("a malformed one: {error}"))?;
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut names: Vec<_> = common.map(str::to_owned).collect();
    if let Ok(Some(extension)) = certificate.subject_alternative_name() {
        names.extend(extension.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        }));
    }
    Ok(names)
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
    use super::*;

    #[test]
    fn a_wildcard_covers_one_label() {
        assert!(covers("*.example.com", "www.example.com"));
        assert!(!covers("*.example.com", "a.b.example.com"));
        assert!(!covers("*.example.com", "example.com"));
        assert!(covers("Example.com", "example.com"));
    }
}
