//! Certificates: read from Secrets, checked against the host, replaced by the controller's own.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::config::Certificate;
use super::key_pair::belongs;

/// Label of the blocks of a certificate file.
const CERTIFICATE: &str = "CERTIFICATE";

/// The self-signed certificate the controller makes at its start (`internal/net/ssl/ssl.go:GetFakeSSLCert`).
const FALLBACK_PEM: &str = include_str!("fallback.pem");

/// The controller's own certificate.
pub(in super::super) fn fallback() -> Certificate {
    static CHAIN: OnceLock<Vec<Bytes>> = OnceLock::new();
    let chain = CHAIN.get_or_init(|| pem_certificates(FALLBACK_PEM));
    Certificate { chain: chain.clone(), fallback: true }
}

/// The certificate of `secret` for `host`; `None` when it has none, its key is another's, or it does
/// not cover the host (`internal/net/ssl/ssl.go:CreateSSLCert`, `internal/ingress/controller/controller.go`:
/// all lead to the default certificate).
pub(super) fn from_secret(secret: &Secret, host: &str) -> Option<Certificate> {
    let data = secret.data.as_ref()?;
    let pem = std::str::from_utf8(&data.get("tls.crt")?.0).ok()?;
    let key = std::str::from_utf8(&data.get("tls.key")?.0).ok()?;
    let key = pem_blocks(key).find(|(label, _)| label.ends_with("PRIVATE KEY"))?.1;
    if pem_blocks(pem).next()?.0 != CERTIFICATE {
        return None;
    }
    let chain = pem_certificates(pem);
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    let presented = belongs(&key, &leaf) && covers(&leaf, host);
    presented.then(|| Certificate { chain: chain.clone(), fallback: false })
}

/// Whether a certificate names `host`, by subject alternative name or common name.
fn covers(certificate: &X509Certificate<'_>, host: &str) -> bool {
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

/// The certificates of a PEM text, in order, as DER.
fn pem_certificates(pem: &str) -> Vec<Bytes> {
    let certificates = pem_blocks(pem).filter(|(label, _)| *label == CERTIFICATE);
    certificates.map(|(_, der)| der.into()).collect()
}

/// The blocks of a PEM text, in order, as label and DER; blocks that are not base64 are left out.
fn pem_blocks(pem: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
    pem.split("-----BEGIN ").skip(1).filter_map(|block| {
        let (label, rest) = block.split_once("-----")?;
        let (body, _) = rest.split_once("-----END ")?;
        let base64: String = body.split_whitespace().collect();
        Some((label, STANDARD.decode(base64).ok()?))
    })
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

    /// Each has a certificate for named.test and the key that belongs to it.
    const PAIRS: [&str; 5] = [
        include_str!("fixtures/rsa.pem"),
        include_str!("fixtures/rsa_pkcs1.pem"),
        include_str!("fixtures/ec_sec1.pem"),
        include_str!("fixtures/ec_pkcs8.pem"),
        include_str!("fixtures/ed25519.pem"),
    ];

    fn served(cert: &str, key: &str) -> bool {
        from_secret(&secret(cert, key), "named.test").is_some()
    }

    #[test]
    fn a_certificate_counts_only_for_the_hosts_it_names() {
        let [pair, ..] = PAIRS;
        assert!(from_secret(&secret(pair, pair), "named.test").is_some());
        assert!(from_secret(&secret(pair, pair), "blog.example.com").is_none());
    }

    #[test]
    fn a_certificate_is_presented_with_the_key_that_belongs_to_it_alone() {
        for (idx, cert) in PAIRS.iter().enumerate() {
            for (other, key) in PAIRS.iter().enumerate() {
                assert_eq!(served(cert, key), idx == other, "{cert}{key}");
            }
        }
    }

    #[test]
    fn an_ec_key_without_its_public_half_is_believed_beside_an_ec_certificate() {
        let bare = include_str!("fixtures/ec_bare.pem");
        assert!(served(bare, bare));
        assert!(!served(PAIRS[0], bare));
    }

    #[test]
    fn what_is_no_certificate_or_no_key_is_refused() {
        let [pair, ..] = PAIRS;
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----";
        let empty = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----";
        for key in ["", "no key", empty, encrypted] {
            assert!(!served(pair, key), "{key}");
        }
        let key_first =
            format!("{}{pair}", &pair[pair.find("-----BEGIN PRIVATE").expect("a key")..]);
        let no_certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----";
        for cert in ["", "no certificate", no_certificate, &key_first] {
            assert!(!served(cert, pair), "{cert}");
        }
    }

    #[test]
    fn the_fallback_is_one_certificate_with_the_controllers_name() {
        let fallback = fallback();
        assert_eq!(fallback.chain.len(), 1);
        let (_, parsed) = X509Certificate::from_der(&fallback.chain[0]).expect("valid DER");
        assert!(parsed.subject().to_string().contains("Ingress Controller Fake Certificate"));
    }
}
