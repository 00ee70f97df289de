//! Certificates: read from Secrets, checked against the host, replaced by the controller's own.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::config::Certificate;

/// The self-signed certificate the controller makes at its start (`internal/net/ssl/ssl.go:GetFakeSSLCert`).
const FALLBACK_PEM: &str = include_str!("fallback.pem");

/// The controller's own certificate.
pub(in super::super) fn fallback() -> Certificate {
    static CHAIN: OnceLock<Vec<Bytes>> = OnceLock::new();
    let chain = CHAIN.get_or_init(|| pem_certificates(FALLBACK_PEM));
    Certificate { chain: chain.clone(), fallback: true }
}

/// The certificate of `secret` for `host`; `None` when it has none, or it does not cover the host
/// (`internal/ingress/controller/controller.go`: both lead to the default certificate).
pub(super) fn from_secret(secret: &Secret, host: &str) -> Option<Certificate> {
    let data = secret.data.as_ref()?;
    let pem = std::str::from_utf8(&data.get("tls.crt")?.0).ok()?;
    let key = std::str::from_utf8(&data.get("tls.key")?.0).ok()?;
    if !key.contains("PRIVATE KEY-----") {
        return None;
    }
    let chain = pem_certificates(pem);
    let leaf = chain.first()?;
    covers(leaf, host).then(|| Certificate { chain: chain.clone(), fallback: false })
}

/// Whether a certificate names `host`, by subject alternative name or common name.
fn covers(der: &[u8], host: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return false;
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let mut dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    let mut common = certificate.subject().iter_common_name().filter_map(|cn| cn.as_str().ok());
    dns.any(|name| matches_host(name, host)) || common.any(|name| matches_host(name, host))
}

fn matches_host(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(parent), Some((_, rest))) => parent.eq_ignore_ascii_case(rest),
        _ => false,
    }
}

/// The certificates of a PEM text, in order, as DER; blocks that are not base64 are left out.
fn pem_certificates(pem: &str) -> Vec<Bytes> {
    let blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks
        .filter_map(|block| {
            let (body, _) = block.split_once("-----END CERTIFICATE-----")?;
            let base64: String = body.split_whitespace().collect();
            STANDARD.decode(base64).ok().map(Bytes::from)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    fn secret(cert: &str, key: &str) -> Secret {
        let data = BTreeMap::from([
            ("tls.crt".to_owned(), ByteString(cert.as_bytes().to_vec())),
            ("tls.key".to_owned(), ByteString(key.as_bytes().to_vec())),
        ]);
        Secret { data: Some(data), ..Secret::default() }
    }

    #[test]
    fn a_certificate_counts_only_for_the_hosts_it_names() {
        let key = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----";
        let secret_of_fallback = secret(FALLBACK_PEM, key);
        assert!(from_secret(&secret_of_fallback, "ingress.local").is_some());
        assert!(from_secret(&secret_of_fallback, "blog.example.com").is_none());
        assert!(from_secret(&secret(FALLBACK_PEM, ""), "ingress.local").is_none());
        assert!(from_secret(&secret("not a certificate", key), "ingress.local").is_none());
    }

    #[test]
    fn the_fallback_is_one_certificate_with_the_controllers_name() {
        let fallback = fallback();
        assert_eq!(fallback.chain.len(), 1);
        let (_, parsed) = X509Certificate::from_der(&fallback.chain[0]).expect("valid DER");
        assert!(parsed.subject().to_string().contains("Ingress Controller Fake Certificate"));
    }
}
